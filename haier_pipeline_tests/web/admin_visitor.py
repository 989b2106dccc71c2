"""A visitor of the admin pages without a browser: fills in the forms that a page really shows."""

import re
from html import unescape
from typing import Any

import httpx2
from fastapi import FastAPI
from starlette.testclient import TestClient

ADMIN = "/admin"
FORM = re.compile(r"<form\b(?P<head>[^>]*)>(?P<body>.*?)</form>", re.DOTALL)
FIELD = re.compile(r"<(?:input|button)\b(?P<attributes>[^>]*)>")
ATTRIBUTE = re.compile(r'([\w-]+)(?:="([^"]*)")?')


class Visitor:
    """Follows no redirect, so that a test sees each of them."""

    def __init__(self, app: FastAPI, **options: Any) -> None:
        self.client = TestClient(app, follow_redirects=False, **options)

    def get(self, path: str, **parameters: Any) -> httpx2.Response:
        # No parameters, not an empty set of them: that would strike out those of the path.
        return self.client.get(ADMIN + path, params=parameters or None)

    def page(self, path: str, **parameters: Any) -> str:
        """The text of a page that must be there."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def send(self, page: str, action: str, **fields: str) -> httpx2.Response:
        """Send the form with that target on the page ``page``, some of its fields changed."""
        return self.post(action, **{**fields_of(self.page(page), ADMIN + action), **fields})

    def post(self, path: str, **fields: str) -> httpx2.Response:
        return self.client.post(ADMIN + path, data=fields)

    def log_in(self, token: str) -> "Visitor":
        answer = self.send("/login", "/login", token=token)
        assert answer.status_code == 303, answer.text
        return self

    @property
    def csrf(self) -> str:
        """The secret of this session, from the form that stands on every page."""
        return fields_of(self.page("/"), f"{ADMIN}/logout")["csrf"]


def forms(html: str) -> dict[str, str]:
    """The bodies of the forms of a page by their targets."""
    return {attributes(match["head"])["action"]: match["body"]
            for match in FORM.finditer(html) if "action" in attributes(match["head"])}  # fmt: skip


def fields_of(html: str, action: str) -> dict[str, str]:
    """What a browser would send of the form as it stands."""
    fields = {}
    for match in FIELD.finditer(forms(html)[action]):
        found = attributes(match["attributes"])
        is_left_out = found.get("type") == "checkbox" and "checked" not in found
        if "name" in found and not is_left_out:
            fields[found["name"]] = found.get("value", "on" if "checked" in found else "")
    return fields


def attributes(text: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in ATTRIBUTE.findall(text)}
