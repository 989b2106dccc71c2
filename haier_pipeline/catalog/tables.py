"""The tables, as SQLAlchemy Core sees them. What is in them is explained in docs/tables.md.

Only definitions belong here. The database is changed by the migrations beside this module; a test
proves that both describe the same tables.

Two rules run through all of them. Amounts are ``numeric`` without a scale and lie in ``[0, 10¹⁰)``:
the upper bound also keeps out NaN, which PostgreSQL sorts above every number. Text that becomes
part of a key has a bounded length, since a B-tree refuses longer ones.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from haier_pipeline.domain.assets import SYNC_TYPES
from haier_pipeline.domain.order_state import EVENT_KINDS, STATES
from haier_pipeline.domain.product import AMOUNT_COLUMNS, BRAND_LENGTH, CHANGE_KINDS

DEALER_LENGTH = 50
CODE_LENGTH = 100

STATUSES = ("pending", "processing", "success", "failed", "partial")
FINAL_STATUSES = ("success", "failed", "partial")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOW = text("now()")


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=False), primary_key=True)


def _dealer(*, key: bool = False) -> Column[str]:
    return Column("dealer", String(DEALER_LENGTH), nullable=False, primary_key=key)


def _time(name: str, *, required: bool = True) -> Column[object]:
    default = NOW if required else None
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=default)


def _change_xid() -> Column[int]:
    """The transaction that changed the row last in anything a reader cares for; triggers write it
    (``migrations/followed.py``). 0: not since there is such a column."""
    return Column("change_xid", BigInteger, nullable=False, server_default="0")


def _amounts(*names: str) -> list[Column[object] | CheckConstraint]:
    parts: list[Column[object] | CheckConstraint] = [Column(name, Numeric) for name in names]
    parts += [CheckConstraint(f"{name} >= 0 AND {name} < 1e10", name=name) for name in names]
    return parts


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


# Which database this is, and which programs may use it: one row.
haier_database = Table(
    "haier_database",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    # Goes into the positions of readers; another one ends all that were handed out.
    Column("id", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    # The newest migration of the oldest program that may use the database.
    Column("oldest_program", String(32), nullable=False),
    _time("created_at"),
    # From this day on answers are stored packed; before it as the version before this one reads
    # them, which may still run beside this one.
    Column("packed_from", Date, nullable=False, server_default="0001-01-01"),
    CheckConstraint("only_row", name="only_row"),
)

haier_config = Table(
    "haier_config",
    metadata,
    _id(),
    Column("name", String(DEALER_LENGTH), nullable=False),
    Column("config", JSONB, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("name"),
)

haier_sync_log = Table(
    "haier_sync_log",
    metadata,
    _id(),
    Column("sync_type", String(20), nullable=False),
    Column("status", String(20), nullable=False, server_default="pending"),
    Column("message", Text, nullable=False, server_default=""),
    Column("total_count", Integer, nullable=False, server_default="0"),
    Column("success_count", Integer, nullable=False, server_default="0"),
    Column("failed_count", Integer, nullable=False, server_default="0"),
    _time("started_at", required=False),
    _time("completed_at", required=False),
    _time("created_at"),
    _dealer(),
    Column("sync_date", Date),
    Column("run_id", String(64)),
    # The first run of a chain of retries: what was fetched under it is not fetched again.
    Column("root_run_id", String(64)),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("asset_key", String(100)),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("checks", JSONB, nullable=False, server_default="[]"),
    _one_of("sync_type", SYNC_TYPES),
    _one_of("status", STATUSES),
    CheckConstraint(
        "total_count = success_count + failed_count"
        " AND total_count >= 0 AND success_count >= 0 AND failed_count >= 0",
        name="counts_add_up",
    ),
    CheckConstraint(
        "(completed_at IS NOT NULL) = (status IN ('success', 'failed', 'partial'))",
        name="completed_when_final",
    ),
    Index(None, "sync_type"),
    Index(None, "status"),
    Index(None, "created_at"),
    Index("ix_haier_sync_log_status_newest", "status", text("created_at DESC")),
    Index("ix_haier_sync_log_sync_type_newest", "sync_type", text("created_at DESC")),
    Index("ix_haier_sync_log_partition", "dealer", "sync_date", "asset_key"),
    Index(None, "run_id"),
    # The log is read newest first by id, which never repeats; a filter must not cost a scan.
    Index(None, "dealer", "id"),
    Index(None, "status", "id"),
    Index(None, "sync_type", "id"),
    # Whoever counts what has ended reads only what ended since the last time.
    Index(None, "completed_at"),
    # The newest end of each asset of each dealer, and a dealer's oldest row since a day.
    Index(
        "ix_haier_sync_log_last_end",
        "dealer",
        "asset_key",
        text("completed_at DESC"),
        text("id DESC"),
        postgresql_where=text("asset_key IS NOT NULL"),
    ),
    Index(
        "ix_haier_sync_log_seen",
        "dealer",
        "created_at",
        postgresql_where=text("asset_key IS NOT NULL"),
    ),
    # The attempts of a chain of runs.
    Index(None, "root_run_id", "asset_key"),
)

# A request that starts something is carried out once, however often it is sent.
idempotency_key = Table(
    "idempotency_key",
    metadata,
    # Of the token that sent it: two callers may choose the same key.
    Column("caller", String(50), primary_key=True),
    Column("key", String(200), primary_key=True),
    # What was asked for, so that a key which is used for something else is noticed.
    Column("request_hash", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    _time("created_at"),
    Index(None, "created_at"),
)

brand = Table(
    "brand",
    metadata,
    _id(),
    _dealer(),
    Column("name", String(BRAND_LENGTH), nullable=False),
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("dealer", "name"),
)

product = Table(
    "product",
    metadata,
    _id(),
    _dealer(),
    Column("product_code", String(CODE_LENGTH), nullable=False),
    Column("name", Text, nullable=False),
    Column("product_model", Text),
    Column("product_group", Text),
    Column("brand_id", BigInteger, ForeignKey("brand.id")),
    *_amounts("price", *AMOUNT_COLUMNS),
    Column("product_image_url", Text),
    Column("product_page_urls", JSONB, nullable=False, server_default="[]"),
    Column("is_sales", String(1), nullable=False),
    Column("no_sales_reason", Text),
    Column("stock", BigInteger),
    Column("warehouse_code", String(CODE_LENGTH)),
    Column("warehouse_grade", Text),
    Column("source", String(20), nullable=False, server_default="haier"),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("sync_date", Date, nullable=False),
    _time("created_at"),
    _time("updated_at"),
    _time("last_sync_at"),
    Column("rebate_policy", Text),
    _change_xid(),
    UniqueConstraint("dealer", "product_code"),
    _one_of("is_sales", ("0", "1")),
    CheckConstraint("stock >= 0", name="stock"),
    Index(None, "brand_id"),
    # For shops that ask what has changed since they asked last.
    Index(None, "dealer", "updated_at"),
    Index("ix_product_followed", "dealer", "change_xid", "product_code"),
    # Room on each page for a new version of its rows: the time of sync changes every day, and
    # an update that finds room beside the old row touches no index.
    postgresql_with={"fillfactor": 50},
)

product_stock = Table(
    "product_stock",
    metadata,
    _dealer(key=True),
    Column("product_code", String(CODE_LENGTH), primary_key=True),
    Column("county_code", String(6), primary_key=True),
    Column("sec_code", String(CODE_LENGTH), primary_key=True),
    Column("stock", BigInteger, nullable=False),
    Column("warehouse_grade", Text),
    Column("cut_time", Text),
    Column("expected_delivery_at", DateTime(timezone=True)),
    Column("delivery_hours", Numeric),
    Column("is_transfer", Boolean),
    Column("sync_date", Date, nullable=False),
    _time("synced_at"),
    # Whether it is part of product.stock; true where an older program wrote the row.
    Column("is_counted", Boolean, nullable=False, server_default=text("true")),
    _change_xid(),
    CheckConstraint("stock >= 0", name="stock"),
    # All quantities may move every hour: since PostgreSQL 16 a BRIN index lets their rows be
    # rewritten in place.
    Index(
        "ix_product_stock_followed",
        "change_xid",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 16},
    ),
    CheckConstraint("delivery_hours >= 0 AND delivery_hours < 1e6", name="delivery_hours"),
    postgresql_with={"fillfactor": 50},
)

catalog_change = Table(
    "catalog_change",
    metadata,
    _dealer(key=True),
    Column("sync_date", Date, primary_key=True),
    Column("product_code", String(CODE_LENGTH), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("old_value", Text),
    Column("new_value", Text),
    _change_xid(),
    _one_of("kind", CHANGE_KINDS),
    Index(
        "ix_catalog_change_followed", "dealer", "change_xid", "sync_date", "product_code", "kind"
    ),
)

# What went from a followed table, so that a reader who was away a while learns of it.
catalog_removed = Table(
    "catalog_removed",
    metadata,
    Column("table_name", String(63), primary_key=True),
    _dealer(key=True),
    Column("key", JSONB, primary_key=True),
    Column("change_xid", BigInteger, nullable=False),
    _time("removed_at"),
    Index("ix_catalog_removed_followed", "table_name", "dealer", "change_xid"),
    Index(None, "removed_at"),
)

rejected_record = Table(
    "rejected_record",
    metadata,
    _id(),
    _dealer(),
    Column("sync_date", Date, nullable=False),
    Column("asset_key", String(100), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", JSONB),
    _time("created_at"),
    Index(None, "dealer", "sync_date"),
)

account_balance = Table(
    "account_balance",
    metadata,
    _dealer(key=True),
    Column("sync_date", Date, primary_key=True),
    Column("payer_account_code", String(CODE_LENGTH), primary_key=True),
    Column("sale_group_code", String(CODE_LENGTH), primary_key=True, server_default=""),
    Column("payer_account_name", Text),
    Column("sale_group_name", Text),
    # An account can be overdrawn: the one amount that may be negative.
    Column("balance", Numeric, nullable=False),
    Column("payload", JSONB, nullable=False),
    _time("fetched_at"),
    CheckConstraint("balance > -1e12 AND balance < 1e12", name="balance"),
)

order_logistics = Table(
    "order_logistics",
    metadata,
    _id(),
    _dealer(),
    Column("sync_date", Date, nullable=False),
    Column("order_code", String(CODE_LENGTH), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("position", Integer, nullable=False),
    Column("payload", JSONB, nullable=False),
    _time("fetched_at"),
    # When what the payload held of drivers and contacts was taken out of it.
    _time("people_removed_at", required=False),
    _one_of("kind", ("central", "own", "third_party")),
    UniqueConstraint("dealer", "sync_date", "order_code", "kind", "position"),
)
Index(
    "ix_order_logistics_with_people",
    order_logistics.c.dealer,
    order_logistics.c.order_code,
    postgresql_where=order_logistics.c.people_removed_at.is_(None),
)


# The orders whose logistics are asked for until they are delivered; the shop puts them in.
tracked_order = Table(
    "tracked_order",
    metadata,
    _id(),
    _dealer(),
    Column("order_code", String(CODE_LENGTH), nullable=False),
    Column("delivery_record_code", String(CODE_LENGTH)),
    Column("member_id", String(CODE_LENGTH)),
    _time("created_at"),
    _time("checked_at", required=False),
    _time("delivered_at", required=False),
    UniqueConstraint("dealer", "order_code"),
)


def _raw(name: str, *key: Column[str]) -> Table:
    """What a version before this one stores its answers in: a row, with its payload, for each."""
    return Table(
        name,
        metadata,
        _dealer(key=True),
        Column("sync_date", Date, primary_key=True),
        Column("product_code", String(CODE_LENGTH), primary_key=True),
        *key,
        Column("payload", JSONB, nullable=False),
        Column("root_run_id", String(64), nullable=False),
        _time("fetched_at"),
    )


raw_product_listing = _raw("raw_product_listing")
raw_price_quote = _raw("raw_price_quote")
raw_stock_level = _raw("raw_stock_level", Column("county_code", String(6), primary_key=True))

RAW_TABLES = {
    "product_listings": raw_product_listing,
    "price_quotes": raw_price_quote,
    "stock_levels": raw_stock_level,
}

# Numbers the packs of answers in their order, and the payloads of a day.
raw_number = Sequence("raw_number", metadata=metadata)

# What the platform said, each content once for a dealer and an interface. A partition holds the
# payloads that were met first in one month; the upper half of ``id`` is the day (``catalog.raw``).
raw_payload = Table(
    "raw_payload",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("payload", JSONB, nullable=False),
    Index(None, "hash", "id"),
    postgresql_partition_by="RANGE (id)",
)

# Which answers a day consists of: hundreds in a row, since a day that repeats the last one would
# otherwise be as large as its keys. A partition holds one day.
raw_answer = Table(
    "raw_answer",
    metadata,
    _dealer(key=True),
    Column("sync_date", Date, primary_key=True),
    Column("asset_key", String(100), primary_key=True),
    # Of two answers about the same, that of the later pack counts.
    Column(
        "position",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=text("nextval('raw_number'::regclass)"),
    ),
    Column("root_run_id", String(64), nullable=False),
    Column("product_codes", ARRAY(Text(collation="C")), nullable=False),
    # Only of stock.
    Column("county_codes", ARRAY(Text(collation="C"))),
    Column("payload_ids", ARRAY(BigInteger), nullable=False),
    _time("fetched_at"),
    postgresql_partition_by="LIST (sync_date)",
)

# Which products stood in a listing, since when and until when, so that nobody has to search the
# listings for it. The last day moves daily: in no index, and with room beside the row.
listed_product = Table(
    "listed_product",
    metadata,
    _dealer(key=True),
    Column("product_code", String(CODE_LENGTH), primary_key=True),
    Column("first_date", Date, nullable=False),
    Column("last_date", Date, nullable=False),
    postgresql_with={"fillfactor": 50},
)

raw_partition = Table(
    "raw_partition",
    metadata,
    _dealer(key=True),
    Column("sync_date", Date, primary_key=True),
    Column("asset_key", String(100), primary_key=True),
    Column("root_run_id", String(64), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=NOW),
    _time("completed_at", required=False),
    # Readable records of the last complete answer.
    Column("record_count", Integer, nullable=False, server_default="0"),
    # The partition holds everything the dealer may buy, not only products somebody chose.
    Column("is_complete", Boolean, nullable=False, server_default=text("false")),
    _time("loaded_at", required=False),
    # Those of the day's longest complete answer: what the shrink check measures the next against.
    Column("longest_count", Integer, nullable=False, server_default="0"),
    # An operator said that a shrunken listing is right: what was longer before no longer counts.
    Column("shrink_accepted", Boolean, nullable=False, server_default=text("false")),
    # Records of the last complete answer without a readable code: any product may be one of them.
    Column("nameless_count", Integer, nullable=False, server_default="0"),
)

priced_product = Table(
    "priced_product",
    metadata,
    _dealer(key=True),
    Column("sync_date", Date, primary_key=True),
    Column("product_code", String(CODE_LENGTH), primary_key=True),
    Column("product_model", Text),
    Column("product_group", Text),
    Column("brand", String(BRAND_LENGTH)),
    Column("product_image_url", Text),
    Column("product_page_urls", JSONB, nullable=False, server_default="[]"),
    Column("is_sales", String(1), nullable=False),
    Column("no_sales_reason", Text),
    *_amounts(*AMOUNT_COLUMNS),
    Column("no_price_reason", Text),
    Column("rebate_policy", Text),
    # The first day that the row does not hold for; while it holds, 9999-12-31, which every driver
    # can read. Null where a version before this one wrote it, for the one day.
    Column("valid_to", Date),
    _one_of("is_sales", ("0", "1")),
    CheckConstraint("valid_to > sync_date", name="valid_to"),
    Index(None, "dealer", "valid_to"),
)

# What a version before this one books its calls in; it may still run beside this one.
dealer_pace = Table(
    "dealer_pace",
    metadata,
    _dealer(key=True),
    Column("booked", ARRAY(Double), nullable=False, server_default="{}"),
    prefixes=["UNLOGGED"],
)

# Worthless after a crash of the server, and written ten times a second: not worth a journal. A
# nearly empty page leaves room for the row's next versions beside it, so that it never moves.
client_pace = Table(
    "client_pace",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("origin", Text, primary_key=True),
    Column("booked", ARRAY(Double), nullable=False, server_default="{}"),
    Column("counts", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("rates", JSONB, nullable=False, server_default="{}"),
    prefixes=["UNLOGGED"],
    postgresql_with={"fillfactor": 10},
)

client_token = Table(
    "client_token",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("origin", Text, primary_key=True),
    # Who has another secret neither finds nor disturbs the row.
    Column("secret_hash", String(64), primary_key=True),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("note", Text),
    _time("renew_at", required=False),
    # Who is renewing it, and until when the others wait.
    Column("holder", Uuid),
    _time("held_until", required=False),
    _time("updated_at"),
)


# ---------------------------------------------------------------------------------- retail orders

# Of an order's number, the shop's or Haier's; callbacks bring them too.
NUMBER_LENGTH = 100

# Personal columns hold ciphertext (``orders/cipher.py``); null once they were removed.
retail_order = Table(
    "retail_order",
    metadata,
    _id(),
    _dealer(),
    Column("so_id", String(64), nullable=False),
    Column("online_no", String(64), nullable=False),
    Column("state", String(20), nullable=False, server_default="new"),
    Column("haier_order_no", String(NUMBER_LENGTH)),
    Column("consignee_name", Text),
    Column("consignee_mobile", Text),
    Column("province", Text, nullable=False),
    Column("city", Text, nullable=False),
    Column("area", Text, nullable=False),
    Column("town", Text),
    Column("detail_address", Text),
    Column("remark", Text),
    Column("total_amount", Numeric, nullable=False),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    _time("distribution_at", required=False),
    _time("install_at", required=False),
    Column("is_government_order", Boolean, nullable=False, server_default=text("false")),
    Column("state_reason", Text),
    # A push of it may have reached Haier without our knowing.
    Column("may_have_arrived", Boolean, nullable=False, server_default=text("false")),
    Column("push_attempts", Integer, nullable=False, server_default="0"),
    _time("pushed_at", required=False),
    _time("confirmed_at", required=False),
    _time("cancelled_at", required=False),
    _time("delivered_at", required=False),
    _time("created_at"),
    _time("updated_at"),
    # Whether the same number comes with the same content; encrypted, gone with personal data.
    Column("content_hash", Text),
    # Finds a mobile number without holding it.
    Column("mobile_digest", String(64)),
    # Codes of what a person has to look at.
    Column("attention", JSONB, nullable=False, server_default="[]"),
    # After a restore of the database it goes by hand only.
    Column("is_held", Boolean, nullable=False, server_default=text("false")),
    _time("tracked_at", required=False),
    _time("pictured_at", required=False),
    _time("ended_at", required=False),
    _time("people_removed_at", required=False),
    UniqueConstraint("dealer", "so_id"),
    _one_of("state", STATES),
    CheckConstraint("total_amount >= 0 AND total_amount < 1e16", name="total_amount"),
    Index(None, "dealer", "id"),
    Index(None, "dealer", "state", "id"),
    Index(None, "dealer", "haier_order_no"),
    Index(None, "dealer", "online_no"),
    Index(None, "mobile_digest"),
    # Looked through every ten seconds: it must stay as short as what is to be sent.
    Index(
        "ix_retail_order_to_send",
        "dealer",
        "id",
        postgresql_where=text("state IN ('new', 'pushing')"),
    ),
    Index(
        "ix_retail_order_with_people",
        "ended_at",
        postgresql_where=text("people_removed_at IS NULL"),
    ),
)

retail_order_item = Table(
    "retail_order_item",
    metadata,
    Column("order_id", BigInteger, ForeignKey("retail_order.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_code", String(CODE_LENGTH), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("retail_price", Numeric, nullable=False),
    Column("discount_amount", Numeric, nullable=False, server_default="0"),
    Column("actual_price", Numeric, nullable=False),
    Column("is_gift", Boolean, nullable=False, server_default=text("false")),
    Column("received_quantity", Integer, nullable=False, server_default="0"),
    Column("returned_quantity", Integer, nullable=False, server_default="0"),
    Column("rejected_quantity", Integer, nullable=False, server_default="0"),
    CheckConstraint("quantity >= 1", name="quantity"),
    *(
        CheckConstraint(f"{name} >= 0 AND {name} < 1e10", name=name)
        for name in ("retail_price", "discount_amount", "actual_price")
    ),
)

# Where a shop that writes SQL puts its orders; plain until they are taken over.
retail_order_inbox = Table(
    "retail_order_inbox",
    metadata,
    _id(),
    _dealer(),
    Column("payload", JSONB, nullable=False),
    _time("created_at"),
    Column("problem", Text),
    Index(
        "ix_retail_order_inbox_waiting",
        "dealer",
        "id",
        postgresql_where=text("problem IS NULL"),
    ),
)

order_event = Table(
    "order_event",
    metadata,
    _id(),
    # Null where nobody knows the order (yet).
    Column("order_id", BigInteger, ForeignKey("retail_order.id")),
    _dealer(),
    Column("kind", String(20), nullable=False),
    # Of a callback; null where the event is our own.
    Column("method", String(NUMBER_LENGTH)),
    Column("platform_order_no", String(NUMBER_LENGTH)),
    Column("external_order_no", String(NUMBER_LENGTH)),
    _time("sent_at", required=False),
    Column("detail", Text),
    Column("payload", JSONB),
    Column("signature", String(64)),
    _time("created_at"),
    _time("applied_at", required=False),
    _one_of("kind", EVENT_KINDS),
    UniqueConstraint("dealer", "method", "platform_order_no", "signature"),
    Index(None, "order_id"),
    Index(
        "ix_order_event_waiting",
        "id",
        postgresql_where=text("applied_at IS NULL AND order_id IS NOT NULL"),
    ),
    Index(
        "ix_order_event_unknown",
        "dealer",
        "platform_order_no",
        postgresql_where=text("order_id IS NULL"),
    ),
    # The last pushes of a dealer, for counting refusals in a row.
    Index(
        "ix_order_event_answers",
        "dealer",
        "id",
        postgresql_where=text("kind IN ('pushed', 'push_failed')"),
    ),
)

order_parcel = Table(
    "order_parcel",
    metadata,
    Column("order_id", BigInteger, ForeignKey("retail_order.id"), primary_key=True),
    Column("delivery_record_code", String(NUMBER_LENGTH), primary_key=True),
    Column("carrier_code", Text),
    Column("carrier_name", Text),
    Column("tracking_no", String(NUMBER_LENGTH), primary_key=True),
    Column("serial_numbers", JSONB, nullable=False, server_default="[]"),
    _time("first_seen_at"),
    _time("delivered_at", required=False),
)

order_picture = Table(
    "order_picture",
    metadata,
    Column("order_id", BigInteger, ForeignKey("retail_order.id"), primary_key=True),
    Column("delivery_record_code", String(NUMBER_LENGTH), nullable=False, server_default=""),
    Column("serial_number", Text),
    Column("scene", Integer),
    Column("description", Text),
    Column("url", String(1000), primary_key=True),
    _time("first_seen_at"),
)

# When somebody was last seen who pushes orders: one row.
order_pusher = Table(
    "order_pusher",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    _time("seen_at"),
    CheckConstraint("only_row", name="only_row"),
)
