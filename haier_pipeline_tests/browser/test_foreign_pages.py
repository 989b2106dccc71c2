"""A page of another origin, open in the same browser as ``haier dev``: it acts and reads nothing.

Every way that a page has to send a request is tried in a real browser. What the guard makes of
single headers is tried in the tests of the server.
"""

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser

from haier_pipeline_tests.browser.installation import Installation, wait_for
from haier_pipeline_tests.browser.interface import CHROMIUM

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="chromium is not installed"),
    pytest.mark.timeout(300),
]

# A mutation that leaves a row and starts nothing.
MUTATION = "mutation{setConcurrencyLimit(concurrencyKey:%s,limit:1)}"

ATTEMPTS = """
async ([dagster, mutation]) => {
  const of = name => `${dagster}/graphql?query=${encodeURIComponent(mutation(name))}`;
  function mutation(name) { return MUTATION.replace("%s", JSON.stringify(name)); }
  const settled = promise => promise.then(() => "sent", () => "refused");
  const sent = {};
  sent.image = await new Promise(done => {
    const image = new Image();
    image.onload = () => done("loaded"); image.onerror = () => done("error");
    image.src = of("image");
  });
  sent.get = await settled(fetch(of("get"), {mode: "no-cors", credentials: "include"}));
  sent.text = await settled(fetch(of("text"), {mode: "no-cors", method: "POST", body: "x"}));
  sent.json = await settled(fetch(`${dagster}/graphql`, {
    method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({query: mutation("json")}),
  }));
  sent.beacon = navigator.sendBeacon(of("beacon"), "x");
  for (const method of ["GET", "POST"]) {
    const frame = document.createElement("iframe");
    frame.name = `frame${method}`;
    document.body.append(frame);
    const form = document.createElement("form");
    form.target = frame.name; form.method = method; form.action = of(`form${method}`);
    const field = document.createElement("input");
    field.name = "query"; field.value = mutation(`form${method}`);
    form.append(field); document.body.append(form);
    form.submit();
  }
  sent.websocket = await new Promise(done => {
    const socket = new WebSocket(`${dagster.replace("http", "ws")}/graphql`, "graphql-ws");
    socket.onopen = () => done("open"); socket.onerror = () => done("refused");
  });
  return sent;
}
""".replace("MUTATION", json.dumps(MUTATION), 1).replace("([dagster, mutation])", "([dagster])")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>elsewhere</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of a server whose pages are foreign."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def acted(installation: Installation) -> set[str]:
    """Whose mutations were carried out."""
    rows = installation.rows("SELECT concurrency_key FROM dagster.concurrency_limits")
    return {key for (key,) in rows}


def act_from_here(installation: Installation, name: str) -> None:
    """What a program of the user's own sends; it says nothing of an origin."""
    request = urllib.request.Request(
        f"{installation.url}/graphql",
        json.dumps({"query": MUTATION % json.dumps(name)}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


# Another site, and the same site with another port.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_foreign_page_neither_acts_nor_listens(
    browser: Browser, installation: Installation, elsewhere: int, host: str
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://{host}:{elsewhere}/")
        sent = page.evaluate(ATTEMPTS, [installation.url])
        link = f"{installation.url}/graphql?query={MUTATION % '%22link%22'}"
        page.evaluate("url => { location.href = url }", link)
        page.wait_for_url(f"{installation.url}/**")

    assert sent["image"] == "error"
    assert sent["websocket"] == "refused"
    assert sent["json"] == "refused"
    # Later than all of them, so that none is still on its way.
    act_from_here(installation, "own")
    wait_for(lambda: "own" in acted(installation))
    assert acted(installation) == {"own"}


def test_dagsters_own_pages_act_and_listen(browser: Browser, installation: Installation) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(installation.url)
        answer = page.evaluate(
            """async query => {
              const posted = await fetch("/graphql", {
                method: "POST", headers: {"Content-Type": "application/json"},
                body: JSON.stringify({query}),
              });
              const listens = await new Promise(done => {
                const address = location.origin.replace("http", "ws") + "/graphql";
                const socket = new WebSocket(address, "graphql-ws");
                socket.onopen = () => done(true); socket.onerror = () => done(false);
              });
              return [posted.status, listens];
            }""",
            "{version}",
        )

    assert answer == [200, True]
