"""The order side's services and what each demands of a request, from the vendor's description.

Stricter than the platform is known to be: it is said to check missing fields and repeated numbers
alone, but a client that sends a time as seconds should learn of it here. Reading requests and
saying what is wrong; what becomes of an order is in ``orders``.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from haier_pipeline.sandbox import CREDENTIALS

MOST_TRACKED = 100

_JST = "ylh-cloud-service-jst-order"
_ORDER = "ylh-cloud-service-order"
_PLACES = {
    "order_token": ("ylh-cloud-mgt-auth", "/oauth/token"),
    "push": (_JST, "/api/page/hmm/retailorder/receive-hmm-retail-order"),
    "cancel": (_JST, "/api/page/hmm/retailorder/cancel-hmm-retail-order"),
    "reschedule": (_ORDER, "/api/page/retailorder/hmm/update-distribution-time"),
    "pictures": (_ORDER, "/api/page/retailorder/search/get-retail-order-delivery-img"),
    "tracking": (
        "ylh-cloud-service-stock",
        "/api/composite/stock/logistics/get-store-logistics-by-order-code",
    ),
}
#: A service has the suffix of its environment; here every environment is at home.
PATHS = {
    f"/{service}{suffix}{path}": interface
    for interface, (service, path) in _PLACES.items()
    for suffix in ("", "-dev", "-pre")
}

_TEXTS = {
    "push": (
        *("sourceSystem", "shopName", "sellerCode", "consigneeName", "consigneeMobile"),
        *("onlineNo", "soId", "province", "city", "area", "detailAddress", "deliveryInstall"),
    ),
    "cancel": ("soId", "cancelTime", "cancelReason", "sourceSystem"),
    "reschedule": ("retailOrderNo",),
    "pictures": ("orderNo",),
}
_ITEM_AMOUNTS = ("retailPrice", "discountAmount", "actualPrice")


def basic(authorization: str) -> tuple[str, str]:
    """User and password of an ``Authorization: Basic`` header; blank where it is none."""
    scheme, _, word = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(word, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (user, password) if scheme == "Basic" else ("", "")


def token_complaint(raw: bytes, headers: Mapping[str, str]) -> tuple[int, str] | None:
    """Status and reason where a call for a token is wrong, else None."""
    if headers.get("system-name") != "ylh-open-api":
        return 400, "system-name: must be ylh-open-api"
    if headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        return 400, "Content-Type: must be application/x-www-form-urlencoded"
    try:
        form = dict(parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=True))
    except ValueError:
        return 400, "the body is not a form in UTF-8"
    if form.get("grant_type") != "password":
        return 400, "grant_type: must be password"
    user, secret = basic(headers.get("authorization", ""))
    is_client = user.startswith(CREDENTIALS["ylh_client_id"])
    if not is_client or secret != CREDENTIALS["ylh_client_secret"]:
        return 401, "unknown client"
    for field, key in (("username", "ylh_username"), ("password", "ylh_password")):
        if form.get(field) != CREDENTIALS[key]:
            return 401, "unknown user or wrong password"
    return None


def complaint(interface: str, body: Any) -> str | None:
    """What is wrong with the fields of a request, by name, or None for a proper one."""
    if interface == "tracking":
        good = isinstance(body, list) and all(isinstance(code, str) and code for code in body)
        if not good or not 1 <= len(body) <= MOST_TRACKED:
            return f"a bare list of 1 to {MOST_TRACKED} order codes is needed"
        return None
    if not isinstance(body, dict):
        return "the body is not a JSON object"
    for name in _TEXTS[interface]:
        value = body.get(name)
        if not isinstance(value, str) or not value.strip():
            return f"{name}不能为空: a text"
    if interface == "push":
        return _push_complaint(body)
    if interface == "cancel" and not re.fullmatch(r"[0-9]{13}", body["cancelTime"]):
        return "cancelTime: milliseconds, as a text"
    if interface == "reschedule":
        times = [body[name] for name in ("distributionTime", "installTime") if name in body]
        if not times or not all(map(_is_milliseconds, times)):
            return "distributionTime, installTime: one at least, in milliseconds"
    return None


def _push_complaint(body: Mapping[str, Any]) -> str | None:
    times = [body.get("distributionTime"), body.get("installTime")]
    if not _is_milliseconds(body.get("createTime")):
        return "createTime不能为空: milliseconds, thirteen digits"
    if not all(time is None or _is_milliseconds(time) for time in times):
        return "distributionTime, installTime: milliseconds"
    together = "true" if times[0] is not None and times[0] == times[1] else "false"
    if body["deliveryInstall"] != together:
        return f"deliveryInstall: must be the text {together}"
    if not isinstance(body.get("governmentOrder", False), bool):
        return "governmentOrder: true or false"
    items = body.get("itemList")
    if not isinstance(items, list) or not items:
        return "itemList不能为空"
    for item in items:
        wrong = _item_complaint(item)
        if wrong is not None:
            return f"itemList: {wrong}"
    pieces = sum(item["itemQty"] for item in items)
    total = sum(item["itemQty"] * item["actualPrice"] for item in items)
    if not _is_whole(body.get("totalQty")) or body["totalQty"] != pieces:
        return f"totalQty不能为空: the items have {pieces} pieces"
    if not _is_amount(body.get("totalAmt")) or abs(body["totalAmt"] - total) > 0.005:
        return "totalAmt不能为空: the sum of itemQty × actualPrice"
    return None


def _item_complaint(item: object) -> str | None:
    if not isinstance(item, dict):
        return "an object for each product"
    code = item.get("productCode")
    if not isinstance(code, str) or not code.strip():
        return "productCode不能为空: a text"
    if not _is_whole(item.get("itemQty")) or item["itemQty"] < 1:
        return "itemQty不能为空: a whole number from 1"
    for name in _ITEM_AMOUNTS:
        if not _is_amount(item.get(name)):
            return f"{name}不能为空: a number from 0"
    return None if isinstance(item.get("isGift", False), bool) else "isGift: true or false"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and float(str(value)) >= 0


def _is_milliseconds(value: object) -> bool:
    return _is_whole(value) and len(str(value)) == 13
