"""What REST takes and answers, as the OpenAPI description shows it.

Shapes, limits and examples only. A value that is a secret can be written and never read.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, create_model

from haier_pipeline.domain.product import COUNTY_PATTERN
from haier_pipeline.platform.config import (
    FIELDS,
    MAX_NAME_LENGTH,
    NUMBER_FIELDS,
    SECRET_FIELDS,
)

T = TypeVar("T")

MOST_ROWS: Final = 200
MOST_CODES: Final = 100

#: What no parameter may hold: C0 and C1 controls, line separators, bidirectional controls. They
#: would act on the terminal or the page that shows them.
CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
#: Text that a database column can hold and a log line can show.
PRINTABLE: Final = rf"^[^{CONTROLS}]+$"
CODE: Final = rf"^[^{CONTROLS},]{{1,100}}$"
COUNTY: Final = f"^{COUNTY_PATTERN}$"

POSITION: Final[Any] = Field(
    description="Where a reader that has these rows is: send it as `after_position` to get what "
    "changes later. Who reads the whole list first takes that of its first page."
)
Amount = Annotated[str, Field(description="CNY, an exact decimal", examples=["2999.00"])]
Code = Annotated[str, StringConstraints(pattern=CODE, strip_whitespace=True)]
County = Annotated[str, StringConstraints(pattern=COUNTY)]
SyncType = Literal["products", "prices", "stock", "order", "logistics", "manual", "balance"]
Status = Literal["pending", "processing", "success", "failed", "partial"]


class _Answer(BaseModel):
    """Something that is only answered."""

    model_config = ConfigDict(from_attributes=True)


class _Body(BaseModel):
    """Something that is sent: a field nobody knows is an error (fault matrix, row 52)."""

    model_config = ConfigDict(extra="forbid")


class Answer(_Answer, Generic[T]):
    """One thing."""

    success: Literal[True] = True
    data: T


class Page(_Answer, Generic[T]):
    """A page of a list; ``next`` is null on the last one."""

    success: Literal[True] = True
    data: list[T]
    next: int | None = Field(None, description="Send it to get the next page.")


# --------------------------------------------------------------------------------- live queries


class Unreadable(_Answer):
    """A record of the platform that could not be read."""

    code: str | None
    field: str | None
    reason: str


class LiveAnswer(_Answer, Generic[T]):
    """What the platform says now.

    ``missing``: codes that it said nothing about; ``rejected``: records that cannot be read.
    """

    success: Literal[True] = True
    data: T
    missing: list[str] = []
    rejected: list[Unreadable] = []


class LiveProduct(_Answer):
    """Whether a product may be bought."""

    product_code: str = Field(examples=["GA0SZC00U"])
    product_model: str | None = Field(examples=["EC6001-HT3"])
    product_group: str | None = Field(examples=["电热水器"])
    brand: str | None = Field(examples=["海尔"])
    product_image_url: str | None
    product_page_urls: list[str]
    is_sales: Literal["0", "1"] = Field(description="1: may be bought")
    no_sales_reason: str | None


class LivePrice(_Answer):
    """Haier's prices of a product; one that is not in force is null."""

    product_code: str = Field(examples=["GA0SZC00U"])
    supply_price: Amount | None
    invoice_price: Amount | None
    market_price: Amount | None
    stock_rebate: Amount | None = Field(
        description="Direct discount, a fraction", examples=["0.03"]
    )
    rebate_policy: str | None = Field(
        description="Kind of rebate: 0 normal, 1 none, 2 firewall, 5 fixed price, or Haier's text",
        examples=["0"],
    )
    rebate_money: Amount | None = Field(description="Rebate per unit")
    reason: str | None = Field(description="Why there is no price", examples=["价格未生效"])


class LiveWarehouse(_Answer):
    """How many stand in one warehouse."""

    sec_code: str
    stock: int
    warehouse_grade: str | None = Field(description="0: own level, 1: upper level")
    cut_time: str | None
    expected_delivery_at: str | None
    delivery_hours: str | None = Field(examples=["24"])
    is_transfer: bool | None


class LiveStock(_Answer):
    """The stock of a product for a county: the sum over its warehouses, and each of them."""

    product_code: str
    county_code: str
    stock: int
    warehouses: list[LiveWarehouse]


class LiveBalance(_Answer):
    """One payer account; it may be overdrawn."""

    payer_account_code: str
    payer_account_name: str | None
    sale_group_code: str | None
    sale_group_name: str | None
    balance: Amount


class LiveLogistics(_Answer):
    """Where an order is: the platform's own records, from its three lists."""

    order_code: str
    central: list[Any] = Field(description="Central warehouse")
    own: list[Any] = Field(description="Own delivery")
    third_party: list[Any] = Field(description="Third-party courier")


# ------------------------------------------------------------------------------- catalog and log


class CatalogProduct(_Answer):
    """A row of the table ``product``; ``brand`` is its brand's name."""

    product_code: str = Field(examples=["GA0SZC00U"])
    name: str
    product_model: str | None
    product_group: str | None
    brand: str | None
    price: Amount | None = Field(description="The shop's own selling price")
    supply_price: Amount | None
    invoice_price: Amount | None
    market_price: Amount | None
    stock_rebate: Amount | None
    rebate_money: Amount | None
    rebate_policy: str | None = Field(
        description="Kind of rebate: 0 normal, 1 none, 2 firewall, 5 fixed price, or Haier's text"
    )
    product_image_url: str | None
    product_page_urls: list[str]
    is_sales: Literal["0", "1"]
    no_sales_reason: str | None
    stock: int | None
    warehouse_code: str | None
    warehouse_grade: str | None
    source: str
    is_active: bool
    sync_date: date
    created_at: datetime
    updated_at: datetime
    last_sync_at: datetime
    removed: Literal[False]


class RemovedProduct(_Answer):
    """A product that is gone from the table, or that no longer matches the filters."""

    product_code: str
    removed: Literal[True]


class CatalogPage(_Answer):
    """A page of products by product code; ``next`` is null on the last one."""

    success: Literal[True] = True
    data: list[CatalogProduct | RemovedProduct]
    next: str | None = Field(description="Send it as `after` to get the next page.")
    position: str = POSITION


class WarehouseStock(_Answer):
    """What stands in one warehouse for one county."""

    product_code: str
    county_code: str
    sec_code: str
    stock: int
    warehouse_grade: str | None
    cut_time: str | None
    expected_delivery_at: datetime | None
    delivery_hours: str | None = Field(description="Hours, an exact decimal", examples=["24"])
    is_transfer: bool | None
    is_counted: bool = Field(description="Whether it is part of the product's stock")
    sync_date: date
    synced_at: datetime
    removed: Literal[False]


class RemovedStock(_Answer):
    """A row of stock that is gone, or that no longer matches the filters."""

    product_code: str
    county_code: str
    sec_code: str
    removed: Literal[True]


class StockPage(_Answer):
    """A page of stock by product code, county and warehouse; ``next`` is null on the last one."""

    success: Literal[True] = True
    data: list[WarehouseStock | RemovedStock]
    next: str | None = Field(description="Send it as `after` to get the next page.")
    position: str = POSITION


class CatalogChange(_Answer):
    """What moved on a product since the dealer's sync before."""

    sync_date: date
    product_code: str
    kind: str
    old_value: str | None
    new_value: str | None
    removed: Literal[False]


class RemovedChange(_Answer):
    """A change that turned out to be none when the day was synced again."""

    sync_date: date
    product_code: str
    kind: str
    removed: Literal[True]


class ChangesPage(_Answer):
    """A page of changes by day, product code and kind; ``next`` is null on the last one."""

    success: Literal[True] = True
    data: list[CatalogChange | RemovedChange]
    next: str | None = Field(description="Send it as `after` to get the next page.")
    position: str = POSITION


class CheckResult(_Answer):
    """How an asset check ended."""

    name: str
    passed: bool
    severity: str
    description: str
    metadata: dict[str, Any] = {}


class LogEntry(_Answer):
    """A row of the sync log: one attempt to materialize one asset, or one live query."""

    id: int
    sync_type: SyncType
    sync_type_label: str = Field(examples=["商品"])
    status: Status
    status_label: str = Field(examples=["部分成功"])
    message: str
    total_count: int
    success_count: int
    failed_count: int
    dealer: str
    sync_date: date | None
    run_id: str | None
    attempt: int
    asset_key: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration: float | None = Field(description="Seconds; null until the end")
    metadata: dict[str, Any]
    checks: list[Any]


# ------------------------------------------------------------------------------------- dealers

Secret = Annotated[
    SecretStr | None,
    Field(json_schema_extra={"writeOnly": True}, max_length=500),
]
_ConfigText = Annotated[str | None, Field(max_length=500, pattern=rf"^[^{CONTROLS}]*$")]


#: What a key means, where its name does not say it.
_KEY_DESCRIPTIONS: Final = {
    "rate_limit": "Calls a second; 100 where left out, by an older note of Haier's (V1.0.7)",
    "ylh_base_url": "The order side's address; follows `base_url` where that is Haier's",
    "ylh_seller_code": "Orders are placed as this code; `customer_code` where left out",
    "ylh_rate_limit": "Calls a second at the order side; 100 where left out",
    "ylh_callback_secret_previous": "Accepted too, while the secret is being changed",
    "order_confirm_hours": "A confirmation that takes longer is overdue; 24 where left out",
}


class _ConfigValues(_Body):
    """The keys of a dealer's configuration; one left out or null has its default.

    `customer_code` is the sold-to and `send_to_code` the ship-to party, ten digits each.

    Required are `client_id`, `client_secret`, `customer_code`, `send_to_code`, `password` and
    `seller_password`. `token_url` follows `base_url` where it is left out; both lead to Haier's
    hosts or to hosts that the operator of this installation allows. Those that begin with `ylh_`
    are for retail orders: all of them together, or none.
    """

    model_config = ConfigDict(
        title="ConfigValues",
        json_schema_extra={
            "examples": [
                {
                    "client_id": "dealer-client",
                    "client_secret": "…",
                    "base_url": "https://openplat-bj-aliyun.haier.net",
                    "customer_code": "8800123456",
                    "send_to_code": "8800654321",
                    "password": "…",
                    "seller_password": "…",
                    "county_codes": ["110101"],
                }
            ]
        },
    )

    def given(self) -> dict[str, Any]:
        """The keys that were sent, secrets in the clear."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
        }


class _ShownConfig(_Answer):
    """The keys that are no secret, with their defaults."""


class _ShownSecrets(_Answer):
    """Which secrets are set. Their values are never shown."""


def _sent(key: str) -> tuple[Any, Any]:
    """Type and default of a key that is sent."""
    meaning = _KEY_DESCRIPTIONS.get(key)
    if key in SECRET_FIELDS:
        return Secret, Field(None, description=meaning)
    if key in NUMBER_FIELDS:
        return int | None, Field(
            None, ge=1, le=NUMBER_FIELDS[key], strict=True, description=meaning
        )
    if key == "county_codes":
        return list[County] | None, Field(None, max_length=1_000)
    return _ConfigText, Field(None, description=meaning)


def _answered(key: str) -> tuple[Any, Any]:
    """Type of a key that is shown; it is always there."""
    if key == "county_codes":
        return list[str], ...
    return (int if key in NUMBER_FIELDS else str) | None, ...


if TYPE_CHECKING:

    class ConfigValues(_ConfigValues): ...

    class ShownConfig(_ShownConfig): ...

    class ShownSecrets(_ShownSecrets): ...

else:
    # Made of the keys that there are, so that a new one need not be named here.
    ConfigValues = create_model(
        "ConfigValues",
        __base__=_ConfigValues,
        __doc__=_ConfigValues.__doc__,
        __module__=__name__,
        **{key: _sent(key) for key in FIELDS},
    )
    ShownConfig = create_model(
        "ShownConfig",
        __base__=_ShownConfig,
        __doc__=_ShownConfig.__doc__,
        __module__=__name__,
        **{key: _answered(key) for key in FIELDS if key not in SECRET_FIELDS},
    )
    ShownSecrets = create_model(
        "ShownSecrets",
        __base__=_ShownSecrets,
        __doc__=_ShownSecrets.__doc__,
        __module__=__name__,
        **{key: (bool, ...) for key in FIELDS if key in SECRET_FIELDS},
    )


class NewDealer(_Body):
    """A dealer to be stored."""

    name: str = Field(
        min_length=1, max_length=MAX_NAME_LENGTH, pattern=PRINTABLE, examples=["beijing"]
    )
    config: ConfigValues
    is_active: bool = Field(True, strict=True)


class ReplacedDealer(_Body):
    """A whole configuration in place of the stored one, secrets included."""

    config: ConfigValues
    is_active: bool = Field(True, strict=True)


class ChangedDealer(_Body):
    """What changes; what is left out stays. A null takes a key back to its default.

    A `base_url` or `token_url` on another host wants all secrets again, a `ylh_base_url` those of
    the order side.
    """

    config: ConfigValues | None = None
    is_active: bool | None = Field(None, strict=True)


class ShownDealer(_Answer):
    """A dealer."""

    id: int = Field(description="0: the dealer of the environment's variables, which is read-only")
    name: str
    source: Literal["stored", "environment"]
    is_active: bool
    is_shadowed: bool = Field(description="The variables of the environment win over this one.")
    unknown_keys: list[str] = Field(
        [], description="What else its row holds, by name; it is left as it is."
    )
    config: ShownConfig
    secrets: ShownSecrets
    created_at: datetime | None
    updated_at: datetime | None


class TestResult(_Answer):
    """What came of a test of the connection."""

    ok: bool
    failed: Literal["token", "listing"] | None = Field(description="The call that did not work")
    message: str = Field(
        examples=["Token and listing work: 2016 products, 1731 procurable."],
    )


# --------------------------------------------------------------------------------------- syncs


class SyncBody(_Body):
    """What to sync; without codes every product and county of the dealer."""

    dealer: str | None = Field(None, max_length=MAX_NAME_LENGTH, pattern=PRINTABLE)
    product_codes: list[Code] = Field([], max_length=MOST_ROWS)
    county_codes: list[County] = Field([], max_length=MOST_ROWS)
    prices: bool = Field(True, strict=True)
    stock: bool = Field(True, strict=True)
    accept_shrink: bool = Field(
        False, strict=True, description="Let a much shorter listing pass this once."
    )


class AcceptedSync(_Answer):
    """A sync that was accepted; its rows of the log have this run id."""

    run_id: str
    dealer: str
    status: Literal["pending"] = "pending"
