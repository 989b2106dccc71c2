"""What lets readers follow a table in the order of commit: triggers that stamp what changed.

A migration that adds a column to a followed table calls ``watch_updates`` again afterwards, so that
a change of it counts as well. How readers follow is in ``catalog.feed``.

The functions that write elsewhere than in the changed row run with the rights of their owner and
name the schema themselves: a role of the shop that may change ``product`` needs no further right.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, text

# By table: the key beside the dealer, and the columns that every sync moves and that say nothing.
FOLLOWED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "product": (("product_code",), ("sync_date", "updated_at", "last_sync_at")),
    "product_stock": (
        ("product_code", "county_code", "sec_code"),
        ("sync_date", "synced_at"),
    ),
    "catalog_change": (("sync_date", "product_code", "kind"), ()),
}

_STAMP = "pg_current_xact_id()::text::bigint"
_DEFINER = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"

_FUNCTIONS = (
    f"""
CREATE FUNCTION haier_stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.change_xid := {_STAMP};
    RETURN NEW;
END $$
""",
    # The arguments are the key. A row that was removed before is removed anew.
    f"""
CREATE FUNCTION haier_note_removed() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$
DECLARE
    gone text := CASE TG_OP WHEN 'TRUNCATE'
        THEN format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) ELSE 'gone' END;
BEGIN
    EXECUTE format(
        'INSERT INTO %I.catalog_removed (table_name, dealer, key, change_xid)'
        ' SELECT %L, g.dealer, (SELECT jsonb_object_agg(k, to_jsonb(g) -> k) FROM unnest($1) k),'
        ' {_STAMP} FROM %s g ORDER BY 2, 3'
        ' ON CONFLICT (table_name, dealer, key) DO UPDATE'
        ' SET change_xid = excluded.change_xid, removed_at = excluded.removed_at',
        TG_TABLE_SCHEMA, TG_TABLE_NAME, gone) USING TG_ARGV;
    RETURN NULL;
END $$
""",
    # A row that gets another key is, to a reader, one that went and one that came.
    f"""
CREATE FUNCTION haier_note_moved() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO %I.catalog_removed (table_name, dealer, key, change_xid)'
        ' SELECT %L, $2 ->> ''dealer'', jsonb_object_agg(k, $2 -> k), {_STAMP} FROM unnest($1) k'
        ' ON CONFLICT (table_name, dealer, key) DO UPDATE'
        ' SET change_xid = excluded.change_xid, removed_at = excluded.removed_at',
        TG_TABLE_SCHEMA, TG_TABLE_NAME) USING TG_ARGV, to_jsonb(OLD);
    RETURN NULL;
END $$
""",
    # Readers see a product with the name of its brand.
    f"""
CREATE FUNCTION haier_note_renamed() RETURNS trigger LANGUAGE plpgsql {_DEFINER} AS $$
BEGIN
    EXECUTE format('UPDATE %I.product SET change_xid = {_STAMP} WHERE brand_id = $1',
        TG_TABLE_SCHEMA) USING NEW.id;
    RETURN NULL;
END $$
""",
)


def follow(connection: Connection) -> None:
    """Make the functions and all triggers. ``change_xid`` and ``catalog_removed`` are there."""
    for function in _FUNCTIONS:
        connection.execute(text(function))
    for table, (key, _) in FOLLOWED.items():
        words = ", ".join(f"'{column}'" for column in key)
        for statement in (
            (
                f"CREATE TRIGGER zz_haier_inserted BEFORE INSERT ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION haier_stamp_change()"
            ),
            (
                f"CREATE TRIGGER zz_haier_removed AFTER DELETE ON {table}"
                " REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"
                f" EXECUTE FUNCTION haier_note_removed({words})"
            ),
            (
                f"CREATE TRIGGER zz_haier_truncated BEFORE TRUNCATE ON {table}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION haier_note_removed({words})"
            ),
            # Only statements that name a column of the key fire it: a load never does.
            (
                f"CREATE TRIGGER zz_haier_moved AFTER UPDATE OF dealer, {', '.join(key)} ON {table}"
                f" FOR EACH ROW WHEN ({_differs(('dealer', *key))})"
                f" EXECUTE FUNCTION haier_note_moved({words})"
            ),
        ):
            connection.execute(text(statement))
    connection.execute(
        text(
            "CREATE TRIGGER zz_haier_renamed AFTER UPDATE OF name ON brand FOR EACH ROW"
            " WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION haier_note_renamed()"
        )
    )
    watch_updates(connection)


def watch_updates(connection: Connection) -> None:
    """Stamp every change of a column that says something; of those there are now.

    In a condition of the trigger, which costs a load of unchanged rows next to nothing. Its name
    comes last in the alphabet: what triggers of the shop change in the row counts too.
    """
    for table, (_, silent) in FOLLOWED.items():
        columns = connection.scalars(
            text(
                "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name)"
                " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            ),
            {"name": table},
        )
        telling = [name for name in columns if name not in (*silent, "change_xid")]
        connection.execute(text(f"DROP TRIGGER IF EXISTS zz_haier_updated ON {table}"))
        connection.execute(
            text(
                f"CREATE TRIGGER zz_haier_updated BEFORE UPDATE ON {table}"
                f" FOR EACH ROW WHEN ({_differs(telling)}) EXECUTE FUNCTION haier_stamp_change()"
            )
        )


def unfollow(connection: Connection) -> None:
    """Take the functions and triggers away."""
    for name in (
        "haier_stamp_change",
        "haier_note_removed",
        "haier_note_moved",
        "haier_note_renamed",
    ):
        connection.execute(text(f"DROP FUNCTION {name}() CASCADE"))


def _differs(columns: "list[str] | tuple[str, ...]") -> str:
    return " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in columns)
