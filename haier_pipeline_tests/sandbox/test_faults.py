"""Every way in which the sandbox can misbehave, as a client really sees it."""

import datetime as dt
import http.client
import json
import socket
import time
import zlib
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from haier_pipeline.sandbox.contract import PATHS
from haier_pipeline.sandbox.faults import KINDS
from haier_pipeline.sandbox.server import RunningSandbox

if TYPE_CHECKING:
    from haier_pipeline_tests.sandbox.conftest import Dealer


def read_all(sock: socket.socket) -> tuple[dict[str, str], bytes]:
    """Headers (lower case) and whatever bytes followed until the peer closed."""
    content = b""
    while block := sock.recv(65_536):
        content += block
    head, _, body = content.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}, body


def test_status_with_and_without_retry_after(dealer: "Dealer") -> None:
    dealer.fault(kind="status", status=503, interface="balance", times=1)
    dealer.fault(kind="status", status=429, interface="balance", times=1, retry_after=2)
    dealer.fault(kind="status", status=429, interface="balance", times=1, retry_after="date:30")
    fixed = "Fri, 01 Jan 2027 00:00:00 GMT"
    dealer.fault(kind="status", status=503, interface="balance", times=1, retry_after=fixed)
    dealer.fault(kind="status", status=400, interface="balance", times=1, body={"a": "b"})
    dealer.fault(kind="status", status=502, interface="balance", times=1, body="<html>")
    answers = [dealer.call("balance") for _ in range(7)]
    assert [answer.status for answer in answers] == [503, 429, 429, 503, 400, 502, 200]
    assert answers[0].headers["Retry-After"] is None
    assert answers[1].headers["Retry-After"] == "2"
    moment = parsedate_to_datetime(answers[2].headers["Retry-After"])
    ahead = moment - parsedate_to_datetime(answers[2].headers["Date"])
    assert abs(ahead.total_seconds() - 30) <= 1
    assert answers[3].headers["Retry-After"] == fixed
    assert answers[4].json == {"a": "b"}
    assert answers[5].content == b"<html>"


def test_html_refuse_empty_and_null(dealer: "Dealer") -> None:
    dealer.fault(kind="html", times=1)
    dealer.fault(kind="refuse", times=1, message="账号已冻结")
    dealer.fault(kind="empty", times=1)
    dealer.fault(kind="null", times=1)
    html, refused, empty, null = (dealer.call("balance") for _ in range(4))
    assert html.status == 200
    assert html.headers["Content-Type"].startswith("text/html")
    assert b"<html>" in html.content
    assert refused.status == 200
    assert refused.json["success"] is False
    assert (refused.json["code"], refused.json["errorMsg"]) == (1, "账号已冻结")
    assert (empty.status, empty.content) == (200, b"")
    assert (null.status, null.json) == (200, None)


def test_refuse_can_say_no_in_any_form_with_any_status(dealer: "Dealer") -> None:
    fields = {"code": "401", "errorMsg": None, "error": "token expired"}
    dealer.fault(kind="refuse", interface="*", status=403, fields=fields, times=2)
    for interface in ("token", "balance"):
        answer = dealer.call(interface)
        assert answer.status == 403
        assert answer.json["success"] is False
        assert fields.items() <= answer.json.items()


def test_status_can_say_anything_with_200(dealer: "Dealer") -> None:
    body = {"success": "1", "data": None}
    dealer.fault(kind="status", status=200, interface="prices", body=body, times=1)
    answer = dealer.call("prices")
    assert (answer.status, answer.json) == (200, body)


def test_truncate_announces_more_than_it_sends(dealer: "Dealer") -> None:
    dealer.fault(kind="truncate", interface="balance", times=1)
    with dealer.open("balance") as sock:
        headers, body = read_all(sock)
    assert 0 < len(body) < int(headers["content-length"])
    whole = dealer.call("balance").content
    assert int(headers["content-length"]) == len(whole)
    assert whole.startswith(body)


def test_truncate_can_cut_inside_a_chunk(dealer: "Dealer") -> None:
    dealer.fault(kind="truncate", interface="balance", chunked=True, times=2)
    with dealer.open("balance") as sock:
        headers, body = read_all(sock)
    assert headers["transfer-encoding"] == "chunked"
    size, _, content = body.partition(b"\r\n")
    assert 0 < len(content) < int(size, 16)
    with pytest.raises(http.client.IncompleteRead):
        dealer.call("balance")


def test_gzip_truncate_is_whole_for_http_and_cut_for_gzip(dealer: "Dealer") -> None:
    dealer.fault(kind="gzip_truncate", interface="balance", times=1)
    cut = dealer.call("balance")
    assert cut.headers["Content-Encoding"] == "gzip"
    assert int(cut.headers["Content-Length"]) == len(cut.content)
    unpacker = zlib.decompressobj(wbits=31)
    prefix = unpacker.decompress(cut.content)
    assert not unpacker.eof
    assert dealer.call("balance").content.startswith(prefix)


def test_oversize_is_valid_json_of_the_size_asked_for(dealer: "Dealer") -> None:
    dealer.fault(kind="oversize", interface="prices", bytes=3_000_000)
    answer = dealer.call("prices")
    assert len(answer.content) == int(answer.headers["Content-Length"]) == 3_000_000
    assert len(answer.json) == 1


def test_gzip_bomb_is_small_on_the_wire_and_large_decoded(dealer: "Dealer") -> None:
    dealer.fault(kind="gzip_bomb", interface="prices", bytes=20_000_000)
    answer = dealer.call("prices")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.content) < 100_000
    decoded = zlib.decompress(answer.content, wbits=31)
    assert len(decoded) == 20_000_000
    assert len(json.loads(decoded)) == 1


def test_drip_sends_one_byte_at_a_time(dealer: "Dealer") -> None:
    dealer.fault(kind="drip", interface="balance", interval=0.05, times=1)
    with dealer.open("balance") as sock:
        started = time.monotonic()
        content = b""
        while len(content.partition(b"\r\n\r\n")[2]) < 6:
            content += sock.recv(65_536)
        assert 0.25 <= time.monotonic() - started < 3
    # The client went away; the sandbox goes on for others.
    assert dealer.call("balance").status == 200


def test_hang_waits_and_then_answers_even_beside_another_fault(dealer: "Dealer") -> None:
    dealer.fault(kind="hang", interface="balance", seconds=0.3, times=2)
    dealer.fault(kind="status", interface="balance", status=500, times=1)
    for status in (500, 200):
        started = time.monotonic()
        assert dealer.call("balance").status == status
        assert 0.3 <= time.monotonic() - started < 3


@pytest.mark.parametrize("when", ["before", "body"])
def test_reset_is_a_real_reset(dealer: "Dealer", when: str) -> None:
    dealer.fault(kind="reset", interface="balance", when=when, times=1)
    with dealer.open("balance") as sock:
        content = b"" if when == "before" else sock.recv(16)
        with pytest.raises(ConnectionResetError):
            read_all(sock)
    assert content == (b"" if when == "before" else b"HTTP/1.1 200 OK\r")
    assert dealer.call("balance").status == 200


def test_revoke_forgets_every_token(dealer: "Dealer", other_client: "Dealer") -> None:
    other_client.login()
    dealer.fault(kind="revoke", interface="balance", skip=1, times=1)
    assert [dealer.call("balance").status for _ in range(3)] == [200, 401, 401]
    assert other_client.call("balance").status == 401
    assert dealer.login().call("balance").status == 200
    assert dealer.report()["token_renewals"] == 1


def test_redirect_names_its_location(dealer: "Dealer") -> None:
    dealer.fault(kind="redirect", location="http://169.254.169.254/", times=1)
    dealer.fault(kind="redirect", status=307, times=1)
    first, second = dealer.call("balance"), dealer.call("balance")
    assert (first.status, first.headers["Location"]) == (302, "http://169.254.169.254/")
    assert second.status == 307


def test_token_answers_can_be_anything(dealer: "Dealer") -> None:
    dealer.fault(kind="token", answer={"data": {"token": None, "expires_in": "soon"}}, times=1)
    assert dealer.call("balance").status == 200
    assert dealer.call("token").json == {"data": {"token": None, "expires_in": "soon"}}
    assert dealer.call("token").json["token"]


def test_answer_is_sent_as_it_is(dealer: "Dealer") -> None:
    dealer.fault(kind="answer", interface="stock", answer={"success": True, "data": None}, times=1)
    dealer.fault(kind="answer", interface="stock", text='[{"stock": 1e400', times=1)
    assert dealer.call("stock").json == {"success": True, "data": None}
    assert dealer.call("stock").content == b'[{"stock": 1e400'


def listed(answer: Any) -> list[str]:
    return [record["productCode"] for record in answer.data]


def test_omit_leaves_out_codes_or_a_fraction(dealer: "Dealer", codes: list[str]) -> None:
    asked = sorted(codes[:4])
    dealer.fault(kind="omit", interface="prices", codes=[asked[1]], times=1)
    dealer.fault(kind="omit", interface="prices", fraction=0.5, skip=1, times=1)
    assert listed(dealer.call("prices", productCodes=asked)) == [asked[0], *asked[2:]]
    assert listed(dealer.call("prices", productCodes=asked)) == asked[:2]
    assert listed(dealer.call("prices", productCodes=asked)) == asked


def test_repeat_sends_records_twice_with_other_values(dealer: "Dealer", codes: list[str]) -> None:
    asked = sorted(codes[:3])
    dealer.fault(kind="repeat", interface="prices", codes=[asked[0]], fields={"supplyPrice": "1"})
    answer = dealer.call("prices", productCodes=asked)
    assert listed(answer) == [*asked, asked[0]]
    assert answer.data[3]["supplyPrice"] == "1"
    assert answer.data[0]["supplyPrice"] != "1"


def test_unasked_adds_records_of_other_codes(dealer: "Dealer", codes: list[str]) -> None:
    dealer.fault(kind="unasked", interface="prices", codes=["X1", "X2"], times=1)
    assert listed(dealer.call("prices", productCodes=codes[:1])) == [codes[0], "X1", "X2"]
    dealer.fault(kind="unasked", interface="listing", times=1)
    assert len(listed(dealer.call("listing", productCodes=codes[:1]))) == 2


def test_malform_puts_values_into_chosen_records(dealer: "Dealer", codes: list[str]) -> None:
    asked = sorted(codes[:3])
    fields = {"supplyPrice": "贵", "extra": {"a": [1]}}
    dealer.fault(kind="malform", interface="prices", product_code=asked[1], fields=fields)
    records = dealer.call("prices", productCodes=asked).data
    assert [record["supplyPrice"] == "贵" for record in records] == [False, True, False]
    assert records[1]["extra"] == {"a": [1]}
    assert len(dealer.call("prices", productCodes=[asked[0]]).data[0]) == len(records[0])


def test_malform_takes_the_first_record_and_reaches_inside(
    dealer: "Dealer", codes: list[str]
) -> None:
    fields = {"stock": "有货", "timelinessData.hour": "x"}
    dealer.fault(kind="malform", interface="stock", product_code=codes[0], fields=fields)
    first = dealer.call("stock", productCode=codes[0]).data[0]
    assert first["stock"] == "有货"
    assert first["timelinessData"]["hour"] == "x"
    assert dealer.call("stock", productCode=codes[1]).data[0]["stock"] != "有货"
    # Where there is no record at all, the fields make one.
    dealer.fault(kind="malform", interface="stock", product_code="GONE", fields={"stock": -3})
    assert dealer.call("stock", productCode="GONE").data == [{"stock": -3}]


def test_malform_can_take_fields_out(dealer: "Dealer", codes: list[str]) -> None:
    dealer.fault(kind="malform", interface="listing", codes=codes[:1], without=["isSales"])
    without = [r["productCode"] for r in dealer.call("listing").data if "isSales" not in r]
    assert without == codes[:1]


def test_malform_strikes_several_codes_of_a_listing_of_everything(
    dealer: "Dealer", codes: list[str]
) -> None:
    dealer.fault(kind="malform", interface="listing", codes=codes[:3], fields={"isSales": "x"})
    struck = {r["productCode"] for r in dealer.call("listing").data if r["isSales"] == "x"}
    assert struck == set(codes[:3])


@pytest.mark.parametrize("token", ["NaN", "Infinity", "1e400", "2999.00000000000000000001"])
def test_malform_can_write_raw_json_tokens(dealer: "Dealer", codes: list[str], token: str) -> None:
    fields = {"supplyPrice": token, "rebateMoney": 5}
    dealer.fault(kind="malform", interface="prices", fields=fields, raw=True)
    content = dealer.call("prices", productCodes=codes[:1]).content
    assert f'"supplyPrice":{token},'.encode() in content
    assert b'"rebateMoney":5,' in content


def test_malform_can_send_nul_and_lone_surrogates(dealer: "Dealer", codes: list[str]) -> None:
    name = "a\x00b\ud800c海"
    dealer.fault(kind="malform", interface="listing", fields={"productModel": name})
    answer = dealer.call("listing", productCodes=codes[:1])
    assert answer.data[0]["productModel"] == name
    assert b"a\\u0000b\\ud800c" in answer.content
    assert "海".encode() in answer.content


def test_shrink_leaves_a_fraction_of_the_listing(running: RunningSandbox, dealer: "Dealer") -> None:
    dealer.fault(kind="shrink", keep=0.4, times=1)
    everything = running.sandbox.catalog.codes()
    assert listed(dealer.call("listing")) == everything[:24]
    assert listed(dealer.call("listing")) == everything
    dealer.fault(kind="shrink", keep=0)
    assert dealer.call("listing").data == []


def test_a_vanished_product_is_gone_everywhere(dealer: "Dealer", codes: list[str]) -> None:
    dealer.fault(kind="vanish", codes=codes[:1])
    assert codes[0] not in listed(dealer.call("listing"))
    assert listed(dealer.call("prices", productCodes=sorted(codes[:2]))) == [codes[1]]
    assert dealer.call("stock", productCode=codes[0]).data == []
    assert dealer.call("stock", productCode=codes[1]).data != []
    dealer.control("DELETE", "faults")
    assert codes[0] in listed(dealer.call("listing"))


def test_skip_every_and_times_say_when_a_rule_strikes(dealer: "Dealer") -> None:
    dealer.fault(kind="status", status=500, interface="balance", skip=2, every=3, times=2)
    statuses = [dealer.call("balance").status for _ in range(14)]
    assert [place for place, status in enumerate(statuses, 1) if status == 500] == [5, 8]
    rule = dealer.control("GET", "faults").json[0]
    assert (rule["seen"], rule["fired"], rule["status"]) == (8, 2, 500)


def test_a_rule_meets_only_its_interface_product_and_county(
    dealer: "Dealer", codes: list[str]
) -> None:
    dealer.fault(kind="refuse", interface="stock", product_code=codes[0], county_code="310101")
    met = dealer.call("stock", productCode=codes[0], countyCode="310101")
    assert met.json["success"] is False
    for product, county in ((codes[0], "110101"), (codes[1], "310101")):
        answer = dealer.call("stock", productCode=product, countyCode=county)
        assert answer.json["success"] is True
    assert dealer.call("prices", productCodes=codes[:1]).json[0]["productCode"] == codes[0]


def test_records_can_be_changed_in_several_ways_at_once(dealer: "Dealer", codes: list[str]) -> None:
    asked = sorted(codes[:3])
    dealer.fault(kind="omit", interface="prices", codes=[asked[0]])
    dealer.fault(kind="malform", interface="prices", codes=[asked[1]], fields={"reason": "?"})
    records = dealer.call("prices", productCodes=asked).data
    assert [record["productCode"] for record in records] == asked[1:]
    assert records[0]["reason"] == "?"
    assert records[1].get("reason") != "?"


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({}, "kind"),
        ({"kind": "explode"}, "kind"),
        ({"kind": ["status"]}, "kind"),
        ({"kind": "status"}, "status"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "status", "status": "500"}, "status"),
        ({"kind": "status", "status": 500, "retry_after": -1}, "retry_after"),
        ({"kind": "status", "status": 500, "retry_after": "date:x"}, "retry_after"),
        ({"kind": "html", "colour": 1}, "colour"),
        ({"kind": "html", "times": -1}, "times"),
        ({"kind": "html", "times": True}, "times"),
        ({"kind": "html", "every": 0}, "every"),
        ({"kind": "html", "skip": "1"}, "skip"),
        ({"kind": "html", "interface": "order"}, "interface"),
        ({"kind": "shrink", "keep": 0.5, "interface": "stock"}, "interface"),
        ({"kind": "shrink", "keep": 1.5}, "keep"),
        ({"kind": "omit"}, "codes"),
        ({"kind": "malform", "fields": []}, "fields"),
        ({"kind": "malform", "raw": True}, "fields"),
        ({"kind": "refuse", "status": 99}, "status"),
        ({"kind": "reset", "when": "after"}, "when"),
        ({"kind": "hang", "seconds": "1"}, "seconds"),
        ({"kind": "vanish", "codes": "A"}, "codes"),
    ],
)
def test_a_bad_rule_is_refused_by_the_key_that_is_wrong(
    dealer: "Dealer", rule: dict[str, Any], named: str
) -> None:
    answer = dealer.control("POST", "faults", [{"kind": "html"}, rule])
    assert answer.status == 400
    assert answer.json["message"].startswith(f"{named}:")
    # All or nothing: the good rule beside it is not in force either.
    assert dealer.control("GET", "faults").json == []


def test_a_list_of_rules_is_needed(dealer: "Dealer") -> None:
    assert dealer.control("POST", "faults", {"kind": "html"}).status == 400
    assert dealer.control("POST", "faults", ["html"]).status == 400


SEEN_BY_REQUESTS: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"kind": "truncate"}, requests.exceptions.ChunkedEncodingError),
    ({"kind": "truncate", "chunked": True}, requests.exceptions.ChunkedEncodingError),
    ({"kind": "reset"}, requests.exceptions.ConnectionError),
    ({"kind": "reset", "when": "body"}, requests.exceptions.RequestException),
    ({"kind": "hang", "seconds": 5}, requests.exceptions.ReadTimeout),
    ({"kind": "html"}, requests.exceptions.JSONDecodeError),
    ({"kind": "empty"}, requests.exceptions.JSONDecodeError),
    ({"kind": "gzip_truncate"}, requests.exceptions.RequestException),
]


@pytest.mark.parametrize(("rule", "error"), SEEN_BY_REQUESTS)
def test_an_ordinary_client_meets_the_fault_as_an_error(
    dealer: "Dealer", rule: dict[str, Any], error: type[Exception]
) -> None:
    dealer.fault(interface="balance", times=1, **rule)
    path = next(path for path, interface in PATHS.items() if interface == "balance")
    url = f"http://{dealer.netloc}{path}"
    headers = {"Authorization": dealer.authorization}
    with requests.Session() as session:

        def ask() -> Any:
            body = dealer.body("balance")
            return session.post(url, data=body, headers=headers, timeout=0.4).json()

        with pytest.raises(error):
            ask()
        assert ask()["success"] is True


def test_every_kind_is_tried_in_this_file() -> None:
    text = Path(__file__).read_text("utf-8")
    missing = [k for k in KINDS if f'kind="{k}"' not in text and f'"kind": "{k}"' not in text]
    assert missing == []


def test_today_is_the_day_in_shanghai(running: RunningSandbox) -> None:
    running.sandbox.use(running.sandbox.settings.changed({"date": None}))
    shanghai = dt.timezone(dt.timedelta(hours=8))
    before = dt.datetime.now(shanghai).date()
    assert running.sandbox.today() in (before, dt.datetime.now(shanghai).date())
