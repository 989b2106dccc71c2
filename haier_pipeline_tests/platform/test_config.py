"""What makes a dealer's configuration valid, and that a bad one never shows a value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haier_pipeline.errors import InvalidConfig
from haier_pipeline.platform.config import FIELDS, SECRET_FIELDS, DealerConfig

GOOD: dict[str, object] = {
    "client_id": "id-1",
    "client_secret": "canary-1",
    "customer_code": "8800123456",
    "send_to_code": "8700000002",
    "password": "canary-2",
    "seller_password": "canary-3",
}


def parse(name: str = "haier", hosts: tuple[str, ...] = (), **changes: Any) -> DealerConfig:
    values = {key: value for key, value in {**GOOD, **changes}.items() if value != "left out"}
    return DealerConfig.parse(name, values, allowed_hosts=hosts)


def test_what_is_left_out_has_the_contract_s_defaults() -> None:
    dealer = parse()
    assert dealer.token_url == "https://openplat-test.haier.net/oauth2/auth"
    assert dealer.base_url == "https://openplat-test.haier.net"
    assert dealer.supplier_code == "1001"
    assert dealer.county_codes == ("110101",)
    assert dealer.customer_password.get_secret_value() == "canary-2"
    assert dealer.rate_limit == 100


def test_blank_values_count_as_left_out() -> None:
    assert parse(supplier_code=" ", customer_password="", rate_limit=None) == parse()
    assert parse(customer_password="own").customer_password.get_secret_value() == "own"


def test_every_field_at_fault_is_named_at_once_and_no_value() -> None:
    """Fault matrix, row 46."""
    with pytest.raises(InvalidConfig) as caught:
        parse(
            client_secret="canary-1\n",
            customer_code="canary 9",
            county_codes="110101,x-canary",
            base_url="http://canary.example",
            seller_password="left out",
            rate_limit="canary",
            typo="canary",
        )
    at_fault = {
        "client_secret",
        "customer_code",
        "county_codes",
        "base_url",
        "seller_password",
        "rate_limit",
        "typo",
    }
    assert set(caught.value.fields) == at_fault
    assert "canary" not in str(caught.value)
    assert all(field in str(caught.value) for field in at_fault)


def test_no_secret_shows_in_the_repr() -> None:
    assert "canary" not in repr(parse())
    assert set(FIELDS) >= SECRET_FIELDS


@pytest.mark.parametrize("name", ["", " ", "a,b", "a|b", "a\nb", "x" * 51, " a"])
def test_a_name_that_cannot_be_part_of_a_partition_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse(name)
    assert caught.value.fields == ("name",)


@pytest.mark.parametrize("name", ["haier", "海尔 一店", "x" * 50])
def test_a_name_may_be_chinese_and_hold_spaces(name: str) -> None:
    assert parse(name).name == name


@pytest.mark.parametrize("key", ["customer_code", "send_to_code", "supplier_code"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8800123456", "8800123456"),
        ("8700123456", "8700123456"),
        (8800123456, "8800123456"),
        (" 88012345\n", "88012345"),
        ("8800A001", "8800A001"),
        ("HR/01:东城#3", "HR/01:东城#3"),
        ("x" * 50, "x" * 50),
    ],
)
def test_a_code_is_the_platforms_to_judge(key: str, value: object, expected: str) -> None:
    assert getattr(parse(**dict[str, Any]({key: value})), key) == expected


@pytest.mark.parametrize("key", ["customer_code", "send_to_code", "supplier_code"])
@pytest.mark.parametrize(
    "value",
    ["8800 123456", "8800\u3000123456", "8800\u00a0123456", "8800\u200b123456", "88\t00",
     "88\x0000", "x" * 51, True, 88.5, ["8800123456"], 10**50],
)  # fmt: skip
def test_what_cannot_be_a_code_is_refused(key: str, value: object) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse(**dict[str, Any]({key: value}))
    assert caught.value.fields == (key,)


PRODUCTION = "https://openplat-bj-aliyun.haier.net"
STAGING = "https://openplat-bj-aliyun-stage.haier.net"
GENERAL = "https://openplat.haier.net"


@pytest.mark.parametrize(
    ("given", "base_url", "token_url"),
    [
        ({"base_url": PRODUCTION}, PRODUCTION, f"{PRODUCTION}/oauth2/auth"),
        ({"base_url": f"{STAGING}/"}, STAGING, f"{STAGING}/oauth2/auth"),
        ({"base_url": f"{STAGING}/g"}, f"{STAGING}/g", f"{STAGING}/oauth2/auth"),
        ({"token_url": f"{STAGING}/oauth2/token"}, STAGING, f"{STAGING}/oauth2/token"),
        ({"base_url": PRODUCTION, "token_url": " "}, PRODUCTION, f"{PRODUCTION}/oauth2/auth"),
        ({"base_url": None, "token_url": f"{STAGING}/x"}, STAGING, f"{STAGING}/x"),
        (
            {
                "base_url": f"{GENERAL}/op/gateway-test/v3",
                "token_url": f"{GENERAL}/gateway-test/oauth2/token",
            },
            f"{GENERAL}/op/gateway-test/v3",
            f"{GENERAL}/gateway-test/oauth2/token",
        ),
    ],
)  # fmt: skip
def test_token_and_base_url_follow_each_other(
    given: dict[str, Any], base_url: str, token_url: str
) -> None:
    """The secret must not go to another environment than the calls."""
    dealer = parse(**given)
    assert (dealer.base_url, dealer.token_url) == (base_url, token_url)


def test_a_gateway_with_a_port_is_followed_with_it() -> None:
    dealer = parse(base_url="https://gateway.example:8443/haier", hosts=("gateway.example",))
    assert dealer.token_url == "https://gateway.example:8443/oauth2/auth"


@pytest.mark.parametrize(
    ("base_url", "token_url"),
    [
        (PRODUCTION, "https://openplat-test.haier.net/oauth2/auth"),
        ("https://OPENPLAT-TEST.haier.net:443", f"{PRODUCTION}/oauth2/auth"),
        (STAGING, f"{PRODUCTION}/oauth2/auth"),
        (PRODUCTION, f"{GENERAL}/gateway-test/oauth2/token"),
    ],
)
def test_two_environments_in_one_configuration_are_refused(base_url: str, token_url: str) -> None:
    with pytest.raises(InvalidConfig, match="different environments") as caught:
        parse(base_url=base_url, token_url=token_url)
    assert caught.value.fields == ("base_url", "token_url")


def test_a_gateway_of_the_operators_may_stand_beside_haier() -> None:
    gateway = "https://gateway.example"
    dealer = parse(
        base_url=PRODUCTION, token_url=f"{gateway}/oauth2/auth", hosts=("gateway.example",)
    )
    assert dealer.base_url == PRODUCTION


def test_the_origin_is_spelled_in_one_way() -> None:
    spellings = ("https://OPENPLAT-TEST.haier.net:443/gateway", "https://openplat-test.haier.net")
    assert {parse(base_url=url).origin for url in spellings} == {
        "https://openplat-test.haier.net:443"
    }
    assert parse(base_url="http://[::1]:8123", hosts=("::1",)).origin == "http://[::1]:8123"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("110101, 310101", ("110101", "310101")),
        (["110101"], ("110101",)),
        (("310101", "110101"), ("310101", "110101")),
        ("110101，310101、440106", ("110101", "310101", "440106")),
        (["110101，310101", "440106"], ("110101", "310101", "440106")),
    ],
)
def test_county_codes_come_as_text_or_list(value: object, expected: tuple[str, ...]) -> None:
    assert parse(county_codes=value).county_codes == expected


@pytest.mark.parametrize(
    "value", ["11010", "110101,110101", [], [110101], "110101,", {"110101": 1}, "１１０１０１"]
)
def test_other_county_codes_are_refused(value: object) -> None:
    with pytest.raises(InvalidConfig, match="county_codes"):
        parse(county_codes=value)


@pytest.mark.parametrize(("value", "expected"), [(1, 1), ("10000", 10000), (" 7 ", 7)])
def test_a_rate_limit_is_a_whole_number(value: object, expected: int) -> None:
    assert parse(rate_limit=value).rate_limit == expected


@pytest.mark.parametrize("value", [0, 10001, "0", "1e3", 1.5, True, -1, "-1"])
def test_other_rate_limits_are_refused(value: object) -> None:
    with pytest.raises(InvalidConfig, match="rate_limit"):
        parse(rate_limit=value)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://openplat-bj-aliyun.haier.net/", ()),
        ("https://OPENPLAT-TEST.haier.net:443/gateway", ()),
        ("https://gateway.example/haier", ("gateway.example",)),
        ("https://gateway.example:8443", ("Gateway.Example:8443",)),
        ("http://127.0.0.1:8123", ("127.0.0.1",)),
        ("http://localhost:8123", ("localhost:8123",)),
        ("http://[::1]:8123", ("[::1]:8123",)),
        ("http://[::1]:8123", ("::1",)),
    ],
)
def test_haier_s_hosts_and_allowed_ones_are_taken(url: str, hosts: tuple[str, ...]) -> None:
    """Fault matrix, row 51."""
    assert parse(base_url=url, token_url=url, hosts=hosts).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://openplat-test.haier.net", ()),
        ("http://openplat-test.haier.net", ("openplat-test.haier.net",)),
        ("https://openplat-test.haier.net:8443", ()),
        ("https://169.254.169.254/latest", ()),
        ("https://127.0.0.1", ()),
        ("http://127.0.0.1:8123", ("127.0.0.1:9000",)),
        ("http://gateway.example", ("gateway.example",)),
        ("https://openplat-test.haier.net.evil.example", ()),
        ("https://user:secret@openplat-test.haier.net", ()),
        ("https://openplat-test.haier.net@evil.example", ()),
        ("https://evil.example\\@openplat-test.haier.net", ()),
        ("https://openplat-test.haier.net/?x=1", ()),
        ("https://openplat-test.haier.net/#x", ()),
        ("https://openplat-test.haier.net:99999", ()),
        ("https://[::1", ("::1",)),
        ("https://", ("",)),
        ("ftp://openplat-test.haier.net", ()),
        ("openplat-test.haier.net", ()),
        (42, ()),
    ],
)
def test_other_addresses_are_refused(url: object, hosts: tuple[str, ...]) -> None:
    """Fault matrix, row 51."""
    with pytest.raises(InvalidConfig) as caught:
        parse(base_url=url, hosts=hosts)
    assert caught.value.fields == ("base_url",)


@given(
    st.dictionaries(
        st.sampled_from(FIELDS) | st.text(max_size=5),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(max_size=8)),
    )
)
def test_whatever_is_given_it_is_valid_or_refused(values: dict[str, Any]) -> None:
    try:
        DealerConfig.parse("haier", values)
    except InvalidConfig as error:
        assert error.fields  # noqa: PT017 - most inputs must end here, none elsewhere


ORDERS: dict[str, Any] = {
    "ylh_client_id": "orders",
    "ylh_client_secret": "canary-4",
    "ylh_username": "user",
    "ylh_password": "canary-5",
    "ylh_source_system": "shop",
    "ylh_shop_name": "电器行",
    "ylh_callback_app_key": "app",
    "ylh_callback_secret": "canary-6",
}


@pytest.mark.parametrize(
    ("base_url", "orders"),
    [
        ("https://openplat-test.haier.net", "https://dev.ylhtest.com"),
        ("https://openplat.haier.net/op/gateway-test/v3", "https://dev.ylhtest.com"),
        (STAGING, "https://pre.yilihuo.com"),
        (PRODUCTION, "https://www.yilihuo.com"),
    ],
)
def test_the_order_side_is_that_of_the_catalogs_environment(base_url: str, orders: str) -> None:
    dealer = parse(base_url=base_url, **ORDERS)
    assert dealer.ylh_base_url == orders
    assert dealer.ylh_seller_code == dealer.customer_code
    assert dealer.ylh_rate_limit == 100
    assert dealer.order_confirm_hours == 24
    assert dealer.callback_secrets == ("canary-6",)
    assert dealer.has_orders
    dealer.require_orders()
    assert "canary" not in repr(dealer)
    others = {"https://dev.ylhtest.com", "https://pre.yilihuo.com", "https://www.yilihuo.com"}
    for other in others - {orders}:
        with pytest.raises(InvalidConfig) as caught:
            parse(base_url=base_url, ylh_base_url=other, **ORDERS)
        assert caught.value.fields == ("ylh_base_url",)


def test_another_host_for_orders_has_to_be_allowed_and_given() -> None:
    gateway = {"base_url": "https://gateway.example"}
    with pytest.raises(InvalidConfig, match="ylh_base_url is missing"):
        parse(hosts=("gateway.example",), **gateway, **ORDERS).require_orders()
    given = gateway | {"ylh_base_url": "https://gateway.example/ylh/"}
    dealer = parse(hosts=("gateway.example",), **given, **ORDERS)
    assert dealer.ylh_base_url == "https://gateway.example/ylh"
    assert dealer.order_origin == "https://gateway.example:443"
    for wrong in ("https://orders.example", "http://dev.ylhtest.com", "https://dev.ylhtest.com:1"):
        with pytest.raises(InvalidConfig) as caught:
            parse(ylh_base_url=wrong, **ORDERS)
        assert caught.value.fields == ("ylh_base_url",)


def test_a_platform_on_this_machine_never_sends_a_real_delivery() -> None:
    local = {"base_url": "http://127.0.0.1:9", "token_url": "http://127.0.0.1:9/oauth2/auth"}
    for host in ("https://www.yilihuo.com", "https://dev.ylhtest.com"):
        with pytest.raises(InvalidConfig) as caught:
            parse(hosts=("127.0.0.1",), ylh_base_url=host, **local, **ORDERS)
        assert caught.value.fields == ("ylh_base_url",)
    # The other way round nothing can be harmed.
    parse(hosts=("127.0.0.1",), base_url=PRODUCTION, ylh_base_url="http://127.0.0.1:9", **ORDERS)


def test_an_incomplete_set_is_no_fault_until_orders_are_asked_for() -> None:
    without = parse()
    assert not without.has_orders
    part = parse(ylh_client_id="orders", ylh_password="canary")
    assert part.has_orders
    with pytest.raises(InvalidConfig) as caught:
        part.require_orders()
    assert caught.value.fields == (
        *("ylh_client_secret", "ylh_username", "ylh_source_system", "ylh_shop_name"),
        *("ylh_callback_app_key", "ylh_callback_secret"),
    )
    assert "canary" not in str(caught.value)


def test_what_is_wrong_with_orders_stops_no_catalog_and_is_said_when_orders_are_asked_for() -> None:
    wrong = {
        **ORDERS,
        "ylh_client_secret": "canary\n4",
        "ylh_rate_limit": "many",
        "order_confirm_hours": 0,
        "ylh_base_url": "https://www.yilihuo.com",
    }
    with pytest.raises(InvalidConfig):
        parse(**wrong)
    dealer = DealerConfig.parse("haier", {**GOOD, **wrong}, spares_orders=True)
    assert dealer.client_id == "id-1"
    assert dealer.has_orders
    with pytest.raises(InvalidConfig) as caught:
        dealer.require_orders()
    at_fault = {"ylh_client_secret", "ylh_rate_limit", "order_confirm_hours", "ylh_base_url"}
    assert set(caught.value.fields) == at_fault
    assert "canary" not in str(caught.value)


def test_a_mixture_is_said_when_orders_are_asked_for_too() -> None:
    mixed = {**GOOD, **ORDERS, "ylh_base_url": "https://www.yilihuo.com"}
    dealer = DealerConfig.parse("haier", mixed, spares_orders=True)
    assert dealer.ylh_base_url == ""
    with pytest.raises(InvalidConfig) as caught:
        dealer.require_orders()
    assert caught.value.fields == ("ylh_base_url",)


def test_a_callback_may_be_signed_with_the_previous_secret_while_it_is_changed() -> None:
    dealer = parse(**ORDERS, ylh_callback_secret_previous="old")
    assert dealer.callback_secrets == ("canary-6", "old")
    assert parse(ylh_callback_secret_previous="old").callback_secrets == ("old",)
    assert parse().callback_secrets == ()
