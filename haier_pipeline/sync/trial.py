"""A trial of a dealer's connection: asks the platform for a token and for the listing."""

from dataclasses import dataclass
from typing import Literal

from haier_pipeline.errors import PlatformError
from haier_pipeline.sync.dealers import Dealers

ATTEMPT_SECONDS = 10.0


@dataclass(frozen=True)
class Trial:
    """The result of a trial; ``failed`` names the call that did not work."""

    ok: bool
    failed: Literal["token", "listing"] | None
    message: str


def try_connection(dealers: Dealers, name: str) -> Trial:
    """Ask the platform for a token, then for the listing, and report which of the two failed.

    Raises:
        InvalidConfig: the configuration is not valid; no call was made (row 46).
    """
    config = dealers.config(name)
    with dealers.client(config, attempt_seconds=ATTEMPT_SECONDS) as client:
        try:
            client.check_token()
        except PlatformError as error:
            return Trial(False, "token", f"The platform gives no token. {error}")
        try:
            answer = client.list_products()
        except PlatformError as error:
            failed: Literal["token", "listing"] = (
                "token" if error.endpoint == "token" else "listing"
            )
            return Trial(False, failed, f"The token works, the listing does not. {error}")
    procurable = sum(record.value.is_sales for record in answer.records)
    return Trial(
        True,
        None,
        f"Token and listing work: {len(answer.records)} products, {procurable} procurable.",
    )
