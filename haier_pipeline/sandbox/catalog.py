"""What the sandbox knows: products, prices, stock, balances and logistics, computed, never stored.

Every answer is a pure function of (seed, product index, county, date), so a catalog of any size
costs nothing to open, growing it keeps the products there were, and a test can compute what it
must find. Records are as they go over the wire, in the vendor's spelling and with its moods:
amounts as numbers or texts, flags as ``"1"`` or 1, optional fields null or missing. HTTP, checks of
requests and faults do not belong here.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from haier_pipeline.domain.partition import SHANGHAI

Record = dict[str, Any]
T = TypeVar("T")

NOT_PROCURABLE = "商品暂不可采"
NO_PRICE = "价格未生效"

_PICTURES = "https://cdn.sandbox.example/products"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CODE_SPACE = len(_ALPHABET) ** 5
# Odd and not a multiple of 3, hence invertible modulo 36**5: neighbours get codes far apart, and
# an index can be computed back from its code without a table.
_CODE_STEP = 23_654_321
_CODE_STEP_BACK: int = pow(_CODE_STEP, -1, _CODE_SPACE)

_PRICE_LIFE_DAYS = 20  # a price stays for 20 days, so each day 5 % of them move


@dataclass(frozen=True)
class _Group:
    name: str
    prefix: str
    model: str
    sizes: tuple[str, ...]
    yuan: tuple[int, int]


_GROUPS = (
    _Group(
        "冰箱", "BH", "BCD-{size}W{series}U1", ("218", "328", "470", "510", "620"), (1499, 9999)
    ),
    _Group("冷柜", "BD", "BC/BD-{size}{series}", ("102", "200", "320", "519"), (799, 3599)),
    _Group("洗衣机", "CE", "XQG100-{size}{series}", ("B12", "B14", "HB14", "BD14"), (1299, 7999)),
    _Group("热泵干衣机", "CF", "HGY100-{size}{series}", ("F6", "F226", "FL8"), (2599, 8999)),
    _Group("家用空调", "AA", "KFR-{size}GW/{series}", ("26", "35", "50", "72"), (1899, 9599)),
    _Group("电热水器", "GA", "EC{size}01-{series}", ("40", "50", "60", "80"), (699, 3499)),
    _Group("燃气热水器", "GB", "JSQ{size}-{series}", ("25", "30", "31", "36"), (1199, 5999)),
    _Group("油烟机", "EA", "CXW-{size}-{series}", ("219", "258", "280"), (1099, 5299)),
    _Group("燃气灶", "EB", "JZT-{size}{series}", ("Q2", "QE5", "QHA9"), (599, 2699)),
    _Group("消毒柜", "EC", "ZQD{size}F-{series}", ("100", "120", "168"), (899, 3299)),
    _Group("洗碗机", "ED", "EYW{size}-{series}", ("13", "15", "16"), (2499, 8999)),
    _Group("净水机", "HE", "HKC{size}-{series}", ("1000", "1600", "2000"), (999, 4999)),
    _Group("电视", "DH", "LU{size}{series}", ("43", "55", "65", "75", "85"), (1299, 8999)),
    _Group("商用空调", "AB", "RFC{size}MX{series}", ("80", "100", "125"), (9999, 32999)),
)
# Name, weight in percent, factor on the price in percent.
_BRANDS = (("海尔", 58, 100), ("卡萨帝", 16, 190), ("统帅", 16, 78), ("小超人", 10, 70))
_NO_SALES_REASONS = (NOT_PROCURABLE, "商品已下市", "区域不可售", "新品未上市")
# The rebate kinds with the texts printed beside them: normal, no rebate, firewall, fixed price.
_REBATE_TEXTS = {0: "COM", 1: "BF", 2: "FHQ", 5: "DTDBF"}
_NATIONAL_WAREHOUSES = 7  # the contract: "seven warehouses nationwide"
_DRIVERS = ("张师傅", "李师傅", "王师傅", "赵师傅")
_DELIVERY_MODELS = ("B", "C", "M", "Q")
_PAYER_GROUPS = (("A01", "白电"), ("A02", "厨电热水"), ("A03", "黑电"))


class Draw:
    """A short stream of numbers (512 bits in all) that depends on its key alone."""

    def __init__(self, *key: object) -> None:
        text = "\x1f".join(map(str, key)).encode()
        self._bits = int.from_bytes(hashlib.blake2b(text, digest_size=64).digest(), "little")

    def below(self, bound: int) -> int:
        self._bits, number = divmod(self._bits, bound)
        return number

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def percent(self, share: int) -> bool:
        return self.below(100) < share

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


@dataclass(frozen=True, slots=True)
class _Product:
    """What never changes about one product."""

    index: int
    code: str
    group: _Group
    brand: str
    model: str
    procurable: bool
    priced: bool
    no_sales_reason: str
    yuan: int
    discount_percent: int
    rebate_kind: int
    rebate_yuan: int
    amounts_as_text: bool
    flags_as_text: bool


def _code_of(seed: int, index: int, group: _Group) -> str:
    number = (index * _CODE_STEP + Draw(seed, "codes").below(_CODE_SPACE)) % _CODE_SPACE
    middle = ""
    for _ in range(5):
        number, digit = divmod(number, len(_ALPHABET))
        middle += _ALPHABET[digit]
    return f"{group.prefix}{middle}0{_ALPHABET[10 + index % 26]}"


def _index_of(seed: int, code: str) -> int | None:
    """The index that would have this code, were the catalog large enough."""
    if len(code) != 9 or any(letter not in _ALPHABET for letter in code[2:7]):
        return None
    number = 0
    for letter in reversed(code[2:7]):
        number = number * len(_ALPHABET) + _ALPHABET.index(letter)
    return (number - Draw(seed, "codes").below(_CODE_SPACE)) * _CODE_STEP_BACK % _CODE_SPACE


@lru_cache(maxsize=20_000)
def _product(seed: int, index: int) -> _Product:
    draw = Draw(seed, index, "product")
    group = draw.pick(_GROUPS)
    lot, brand_at = draw.below(100), 0
    while lot >= _BRANDS[brand_at][1]:
        lot -= _BRANDS[brand_at][1]
        brand_at += 1
    brand, _, factor = _BRANDS[brand_at]
    series = "".join(draw.pick("ABCDEFGHJKLMNSTUWX") for _ in range(3)) + str(draw.between(1, 9))
    low, high = group.yuan
    yuan = draw.between(low, high) * factor // 100
    procurable = not draw.percent(7)
    priced = not draw.percent(3)
    kind = draw.pick((1, 2, 5)) if draw.percent(12) else 0
    return _Product(
        index=index,
        code=_code_of(seed, index, group),
        group=group,
        brand=brand,
        model=group.model.format(size=draw.pick(group.sizes), series=series),
        procurable=procurable,
        priced=priced,
        no_sales_reason=draw.pick(_NO_SALES_REASONS),
        yuan=yuan,
        discount_percent=draw.between(1, 12) if draw.percent(35) and kind in (0, 2) else 0,
        rebate_kind=kind,
        rebate_yuan=draw.between(1, max(1, yuan // 25)) if draw.percent(25) and kind != 1 else 0,
        amounts_as_text=draw.percent(50),
        flags_as_text=draw.percent(70),
    )


class SandboxCatalog:
    """The platform's knowledge for one ``seed`` and a number of ``products``.

    Every method returns fresh records that the caller may change. ``counties`` limits where there
    are warehouses; None means in every county of the country.
    """

    def __init__(
        self, seed: int = 1, products: int = 300, counties: Sequence[str] | None = None
    ) -> None:
        self.seed = seed
        self.products = products
        self.counties = None if counties is None else frozenset(counties)

    def codes(self) -> list[str]:
        return [_product(self.seed, index).code for index in range(self.products)]

    def procurable_codes(self) -> list[str]:
        """The codes that a sync prices and asks stock for (``isSales`` 1 in the listing)."""
        everything = (_product(self.seed, index) for index in range(self.products))
        return [product.code for product in everything if product.procurable]

    def _find(self, code: str) -> _Product | None:
        index = _index_of(self.seed, code)
        if index is None or index >= self.products:
            return None
        product = _product(self.seed, index)
        return product if product.code == code else None

    def listing(
        self,
        date: dt.date,  # noqa: ARG002 - asked like its siblings; today's listing is every day's
        codes: Sequence[str] | None = None,
    ) -> list[Record]:
        """The records of ``codes``, or of every product; unknown codes are left out."""
        if codes is None:
            return [self._listed(_product(self.seed, index)) for index in range(self.products)]
        found = (self._find(code) for code in sorted(set(codes)))
        return [self._listed(product) for product in found if product is not None]

    def _listed(self, product: _Product) -> Record:
        draw = Draw(self.seed, product.index, "listing")
        record: Record = {
            "productCode": product.code,
            "productModel": product.model,
            "productGroupName" if draw.percent(15) else "productGroupNamd": product.group.name,
            "productBrandName": product.brand,
            "productImageUrl": f"{_PICTURES}/{product.code}/main.jpg",
            "productLageUrls": [
                f"{_PICTURES}/{product.code}/detail-{number}.jpg"
                for number in range(1, draw.between(1, 5))
            ],
            "isSales": _flag(product.procurable, as_text=product.flags_as_text),
            "noSalesReason": None if product.procurable else product.no_sales_reason,
        }
        # One in twelve lacks something; the code and the flag are always there.
        lot = draw.below(60)
        if lot == 0:
            record["productImageUrl"] = None
        elif lot == 1:
            record["productLageUrls"] = None
        elif lot == 2:
            del record["productLageUrls"]
        elif lot == 3:
            del record["noSalesReason"]
        elif lot == 4:
            record["noSalesReason"] = record["noSalesReason"] or ""
        return record

    def price(self, code: str, date: dt.date) -> Record | None:
        """The price record of one product on that day; None for an unknown code.

        ``invoicePrice`` = ``supplyPrice`` × (1 − ``rebateRate``) − ``rebateMoney``, exactly: where
        there is a discount, which is in whole percent, the supply price is in whole yuan. Only the
        kinds 0 and 2 have a discount, and the kind 1 has no rebate either.
        """
        product = self._find(code)
        if product is None:
            return None
        record: Record = {
            "productCode": product.code,
            "supplyPrice": None,
            "invoicePrice": None,
            "marketPrice": None,
            "rebateRate": 0,
            "rebateMoney": 0,
            "stockRebatePolicy": 0,
            "reason": None,
            "isSales": _flag(product.procurable, as_text=product.flags_as_text),
        }
        if not product.procurable:
            return record | {"reason": NOT_PROCURABLE}
        as_text = product.amounts_as_text
        # The market price is that of the base price, so it never falls below a moving price.
        market = (product.yuan * 13 // 100 + 1) * 1000 - 100
        record["marketPrice"] = _amount(market, as_text=as_text)
        if not product.priced:
            return record | {"reason": NO_PRICE}
        supply = self._supply_fen(product, date)
        invoice = supply * (100 - product.discount_percent) // 100 - product.rebate_yuan * 100
        record["supplyPrice"] = _amount(supply, as_text=as_text)
        record["invoicePrice"] = _amount(invoice, as_text=as_text)
        record["rebateMoney"] = _amount(product.rebate_yuan * 100, as_text=as_text)
        record["rebateRate"] = _amount(product.discount_percent, as_text=as_text)
        record["stockRebatePolicy"] = product.rebate_kind
        if product.index % 11 == 0:
            del record["reason"]
        return record

    def prices(self, codes: Sequence[str], date: dt.date) -> list[Record]:
        """The price records of ``codes``, by code and not in the order asked."""
        found = (self.price(code, date) for code in sorted(set(codes)))
        return [record for record in found if record is not None]

    def _supply_fen(self, product: _Product, date: dt.date) -> int:
        phase = Draw(self.seed, product.index, "phase").below(_PRICE_LIFE_DAYS)
        life = (date.toordinal() + phase) // _PRICE_LIFE_DAYS
        draw = Draw(self.seed, product.index, "supply", life)
        yuan = product.yuan * draw.between(92, 108) // 100
        cents = 0 if product.discount_percent else draw.pick((0, 0, 50, 90, 99))
        return yuan * 100 + cents

    def stock(self, code: str, county: str, date: dt.date) -> list[Record]:
        """The warehouses that could deliver one product to one county on that day, 0 to 4.

        A ``secCode`` names one place wherever it stands. Empty for a product that is unknown or
        not procurable.
        """
        product = self._find(code)
        if product is None or not product.procurable:
            return []
        if self.counties is not None and county not in self.counties:
            return []
        draw = Draw(self.seed, product.index, "warehouses", county)
        count = draw.pick((0, 1, 1, 1, 2, 2, 2, 3, 3, 4))
        slots = [0, 1, 2, 3]
        while len(slots) > count:
            slots.pop(draw.below(len(slots)))
        return [self._warehouse(product, county, slot, date) for slot in slots]

    def _warehouse(self, product: _Product, county: str, slot: int, date: dt.date) -> Record:
        """One storage location: of the county (slot 0), its city, its province, or the country.

        The last three serve many counties under one ``secCode``; six products in ten tell each of
        them the same quantity.
        """
        upper = slot >= 2
        national = product.index % _NATIONAL_WAREHOUSES + 1
        area = (county, county[:4], county[:2], str(national))[slot]
        place = Draw(self.seed, "warehouse", slot, area)
        told = Draw(self.seed, product.index, "told")
        same, moves = told.percent(60), told.percent(85)
        asked = area if same else county
        day = date.toordinal() if moves else 0
        quantity = Draw(self.seed, product.index, "stock", asked, slot, day)
        pieces = 0 if quantity.percent(8) else quantity.between(1, quantity.pick((5, 20, 120)))
        hours = (48 if upper else 24) + 12 * place.below(3)
        midnight = dt.datetime.combine(date, dt.time())
        cut = midnight + dt.timedelta(hours=place.between(14, 18))
        delivered = cut + dt.timedelta(hours=hours)
        as_text = product.flags_as_text
        record: Record = {
            "secCode": f"HFR{national}" if slot == 3 else f"{'KCP'[slot]}{_base36(int(area), 3)}",
            "stock": str(pieces),
            "warehouseGrade": _flag(upper, as_text=as_text),
            "timelinessData": {
                "cutTime": f"{cut:%Y-%m-%d %H:%M:%S}",
                "achieveUserOrderCut": f"{delivered:%Y-%m-%d %H:%M:%S}",
                "hour": str(hours) if as_text else hours,
                "isTranfer": _flag(upper, as_text=as_text),
            },
        }
        lot = place.below(20)
        if lot == 0:
            record["timelinessData"] = None
        elif lot == 1:
            del record["timelinessData"]["achieveUserOrderCut"]
        return record

    def balances(self, customer_code: str) -> list[Record]:
        """The payer accounts of one sold-to party; one of them overdrawn now and then."""
        records = []
        for group_code, group_name in _PAYER_GROUPS:
            draw = Draw(self.seed, "balance", customer_code, group_code)
            fen = draw.between(-2_000_000, 80_000_000)
            records.append(
                {
                    "saleGroupCode": group_code,
                    "saleGroupName": group_name,
                    "payerAccountCode": f"{customer_code}{group_code[-2:]}",
                    "payerAccountName": f"沙箱电器商行（{group_name}）",
                    "payerAccountBalance": _amount(fen, as_text=draw.percent(50)),
                }
            )
        return records

    def logistics(self, order_code: str, date: dt.date) -> dict[str, list[Record]]:
        """How far the deliveries of an order have come by that day.

        Known are the codes ``SO.YYYYMMDD.NNNNNN`` of that day or earlier with a number from 1 to
        99999; any other order has three empty lists. An order has 1 to 3 deliveries (the remainder
        of its number by 3, plus 1), each in one of the lists: recorded on the day of the order,
        sent on the next, under way on day 2, delivered on day 3 and each further one a day later.
        An order whose number ends in 7 has two at least, and its last stays under way for ever.
        """
        lists: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
        known = _order(order_code)
        if known is not None and known[0] <= date:
            ordered, number = known
            deliveries = 1 + number % 3
            halts = number % 10 == 7
            if halts:
                deliveries = max(2, deliveries)
            for place in range(deliveries):
                stuck = halts and place == deliveries - 1
                days = (1, 2) if stuck else (1, 2, 3 + place)
                draw = Draw(self.seed, "logistics", order_code, place)
                begun = dt.datetime.combine(ordered, dt.time(draw.between(8, 19)))
                moments = [begun + dt.timedelta(days=day, minutes=draw.below(60)) for day in days]
                record = {
                    "deliveryRecordCode": f"{order_code}.F{place + 1}",
                    "deliveryRecordDetailDtoList": [self._sent(draw)],
                }
                steps = [moment for moment in moments if moment.date() <= date]
                kind = (number + place) % 3
                lists[kind].append(record | _DELIVERIES[kind](order_code, begun, steps, draw))
        return self.in_lists(lists)

    @staticmethod
    def in_lists(lists: Sequence[list[Record]]) -> dict[str, list[Record]]:
        """The answer that holds these deliveries: central warehouse, own delivery, courier."""
        return {
            "getAllLogisticsInfoByOrderCode": lists[0],
            "getStockDeliveryLogisticsRecord": lists[1],
            "getStockDeliveryLogisticsRecordThirdparty": lists[2],
        }

    def delivery(
        self, order_code: str, place: int, begun: dt.datetime, steps: Sequence[dt.datetime]
    ) -> tuple[int, Record]:
        """One delivery (``place`` from 0) of an order that was really taken, and its list's place.

        ``steps`` are the moments, naive and of China, at which it was sent, under way, delivered,
        as far as it has come.
        """
        draw = Draw(self.seed, "logistics", order_code, place)
        kind = (int(order_code[-2:]) + place) % 3
        record = {
            "deliveryRecordCode": f"{order_code}.F{place + 1}",
            "deliveryRecordDetailDtoList": [self._sent(draw)],
        }
        return kind, record | _DELIVERIES[kind](order_code, begun, steps, draw)

    def _sent(self, draw: Draw) -> Record:
        product = _product(self.seed, draw.below(max(1, self.products)))
        return {
            "itemName": f"{product.brand}{product.group.name} {product.model}",
            "itemModel": product.model,
            "itemUnit": "台",
            "shippingQty": draw.between(1, 3),
            "itemPictureUrl": f"{_PICTURES}/{product.code}/main.jpg",
        }


# Each of the three takes the steps made so far: sent, under way, delivered. DELIVERED with 已签收
# and LF are printed by the vendor; every other code and text of a state is ours.


def _by_central_warehouse(
    order_code: str, begun: dt.datetime, steps: Sequence[dt.datetime], draw: Draw
) -> Record:
    states = (("OUTBOUND", "已出库"), ("TRANSPORT", "运输中"), ("DELIVERED", "已签收"))
    reached = [
        {"stateCode": code, "stateTime": _text_time(moment), "stateDescription": words}
        for moment, (code, words) in zip(steps, states, strict=False)
    ]
    parcel = f"RRS{draw.between(10**9, 10**10 - 1)}"
    outbound = {
        "id": draw.between(1, 10**8),
        "logisticsCompanyName": "日日顺",
        "expNo": parcel,
        "expNoList": parcel,
        **_contact(draw),
        "recordCode": f"CK{parcel[3:]}",
        "orderStatus": reached[-1]["stateCode"] if reached else None,
        "orderStatusName": reached[-1]["stateDescription"] if reached else None,
        "orderCode": order_code,
        "deliveryLogisticsDtos": reached,
        "logisticsUrl": f"https://logistics.sandbox.example/{parcel}",
        "barcodes": [f"B{draw.between(10**11, 10**12 - 1)}"],
        "sendDate": f"{steps[0]:%Y-%m-%d}" if steps else None,
    }
    return {
        "deliveryCreateTime": _text_time(begun),
        "deliveryModel": draw.pick(_DELIVERY_MODELS),
        "isTranfer": draw.below(2),
        "getStoreOutboundLogisticsInfoResultDto": [outbound] if steps else [],
    }


def _by_own_delivery(
    order_code: str,  # noqa: ARG001 - as its siblings take it
    begun: dt.datetime,  # noqa: ARG001 - as its siblings take it
    steps: Sequence[dt.datetime],
    draw: Draw,
) -> Record:
    states = (
        ("LF", "已离库", "订单已离开仓库"),
        ("PS", "配送中", "司机正在配送"),
        ("DELIVERED", "已签收", "用户已签收"),
    )
    contact = _contact(draw)
    return {
        "logisticsCode": f"ZP{draw.between(10**9, 10**10 - 1)}",
        "logisticsInfo": [
            {
                **contact,
                "statusCode": code,
                "stateTime": _text_time(moment),
                "stateName": name,
                "stateDescription": words,
                # Milliseconds since 1970, as some of the platform's times are.
                "createTime": int(moment.replace(tzinfo=SHANGHAI).timestamp() * 1000),
            }
            for moment, (code, name, words) in zip(steps, states, strict=False)
        ],
        "itemPictureUrl": None,
    }


def _by_courier(
    order_code: str,  # noqa: ARG001 - as its siblings take it
    begun: dt.datetime,  # noqa: ARG001 - as its siblings take it
    steps: Sequence[dt.datetime],
    draw: Draw,
) -> Record:
    nodes = (
        ("已揽收", "快件已由网点揽收", "1"),
        ("运输中", "快件正在运往您所在的区县", "0"),
        ("已签收", "快件已签收，感谢使用", "3"),
    )
    number = f"YT{draw.between(10**12, 10**13 - 1)}"
    parcel = {
        "logisticsNo": number,
        "logisticsName": draw.pick(("圆通速递", "中通快递", "德邦快递")),
        "logisticsInfo": [
            {"nodeName": name, "context": words, "stateTime": _text_time(moment), "state": state}
            for moment, (name, words, state) in zip(steps, nodes, strict=False)
        ],
    }
    return {"logisticsNoList": [parcel] if steps else []}


_DELIVERIES = (_by_central_warehouse, _by_own_delivery, _by_courier)


def _contact(draw: Draw) -> Record:
    """A driver who does not exist; the telephone number is from no network's range."""
    return {
        "vehicleInformation": f"鲁B{draw.between(10_000, 99_999)}",
        "deliveryContact": draw.pick(_DRIVERS),
        "deliveryPhone": f"100{draw.between(10_000_000, 99_999_999)}",
    }


def as_in_v1_0_7(price: Record) -> Record:
    """A price record in the older form: the discount under the name of the kind, or its text."""
    price = dict(price)
    rate, kind = price.pop("rebateRate"), price["stockRebatePolicy"]
    if kind != 0 and not float(rate):
        rate = _REBATE_TEXTS[kind]
    return price | {"stockRebatePolicy": rate}


def _text_time(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _base36(number: int, width: int) -> str:
    digits = ""
    while number or len(digits) < width:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def _flag(value: bool, *, as_text: bool) -> str | int:
    return str(int(value)) if as_text else int(value)


def _amount(fen: int, *, as_text: bool) -> str | int | float:
    """Hundredths on the wire: ``"2999.00"``, 2999 or 2999.5. The float prints as exactly that."""
    if as_text:
        return f"{'-' if fen < 0 else ''}{abs(fen) // 100}.{abs(fen) % 100:02}"
    return fen // 100 if fen % 100 == 0 else fen / 100


def _order(order_code: str) -> tuple[dt.date, int] | None:
    """The day and the number of an order code that the sandbox knows."""
    parts = re.fullmatch(r"SO\.(\d{4})(\d{2})(\d{2})\.0(\d{5})", order_code, re.ASCII)
    if parts is None or int(parts[4]) == 0:
        return None
    try:
        return dt.date(int(parts[1]), int(parts[2]), int(parts[3])), int(parts[4])
    except ValueError:
        return None
