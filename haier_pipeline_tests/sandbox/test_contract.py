"""The sandbox enforces the wire contract, counts exactly, and obeys its controls."""

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import pytest

from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.report import Window
from haier_pipeline.sandbox.server import RunningSandbox, running_sandbox
from haier_pipeline.sandbox.settings import Settings

if TYPE_CHECKING:
    from haier_pipeline_tests.sandbox.conftest import Dealer

PASSWORDS = {
    "listing": "passWord",
    "prices": "passWord",
    "stock": "sellerPassword",
    "balance": "customerPassword",
    "logistics": "sellerPassword",
}
PARTIES = [
    ("listing", "customerCode sendToCode"),
    ("prices", "customerCode sendToCode"),
    ("stock", "salesCode senderCode"),
    ("balance", "customerCode"),
    ("logistics", "sellerCode"),
]
REQUIRED = [
    ("token", "client_id client_secret grant_type"),
    ("listing", "customerCode supplierCode searchType passWord sendToCode"),
    ("prices", "customerCode sendToCode priceType passWord productCodes"),
    ("stock", "salesCode senderCode productCode countyCode source sellerPassword"),
    ("balance", "customerCode customerPassword"),
    ("logistics", "orderCode sellerCode sellerPassword"),
]


def test_every_interface_answers_what_the_catalog_says(
    running: RunningSandbox, dealer: "Dealer", codes: list[str]
) -> None:
    catalog, day = running.sandbox.catalog, dt.date(2026, 11, 22)
    assert dealer.call("listing").json == catalog.listing(day)
    assert dealer.call("listing", productCodes=codes[:3]).json == catalog.listing(day, codes[:3])
    assert dealer.call("prices", productCodes=codes[:20]).json == catalog.prices(codes[:20], day)
    stock = dealer.call("stock", productCode=codes[0]).json
    assert stock["data"] == catalog.stock(codes[0], "110101", day)
    assert dealer.call("balance").data == catalog.balances(CREDENTIALS["customer_code"])
    order = "SO.20190106.000003"
    assert dealer.call("logistics").json == catalog.logistics(order, day)
    assert dealer.call("logistics").json["getAllLogisticsInfoByOrderCode"]


def test_unknown_codes_are_left_out_and_have_no_stock(dealer: "Dealer", codes: list[str]) -> None:
    asked = ["GA0SZC00U", codes[0]]
    for interface in ("listing", "prices"):
        data = dealer.call(interface, productCodes=asked).data
        assert [record["productCode"] for record in data] == [codes[0]]
    assert dealer.call("stock", productCode="GA0SZC00U").data == []


@pytest.mark.parametrize(
    ("interface", "field"), [(name, field) for name, all_ in REQUIRED for field in all_.split()]
)
def test_a_missing_field_is_refused_by_name(dealer: "Dealer", interface: str, field: str) -> None:
    for change in (None, "", 7):
        answer = dealer.call(interface, **{field: change})
        assert answer.status == 400
        assert answer.json["success"] is False
        assert field in answer.json["errorMsg"]


@pytest.mark.parametrize(
    ("interface", "changes", "named"),
    [
        ("listing", {"productCodes": [f"C{n}" for n in range(21)]}, "productCodes"),
        ("prices", {"productCodes": [f"C{n}" for n in range(21)]}, "productCodes"),
        ("prices", {"productCodes": []}, "productCodes"),
        ("prices", {"productCodes": ["A", " "]}, "productCodes"),
        ("listing", {"searchType": "PT"}, "searchType"),
        ("prices", {"priceType": "PTJSH"}, "priceType"),
        ("stock", {"source": "JSH"}, "source"),
        ("stock", {"countyCode": "11010"}, "countyCode"),
        ("stock", {"countyCode": "朝阳区一二三"}, "countyCode"),
        ("logistics", {"memberId": "7"}, "memberId"),
        ("logistics", {"memberId": True}, "memberId"),
        ("logistics", {"deliveryRecordCode": 1}, "deliveryRecordCode"),
        ("token", {"grant_type": "password"}, "grant_type"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    dealer: "Dealer", interface: str, changes: dict[str, Any], named: str
) -> None:
    answer = dealer.call(interface, **changes)
    assert answer.status == 400
    assert named in answer.json["errorMsg"]


def test_the_ship_to_party_is_only_needed_where_haier_itself_supplies(dealer: "Dealer") -> None:
    assert dealer.call("listing", sendToCode=None, supplierCode="2002").status == 200


@pytest.mark.parametrize(("interface", "field"), PASSWORDS.items())
def test_a_wrong_password_is_refused_in_the_vendors_words(
    dealer: "Dealer", interface: str, field: str
) -> None:
    answer = dealer.call(interface, **{field: "wrong"})
    assert answer.status == 200
    assert answer.json == {
        "success": False,
        "code": 1,
        "errCode": "PASSWORD_WRONG",
        "infoMsgs": [],
        "warningMsgs": [],
        "errorMsg": "客户密码错误",
        "data": None,
    }


@pytest.mark.parametrize(
    ("interface", "field"),
    [(name, field) for name, all_ in PARTIES for field in all_.split()],
)
def test_another_partys_code_is_refused_by_name(
    dealer: "Dealer", interface: str, field: str
) -> None:
    """Sold-to and ship-to party have codes of their own, and neither passes for the other."""
    ours = (CREDENTIALS["customer_code"], CREDENTIALS["send_to_code"])
    assert all(len(code) == 10 and code.startswith("88") for code in ours)
    for other in ("8899999999", "88001234", *ours):
        answer = dealer.call(interface, **{field: other})
        assert answer.status == 200
        is_right = other == ours[field in ("sendToCode", "senderCode")]
        if is_right:
            assert not isinstance(answer.json, dict) or answer.json.get("success", True)
        else:
            assert answer.json["success"] is False
            assert field in answer.json["errorMsg"]


@pytest.mark.parametrize("status", [400, 403])
def test_the_refusal_of_an_account_can_have_another_status(dealer: "Dealer", status: int) -> None:
    dealer.control("POST", "settings", {"refusal_status": status})
    answer = dealer.call("balance", customerPassword="wrong")
    assert answer.status == status
    assert (answer.json["code"], answer.json["errorMsg"]) == (1, "客户密码错误")
    assert dealer.call("balance").status == 200


def test_the_parties_that_are_let_in_can_be_others(dealer: "Dealer") -> None:
    """Such as codes of eight characters, which nobody has seen live."""
    dealer.control("POST", "settings", {"customer_code": "88000001", "send_to_code": "88000002"})
    assert dealer.call("stock").json["success"] is False
    changes = {"salesCode": "88000001", "senderCode": "88000002"}
    assert dealer.call("stock", **changes).json["success"] is True


def test_the_listing_of_everything_can_be_refused_with_a_clear_sentence(dealer: "Dealer") -> None:
    assert len(dealer.call("listing").json) == 60
    dealer.control("POST", "settings", {"listing_needs_codes": True})
    refused = dealer.call("listing")
    assert refused.status == 400
    assert refused.json["errorMsg"] == "productCodes: required here, a list of 1 to 20 codes"
    assert dealer.call("listing", productCodes=["GA0SZC00U"]).json == []


@pytest.mark.parametrize("interface", PASSWORDS)
def test_every_interface_wants_a_token(other_client: "Dealer", interface: str) -> None:
    assert other_client.call(interface).status == 401
    other_client.token = "sandbox-token-invented"
    assert other_client.call(interface).status == 401
    other_client.login()
    assert other_client.call(interface).status == 200


@pytest.mark.parametrize(
    ("form", "statuses"), [("bare", (200, 401)), ("bearer", (401, 200)), ("either", (200, 200))]
)
def test_the_token_is_sent_bare_unless_a_setting_says_otherwise(
    dealer: "Dealer", form: str, statuses: tuple[int, int]
) -> None:
    assert dealer.control("GET", "settings").json["token_form"] == "bare"
    dealer.control("POST", "settings", {"token_form": form})
    for scheme, status in zip(("", "Bearer"), statuses, strict=True):
        dealer.scheme = scheme
        assert dealer.call("balance").status == status
    assert dealer.report()["wrong_form"] == statuses.count(401)
    dealer.scheme = "Basic"
    assert dealer.call("balance").status == 401
    assert dealer.report()["wrong_form"] == statuses.count(401), "that is no token at all"


def test_the_token_answer_has_the_vendors_fields_and_older_ones_on_demand(dealer: "Dealer") -> None:
    answer = dealer.call("token").json
    assert answer.keys() == {"token", "expires_in", "expires_at"}
    assert abs(answer["expires_at"] - time.time() - 3600) < 5
    assert answer["token"].count(".") == 2
    dealer.control("POST", "settings", {"token_answer": "access_token"})
    older = dealer.call("token").json
    assert older.keys() == {"access_token", "token_type", "expires_in"}
    dealer.token = older["access_token"]
    assert dealer.call("balance").status == 200
    dealer.control("POST", "settings", {"token_answer": "data"})
    wrapped = dealer.call("token").json
    assert wrapped["success"] is True
    dealer.token = wrapped["data"]["token"]
    assert dealer.call("balance").status == 200


def test_a_new_token_can_end_the_clients_old_one_and_no_others(
    running: RunningSandbox, dealer: "Dealer", other_client: "Dealer"
) -> None:
    dealer.control("POST", "settings", {"one_token": True})
    other_client.login()
    old = dealer.token
    dealer.login()
    assert dealer.call("balance").status == other_client.call("balance").status == 200
    dealer.token = old
    assert dealer.call("balance").status == 401


def test_unknown_clients_and_wrong_secrets_get_no_token(other_client: "Dealer") -> None:
    assert other_client.call("token", client_id="haier").status == 401
    assert other_client.call("token", client_secret="wrong").status == 401


def test_a_token_ends_with_its_life(running: RunningSandbox, dealer: "Dealer") -> None:
    running.sandbox.use(running.sandbox.settings.changed({"token_life": 0.2}))
    assert dealer.call("token").json["expires_in"] == 0.2
    dealer.login()
    assert dealer.call("balance").status == 200
    time.sleep(0.25)
    assert dealer.call("balance").status == 401


def test_tokens_can_be_given_at_the_other_path(dealer: "Dealer") -> None:
    body = dealer.body("token")
    assert dealer.send("POST", "/oauth2/token", body).status == 404
    assert dealer.control("POST", "settings", {"token_path": "/oauth2/token"}).status == 200
    assert dealer.send("POST", "/oauth2/auth", body).status == 404
    assert "token" in dealer.send("POST", "/oauth2/token", body).json
    for status in (401, 405, 500):
        dealer.control("POST", "settings", {"other_token_status": status})
        assert dealer.send("POST", "/oauth2/auth", body).status == status
        assert dealer.send("POST", "/oauth2/token", body).status == 200
    dealer.control("POST", "settings", {"other_token_status": 200})
    assert "token" in dealer.send("POST", "/oauth2/auth", body).json


def test_other_methods_and_paths_do_not_exist(dealer: "Dealer") -> None:
    assert dealer.send("GET", "/oauth2/auth").status == 404
    assert dealer.send("POST", "/yilihuo/other", b"{}").status == 404
    assert dealer.send("GET", "/").status == 404


def test_a_body_that_is_no_json_object_is_refused(dealer: "Dealer") -> None:
    for body in (b"", b"{", b"[1]", b"client_id=sandbox"):
        assert dealer.send("POST", "/oauth2/auth", body).status == 400


def test_more_calls_than_allowed_in_a_second_are_refused_and_counted(
    new_dealer: "type[Dealer]",
) -> None:
    with running_sandbox(Settings().changed({"products": 5, "rate": 4})) as running:
        dealer, other = (
            new_dealer(running.url).login(),
            new_dealer(running.url, "sandbox-2").login(),
        )
        answers = [dealer.call("balance") for _ in range(7)]
        # The token call took the first of the four places.
        assert [answer.status for answer in answers] == [200] * 3 + [429] * 4
        hints = [answer.headers["Retry-After"] for answer in answers[3:]]
        assert hints == ["1", None, "1", None]
        assert other.call("balance").status == 200
        time.sleep(1.0)
        assert dealer.call("balance").status == 200
        report = dealer.report()
    assert report["refused"] == 4
    assert report["max_calls_in_a_second"] == 8
    assert report["calls"]["balance"] == 9
    assert report["total"] == 11
    assert 1.0 <= report["seconds"] < 5


def test_the_window_is_one_sliding_second() -> None:
    window = Window()
    sizes = [window.add(moment) for moment in (0.0, 0.5, 0.999, 1.0, 1.4, 1.5, 9.0)]
    assert sizes == [1, 2, 3, 3, 4, 4, 1]


def test_the_report_counts_repetitions_pairs_codes_and_renewals(
    dealer: "Dealer", codes: list[str]
) -> None:
    for county in ("110101", "310101", "110101"):
        dealer.call("stock", productCode=codes[0], countyCode=county)
    dealer.call("prices", productCodes=codes[:2])
    dealer.call("prices", productCodes=codes[1:4])
    # Neither a refused call nor one whose answer was mistreated has been answered.
    dealer.fault(interface="balance", kind="status", status=500, times=1)
    dealer.fault(interface="balance", kind="truncate", times=1)
    assert dealer.call("balance").status == 500
    with dealer.open("balance") as sock:
        sock.recv(10)
    assert dealer.call("balance").status == 200
    dealer.login()
    dealer.login()
    report = dealer.report()
    seconds = report.pop("seconds")
    assert 0 < seconds < 10
    assert report.pop("max_calls_in_a_second") == report["total"]
    assert report == {
        "calls": {
            "token": 3,
            "listing": 0,
            "prices": 2,
            "stock": 3,
            "balance": 3,
            "logistics": 0,
        },
        "total": 11,
        "refused": 0,
        "wrong_form": 0,
        "repeated": 1,
        "token_renewals": 2,
        "pairs": 2,
        "codes_priced": 4,
    }


def test_a_reset_forgets_the_report_and_more_where_asked(dealer: "Dealer") -> None:
    dealer.call("balance")
    dealer.fault(kind="empty", interface="listing")
    dealer.control("POST", "reset")
    assert dealer.report()["total"] == 0
    assert len(dealer.control("GET", "faults").json) == 1
    assert dealer.call("balance").status == 200
    assert dealer.report()["repeated"] == 0
    dealer.control("POST", "reset", {"faults": True, "tokens": True})
    assert dealer.control("GET", "faults").json == []
    assert dealer.call("balance").status == 401
    assert dealer.control("POST", "reset", {"everything": True}).status == 400


def test_settings_change_what_is_served(dealer: "Dealer", codes: list[str]) -> None:
    assert dealer.call("listing").json == dealer.call("listing").data
    before = dealer.call("prices", productCodes=codes[:20]).data
    changed = dealer.control(
        "POST",
        "settings",
        {
            "products": 61,
            "date": "2026-12-20",
            "envelope": ["listing"],
            "stock_shape": "object",
            "latency_ms": [30, 40],
        },
    )
    assert changed.json["products"] == 61
    assert changed.json["date"] == "2026-12-20"
    listing = dealer.call("listing").json
    assert listing["success"] is True
    assert len(listing["data"]) == 61
    started = time.monotonic()
    after = dealer.call("prices", productCodes=codes[:20]).json
    assert 0.03 <= time.monotonic() - started < 2
    assert isinstance(after, list)
    assert after != before
    warehouse = dealer.call("stock", productCode=codes[0]).json
    assert warehouse["secCode"]
    assert isinstance(warehouse["stock"], str)
    dealer.control("POST", "settings", {"stock_quantity": "number"})
    assert dealer.call("stock", productCode=codes[0]).json["stock"] == int(warehouse["stock"])


def test_the_envelope_is_the_vendors_where_it_prints_one(dealer: "Dealer") -> None:
    """Printed for balance and stock; the other examples are empty."""
    for interface in ("stock", "balance"):
        envelope = dealer.call(interface).json
        assert envelope.pop("data") is not None
        assert envelope == {
            "success": True,
            "code": 0,
            "errCode": None,
            "infoMsgs": [],
            "warningMsgs": [],
            "errorMsg": None,
        }
    assert "success" not in dealer.call("logistics").json


def test_the_envelope_of_the_integrators_notes_calls_the_reason_message(dealer: "Dealer") -> None:
    dealer.control("POST", "settings", {"envelope_form": "message"})
    good = dealer.call("balance").json
    assert (good["success"], good["code"], good["message"]) == (True, 200, "success")
    bad = dealer.call("balance", customerPassword="wrong").json
    assert bad == {"success": False, "code": 200, "message": "客户密码错误", "data": None}


def test_the_older_rebate_form_has_one_field_for_discount_and_kind(
    running: RunningSandbox, dealer: "Dealer"
) -> None:
    dealer.control("POST", "settings", {"products": 400})
    codes = running.sandbox.catalog.procurable_codes()
    newer = {record["productCode"]: record for record in prices_of(dealer, codes)}
    dealer.control("POST", "settings", {"rebate_form": "policy"})
    older = {record["productCode"]: record for record in prices_of(dealer, codes)}
    seen = set()
    for code, record in newer.items():
        rate, kind = record.pop("rebateRate"), record.pop("stockRebatePolicy")
        policy = older[code].pop("stockRebatePolicy")
        assert older[code] == record
        if float(rate):
            assert policy == rate
            seen.add("discount")
        else:
            assert policy == {0: rate, 1: "BF", 2: "FHQ", 5: "DTDBF"}[kind]
            seen.add(policy)
    assert {"discount", "BF", "FHQ", "DTDBF", 0} <= seen


def test_the_logistics_of_one_delivery_can_be_asked_for(dealer: "Dealer") -> None:
    order = "SO.20190106.000005"
    everything = [entry for entries in dealer.call("logistics", orderCode=order).json.values()
                  for entry in entries]  # fmt: skip
    assert sorted(e["deliveryRecordCode"] for e in everything) == [
        f"{order}.F{n}" for n in (1, 2, 3)
    ]
    one = dealer.call("logistics", orderCode=order, deliveryRecordCode=f"{order}.F2", memberId=7)
    assert sorted(map(len, one.json.values())) == [0, 0, 1]
    none = dealer.call("logistics", orderCode=order, deliveryRecordCode=f"{order}.F9")
    assert sorted(map(len, none.json.values())) == [0, 0, 0]


def prices_of(dealer: "Dealer", codes: list[str]) -> list[dict[str, Any]]:
    return [
        record
        for start in range(0, len(codes), 20)
        for record in dealer.call("prices", productCodes=codes[start : start + 20]).data
    ]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rate": -1}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"latency_ms": [5, 1]}, "latency_ms"),
        ({"latency_ms": 7}, "latency_ms"),
        ({"date": "today"}, "date"),
        ({"token_life": 0}, "token_life"),
        ({"envelope": ["token"]}, "envelope"),
        ({"stock_shape": "map"}, "stock_shape"),
        ({"token_form": "basic"}, "token_form"),
        ({"one_token": 1}, "one_token"),
        ({"refusal_status": True}, "refusal_status"),
        ({"customer_code": 8800123456}, "customer_code"),
        ({"other_token_status": 302}, "other_token_status"),
        ({"counties": ["x"]}, "counties"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_bad_setting_is_refused_by_name(
    dealer: "Dealer", settings: dict[str, Any], named: str
) -> None:
    before = dealer.control("GET", "settings").json
    answer = dealer.control("POST", "settings", settings)
    assert answer.status == 400
    assert answer.json["message"].startswith(named)
    assert dealer.control("GET", "settings").json == before


def test_unknown_controls_do_not_exist_and_are_no_calls(dealer: "Dealer") -> None:
    assert dealer.control("GET", "nothing").status == 404
    assert dealer.control("DELETE", "report").status == 404
    assert dealer.send("POST", "/_sandbox/faults", b"{").status == 400
    assert dealer.report()["total"] == 1
