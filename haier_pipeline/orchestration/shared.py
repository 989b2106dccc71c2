"""What the ticks of one process share: the installation and Dagster's instance.

A code server evaluates schedules and sensors every few seconds. Opened anew for each tick, the
connections alone would cost more than the work.
"""

import atexit
import logging
import os
import threading
from functools import cached_property

import dagster as dg
from sqlalchemy import Engine

from haier_pipeline.installation import Installation
from haier_pipeline.orchestration.unreadable import Unreadable
from haier_pipeline.platform.config import is_dealer_name
from haier_pipeline.settings import Settings, read_settings


class Shared:
    """Opens what is asked of it, once for the process; safe to share between threads.

    ``settings`` are read from the environment at first use where they are not given.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._given = settings
        self._lock = threading.RLock()
        self._instance: dg.DagsterInstance | None = None
        self._unreadable = Unreadable(logging.getLogger(__name__).warning)

    @cached_property
    def settings(self) -> Settings:
        return read_settings(os.environ) if self._given is None else self._given

    @property
    def installation(self) -> Installation:
        with self._lock:
            return self._installation

    @cached_property
    def _installation(self) -> Installation:
        installation = Installation(self.settings)
        atexit.register(installation.close)
        return installation

    @property
    def engine(self) -> Engine:
        """The catalog's database."""
        with self._lock:
            return self._installation.engine

    def active_dealers(self) -> list[str]:
        """The active dealers whose name can be a partition; others are reported once."""
        with self._lock:
            active = self._installation.dealers.active()
            for name in active:
                if not is_dealer_name(name):
                    self._unreadable.report_once(
                        f"the dealer {name!a} is left out: no partition can be named so"
                    )
            return [name for name in active if is_dealer_name(name)]

    def instance(self, context: dg.SensorEvaluationContext) -> dg.DagsterInstance:
        """Dagster's instance, as the context names it."""
        if context.instance_ref is None:
            return context.instance
        with self._lock:
            if self._instance is None:
                self._instance = dg.DagsterInstance.from_ref(context.instance_ref)
            return self._instance
