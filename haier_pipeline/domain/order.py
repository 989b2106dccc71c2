"""A retail order as a shop gives it: its form, every refusal by line and field, its totals.

Files in JSON and CSV, bodies over REST and rows of the inbox are read here, into one form. What
becomes of an order afterwards is in `order_state`; storing and sending it belong elsewhere. No
message repeats a value but numbers of orders and sums: the rest may be a person's.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from haier_pipeline.domain.partition import SHANGHAI

MAX_NUMBER_LENGTH: Final = 64
MAX_CODE_LENGTH: Final = 100
MAX_QUANTITY: Final = 1_000_000
MAX_ITEMS: Final = 500
#: Amounts in CNY are below this, and have at most so many decimals.
MAX_AMOUNT: Final = Decimal(10) ** 10
MAX_DECIMALS: Final = 4

#: The columns that hold personal data, and are encrypted at rest.
PERSONAL: Final = ("consignee_name", "consignee_mobile", "detail_address", "remark")

#: A shorter remark is not looked for in Haier's words.
SHORTEST_REMARK: Final = 4

_FIRST_DAY: Final = datetime(2000, 1, 1, tzinfo=SHANGHAI)
_LAST_DAY: Final = datetime(2100, 1, 1, tzinfo=SHANGHAI)


@dataclass(frozen=True)
class Item:
    """One line of an order; amounts in CNY per piece. Lines are counted from 1."""

    product_code: str
    quantity: int
    retail_price: Decimal
    actual_price: Decimal
    discount_amount: Decimal = Decimal(0)
    is_gift: bool = False


@dataclass(frozen=True)
class Order:
    """An order in its form (design of the order side, "The form of an order"). Times are aware.

    ``ordered_at`` is None where the shop did not say it: then it is when the order was first
    stored. ``repr`` shows nothing of a person.
    """

    so_id: str
    online_no: str
    consignee_name: str = field(repr=False)
    consignee_mobile: str = field(repr=False)
    province: str = field(repr=False)
    city: str = field(repr=False)
    area: str = field(repr=False)
    detail_address: str = field(repr=False)
    total_amount: Decimal
    items: tuple[Item, ...]
    town: str | None = field(default=None, repr=False)
    remark: str | None = field(default=None, repr=False)
    ordered_at: datetime | None = None
    distribution_at: datetime | None = None
    install_at: datetime | None = None
    is_government_order: bool = False

    @property
    def content_hash(self) -> str:
        """The same for two orders whose values are equal, however they were written; 64 digits."""
        values = [_canonical(getattr(self, one.name)) for one in fields(self)]
        return hashlib.sha256(json.dumps(values, ensure_ascii=True).encode()).hexdigest()

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """What is odd and no reason to refuse the order: the field and the end of a sentence."""
        return tuple(
            (
                f"items[{number}].actual_price",
                f"is {item.actual_price:f}, not retail_price less discount_amount",
            )
            for number, item in enumerate(self.items, 1)
            if item.actual_price != item.retail_price - item.discount_amount
        )


def _canonical(value: object) -> object:
    if isinstance(value, tuple):
        return [[_canonical(getattr(item, one.name)) for one in fields(item)] for item in value]
    if isinstance(value, Decimal):
        # 10, 10.0 and 1E+1 are one amount.
        return f"{value.normalize():f}" if value else "0"
    if isinstance(value, datetime):
        return value.astimezone(SHANGHAI).isoformat()
    return value


@dataclass(frozen=True)
class Problem:
    """Why an order was refused.

    ``line`` is the line of a file, or the place in a list, from 1; ``field`` the name of what is
    at fault (``items[2].quantity``), blank for the whole. ``is_conflict``: the order itself is
    well formed, what is stored already does not allow it.
    """

    line: int
    so_id: str
    field: str
    problem: str
    is_conflict: bool = False

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.so_id}" if self.so_id else "")
        return f"{where}: {self.field} {self.problem}" if self.field else f"{where}: {self.problem}"


@dataclass(frozen=True)
class Parsed:
    """What was read: the orders with the lines they begin at, and every fault of the others."""

    orders: tuple[tuple[int, Order], ...] = ()
    problems: tuple[Problem, ...] = ()


class _Refused(ValueError):
    """What is wrong with one value; the field is known to the caller."""


# ------------------------------------------------------------------------------- single values


def _text(value: object, longest: int) -> str:
    # Codes and telephone numbers like to be numbers in JSON.
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _Refused("must be text")
    # A line break in an address or a remark parts words, and nothing else.
    text = re.sub(r"[\r\n\t]+", " ", value).strip()
    if len(text) > longest:
        raise _Refused(f"must be at most {longest} characters")
    if not all(character.isprintable() or character == "\u3000" for character in text):
        raise _Refused("holds a character that cannot be printed; take it out")
    return text


def is_so_id(value: object) -> bool:
    """Whether it can be an order's number: 1 to 64 printable characters, no blank, no ``/``."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_NUMBER_LENGTH
        and value.isprintable()
        and not any(character.isspace() or character == "/" for character in value)
    )


def _so_id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not is_so_id(value):
        raise _Refused(
            f"must be 1 to {MAX_NUMBER_LENGTH} printable characters without a blank or /"
        )
    return str(value)


def _code(value: object) -> str:
    code = _text(value, MAX_CODE_LENGTH)
    if any(character.isspace() for character in code):
        raise _Refused("must be a product code without blanks")
    return code


_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")


def _number(value: object) -> Decimal:
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return Decimal(value.strip())
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _Refused("must be a number")
    number = Decimal(value)
    if not number.is_finite():
        raise _Refused("must be a number")
    return number


def _amount(value: object) -> Decimal:
    amount = _number(value)
    if not 0 <= amount < MAX_AMOUNT:
        raise _Refused("must be an amount in CNY of 0 or more, below 10,000,000,000")
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > MAX_DECIMALS:
        raise _Refused(f"must have at most {MAX_DECIMALS} decimals")
    return amount


def _quantity(value: object) -> int:
    number = _number(value)
    if not 1 <= number <= MAX_QUANTITY or number != number.to_integral_value():
        raise _Refused(f"must be a whole number from 1 to {MAX_QUANTITY:,}")
    return int(number)


def _switch(value: object) -> bool:
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    if not isinstance(value, bool):
        raise _Refused("must be true or false")
    return value


def read_time(value: object) -> datetime:
    """A moment in ISO 8601; without a zone, and a date alone, it is meant in China.

    Raises `ValueError` with the end of a sentence that begins with the field's name.
    """
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(_iso(value))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=SHANGHAI)
        # Beyond these years an offset may lead out of what can be computed with.
        is_near = _FIRST_DAY <= moment < _LAST_DAY
    except (ValueError, OverflowError):
        raise _Refused("must be a time in ISO 8601, such as 2026-01-15T10:00:00") from None
    if not is_near:
        raise _Refused("must be a time from 2000 to 2099")
    return moment


def _iso(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, str):
        raise _Refused("is no text")
    return value.strip()


_ORDER_FIELDS: Final[Mapping[str, Any]] = {
    "so_id": _so_id,
    "online_no": lambda value: _text(value, MAX_NUMBER_LENGTH),
    "consignee_name": lambda value: _text(value, 100),
    "consignee_mobile": lambda value: _text(value, 40),
    "province": lambda value: _text(value, 100),
    "city": lambda value: _text(value, 100),
    "area": lambda value: _text(value, 100),
    "town": lambda value: _text(value, 100),
    "detail_address": lambda value: _text(value, 500),
    "remark": lambda value: _text(value, 1000),
    "total_amount": _amount,
    "ordered_at": read_time,
    "distribution_at": read_time,
    "install_at": read_time,
    "is_government_order": _switch,
}
_ITEM_FIELDS: Final[Mapping[str, Any]] = {
    "product_code": _code,
    "quantity": _quantity,
    "retail_price": _amount,
    "discount_amount": _amount,
    "actual_price": _amount,
    "is_gift": _switch,
}
#: Every column of the form, and of its items; the first are those of a CSV file too.
ORDER_FIELDS: Final = tuple(_ORDER_FIELDS)
ITEM_FIELDS: Final = tuple(_ITEM_FIELDS)
_REQUIRED: Final = frozenset(
    {
        *("so_id", "consignee_name", "consignee_mobile", "province", "city", "area"),
        *("detail_address", "total_amount"),
        *("product_code", "quantity", "retail_price", "actual_price"),
    }
)


# --------------------------------------------------------------------------------- one order


def parse_order(value: object, line: int = 1) -> Order | tuple[Problem, ...]:
    """One order in its form, or everything that is wrong with it."""
    return _parse(value, line, {})


def _parse(value: object, line: int, item_lines: Mapping[int, int]) -> Order | tuple[Problem, ...]:
    if not isinstance(value, Mapping):
        return (Problem(line, "", "", "must be an object with the fields of an order"),)
    given = value.get("so_id")
    so_id = str(given) if is_so_id(str(given)) and given is not None else ""
    problems: list[Problem] = []

    def note(at: int, name: str, problem: str) -> None:
        problems.append(Problem(at, so_id, name, problem))

    raw_items = value.get("items")
    shared = {key: one for key, one in value.items() if key != "items"}
    read = _read_fields(shared, _ORDER_FIELDS, "", lambda name, problem: note(line, name, problem))
    items: list[Item] = []
    if not isinstance(raw_items, list | tuple) or not raw_items:
        note(line, "items", "must be a list of at least one item")
    elif len(raw_items) > MAX_ITEMS:
        note(line, "items", f"must be at most {MAX_ITEMS} items")
    else:
        for number, one in enumerate(raw_items, 1):
            at = item_lines.get(number, line)
            prefix = f"items[{number}]"
            if not isinstance(one, Mapping):
                note(at, prefix, "must be an object with the fields of an item")
                continue
            got = _read_fields(one, _ITEM_FIELDS, prefix + ".",
                               lambda name, problem, at=at: note(at, name, problem))  # fmt: skip
            if got.keys() >= _REQUIRED & _ITEM_FIELDS.keys():
                items.append(Item(**got))
    if not problems:
        added = sum((item.quantity * item.actual_price for item in items), start=Decimal(0))
        if added != read["total_amount"]:
            note(
                line,
                "total_amount",
                f"is {read['total_amount']:f}, but its items add up to {added:f}"
                " (quantity times actual_price)",
            )
    if problems:
        return tuple(problems)
    read.setdefault("online_no", read["so_id"])
    return Order(**read, items=tuple(items))


def _read_fields(
    value: Mapping[Any, object], known: Mapping[str, Any], prefix: str, note: Any
) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key in value:
        if key not in known:
            note(f"{prefix}{_shown(key)}", "is not a known field")
    for name, parse in known.items():
        given = value.get(name)
        if given is None or (isinstance(given, str) and not given.strip()):
            if name in _REQUIRED:
                note(f"{prefix}{name}", "is missing")
            continue
        try:
            read[name] = parse(given)
        except _Refused as refused:
            note(f"{prefix}{name}", str(refused))
    return read


def _shown(key: object) -> str:
    """The name of an unknown field, as far as it may be shown."""
    text = "".join(character if character.isprintable() else "?" for character in str(key))
    return text[:40]


# ------------------------------------------------------------------------------ lists and files


def parse_orders(values: Sequence[object], lines: Sequence[int] | None = None) -> Parsed:
    """The orders of a list; ``lines`` says at which line each begins, else they are counted."""
    orders: list[tuple[int, Order]] = []
    problems: list[Problem] = []
    for place, value in enumerate(values):
        line = lines[place] if lines is not None else place + 1
        read = parse_order(value, line)
        if isinstance(read, Order):
            orders.append((line, read))
        else:
            problems += read
    if not values:
        problems.append(Problem(1, "", "", "there is no order in it"))
    return Parsed(tuple(orders), tuple(problems))


def parse_file(content: bytes) -> Parsed:
    """The orders of a file: a JSON list (or one object), else CSV with a line for each item.

    UTF-8, with or without a mark, or GB18030, as Excel writes it in China.
    """
    text = _decoded(content)
    if text is None:
        return Parsed(problems=(Problem(1, "", "", "the file is neither UTF-8 nor GB18030"),))
    if text.lstrip()[:1] in ("[", "{"):
        return _parse_json(text)
    return _parse_csv(text)


def _decoded(content: bytes) -> str | None:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is given twice")
    return found


_JSON: Final = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_unrepeated
)
_BLANK: Final = re.compile(r"[ \t\n\r]*")


def _parse_json(text: str) -> Parsed:
    """Element by element, so that each is known by its line."""
    at = _skip(text, 0)
    values: list[object] = []
    lines: list[int] = []
    counted, line = 0, 1

    def line_of(place: int) -> int:
        nonlocal counted, line
        line += text.count("\n", counted, place)
        counted = place
        return line

    try:
        if text[at] == "{":
            lines.append(line_of(at))
            value, at = _JSON.raw_decode(text, at)
            values.append(value)
        else:
            at = _skip(text, at + 1)
            while text[at : at + 1] != "]":
                begin = at
                value, at = _JSON.raw_decode(text, begin)
                lines.append(line_of(begin))
                values.append(value)
                at = _skip(text, at)
                if text[at : at + 1] == ",":
                    at = _skip(text, at + 1)
                else:
                    _expect(text[at : at + 1] == "]", "a comma or ] is missing")
            at += 1
        at = _skip(text, at)
        _expect(at == len(text), "there is more behind its end")
    except json.JSONDecodeError as error:
        return Parsed(problems=(Problem(error.lineno, "", "", f"is not JSON: {error.msg}"),))
    except (ValueError, IndexError, RecursionError) as error:
        said = str(error) if type(error) is ValueError else "nested too deeply or cut off"
        # Python's own word on a number of thousands of digits would be about Python.
        said = "a number is too long" if "digits" in said else said
        return Parsed(problems=(Problem(line_of(min(at, len(text))), "", "",
                                        f"is not JSON: {said}"),))  # fmt: skip
    return parse_orders(values, lines)


def _expect(is_there: bool, otherwise: str) -> None:
    if not is_there:
        raise ValueError(otherwise)


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _parse_csv(text: str) -> Parsed:
    """A line for each item, the order's columns repeated; a blank cell counts as left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    problems: list[Problem] = []
    rows: list[tuple[int, list[str]]] = []
    begin = 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((begin, row))
            begin = reader.line_num + 1
    except csv.Error:
        return Parsed(problems=(Problem(begin, "", "", "is neither JSON nor CSV"),))
    if not rows:
        return Parsed(problems=(Problem(1, "", "", "there is no order in it"),))
    header_line, cells = rows[0]
    header = [cell.strip() for cell in cells]
    known = {*ORDER_FIELDS, *ITEM_FIELDS}
    problems += [
        Problem(header_line, "", _shown(name), "is not a known column")
        for name in header
        if name not in known
    ]
    problems += [
        Problem(header_line, "", name, "is missing as a column")
        for name in (*ORDER_FIELDS, *ITEM_FIELDS)
        if name in _REQUIRED and name not in header
    ]
    if len(set(header)) < len(header):
        problems.append(Problem(header_line, "", "", "a column is there twice"))
    if problems:
        return Parsed(problems=tuple(problems))
    if len(rows) == 1:
        return Parsed(problems=(Problem(header_line, "", "", "there is no order in it"),))
    groups: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows[1:]:
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            problems.append(Problem(line, "", "", "has more cells than the first line"))
            continue
        cells_of = dict(zip(header, (cell.strip() for cell in row), strict=False))
        # Without a number a line belongs to no order but its own.
        key = cells_of.get("so_id") or f"\0{line}"
        groups.setdefault(key, []).append((line, cells_of))
    orders: list[tuple[int, Order]] = []
    for group in groups.values():
        read = _of_lines(group)
        if isinstance(read, Order):
            orders.append((group[0][0], read))
        else:
            problems += read
    return Parsed(tuple(orders), tuple(sorted(problems, key=lambda problem: problem.line)))


def _of_lines(group: Sequence[tuple[int, Mapping[str, str]]]) -> Order | tuple[Problem, ...]:
    first_line, first = group[0]
    shared = {name: first[name] for name in ORDER_FIELDS if name in first}
    differing = [
        Problem(line, first.get("so_id", ""), name, f"differs from line {first_line}")
        for line, cells in group[1:]
        for name, value in shared.items()
        if cells.get(name, "") != value
    ]
    items = [{name: cells[name] for name in ITEM_FIELDS if name in cells} for _, cells in group]
    lines = {number: line for number, (line, _) in enumerate(group, 1)}
    read = _parse({**shared, "items": items}, first_line, lines)
    if differing:
        return (*differing, *(read if isinstance(read, tuple) else ()))
    return read


# ------------------------------------------------------------------------------ what is shown


def masked(name: str, value: str | None) -> str | None:
    """A personal column as readers see it: ``138****1234``, the first character of a name."""
    if not value:
        return value
    if name == "consignee_mobile" and len(value) >= 8:
        return f"{value[:3]}****{value[-4:]}" if len(value) >= 11 else f"****{value[-2:]}"
    if name == "consignee_name" and len(value) > 1:
        return f"{value[0]}**"
    return "****"


def telling(personal: Mapping[str, str | None]) -> list[str]:
    """The texts among personal columns that must be read in nobody's words.

    A short remark is in many sentences, and says nothing of a person.
    """
    return [
        value
        for name in PERSONAL
        if (value := personal[name]) and (name != "remark" or len(value) >= SHORTEST_REMARK)
    ]


def pieces(items: Iterable[Item]) -> int:
    """How many pieces an order has."""
    return sum(item.quantity for item in items)


# --------------------------------------------------------------------------- how often to track

#: Up to which age of an order it is asked for how often (design of the order side, "Pushing").
_TRACKED_EVERY: Final = (
    (timedelta(days=3), timedelta(hours=1)),
    (timedelta(days=14), timedelta(hours=6)),
    (timedelta(days=60), timedelta(days=1)),
)
_TRACKED_LATER: Final = timedelta(days=7)
#: The schedule's look before a pause is over is nearer to its end than the one after.
_LOOK: Final = timedelta(minutes=15)


def is_tracking_due(since: datetime, tracked_at: datetime | None, now: datetime) -> bool:
    """Whether an order that Haier, or the table `tracked_order`, has ``since`` then is to be asked
    for again by the schedule."""
    if tracked_at is None:
        return True
    age = now - since
    pause = next((every for until, every in _TRACKED_EVERY if age < until), _TRACKED_LATER)
    return now - tracked_at >= pause - _LOOK


def end_of_day(value: object) -> datetime:
    """23:59:59 in China of a date, or of the day of a time: what a delivery is moved to.

    Raises `ValueError` as `read_time` does.
    """
    day = read_time(value).astimezone(SHANGHAI).date()
    return datetime.combine(day, time(23, 59, 59), SHANGHAI)
