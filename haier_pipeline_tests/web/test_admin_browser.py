"""The admin pages in a real browser, over a real server: from the login to the log of a sync."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Page, expect, sync_playwright

from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.web.callers import (
    OPERATOR_ENTRY,
    OPERATOR_TOKEN,
    READER_ENTRY,
    READER_TOKEN,
)

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SYNC_MILLISECONDS = 60_000

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed")


@contextmanager
def running_api(database_url: str, home: Path) -> Iterator[str]:
    """``haier api`` in a process of its own, as an operator starts it; gives its address."""
    environment = {
        **os.environ,
        "HAIER_DATABASE_URL": database_url,
        "HAIER_HOME": str(home),
        "HAIER_SECRET_KEY": Fernet.generate_key().decode(),
        "HAIER_API_TOKENS": f"{OPERATOR_ENTRY},{READER_ENTRY}",
        "HAIER_ALLOWED_HOSTS": "127.0.0.1",
        # Another language of the developer's machine would change what errors say.
        "LC_ALL": "C.UTF-8",
    }
    command = [sys.executable, "-m", "haier_pipeline.cli", "api", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        address = None
        for line in process.stderr:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                address = found[0]
                break
        # What is not read would stop the server one day.
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        try:
            assert address is not None, "the server did not start"
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
            reader.join()


@pytest.fixture
def address(database_url: str, tmp_path: Path) -> Iterator[str]:
    with running_api(database_url, tmp_path) as address:
        yield address


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a fresh browser. What the browser complains about fails the test."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        yield page
        browser.close()
    # A refused form answers with an error status, which the browser notes as well.
    assert [text for text in complaints if "status of 4" not in text] == []


def log_in(page: Page, address: str, token: str) -> None:
    page.goto(f"{address}/admin/")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def test_an_operator_stores_a_dealer_tests_it_syncs_it_and_reads_its_log(
    page: Page, address: str, sandbox: SandboxProcess
) -> None:
    log_in(page, address, OPERATOR_TOKEN)

    page.get_by_role("link", name="Dealers").click()
    page.get_by_role("link", name="New dealer").click()
    values = {
        "Name": "<script>alert(1)</script>",
        "Client id": CREDENTIALS["client_id"],
        "Sold-to party": CREDENTIALS["customer_code"],
        "Ship-to party": CREDENTIALS["send_to_code"],
        "Counties": "1101",
        "Calls a second": "1000",
        "Interfaces": sandbox.url,
        "Tokens": f"{sandbox.url}/oauth2/auth",
    }
    secrets = {
        "Client secret": CREDENTIALS["client_secret"],
        "Account password": CREDENTIALS["password"],
        "Seller password": CREDENTIALS["seller_password"],
    }
    for label, value in (values | secrets).items():
        page.get_by_label(label).first.fill(value)
    page.get_by_label("Sync this dealer").check()
    page.get_by_role("button", name="Store the dealer").click()

    expect(page.get_by_role("alert")).to_contain_text("county_codes must be")
    expect(page.get_by_label("Client secret").first).to_have_value("")
    page.get_by_label("Counties").fill("110101")
    for label, value in secrets.items():
        page.get_by_label(label).first.fill(value)
    page.get_by_role("button", name="Store the dealer").click()
    expect(page.get_by_role("status")).to_contain_text("The dealer is stored.")

    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_role("status")).to_contain_text("The connection works.")
    expect(page.get_by_role("status")).to_contain_text("30 products")

    page.get_by_role("button", name="Sync now").click()
    expect(page.get_by_role("status")).to_contain_text("The sync is accepted.")
    # The page looks again by itself until the last step has ended.
    row = page.get_by_role("row").filter(has_text="catalog_changes")
    expect(row).to_contain_text("success", timeout=SYNC_MILLISECONDS)
    stock = page.get_by_role("row").filter(has_text="stock_levels")
    stock.get_by_role("link").click()
    expect(page.get_by_text("stock_answered")).to_be_visible()
    expect(page.get_by_role("row", name="calls_per_second")).to_be_visible()

    page.get_by_role("link", name="Products").click()
    expect(page.locator("tbody tr")).to_have_count(30)
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("商品")
    page.get_by_role("link", name="同步日志").click()
    expect(page.locator("tbody")).to_contain_text("成功")
    page.get_by_role("button", name="退出登录").click()
    page.goto(f"{address}/admin/log")
    expect(page.get_by_label("令牌")).to_be_visible()


def test_a_reader_sees_no_button(page: Page, address: str) -> None:
    log_in(page, address, READER_TOKEN)

    page.get_by_role("link", name="Dealers").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Dealers")
    expect(page.get_by_role("button")).to_have_text(["Sign out"])


def test_the_documentation_of_rest_opens_with_the_token_as_a_password(
    page: Page, address: str
) -> None:
    """The browser asks for a name and a password, and reads only one challenge of a header."""
    assert page.context.browser is not None
    with page.context.browser.new_context(
        http_credentials={"username": "anybody", "password": READER_TOKEN}
    ) as context:
        documentation = context.new_page()
        opened = documentation.goto(f"{address}/docs")
        assert opened is not None
        assert opened.status == 200
        expect(documentation.locator("#swagger-ui .info .title")).to_contain_text("Haier pipeline")
        expect(documentation.get_by_text("/api/haier/catalog/products/").first).to_be_visible()


def test_the_address_alone_leads_to_the_pages(page: Page, address: str) -> None:
    page.goto(address)

    expect(page).to_have_url(f"{address}/admin/login")
    expect(page.get_by_label("Token")).to_be_visible()
