"""The platform's interfaces and what each demands of a request, from the vendor's description.

Reading a request and saying what is wrong with it; answers, tokens and rates are elsewhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haier_pipeline.sandbox import CREDENTIALS, order_contract

TOKEN_PATHS = ("/oauth2/auth", "/oauth2/token")

_GOODS = "/yilihuo/jsh-service-goods-mall-search/api/product-info/procurable-products-out"
_PRICE = "/yilihuo/jsh-service-goods-price/api/goods-price/price-daily-sales/price-query"
_STOCK = "/yilihuo/jsh-service-stock-mall/api/page/stock"
_FINANCE = "/yilihuo/jsh-service-finance-mall/api/page/account/account-balance-manager"
_LOGISTICS = "/yilihuo/ylh-cloud-service-stock/api/page/stock/logistics/sass"

PATHS = {
    **dict.fromkeys(TOKEN_PATHS, "token"),
    f"{_GOODS}/check-procurable-products": "listing",
    f"{_PRICE}/pt-out-list-price": "prices",
    f"{_STOCK}/get-available-stock-open": "stock",
    f"{_FINANCE}/get-payer-account-balance-by-customer-code": "balance",
    f"{_LOGISTICS}/get-thirdparty-logistics-info-by-order-code-auth": "logistics",
    **order_contract.PATHS,
}

MOST_CODES = 20

# Required text fields, by interface; a value is the only one allowed.
_REQUIRED: dict[str, dict[str, str | None]] = {
    "token": {"client_id": None, "client_secret": None, "grant_type": "client_credentials"},
    "listing": {
        "customerCode": None,
        "supplierCode": None,
        "searchType": "PTJSH",
        "passWord": None,
    },
    "prices": {"customerCode": None, "sendToCode": None, "priceType": "PT", "passWord": None},
    "stock": {
        "salesCode": None,
        "senderCode": None,
        "productCode": None,
        "countyCode": None,
        "source": "JSH-B",
        "sellerPassword": None,
    },
    "balance": {"customerCode": None, "customerPassword": None},
    "logistics": {"orderCode": None, "sellerCode": None, "sellerPassword": None},
}
_PASSWORDS = {
    "passWord": CREDENTIALS["password"],
    "customerPassword": CREDENTIALS["password"],
    "sellerPassword": CREDENTIALS["seller_password"],
}


@dataclass(frozen=True)
class Call:
    """One request as it was read; ``codes`` and ``county`` are what it asks about.

    ``token`` is that of the ``Authorization`` header without its scheme word; ``form`` says
    whether there was one: ``bearer`` or ``bare``.
    """

    interface: str
    path: str
    raw: bytes
    body: dict[str, Any] | None
    token: str
    form: str
    client: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    codes: tuple[str, ...] = field(init=False)
    county: str | None = field(init=False)

    def __post_init__(self) -> None:
        body = self.body or {}
        one, many = body.get("productCode"), body.get("productCodes")
        asked = [one] if self.interface == "stock" else many if isinstance(many, list) else []
        object.__setattr__(self, "codes", tuple(code for code in asked if isinstance(code, str)))
        county = body.get("countyCode")
        object.__setattr__(self, "county", county if isinstance(county, str) else None)


def complaint(call: Call, *, listing_needs_codes: bool = False) -> str | None:
    """What is wrong with the fields of the call, by name, or None for a proper one."""
    if call.body is None:
        return "the body is not a JSON object"
    for name, only in _REQUIRED[call.interface].items():
        value = call.body.get(name)
        if not isinstance(value, str) or not value.strip():
            return f"{name}: required, a text"
        if only is not None and value != only:
            return f"{name}: must be {only}"
    if call.interface == "listing" and listing_needs_codes and not call.codes:
        return f"productCodes: required here, a list of 1 to {MOST_CODES} codes"
    return _wrong_parameter(call.interface, call.body)


def stranger(call: Call, customer_code: str, send_to_code: str) -> tuple[str, str] | None:
    """Code and reason, in the vendor's manner, where a party or password is wrong, else None.

    "客户密码错误" is the vendor's own; the other two are ours. Only for a call without complaint.
    """
    body = call.body or {}
    for name in ("customerCode", "salesCode", "sellerCode"):
        if body.get(name, customer_code) != customer_code:
            return "CUSTOMER_UNKNOWN", f"客户编码不存在（{name}）"
    for name in ("sendToCode", "senderCode"):
        if body.get(name, send_to_code) != send_to_code:
            return "SEND_TO_UNKNOWN", f"送达方编码错误（{name}）"
    for name, password in _PASSWORDS.items():
        if name in _REQUIRED[call.interface] and body[name] != password:
            return "PASSWORD_WRONG", "客户密码错误"
    return None


def _wrong_parameter(interface: str, body: dict[str, Any]) -> str | None:
    if interface == "listing" and body["supplierCode"] == CREDENTIALS["supplier_code"]:
        value = body.get("sendToCode")
        if not isinstance(value, str) or not value.strip():
            return "sendToCode: required where supplierCode is 1001"
    if interface in ("listing", "prices"):
        codes = body.get("productCodes")
        if interface == "listing" and codes is None:
            return None
        if not isinstance(codes, list) or not codes:
            return f"productCodes: a list of 1 to {MOST_CODES} codes"
        if len(codes) > MOST_CODES:
            return f"productCodes: at most {MOST_CODES} codes, not {len(codes)}"
        if not all(isinstance(code, str) and code.strip() for code in codes):
            return "productCodes: every code is a text"
    if interface == "logistics":
        member, delivery = body.get("memberId"), body.get("deliveryRecordCode")
        if member is not None and (isinstance(member, bool) or not isinstance(member, int)):
            return "memberId: an integer"
        if delivery is not None and (not isinstance(delivery, str) or not delivery.strip()):
            return "deliveryRecordCode: a text"
    if interface == "stock" and not re.fullmatch(r"[0-9]{6}", body["countyCode"]):
        return "countyCode: unknown, six digits are needed"
    return None
