"""A page of another origin, open in the same browser as ``haier dev``: it acts and reads nothing.

Every way that a page has to send a request is tried with a real browser, and what a browser sends
is tried without one too.
"""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from playwright.sync_api import Browser

from haier_pipeline_tests.browser.installation import Installation
from haier_pipeline_tests.browser.interface import CHROMIUM_MISSING, graphql  # placeholder

pytestmark = pytest.mark.skipif(CHROMIUM_MISSING, reason="chromium is not installed")
