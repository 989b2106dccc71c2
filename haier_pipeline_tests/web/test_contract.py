"""The OpenAPI description, attacked: no 5xx, and no answer that it does not know."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from haier_pipeline.installation import Installation
from haier_pipeline_tests.web.callers import API, OPERATOR_TOKEN, app_on

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app behind a real server; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


# Where the fuzzer may write, it soon leads dealers to hosts that do not exist, and the live queries
# rightly say so. So it reads where only the environment's dealer is, and writes in another run.
@pytest.mark.timeout(400)
@pytest.mark.parametrize("methods", [("GET",), ("POST", "PUT", "PATCH", "DELETE")])
def test_the_description_is_kept_under_attack(
    new_installation: Callable[..., Installation],
    config: dict[str, Any],
    tmp_path: Path,
    methods: tuple[str, ...],
) -> None:
    """Rows 50, 52 and 53, by whatever a fuzzer thinks of."""
    dealer = {**config, "county_codes": "110101"}
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += ["--checks", ",".join(CHECKS), "--max-examples", "10", "--seed", "1", "--no-color"]
    command += ["-H", f"Authorization: Bearer {OPERATOR_TOKEN}", "--request-timeout", "20"]
    command += ["--generation-database", "none", "--suppress-health-check", "all"]
    for method in methods:
        command += ["--include-method", method]
    with served(app_on(new_installation(dealer=dealer), [])) as address:
        ended = subprocess.run(
            [*command, f"{address}/openapi.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=360,
            check=False,
        )

    assert ended.returncode == 0, ended.stdout[-6_000:] + ended.stderr[-2_000:]
    assert "Tested: " in ended.stdout


def test_every_route_has_examples_answers_and_a_summary(app: FastAPI) -> None:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            if not path.startswith(API):
                continue
            answers = operation["responses"]
            assert {"401", "403", "422", "429", "503"} <= answers.keys(), (method, path)
            for status, answer in answers.items():
                if int(status) >= 400:
                    assert set(answer["content"]) == {"application/problem+json"}, (path, status)
            for parameter in operation.get("parameters", []):
                assert "$ref" not in parameter
