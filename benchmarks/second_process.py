"""Another process of the same dealer: asks for stock as fast as it may, until it is killed.

It does what the REST routes do beside a sync, through the same client and the same shared pace. A
second sync would not do, since only one may work on a partition. It reads the usual variables.
"""

import os
import threading
from itertools import repeat

from haier_pipeline.installation import Installation
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.settings import read_settings

WORKERS = 16


def main() -> None:
    with Installation(read_settings(os.environ)) as installation:
        config = installation.dealers.config("haier")
        with installation.dealers.client(config, workers=WORKERS) as client:
            codes = [record.value.product_code for record in client.list_products().records]

            def call(county: str) -> object:
                return client.get_stock(codes[0], county)

            for _ in fan_out(
                repeat(config.county_codes[0]), call, workers=WORKERS, stop=threading.Event()
            ):
                pass


if __name__ == "__main__":
    main()
