"""A sync that somebody wants, from whatever surface: the only form in which it is handed on."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from haier_pipeline.domain.product import require_county_codes
from haier_pipeline.errors import InvalidInput

_ALWAYS: Final = (
    "product_listings",
    "priced_products",
    "brands",
    "products",
    "product_stock",
    "catalog_changes",
)


@dataclass(frozen=True)
class SyncRequest:
    """A sync of today: whose and of what; without codes, of every product and county.

    ``accept_shrink`` lets a much shorter listing pass this once. ``run_id`` is empty until the
    request is accepted; the log knows the sync under it from then on.

    Raises:
        InvalidInput: a product code is blank, or a county code is not six digits.
    """

    dealer: str
    product_codes: tuple[str, ...] = ()
    county_codes: tuple[str, ...] = ()
    prices: bool = True
    stock: bool = True
    accept_shrink: bool = False
    run_id: str = ""

    def __post_init__(self) -> None:
        if not all(code.strip() for code in self.product_codes):
            raise InvalidInput("a product code is blank")
        require_county_codes(self.county_codes)

    @property
    def assets(self) -> tuple[str, ...]:
        """What is made, in no order."""
        return (
            *_ALWAYS,
            *(("price_quotes",) if self.prices else ()),
            *(("stock_levels",) if self.stock else ()),
        )

    @property
    def asset_config(self) -> dict[str, dict[str, Any]]:
        """The configuration of the assets that take one."""
        config: dict[str, dict[str, Any]] = {
            "product_listings": {
                "product_codes": [code.strip() for code in self.product_codes],
                "accept_shrink": self.accept_shrink,
            }
        }
        if self.stock:
            config["stock_levels"] = {"county_codes": list(self.county_codes)}
        return config

    def accepted(self, run_id: str) -> "SyncRequest":
        """The same request under the id of its run."""
        return replace(self, run_id=run_id)

    def to_json(self) -> str:
        """One JSON object, the same for the same request: for another process, and to compare."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SyncRequest":
        """Read what `to_json` wrote.

        Raises:
            InvalidInput: it is something else.
        """
        try:
            values = json.loads(text)
            for name in ("product_codes", "county_codes"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput("this is no request for a sync as this version writes it") from error
