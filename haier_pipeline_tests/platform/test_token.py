"""The token: its form, its renewal, and how many calls they cost, also for several processes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog.tokens import SharedTokens
from haier_pipeline.errors import PlatformClosed
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.platform.token import DEFAULT_LIFE_SECONDS, MOST_LIFE_SECONDS, parse_token
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess

NewClient = Callable[..., HaierClient]
COUNTY = "110101"
ORIGIN = "https://openplat-test.haier.net:443"


def call_all(client: HaierClient, threads: int = 32) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: client.get_stock("A0", COUNTY), range(2 * threads)))


@pytest.fixture
def new_process(new_client: NewClient, engine: Engine) -> NewClient:
    """Makes clients that share their token as processes do."""

    def make(dealer: dict[str, object] | None = None, **options: Any) -> HaierClient:
        client_id, secret = CREDENTIALS["client_id"], CREDENTIALS["client_secret"]
        tokens = SharedTokens(engine, client_id, ORIGIN, secret)
        return new_client(dealer=dealer, tokens=tokens, **options)

    return make


@pytest.mark.parametrize(("form", "wrong"), [("bare", 0), ("bearer", 1), ("either", 0)])
def test_32_threads_find_out_the_form_with_at_most_one_call_in_the_wrong_one(
    sandbox: SandboxProcess, new_client: NewClient, form: str, wrong: int
) -> None:
    """Fault matrix, row 1."""
    sandbox.set(token_form=form, latency_ms=[10, 30])
    call_all(new_client())
    report = sandbox.report()
    assert report["wrong_form"] == wrong
    assert report["calls"] == report["calls"] | {"token": 1, "stock": 64 + wrong}


@pytest.mark.parametrize(("before", "after"), [("bare", "bearer"), ("bearer", "bare")])
def test_a_platform_that_changes_its_mind_costs_one_token_and_one_change_of_form(
    sandbox: SandboxProcess, new_client: NewClient, before: str, after: str
) -> None:
    """Fault matrix, rows 1 and 4: workers that meet a 401 together."""
    sandbox.set(token_form=before)
    client = new_client()
    call_all(client)
    sandbox.reset()
    sandbox.set(token_form=after, latency_ms=[10, 30])
    call_all(client, threads=20)
    report = sandbox.report()
    assert report["calls"]["token"] == 1
    # The calls in flight when it changed, and one that found out the form of the new token.
    assert report["wrong_form"] <= 20 + 1
    assert report["calls"]["stock"] == 40 + report["wrong_form"]
    sandbox.reset()
    call_all(client)
    assert sandbox.report()["wrong_form"] == 0


@pytest.mark.parametrize("form", ["bare", "bearer"])
def test_a_token_revoked_among_32_threads_costs_one_token_call(
    sandbox: SandboxProcess, new_client: NewClient, form: str
) -> None:
    """Fault matrix, rows 1 and 4."""
    sandbox.set(token_form=form)
    client = new_client()
    call_all(client)
    sandbox.reset(tokens=True)
    sandbox.set(latency_ms=[10, 30])
    call_all(client)
    report = sandbox.report()
    assert report["calls"]["token"] == 1
    assert report["wrong_form"] == 0
    assert report["calls"]["stock"] <= 64 + 32


def test_a_fresh_token_that_no_form_makes_good_is_a_real_failure(
    sandbox: SandboxProcess, new_client: NewClient
) -> None:
    """Fault matrix, row 2: for all threads at once, and the next call begins anew."""
    sandbox.fault(interface="stock", kind="status", status=401)
    sandbox.set(latency_ms=[100, 100])
    client = new_client()

    def call(_: int) -> object:
        try:
            return client.get_stock("A0", COUNTY)
        except PlatformClosed as error:
            return error

    with ThreadPoolExecutor(20) as pool:
        errors = list(pool.map(call, range(20)))
    assert all(isinstance(error, PlatformClosed) and error.status == 401 for error in errors)
    # Twice as many where a call began just after the token was asked for.
    assert sandbox.report()["calls"]["stock"] in (2, 4)
    sandbox.reset(faults=True)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["wrong_form"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "code": 401, "errorMsg": "未授权"},
        {"success": False, "code": "401"},
        {"success": False, "code": 1, "errorMsg": "token 已过期，请重新获取"},
        {"success": False, "code": 1, "errCode": "TOKEN_EXPIRED", "errorMsg": None},
        {"code": 1, "message": "Access token expired"},
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_a_token_refused_in_an_envelope_is_renewed_like_a_401(
    sandbox: SandboxProcess, new_client: NewClient, body: dict[str, Any], status: int
) -> None:
    """Fault matrix, row 8."""
    client = new_client()
    client.get_stock("A0", COUNTY)
    sandbox.fault(interface="stock", kind="status", status=status, body=body, times=1)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["token"] == 2
    assert sandbox.report()["calls"]["stock"] == 3


# --------------------------------------------------------------------------------- the two paths


@pytest.mark.parametrize("works", ["/oauth2/auth", "/oauth2/token"])
@pytest.mark.parametrize("status", [401, 403, 404, 405, 500])
def test_the_other_path_is_tried_whatever_the_first_one_answers(
    sandbox: SandboxProcess, new_client: NewClient, works: str, status: int
) -> None:
    other = {"/oauth2/auth": "/oauth2/token", "/oauth2/token": "/oauth2/auth"}[works]
    sandbox.set(token_path=works, other_token_status=status, token_life=1)
    client = new_client(dealer={"token_url": f"{sandbox.url}{other}"})
    client.get_stock("A0", COUNTY)
    asked = 4 if status == 500 else 1
    assert sandbox.report()["calls"]["token"] == asked + 1
    # The path that worked is kept.
    time.sleep(0.6)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["token"] == asked + 2


def test_the_other_path_is_tried_where_the_first_gives_no_token(
    sandbox: SandboxProcess, new_client: NewClient
) -> None:
    sandbox.set(other_token_status=200)
    sandbox.fault(interface="token", kind="token", answer={"data": None}, times=1)
    new_client().get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["token"] == 2


def test_where_both_paths_fail_the_first_error_is_shown(
    sandbox: SandboxProcess, new_client: NewClient
) -> None:
    sandbox.fault(
        interface="token", kind="status", status=401, times=1,
        body={"error": "invalid_client", "error_description": "no such client"},
    )  # fmt: skip
    sandbox.fault(interface="token", kind="status", status=404)
    with pytest.raises(PlatformClosed, match="invalid_client") as caught:
        new_client().check_token()
    assert caught.value.status == 401
    assert sandbox.report()["calls"]["token"] == 2


# ------------------------------------------------------------------------------ several processes


@pytest.mark.parametrize(("form", "wrong"), [("bare", 0), ("bearer", 1)])
def test_later_processes_pay_neither_for_a_token_nor_for_its_form(
    sandbox: SandboxProcess, new_process: NewClient, form: str, wrong: int
) -> None:
    """Fault matrix, row 14."""
    sandbox.set(token_form=form, token_path="/oauth2/token")
    for _ in range(3):
        call_all(new_process())
    report = sandbox.report()
    assert report["wrong_form"] == wrong
    # The first one tried both paths.
    assert report["calls"]["token"] == 2


@pytest.mark.parametrize(("form", "wrong"), [("bare", 0), ("bearer", 1)])
def test_processes_that_start_together_fetch_one_token(
    sandbox: SandboxProcess, new_process: NewClient, form: str, wrong: int
) -> None:
    """Fault matrix, row 14."""
    sandbox.set(token_form=form, latency_ms=[20, 50])
    clients = [new_process() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda client: call_all(client, threads=8), clients))
    report = sandbox.report()
    assert report["wrong_form"] == wrong
    assert report["calls"]["token"] == 1


def test_a_token_renewed_by_another_process_is_taken_up(
    sandbox: SandboxProcess, new_process: NewClient
) -> None:
    """Fault matrix, row 1."""
    one, two = new_process(), new_process()
    call_all(one)
    call_all(two)
    sandbox.reset(tokens=True)
    call_all(one)
    call_all(two)
    assert sandbox.report()["calls"]["token"] == 1


def test_processes_do_not_end_each_others_tokens(
    sandbox: SandboxProcess, new_process: NewClient
) -> None:
    """Fault matrix, row 1: a new token ends the old one, and each query is a process of its own."""
    sandbox.set(one_token=True, token_life=2, latency_ms=[5, 20])
    sync = new_process()
    end = time.monotonic() + 5
    made = 0

    def work() -> None:
        while time.monotonic() < end:
            sync.get_stock("A0", COUNTY)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        with new_process() as query:
            query.get_stock("A1", COUNTY)
        made += 1
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    report = sandbox.report()
    assert made > 8
    # A life of two seconds: renewed every second, by whoever comes first.
    assert report["calls"]["token"] <= 7
    # Calls in flight when the token ends.
    assert sync.stats.retries <= 8 * 7


def test_another_secret_gets_nothing_and_disturbs_nobody(engine: Engine) -> None:
    one = SharedTokens(engine, "c", ORIGIN, "secret")
    assert one.take(0) == (0, None, 0.0, True)
    version = one.put('{"token": "canary"}', 3000, known=0)
    one.confirm('{"token": "canary"}', version)
    two = SharedTokens(engine, "c", ORIGIN, "another secret")
    assert two.take(0) == (0, None, 0.0, True)
    assert SharedTokens(engine, "c", "https://other:443", "secret").take(0)[1] is None
    again = SharedTokens(engine, "c", ORIGIN, "secret")
    assert again.take(0)[:2] == (1, '{"token": "canary"}')
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT client_token::text FROM client_token")).scalars()
        assert not [row for row in rows if "canary" in row or "secret" in row]


def test_one_process_at_a_time_renews_and_a_dead_one_is_not_waited_for(engine: Engine) -> None:
    one, two = (SharedTokens(engine, "c", ORIGIN, "secret") for _ in range(2))
    assert one.take(0)[3]
    assert two.take(0) == (0, None, 0.0, False)
    # Not before somebody has tried it out.
    version = one.put("note", 3000, known=0)
    assert two.take(0)[1] is None
    one.confirm("note", version)
    assert two.take(0)[:2] == (version, "note")
    assert two.take(version)[3]
    two.release()
    assert one.take(version)[3]
    with engine.begin() as connection:
        connection.execute(text("UPDATE client_token SET held_until = now() - interval '1 s'"))
    assert two.take(version)[3]


def test_a_token_that_is_due_or_was_tampered_with_is_renewed(engine: Engine) -> None:
    tokens = SharedTokens(engine, "c", ORIGIN, "secret")
    tokens.confirm("note", tokens.put("note", 0.0, known=7))
    version, note, _, is_ours = SharedTokens(engine, "c", ORIGIN, "secret").take(0)
    # The form that is known stands in the note.
    assert (version, note, is_ours) == (8, "note", True)
    with engine.begin() as connection:
        connection.execute(text("UPDATE client_token SET note = 'x', holder = NULL"))
    assert SharedTokens(engine, "c", ORIGIN, "secret").take(0)[1] is None


# -------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("answer", "secret"),
    [
        ({"expires_at": 1, "expires_in": 3600, "token": "a.b-c_d"}, "a.b-c_d"),
        ({"access_token": "x"}, "x"),
        ({"success": True, "code": 0, "data": {"token": "x"}}, "x"),
        ({"data": {"access_token": " x\n"}}, "x"),
        ({"token": "Bearer x"}, "x"),
        ({"token": "x y"}, None),
        ({"token": "x\ny: z"}, None),
        ({"token": None}, None),
        ({"token": 5}, None),
        ("x", None),
    ],
)
def test_a_token_is_found_wherever_it_stands(answer: object, secret: str | None) -> None:
    token = parse_token(answer)
    assert (token.secret if token else None) == secret


@pytest.mark.parametrize(
    ("life", "expected"),
    [(120, 120.0), (10**30, MOST_LIFE_SECONDS)]
    + [(bad, DEFAULT_LIFE_SECONDS) for bad in (None, "soon", "3600", 0, -5, True, [1])],
)
def test_a_bad_life_counts_as_the_default(life: object, expected: float) -> None:
    token = parse_token({"token": "x", "expires_in": life})
    assert token is not None
    assert token.life_seconds == expected
