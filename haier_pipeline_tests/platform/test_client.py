"""The client against the sandbox over HTTP: every fault between it and the platform."""

import base64
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from haier_pipeline.errors import (
    CallFailed,
    CallRefused,
    Cancelled,
    InvalidInput,
    PlatformClosed,
    PlatformError,
    TransientFailure,
)
from haier_pipeline.platform.client import HaierClient, batches
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess

NewClient = Callable[..., HaierClient]
COUNTY = "110101"


def assert_no_secret(text: str) -> None:
    for key in ("client_secret", "password", "seller_password"):
        secret = CREDENTIALS[key]
        for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode()):
            assert form not in text


def failure(client: HaierClient, kind: type[PlatformError], code: str = "A0") -> PlatformError:
    """The error of one stock call; nothing of it, its chain included, shows a secret (row D)."""
    with pytest.raises(kind) as caught:
        client.get_stock(code, COUNTY)
    assert_no_secret("".join(traceback.format_exception(caught.value)) + repr(caught.value))
    assert type(caught.value) is kind
    return caught.value


def test_every_interface_answers(client: HaierClient, codes: list[str]) -> None:
    client.check_token()
    assert len(client.list_products().records) == 60
    assert len(client.list_products(codes[:25]).records) == 25
    quotes = client.quote_prices(codes[:20])
    assert {record.value.product_code for record in quotes.records} == set(codes[:20])
    answers = [client.get_stock(code, COUNTY) for code in codes[:10]]
    assert any(answer.records for answer in answers)
    assert client.get_balances().records
    assert client.get_logistics("SO.20190106.000003").records
    assert not quotes.rejected
    assert not any(answer.rejected for answer in answers)


def test_what_is_read_is_what_the_catalog_holds(client: HaierClient, codes: list[str]) -> None:
    import datetime as dt
    from decimal import Decimal

    catalog, day = SandboxCatalog(1, 60), dt.date(2026, 11, 22)
    for record in client.quote_prices(codes[:20]).records:
        wire = catalog.price(record.value.product_code, day)
        assert wire is not None
        expected = wire["invoicePrice"]
        assert record.value.invoice_price == (
            None if expected is None else Decimal(str(expected).replace(",", ""))
        )


def test_a_revoked_token_is_replaced_and_the_call_repeated_once(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    """Fault matrix, row 1."""
    client.get_stock("A0", COUNTY)
    sandbox.fault(interface="stock", kind="revoke", times=1)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["token"] == 2
    assert sandbox.report()["calls"]["stock"] == 3


def test_a_revoked_token_does_not_use_up_the_four_attempts(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    """Fault matrix, row 1."""
    sandbox.fault(interface="stock", kind="status", status=503, times=2)
    sandbox.fault(interface="stock", kind="revoke", times=1)
    sandbox.fault(interface="stock", kind="status", status=503, times=1)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["stock"] == 5


@pytest.mark.parametrize(
    ("status", "kind", "calls", "hint"),
    [
        (401, PlatformClosed, 2, "client_secret"),
        (400, CallRefused, 1, "values"),
        (403, PlatformClosed, 1, "IP allow-list"),
        (404, PlatformClosed, 1, "base_url"),
        (418, CallRefused, 1, "check"),
    ],
)
def test_what_a_repetition_cannot_heal_is_not_repeated(
    sandbox: SandboxProcess,
    client: HaierClient,
    status: int,
    kind: type[PlatformError],
    calls: int,
    hint: str,
) -> None:
    """Fault matrix, row 2."""
    sandbox.fault(interface="stock", kind="status", status=status)
    error = failure(client, kind)
    assert (error.endpoint, error.status, error.attempts) == ("stock", status, calls)
    for part in ("stock", str(status), "A0 in 110101", hint):
        assert part in str(error)
    assert sandbox.report()["calls"]["stock"] == calls


@pytest.mark.parametrize(
    ("status", "kind"), [(200, CallRefused), (400, CallRefused), (403, PlatformClosed)]
)
def test_wrong_passwords_are_the_platforms_words_without_the_password(
    sandbox: SandboxProcess, new_client: NewClient, status: int, kind: type[PlatformError]
) -> None:
    """Fault matrix, rows 2 and 8."""
    sandbox.set(refusal_status=status)
    error = failure(new_client(dealer={"seller_password": "canary"}), kind)
    assert "客户密码错误" in str(error)
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    "answer", [{}, {"access_token": None}, {"data": {"token": ""}}, [], None, {"token": "a\nb: c"}]
)
def test_an_answer_without_a_token_is_an_error(
    sandbox: SandboxProcess, client: HaierClient, answer: Any
) -> None:
    """Fault matrix, row 3."""
    sandbox.fault(interface="token", kind="token", answer=answer)
    assert "no token" in str(failure(client, PlatformClosed))
    assert sandbox.report()["calls"]["stock"] == 0


@pytest.mark.parametrize("life", [None, "soon", 0, -5, True, [1]])
def test_a_bad_life_counts_as_an_hour(
    sandbox: SandboxProcess, client: HaierClient, life: Any
) -> None:
    """Fault matrix, row 3. The token itself is not one of the sandbox's, so the calls are 401."""
    answer = {"data": {"token": "x", "expires_in": life}}
    sandbox.fault(interface="token", kind="token", answer=answer, times=1)
    client.check_token()
    client.check_token()
    assert sandbox.report()["calls"]["token"] == 1


def test_wrong_credentials_are_tried_once_for_all_workers(
    sandbox: SandboxProcess, new_client: NewClient
) -> None:
    client = new_client(dealer={"client_secret": "canary"})
    sandbox.set(latency_ms=[50, 50])
    with ThreadPoolExecutor(10) as pool:
        errors = list(pool.map(lambda _: failure(client, PlatformClosed), range(10)))
    assert all("client_id and client_secret" in str(error) for error in errors)
    # At each of the two paths that gateways serve.
    assert sandbox.report()["calls"]["token"] == 2


def test_twenty_workers_with_a_dead_token_fetch_one(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    """Fault matrix, row 4."""
    client.check_token()
    sandbox.reset(tokens=True)
    sandbox.set(latency_ms=[20, 60])
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: client.get_stock("A0", COUNTY), range(20)))
    assert sandbox.report()["calls"]["token"] == 1


def test_a_token_is_renewed_before_it_ends(sandbox: SandboxProcess, client: HaierClient) -> None:
    """A token of two seconds is renewed after one, and no call ever sees a 401."""
    sandbox.set(token_life=2)
    end = time.monotonic() + 3.3
    while time.monotonic() < end:
        client.get_stock("A0", COUNTY)
        time.sleep(0.05)
    assert sandbox.report()["calls"]["token"] == 4
    assert client.stats.retries == 0


def test_the_other_token_path_is_tried_where_the_first_is_not_found(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    sandbox.set(token_path="/oauth2/token")
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["token"] == 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", [1, "date:2"])
def test_retry_after_is_waited_for(
    sandbox: SandboxProcess, client: HaierClient, status: int, retry_after: int | str
) -> None:
    """Fault matrix, row 5. A date has no fractions: two seconds ahead is more than one."""
    client.check_token()
    sandbox.fault(interface="stock", kind="status", status=status, retry_after=retry_after, times=1)
    began = time.monotonic()
    client.get_stock("A0", COUNTY)
    assert 1.0 <= time.monotonic() - began < 2.3
    assert client.stats.refused == (status == 429)


@pytest.mark.parametrize("retry_after", [0, "date:-3600"])
def test_a_retry_after_never_shortens_the_wait(
    sandbox: SandboxProcess,
    client: HaierClient,
    retry_after: int | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault matrix, row 5."""
    monkeypatch.undo()
    client.check_token()
    sandbox.fault(interface="stock", kind="status", status=503, retry_after=retry_after, times=2)
    began = time.monotonic()
    client.get_stock("A0", COUNTY)
    assert time.monotonic() - began >= (0.5 + 1) * 0.75


@pytest.mark.parametrize("status", [200, 400, 403])
def test_the_platforms_own_reason_is_in_the_message(
    sandbox: SandboxProcess, client: HaierClient, status: int
) -> None:
    """Fault matrix, rows 2 and 8."""
    envelope = {"success": False, "code": 1, "errorMsg": "客户密码错误", "data": None}
    sandbox.fault(interface="stock", kind="status", status=status, body=envelope)
    error = failure(client, PlatformClosed if status == 403 else CallRefused)
    assert "“客户密码错误”" in str(error)
    assert ("HTTP" in str(error)) == (status != 200)
    assert error.status == status
    assert "客户密码错误" in error.reason
    assert "A0" not in error.reason


@pytest.mark.parametrize("code", [429, "503"])
def test_a_code_in_an_envelope_acts_like_the_status(
    sandbox: SandboxProcess, client: HaierClient, code: int | str
) -> None:
    """Fault matrix, row 8."""
    envelope = {"success": False, "code": code, "errorMsg": "later"}
    sandbox.fault(interface="stock", kind="answer", answer=envelope, times=3)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["stock"] == 4
    assert client.stats.refused == (3 if code == 429 else 0)
    sandbox.fault(interface="stock", kind="answer", answer=envelope)
    error = failure(client, TransientFailure)
    assert "later" in str(error)
    assert "after 4 attempts" in str(error)
    assert str(code) in str(error)


def test_a_member_id_goes_out_as_an_integer(client: HaierClient, sandbox: SandboxProcess) -> None:
    order = "SO.20190106.000003"
    assert client.get_logistics(order, member_id=" 1234567 ").records
    assert client.get_logistics(order, member_id=1234567).records
    with pytest.raises(CallRefused, match=f"{order} was not made: member_id must be a whole"):
        client.get_logistics(order, member_id="A-17")
    assert sandbox.report()["calls"]["logistics"] == 2


def test_retry_after_holds_up_all_workers(sandbox: SandboxProcess, client: HaierClient) -> None:
    """Fault matrix, row 5."""
    client.check_token()
    sandbox.fault(interface="stock", kind="status", status=429, retry_after=1, times=1)
    ends = []

    def call(_: int) -> None:
        client.get_stock("A0", COUNTY)
        ends.append(time.monotonic())

    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(call, range(20)))
    assert len([end for end in ends if began + 0.1 < end < began + 0.95]) == 0
    assert sandbox.report()["calls"]["stock"] == 21


def test_a_retry_after_beyond_a_minute_is_an_error_that_says_so(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    """Fault matrix, row 5."""
    sandbox.fault(interface="stock", kind="status", status=503, retry_after=61)
    error = failure(client, PlatformClosed)
    assert "61 s" in str(error)
    assert sandbox.report()["calls"]["stock"] == 1


TRANSIENT: list[dict[str, Any]] = [
    *({"kind": "status", "status": status} for status in (429, 500, 502, 503, 504)),
    {"kind": "html"},
    {"kind": "empty"},
    {"kind": "truncate"},
    {"kind": "truncate", "chunked": True},
    {"kind": "gzip_truncate"},
    {"kind": "reset", "when": "before"},
    {"kind": "reset", "when": "body"},
]


@pytest.mark.parametrize("rule", TRANSIENT, ids=str)
def test_what_may_pass_is_repeated_until_it_does(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], rule: dict[str, Any]
) -> None:
    """Fault matrix, rows 6, 7 and 9."""
    sandbox.fault(interface="listing", times=3, **rule)
    assert len(client.list_products().records) == 60
    assert sandbox.report()["calls"]["listing"] == 4


@pytest.mark.parametrize("rule", TRANSIENT, ids=str)
def test_what_does_not_pass_is_given_up_after_four_attempts(
    sandbox: SandboxProcess, client: HaierClient, rule: dict[str, Any]
) -> None:
    """Fault matrix, rows 6, 7 and 9."""
    sandbox.fault(interface="stock", **rule)
    error = failure(client, TransientFailure)
    assert error.attempts == 4
    assert "after 4 attempts" in str(error)
    assert sandbox.report()["calls"]["stock"] == 4
    assert ("not JSON" in str(error)) == (rule["kind"] == "html")


def test_the_waits_between_attempts_double(
    sandbox: SandboxProcess, client: HaierClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix, row 6."""
    monkeypatch.undo()
    client.check_token()
    sandbox.fault(interface="stock", kind="status", status=503, times=2)
    began = time.monotonic()
    client.get_stock("A0", COUNTY)
    assert (0.5 + 1) * 0.75 <= time.monotonic() - began <= (0.5 + 1) * 1.25 + 0.2


def test_a_token_that_cannot_be_had_closes_the_platform(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    sandbox.fault(interface="token", kind="status", status=503)
    assert failure(client, PlatformClosed).attempts == 4


def test_success_false_is_an_error_with_the_platforms_words(
    sandbox: SandboxProcess, client: HaierClient
) -> None:
    """Fault matrix, row 8; what the platform echoes is masked and short."""
    message = f"密码 {CREDENTIALS['seller_password']} 错误 \x00" + "x" * 5000
    sandbox.fault(interface="stock", kind="refuse", message=message)
    error = failure(client, CallRefused)
    assert "密码 ••• 错误" in str(error)
    assert len(str(error)) < 400
    assert sandbox.report()["calls"]["stock"] == 1


def test_null_is_an_error_and_not_no_stock(sandbox: SandboxProcess, client: HaierClient) -> None:
    """Fault matrix, rows 24 and 25."""
    sandbox.fault(interface="stock", kind="null")
    assert "no data" in str(failure(client, CallRefused))


@pytest.mark.parametrize("kind", ["oversize", "gzip_bomb"])
def test_an_answer_beyond_all_bounds_is_stopped(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], kind: str
) -> None:
    """Fault matrix, row 10."""
    import tracemalloc

    sandbox.fault(interface="prices", kind=kind, bytes=50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(CallRefused, match="larger than 4096 KB"):
            client.quote_prices(codes[:20])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert sandbox.report()["calls"]["prices"] == 1


def test_a_dripping_answer_is_stopped_by_the_deadline(
    sandbox: SandboxProcess, new_client: NewClient
) -> None:
    """Fault matrix, row 11."""
    client = new_client(attempt_seconds=0.5)
    client.check_token()
    sandbox.fault(interface="stock", kind="drip", interval=0.1)
    began = time.monotonic()
    assert "within 0.5 s" in str(failure(client, TransientFailure))
    assert 2.0 <= time.monotonic() - began < 2.6


def test_a_hanging_answer_is_a_timeout(sandbox: SandboxProcess, new_client: NewClient) -> None:
    """Fault matrix, row 6."""
    client = new_client(attempt_seconds=0.3)
    sandbox.fault(interface="stock", kind="hang", seconds=2, times=1)
    client.get_stock("A0", COUNTY)
    assert sandbox.report()["calls"]["stock"] == 2


def test_a_redirect_is_not_followed(sandbox: SandboxProcess, client: HaierClient) -> None:
    """Fault matrix, row 12."""
    sandbox.fault(interface="stock", kind="redirect", location=f"{sandbox.url}/_sandbox/report")
    error = failure(client, PlatformClosed)
    assert error.status == 302
    assert "not followed" in str(error)


@pytest.mark.parametrize(("count", "calls"), [(0, 0), (1, 1), (20, 1), (21, 2)])
def test_batches_hold_at_most_twenty_distinct_codes(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], count: int, calls: int
) -> None:
    """Fault matrix, row 13."""
    asked = codes[:count] * 2
    found = [record for batch in batches(asked) for record in client.quote_prices(batch).records]
    assert len(found) == count
    assert sandbox.report()["calls"]["prices"] == calls


def test_too_many_or_blank_codes_are_refused_before_any_call(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str]
) -> None:
    """Fault matrix, row 13."""
    assert len(client.quote_prices([codes[0], f" {codes[0]} "]).records) == 1
    sandbox.reset()
    for asked in (codes[:21], [" "]):
        with pytest.raises(InvalidInput):
            client.quote_prices(asked)
    assert sandbox.report()["total"] == 0
    assert client.quote_prices([]).records == ()
    assert sandbox.report()["total"] == 0


@pytest.mark.alone
def test_many_workers_keep_the_allowance_and_use_it(
    sandbox: SandboxProcess, new_client: NewClient, codes: list[str]
) -> None:
    """Fault matrix, row 14: the sandbox refuses more than 100 calls in any second."""
    sandbox.set(rate=100, latency_ms=[50, 200])
    client = new_client(dealer={"rate_limit": 100})
    units = (codes * 10)[:400]
    results = list(
        fan_out(
            units, lambda code: client.get_stock(code, COUNTY), workers=32, stop=threading.Event()
        )
    )
    report = sandbox.report()
    assert not [result for _, result in results if isinstance(result, CallFailed)]
    assert report["refused"] == 0
    assert report["max_calls_in_a_second"] <= 100
    assert 400 / report["seconds"] >= 95
    assert client.stats.total == 401
    assert client.stats.token_calls == 1
    assert client.stats.calls_per_second == pytest.approx(400 / report["seconds"], rel=0.05)


@pytest.mark.parametrize("way", ["stop", "close"])
def test_a_stop_ends_a_call_in_flight(
    sandbox: SandboxProcess, new_client: NewClient, way: str
) -> None:
    """Fault matrix, row 34."""
    stop = threading.Event()
    client = new_client(stop=stop)
    client.check_token()
    sandbox.fault(interface="stock", kind="hang", seconds=2)
    threading.Timer(0.1, stop.set if way == "stop" else client.close).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        client.get_stock("A0", COUNTY)
    assert time.monotonic() - began < 0.6


def test_a_stop_ends_the_wait_between_attempts(
    sandbox: SandboxProcess, new_client: NewClient
) -> None:
    """Fault matrix, row 34."""
    stop = threading.Event()
    client = new_client(stop=stop)
    client.check_token()
    sandbox.fault(interface="stock", kind="status", status=429, retry_after=30)
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        client.get_stock("A0", COUNTY)
    assert time.monotonic() - began < 0.6


# -------------------------------------------------------------------- answers, as they really come


def test_prices_left_out_unasked_and_repeated(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str]
) -> None:
    """Fault matrix, rows 15, 16 and 17."""
    sandbox.fault(interface="prices", kind="omit", codes=codes[:2])
    sandbox.fault(interface="prices", kind="unasked", codes=["ZZ0UNASKD"])
    sandbox.fault(interface="prices", kind="repeat", codes=[codes[5]], fields={"supplyPrice": "7"})
    answer = client.quote_prices(codes[:20])
    found = {record.value.product_code: record.value for record in answer.records}
    assert set(found) == set(codes[2:20])
    assert found[codes[5]].supply_price == 7
    assert (answer.ignored, answer.duplicates) == (1, (codes[5],))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e400", "-1", '"?"'])
def test_a_bad_amount_costs_its_own_record_only(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], token: str
) -> None:
    """Fault matrix, row 20."""
    fields = {"supplyPrice": token}
    sandbox.fault(interface="prices", kind="malform", codes=[codes[3]], fields=fields, raw=True)
    answer = client.quote_prices(codes[:20])
    assert len(answer.records) == 19
    (rejected,) = answer.rejected
    assert (rejected.field, rejected.code) == ("supplyPrice", codes[3])


@pytest.mark.parametrize("spelling", ["2,999.00", "2999.00", 2999])
def test_amounts_survive_the_wire_exactly(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], spelling: object
) -> None:
    """Fault matrix, row 19."""
    sandbox.fault(interface="prices", kind="malform", fields={"marketPrice": spelling})
    assert 2999 in [r.value.market_price for r in client.quote_prices(codes[:1]).records]


def test_a_listing_keeps_products_with_nulls_long_names_and_unknown_fields(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str]
) -> None:
    """Fault matrix, rows 18, 21, 22, 23 and 28."""
    name = "海尔😀" * 3334
    fields = {
        "productCode": f" {codes[0]} ",
        "productBrandName": None,
        "productImageUrl": None,
        "productModel": name,
        "productGroupNamd": "冰\x00箱",
        "whatever": 1,
    }
    sandbox.fault(interface="listing", kind="malform", codes=[codes[0]], fields=fields)
    answer = client.list_products()
    (record,) = [r for r in answer.records if r.value.product_code == codes[0]]
    assert (record.value.product_model, record.value.brand) == (name, None)
    assert record.value.product_group == "冰箱"
    assert (record.payload["whatever"], answer.removed_characters) == (1, 1)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("12", 12), ("12.0", 12), ("12.5", None), ("有货", None), (-3, None), (None, None)],
)
def test_quantities_as_they_come(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], quantity: Any, expected: Any
) -> None:
    """Fault matrix, row 26."""
    fields = {"secCode": "W1", "stock": quantity}
    sandbox.fault(interface="stock", kind="malform", fields=fields)
    answer = client.get_stock(codes[0], COUNTY)
    found = {record.value.sec_code: record.value.stock for record in answer.records}
    assert found.get("W1") == expected
    assert len(answer.rejected) == (expected is None)


def test_one_county_fails_and_the_other_answers(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str]
) -> None:
    """Fault matrix, rows 25 and 27."""
    sandbox.fault(interface="stock", kind="status", status=500, county_code="310101")
    units = [(code, county) for code in codes[:5] for county in (COUNTY, "310101")]
    results = fan_out(
        units, lambda unit: client.get_stock(*unit), workers=4, stop=threading.Event()
    )
    failed = {unit for unit, result in results if isinstance(result, CallFailed)}
    assert failed == {(code, "310101") for code in codes[:5]}


@pytest.mark.parametrize("shape", ["list", "object"])
def test_stock_in_either_shape(
    sandbox: SandboxProcess, client: HaierClient, codes: list[str], shape: str
) -> None:
    """Fault matrix, row 24."""
    sandbox.fault(
        interface="stock",
        kind="answer",
        answer={
            "success": True,
            "data": [{"secCode": "W", "stock": 1}]
            if shape == "list"
            else {"secCode": "W", "stock": 1},
        },
    )
    (record,) = client.get_stock(codes[0], COUNTY).records
    assert record.value.stock == 1
