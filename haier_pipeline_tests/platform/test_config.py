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
    "customer_code": "8800A001",
    "send_to_code": "88000002",
    "password": "canary-2",
    "seller_password": "canary-3",
}


def parse(name: str = "haier", hosts: tuple[str, ...] = (), **changes: object) -> DealerConfig:
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
            customer_code="canary-9",
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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("110101, 310101", ("110101", "310101")),
        (["110101"], ("110101",)),
        (("310101", "110101"), ("310101", "110101")),
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
