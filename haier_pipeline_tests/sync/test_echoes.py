"""A platform that repeats the dealer's secrets: no sink keeps one, however it is spelled.

What every test that uses ``dealer`` looks for at its end is widened here to all spellings.
"""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, inspect, text

from haier_pipeline.errors import HaierError
from haier_pipeline.platform.masking import MASK, without_invisible
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.run import SyncRun
from haier_pipeline_tests.spellings import spellings
from haier_pipeline_tests.sync.synced_dealer import SyncedDealer

OpenSync = Callable[..., SyncRun]

CANARY = '<canary>&"customer"\\p+w/1 ü%'
SECRETS = (
    *(CREDENTIALS[key] for key in ("client_secret", "password", "seller_password")),
    CANARY,
)
ECHOES = [
    (secret, spelling)
    for secret in SECRETS
    for spelling in spellings(secret, CREDENTIALS["client_id"])
]


@pytest.fixture
def left_in_tables(engine: Engine) -> Callable[[], str]:
    """All rows of all tables, as PostgreSQL writes them and as their text means."""

    def read() -> str:
        found: list[str] = []
        with engine.connect() as connection:
            for table in inspect(connection).get_table_names():
                written = connection.scalars(text(f"SELECT t::text FROM {table} t"))  # noqa: S608
                for row in written:
                    # A composite doubles quotation marks and backslashes, and so does JSON.
                    found += [row, row.replace('""', '"'), row.replace("\\\\", "\\")]
                    found.append(row.replace('""', '"').replace("\\\\", "\\").replace('\\"', '"'))
        return "\n".join(found)

    return read


def assert_clean(everything: str) -> None:
    low = everything.lower()
    for secret, spelling in ECHOES:
        assert spelling not in everything, spelling
        assert without_invisible(secret).lower() not in low


def test_what_is_echoed_in_records_is_masked_in_every_table(
    sandbox: SandboxProcess, dealer: SyncedDealer, left_in_tables: Callable[[], str],
    dealer_variables: dict[str, str],
) -> None:  # fmt: skip
    dealer_variables["customer_password"] = CANARY
    every = [spelling for _, spelling in ECHOES]
    fields = {
        "productBrandName": f"品牌 {CREDENTIALS['password']}",
        "noSalesReason": CANARY,
        "productLageUrls": [f"https://img.example/{one}" for one in every],
        "echo": {"list": every, CANARY: 1},
    }
    sandbox.fault(interface="listing", kind="malform", fields=fields)
    sandbox.fault(interface="prices", kind="malform", fields={"reason": CANARY, "echo": every})
    # One that cannot be read is kept with its payload, for an operator to list.
    sandbox.fault(interface="stock", kind="malform", times=3, fields={"stock": CANARY, "e": every})
    sandbox.fault(interface="stock", kind="malform", fields={"e": every, "warehouseGrade": "0"})
    ended = dealer.sync()
    assert not ended["products"].failed
    everything = left_in_tables()
    assert MASK in everything
    assert_clean(everything + str(dict(ended)))


def test_what_is_echoed_in_a_refusal_is_masked_in_its_message(
    open_sync: OpenSync, sandbox: SandboxProcess, caplog: pytest.LogCaptureFixture,
    dealer_variables: dict[str, str],
) -> None:  # fmt: skip
    dealer_variables["customer_password"] = CANARY
    caplog.set_level("DEBUG")
    client = open_sync().client()
    for secret, spelling in ECHOES:
        sandbox.fault(interface="balance", kind="refuse", message=f"错 {spelling} 误", times=1)
        with pytest.raises(HaierError) as caught:
            client.get_balances()
        said = str(caught.value)
        assert MASK in said, spelling
        assert spelling not in said
        assert without_invisible(secret).lower() not in said.lower(), spelling
    assert_clean(caplog.text)
