"""A push run in a process of its own, which can be told where to die.

Run as ``push_process.py`` with one argument, a JSON object: ``url`` of the database, ``dealer``
(the keys of its configuration), ``key`` of the secrets, ``run_id``, and ``die``, the moment at
which the process kills itself with signal 9, or null: ``claiming`` with the attempt written and not
committed, ``claimed`` with it committed and nothing sent, ``sending`` with the first byte on its
way, ``answered`` with Haier's answer read and nothing stored, ``storing`` with it written and not
committed, ``stored``, and ``taking`` in the middle of the inbox.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from haier_pipeline.catalog.database import open_engine
from haier_pipeline.catalog.orders import pushes
from haier_pipeline.catalog.orders.store import OrderStore
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.platform.orders import OrdersClient
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER, Dealers
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.order_push import push
from haier_pipeline.sync.run import SyncRun

wanted = json.loads(sys.argv[1])
die = wanted["die"]


def kill_myself(at: str) -> None:
    if die == at:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def no_sandbox() -> dict[str, str]:
    raise AssertionError


def dying(real: Callable[..., Any], before: str = "", after: str = "") -> Callable[..., Any]:
    def work(*arguments: Any, **options: Any) -> Any:
        kill_myself(before)
        done = real(*arguments, **options)
        kill_myself(after)
        return done

    return work


real_push = OrdersClient.push


def push_and_die(client: OrdersClient, order: Any) -> Any:
    kill_myself("claimed")
    if die == "sending":
        # Token and answer take a second each: by then the request has left.
        threading.Timer(1.6, kill_myself, ("sending",)).start()
    answer = real_push(client, order)
    kill_myself("answered")
    return answer


real_note = OrderStore.note


def note_and_die(store: OrderStore, connection: Any, dealer: str, events: Any) -> None:
    real_note(store, connection, dealer, events)
    kinds = {event.kind for event in events}
    if "sent" in kinds:
        kill_myself("claiming")
    if "pushed" in kinds:
        kill_myself("storing")
    if "created" in kinds:
        kill_myself("taking")


patched: Any = OrdersClient
patched.push = push_and_die
patched = OrderStore
patched.note = note_and_die
pushes.answer = dying(pushes.answer, after="stored")

engine = open_engine(wanted["url"])
dealers = Dealers(
    engine,
    environment=wanted["dealer"],
    allowed_hosts=("127.0.0.1",),
    secret_keys=(wanted["key"],),
    sandbox=no_sandbox,
)
orders = Orders(engine, dealers, (wanted["key"],))
run = SyncRun(engine, dealers, Partition(ENVIRONMENT_DEALER, today()), run_id=wanted["run_id"])
try:
    ended = push(orders, run, by_hand=True)
    sys.stdout.write(json.dumps(ended and ended.result.status))
finally:
    run.close()
