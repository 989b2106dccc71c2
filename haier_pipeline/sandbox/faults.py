"""How the sandbox misbehaves: rules, when they strike, and what they do to the records.

A rule is a JSON object: which calls it meets (``interface``, ``product_code``, ``county_code``),
when it strikes (``skip`` calls pass first, then each ``every``-th, ``times`` in all, null for ever)
and what it does (``kind`` with arguments of its own, see ``KINDS``). Kinds that change the records
all act together; of the kinds that change the delivery only the first that strikes does, so that
two rules with ``times: 1`` follow each other. What a delivery does to the socket is in ``wire``.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox.catalog import Record
from haier_pipeline.sandbox.contract import Call
from haier_pipeline.sandbox.report import INTERFACES, TOKEN_INTERFACES


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_fraction(value: object) -> bool:
    return _is_seconds(value) and float(str(value)) <= 1


def _is_status(value: object) -> bool:
    return _is_count(value) and 200 <= int(str(value)) <= 599


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_anything(value: object) -> bool:  # noqa: ARG001 - any JSON will do
    return True


def _is_retry_after(value: object) -> bool:
    if isinstance(value, str):
        return not value.startswith("date:") or value[5:].lstrip("-").isdigit()
    return _is_seconds(value)


Check = Callable[[object], bool]


@dataclass(frozen=True)
class Kind:
    """The arguments of one kind; those of ``needs`` must be there, one at least."""

    arguments: Mapping[str, Check] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = INTERFACES
    alters_records: bool = False


_RECORDS = ("listing", "prices", "stock", "balance")
_BY_CODE = ("listing", "prices")

KINDS: Mapping[str, Kind] = {
    # An HTTP status, 200 included, with any body; retry_after in seconds, as an HTTP date, or
    # "date:SECONDS" from now.
    "status": Kind(
        {"status": _is_status, "retry_after": _is_retry_after, "body": _is_anything}, ("status",)
    ),
    # 200 with an HTML page.
    "html": Kind(),
    # An envelope that says no: with that reason, HTTP status (200) and fields of its own on top.
    "refuse": Kind({"message": _is_text, "status": _is_status, "fields": _is_object}),
    # The body is cut and the connection closed; chunked: cut inside a chunk.
    "truncate": Kind({"chunked": _is_flag}),
    # A gzip body cut short whose Content-Length fits what is sent.
    "gzip_truncate": Kind(),
    # Valid JSON of so many bytes.
    "oversize": Kind({"bytes": _is_count}),
    # The same, gzipped to almost nothing; bytes are the decoded ones.
    "gzip_bomb": Kind({"bytes": _is_count}),
    # The right answer, one byte every interval (seconds).
    "drip": Kind({"interval": _is_seconds}),
    # The right answer after so many seconds; changes nothing else, so it goes with other rules.
    "hang": Kind({"seconds": _is_seconds}, alters_records=True),
    # The connection is reset: "before" the answer or in mid-"body".
    "reset": Kind({"when": lambda value: value in ("before", "body")}),
    # All tokens are forgotten, so this call is a 401.
    "revoke": Kind({}, (), tuple(name for name in INTERFACES if name not in TOKEN_INTERFACES)),
    "redirect": Kind({"location": _is_text, "status": _is_status}),
    # 200 without a body.
    "empty": Kind(),
    # JSON null.
    "null": Kind(),
    # The answer of the token interface.
    "token": Kind({"answer": _is_anything}, ("answer",), TOKEN_INTERFACES),
    # Any JSON as the answer, or any text.
    "answer": Kind({"answer": _is_anything, "text": _is_text}, ("answer", "text")),
    # Some codes are left out: these, or a fraction of them.
    "omit": Kind(
        {"codes": _is_texts, "fraction": _is_fraction}, ("codes", "fraction"), _BY_CODE, True
    ),
    # Records come twice, the second time with other fields; of codes, or all.
    "repeat": Kind({"codes": _is_texts, "fields": _is_object}, (), _RECORDS, True),
    # Records of codes that were not asked for.
    "unasked": Kind({"codes": _is_texts}, (), _BY_CODE, True),
    # Fields are put into the records of product_code or codes, else into the first record, and
    # those of without are taken out; "timelinessData.hour" reaches inside. raw: texts are written
    # as bare JSON tokens (NaN, 1e400).
    "malform": Kind(
        {"codes": _is_texts, "fields": _is_object, "without": _is_texts, "raw": _is_flag},
        ("fields", "without"),
        _RECORDS,
        True,
    ),
    # Only this fraction of the listing is left.
    "shrink": Kind({"keep": _is_fraction}, ("keep",), ("listing",), True),
    # Products that are gone from the listing, the prices and the stock.
    "vanish": Kind({"codes": _is_texts}, ("codes",), ("listing", "prices", "stock"), True),
}

_COMMON: Mapping[str, Check] = {
    "interface": lambda value: value == "*" or value in INTERFACES,
    "kind": lambda value: value in KINDS,
    "times": lambda value: value is None or _is_count(value),
    "skip": _is_count,
    "every": lambda value: _is_count(value) and value != 0,
    "product_code": _is_text,
    "county_code": _is_text,
}


@dataclass
class Rule:
    """One fault. ``seen`` calls met it, ``fired`` of them were struck."""

    kind: str
    interface: str = "*"
    times: int | None = None
    skip: int = 0
    every: int = 1
    product_code: str | None = None
    county_code: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    fired: int = 0

    @classmethod
    def parse(cls, values: object) -> "Rule":
        """A rule from JSON; ``InvalidInput`` names the key that is wrong."""
        if not isinstance(values, dict):
            raise InvalidInput("a fault is a JSON object")
        kind = values.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidInput(f"kind: one of {', '.join(KINDS)}")
        for key, value in values.items():
            check = _COMMON.get(key) or KINDS[kind].arguments.get(key)
            if check is None:
                raise InvalidInput(f"{key}: not an argument of {kind}")
            if not check(value):
                raise InvalidInput(f"{key}: not a value for {kind}")
        needs = KINDS[kind].needs
        if needs and not any(key in values for key in needs):
            raise InvalidInput(f"{needs[0]}: {kind} needs {' or '.join(needs)}")
        interface = values.get("interface", "*")
        if interface != "*" and interface not in KINDS[kind].interfaces:
            raise InvalidInput(f"interface: {kind} never happens at {interface}")
        common = {key: value for key, value in values.items() if key in _COMMON}
        own = {key: value for key, value in values.items() if key not in _COMMON}
        return cls(**common, arguments=own)

    def as_json(self) -> dict[str, Any]:
        own = {key: value for key, value in vars(self).items() if key != "arguments"}
        return own | self.arguments

    def meets(self, call: Call) -> bool:
        if call.interface not in KINDS[self.kind].interfaces:
            return False
        if self.interface not in ("*", call.interface):
            return False
        # A listing of everything is about every product.
        about_all = call.interface == "listing" and not call.codes
        if self.product_code is not None and self.product_code not in call.codes and not about_all:
            return False
        return self.county_code is None or self.county_code == call.county

    def strikes(self) -> bool:
        """Whether the call that just met this rule is struck; counts it."""
        if self.times is not None and self.fired >= self.times:
            return False
        self.seen += 1
        turn = self.seen - self.skip
        if turn < 1 or turn % self.every != 0:
            return False
        self.fired += 1
        return True


class Faults:
    """The rules in force, in the order they came. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rules: Sequence[Rule]) -> None:
        with self._lock:
            self._rules.extend(rules)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [rule.as_json() for rule in self._rules]

    def striking(self, call: Call) -> tuple[Rule | None, list[Rule]]:
        """The rule that changes this call's delivery, if any, and those that change its records."""
        delivery: Rule | None = None
        altering: list[Rule] = []
        with self._lock:
            for rule in self._rules:
                alters = KINDS[rule.kind].alters_records
                if not alters and delivery is not None:
                    continue
                if rule.meets(call) and rule.strikes():
                    if alters:
                        altering.append(rule)
                    else:
                        delivery = rule
        return delivery, altering


class RawToken(str):
    """A text that goes into the JSON without quotes."""

    __slots__ = ()


def altered(rule: Rule, call: Call, records: list[Record]) -> list[Record]:
    """The records of an answer after one rule has struck them. May change ``records``."""
    arguments = rule.arguments
    codes = frozenset(arguments.get("codes", ()))
    match rule.kind:
        case "vanish" if call.interface == "stock":
            return [] if codes.intersection(call.codes) else records
        case "omit" if "fraction" in arguments:
            return records[: len(records) - math.ceil(len(records) * arguments["fraction"])]
        case "vanish" | "omit":
            return [record for record in records if record.get("productCode") not in codes]
        case "shrink":
            return records[: int(len(records) * arguments["keep"])]
        case "unasked":
            pattern = records[0] if records else {"isSales": "1"}
            strangers = arguments.get("codes", ["ZZ0UNASKD"])
            return [*records, *(pattern | {"productCode": code} for code in strangers)]
        case "repeat":
            again = [_with(record, arguments.get("fields", {})) for record in _of(records, codes)]
            return records + again
        case "malform":
            chosen = codes or frozenset({rule.product_code} - {None})
            if call.interface in ("stock", "balance") or not chosen:
                # Records without a code; where there is none at all, the fields make one.
                records = records or [{}]
                hit = records[:1]
            else:
                hit = _of(records, chosen)
            fields = arguments.get("fields", {})
            gone = arguments.get("without", ())
            if arguments.get("raw"):
                fields = {
                    name: RawToken(value) if isinstance(value, str) else value
                    for name, value in fields.items()
                }
            struck = {id(record) for record in hit}
            return [_with(rec, fields, gone) if id(rec) in struck else rec for rec in records]
    return records


def _of(records: list[Record], codes: frozenset[str | None]) -> list[Record]:
    return [record for record in records if not codes or record.get("productCode") in codes]


def _with(record: Record, fields: Mapping[str, Any], without: Sequence[str] = ()) -> Record:
    record = {name: value for name, value in record.items() if name not in without}
    for name, value in fields.items():
        outer, _, inner = name.partition(".")
        record[outer] = (record.get(outer) or {}) | {inner: value} if inner else value
    return record
