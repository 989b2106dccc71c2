"""Stock calls and nothing else, as a sync makes them: prints what each took of the processor.

In a process of its own, so that nothing but the calls is in the figure: the client, the shared pace
and token, the threads. It reads the usual variables.
"""

import json
import os
import resource
import threading

from haier_pipeline.errors import CallFailed
from haier_pipeline.installation import Installation
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.settings import read_settings

WORKERS = 32


def main() -> None:
    with Installation(read_settings(os.environ)) as installation:
        config = installation.dealers.config("haier")
        with installation.dealers.client(config) as client:
            listed = client.list_products().records
            codes = [record.value.product_code for record in listed if record.value.is_sales]
            county = config.county_codes[0]
            client.get_stock(codes[0], county)
            before = _processor_seconds()
            for _, answer in fan_out(
                codes,
                lambda code: client.get_stock(code, county),
                workers=WORKERS,
                stop=threading.Event(),
                wants_more=lambda: not client.is_paced,
            ):
                if isinstance(answer, CallFailed):
                    raise answer
            spent = _processor_seconds() - before
    print(json.dumps({"milliseconds_a_call": spent / len(codes) * 1_000}))


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
