"""Secrets out of what the platform says, in whatever encoding a server may repeat them.

Two rules (design, "What is stored of the platform's words"): in messages every secret is masked,
whatever its length; in payloads those of eight or more characters, and not in the codes, model
names and amounts of the contract, since a password ``1001`` must not falsify a price.

A text is read as it stands and as what it means once JSON, HTML, percent signs and the like are
decoded, up to three times over; where a secret is found, the characters that spelled it are masked.
What cannot be decoded in place (Base64, hexadecimal) is looked for as it would be written.
"""

import base64
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from html.entities import html5
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

MASK: Final = "•••"
#: A shorter secret may stand in a payload by chance, as `1001` does in a price.
SHORTEST_IN_PAYLOADS: Final = 8
#: Of a message longer than this only the beginning is read; none that is shown is longer.
_MOST_MESSAGE: Final = 16_384
#: An encoded form that is shorter counts only where it stands alone: `MQ` is in many words.
_SHORTEST_PART: Final = 4
_SHORTEST_HEX: Final = 6
_MOST_READINGS: Final = 64
_MOST_DEPTH: Final = 3
#: So many records of a payload are looked through at a time.
_CHUNK: Final = 500

#: Wire names whose values are codes or model names of the contract.
_CODES: Final = frozenset(
    {
        *("productCode", "productCodes", "productModel", "secCode", "warehouseGrade"),
        *("saleGroupCode", "payerAccountCode", "orderCode", "deliveryRecordCode", "recordCode"),
        *("logisticsCode", "logisticsNo", "expNo", "expNoList", "barcodes", "itemModel"),
        *("stateCode", "statusCode", "orderStatus", "deliveryModel"),
        *("barCodes", "snNo", "orderNo", "ylhOrderCode"),
    }
)
#: Wire names whose values are amounts or quantities of the contract, as long as they look like one.
_AMOUNTS: Final = frozenset(
    {
        *("supplyPrice", "invoicePrice", "marketPrice", "rebateRate", "rebateMoney"),
        *("stockRebatePolicy", "stock", "hour", "payerAccountBalance", "shippingQty"),
    }
)
_NUMERIC: Final = re.compile(r"[\s0-9.,+\-eE]*")


# ------------------------------------------------------------------------------- what is not seen


@cache
def _invisible() -> re.Pattern[str]:
    # Formatting characters (zero width, direction marks, byte order mark, soft hyphen, tags), the
    # fillers and selectors that Unicode counts elsewhere, controls, and halves of characters.
    others = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164)
    marks = {*others, 0xFFA0, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
    points = [
        point
        for point in range(sys.maxunicode + 1)
        if point in marks or unicodedata.category(chr(point)) in ("Cf", "Cc", "Cs")
    ]
    parts: list[str] = []
    start = before = points[0]
    for point in [*points[1:], sys.maxunicode + 2]:
        if point != before + 1:
            parts.append(f"\\U{start:08x}-\\U{before:08x}")
            start = point
        before = point
    return re.compile(f"[{''.join(parts)}]")


def without_invisible(text: str) -> str:
    """Take out what shows nothing: zero width characters, direction marks, controls and the like.

    Blanks of every kind stay; a line break or a tabulator is a control and goes.
    """
    if text.isascii() and text.isprintable():
        return text
    return _invisible().sub("", text)


# -------------------------------------------------------------------------------------- readings


@dataclass(frozen=True)
class _Reading:
    """A text as it is meant; ``places`` says of each character where the original spells it.

    Without places it can be searched, and not be masked.
    """

    text: str
    places: Sequence[tuple[int, int]] | None


_BACKSLASH: Final = re.compile(
    r"""\\(?:u\{([0-9a-f]{1,6})\}|u([0-9a-f]{4})(?:\\u(d[c-f][0-9a-f]{2}))?|U([0-9a-f]{8})"""
    r"""|(x[0-9a-f]{2}(?:\\x[0-9a-f]{2})*)|([0-7]{3})|(.))""",
    re.IGNORECASE | re.DOTALL,
)
_PERCENT: Final = re.compile(r"(?:%[0-9a-f]{2})+", re.IGNORECASE)
_QUOTED_PRINTABLE: Final = re.compile(r"(?:=[0-9a-f]{2})+", re.IGNORECASE)
_HTML: Final = re.compile(
    r"&(?:#0*([0-9]{1,7});?|#x0*([0-9a-f]{1,6});?|([a-z][a-z0-9]*);)", re.IGNORECASE
)
_PLUS: Final = re.compile(r"\+")
_SHORT: Final[Mapping[str, str]] = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "0": ""}


def _of_backslash(found: re.Match[str]) -> str:
    braces, unit, low, long, octets, octal, char = found.groups()
    if unit is not None and low is not None:
        pair = int(unit, 16), int(low, 16)
        if 0xD800 <= pair[0] < 0xDC00:
            return chr(0x10000 + ((pair[0] - 0xD800) << 10) + (pair[1] - 0xDC00))
        return chr(pair[0]) + chr(pair[1])
    if octets is not None:
        return _of_bytes(bytes.fromhex(octets.replace("\\", "").replace("x", "").replace("X", "")))
    number = braces or unit or long
    if number is not None:
        return _character(int(number, 16))
    if octal is not None:
        return _character(int(octal, 8))
    return _SHORT.get(char, char)


def _of_bytes(content: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _of_html(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if decimal is not None:
        return _character(int(decimal))
    if hexadecimal is not None:
        return _character(int(hexadecimal, 16))
    return html5.get(f"{name};") or html5.get(f"{name.lower()};") or found[0]


def _character(point: int) -> str:
    return chr(point) if point <= sys.maxunicode else ""


#: What tells that a decoder has something to do, the decoder's pattern, and what it makes of it.
_DECODERS: Final[Sequence[tuple[str, re.Pattern[str], Callable[[re.Match[str]], str]]]] = (
    ("\\", _BACKSLASH, _of_backslash),
    ("%", _PERCENT, lambda found: _of_bytes(unquote_to_bytes(found[0]))),
    ("&", _HTML, _of_html),
    ("+", _PLUS, lambda _: " "),
    ("=", _QUOTED_PRINTABLE, lambda found: _of_bytes(bytes.fromhex(found[0].replace("=", "")))),
)


def _replaced(
    reading: _Reading, pattern: re.Pattern[str], meaning: Callable[[re.Match[str]], str]
) -> _Reading:
    if reading.places is None:
        return _Reading(pattern.sub(meaning, reading.text), None)
    texts: list[str] = []
    places: list[tuple[int, int]] = []
    at = 0
    for found in pattern.finditer(reading.text):
        begin, end = found.span()
        meant = meaning(found)
        texts += (reading.text[at:begin], meant)
        places += reading.places[at:begin]
        places += [(reading.places[begin][0], reading.places[end - 1][1])] * len(meant)
        at = end
    if not at:
        return reading
    return _Reading("".join([*texts, reading.text[at:]]), [*places, *reading.places[at:]])


def _readings(raw: _Reading) -> Iterator[_Reading]:
    """The text as it stands, and as what it means once decoded; each reading once."""
    waiting = [(_replaced(raw, _invisible(), lambda _: ""), 0)]
    seen = {waiting[0][0].text}
    while waiting:
        reading, depth = waiting.pop(0)
        yield reading
        if depth == _MOST_DEPTH:
            continue
        for sign, pattern, meaning in _DECODERS:
            if sign not in reading.text or len(seen) >= _MOST_READINGS:
                continue
            decoded = _replaced(reading, pattern, meaning)
            decoded = _replaced(decoded, _invisible(), lambda _: "")
            if decoded.text not in seen:
                seen.add(decoded.text)
                waiting.append((decoded, depth + 1))


# ---------------------------------------------------------------------------------------- masker


class Masker:
    """Masks some secrets. ``ids`` are names that servers join to a secret, as in ``id:secret``.

    Safe for threads. Its ``repr`` shows no secret.
    """

    def __init__(self, secrets: Iterable[str], ids: Iterable[str] = ()) -> None:
        cleaned = {without_invisible(secret) for secret in secrets} - {""}
        names = ["", *ids]
        self._forms = tuple(_Form(secret, names) for secret in sorted(cleaned))
        self._long = tuple(form for form in self._forms if form.size >= SHORTEST_IN_PAYLOADS)

    def text(self, message: str) -> str:
        """A message for people: without what shows nothing, and without any secret."""
        # Controls part words, so they become blanks before the rest of what is invisible goes.
        spaced = re.sub(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]", " ", message[:_MOST_MESSAGE])
        cleaned = without_invisible(spaced)
        return _masked(cleaned, self._forms)

    def payload(self, data: Any) -> Any:
        """Decoded JSON with the secrets of eight or more characters masked; the rest untouched.

        What holds none comes back as it is, not as a copy.
        """
        if not self._long:
            return data
        chunks = [data]
        if isinstance(data, list):
            chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
        if not any(self._is_suspicious(chunk) for chunk in chunks):
            return data
        try:
            return self._rebuilt(data)
        except RecursionError:
            # Nested beyond anything that the contract knows, and with a secret in it.
            return None

    def _is_suspicious(self, data: Any) -> bool:
        reading = _Reading("\n".join(_texts(data)), None)
        return any(
            True
            for meant in _readings(reading)
            for _ in _spans(meant.text, self._long, placed=False)
        )

    def _rebuilt(self, data: Any, name: str = "") -> Any:
        if isinstance(data, Mapping):
            return {
                self._one(key) if isinstance(key, str) else key: self._rebuilt(value, str(key))
                for key, value in data.items()
            }
        if isinstance(data, list | tuple):
            # A list of codes is made of codes.
            return [self._rebuilt(item, name) for item in data]
        if data is None or isinstance(data, bool) or _is_contracts(name, data):
            return data
        text = str(data)
        masked = self._one(text)
        return data if masked == text else masked

    def _one(self, text: str) -> str:
        if len(text) < SHORTEST_IN_PAYLOADS:
            return text
        return _masked(text, self._long)


@lru_cache(maxsize=64)
def masker(secrets: tuple[str, ...], ids: tuple[str, ...] = ()) -> Masker:
    """The masker of these secrets; the same ones share it."""
    return Masker(secrets, ids)


class _Form:
    """One secret, and how it looks in Base64 and hexadecimal."""

    def __init__(self, secret: str, names: Sequence[str]) -> None:
        self.size = len(secret)
        written = {secret, secret.lower(), secret.upper()}
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            written.add(unicodedata.normalize(form, secret))
        self._plain = {_folded(one) for one in written}
        # Base64 or hexadecimal of a text that had been escaped before.
        escaped = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        escaped |= {quote(secret, safe=""), escape(secret)}
        contents = {
            one.encode(encoding, "ignore") for one in escaped for encoding in ("utf-8", "gb18030")
        }
        parts = {part for content in contents for part in _base64_parts(content)}
        self._parts = {_folded(part) for part in parts if len(part) >= _SHORTEST_PART}
        self._alone: set[str] = set()
        if len(self._parts) < len(parts):
            # Too short to be told from other text in the middle of a longer run.
            joined = {f"{name}:{secret}".encode("utf-8", "ignore") for name in names if name}
            encoded = {base64.b64encode(one).decode().rstrip("=") for one in contents | joined}
            self._alone = {_folded(one) for one in encoded}
        digits = {content.hex() for content in contents}
        self._hex = {one for one in digits if len(one) >= _SHORTEST_HEX}
        self._hex_alone = digits - self._hex

    def __repr__(self) -> str:
        return "_Form(•••)"

    def find(self, text: str, base: str, digits: "_Reading") -> Iterator[tuple[int, int]]:
        """Where the secret stands in a text without letter case.

        ``base`` is the text in the alphabet of Base64, ``digits`` without what parts digits.
        """
        for plain in self._plain:
            yield from _occurrences(text, plain)
        for part in self._parts:
            for span in _occurrences(base, part):
                yield _whole_run(base, *span)
        for one in self._alone:
            for span in _occurrences(base, one):
                begin, end = _whole_run(base, *span)
                if base[begin:end].rstrip("=") == one:
                    yield begin, end
        for one in self._hex | self._hex_alone:
            for begin, end in _occurrences(digits.text, one):
                if one in self._hex_alone and (
                    digits.text[begin - 1 : begin].isalnum() or digits.text[end : end + 1].isalnum()
                ):
                    continue
                if digits.places is None:
                    yield begin, end
                else:
                    yield digits.places[begin][0], digits.places[end - 1][1]


def _base64_parts(content: bytes) -> Iterator[str]:
    """What Base64 shows of the content wherever it begins in a longer one."""
    for ahead in range(3):
        encoded = base64.b64encode(b"\0" * ahead + content).decode().rstrip("=")
        first = -(-ahead * 8 // 6)
        last = (ahead + len(content)) * 8 // 6
        yield encoded[first:last]


_AS_BASE64: Final = str.maketrans("-_", "+/")
_RUN: Final = re.compile(r"[a-z0-9+/]*={0,2}")
_IN_RUN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+/")
#: What stands between the pairs of digits of a dump.
_BETWEEN_DIGITS: Final = re.compile(
    r"(?<=[0-9a-f]{2})(?:[ :,\-]|0x)+(?=(?:0x)?[0-9a-f]{2}(?![0-9a-f]))"
)


def _whole_run(text: str, begin: int, end: int) -> tuple[int, int]:
    while begin and text[begin - 1] in _IN_RUN:
        begin -= 1
    found = _RUN.match(text, end)
    return begin, found.end() if found else end


def _occurrences(text: str, part: str) -> Iterator[tuple[int, int]]:
    at = text.find(part)
    while at >= 0:
        yield at, at + len(part)
        at = text.find(part, at + 1)


def _folded(text: str) -> str:
    """In lower case, character by character, so that places stay what they are."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _spans(text: str, forms: Sequence[_Form], *, placed: bool) -> Iterator[tuple[int, int]]:
    """Where any of the secrets stands; without ``placed``, that it does."""
    folded = _folded(text)
    places = [(at, at + 1) for at in range(len(text))] if placed else None
    digits = _replaced(_Reading(folded, places), _BETWEEN_DIGITS, lambda _: "")
    base = folded.translate(_AS_BASE64)
    for form in forms:
        yield from form.find(folded, base, digits)


def _masked(text: str, forms: Sequence[_Form]) -> str:
    raw = _Reading(text, [(at, at + 1) for at in range(len(text))])
    spans: list[tuple[int, int]] = []
    for reading in _readings(raw):
        assert reading.places is not None  # noqa: S101 - for the type checker
        for begin, end in _spans(reading.text, forms, placed=True):
            spans.append((reading.places[begin][0], reading.places[end - 1][1]))
    if not spans:
        return text
    parts: list[str] = []
    at = 0
    for begin, end in sorted(spans):
        if begin >= at:
            parts += (text[at:begin], MASK)
        at = max(at, end)
    return "".join([*parts, text[at:]])


def _is_contracts(name: str, value: object) -> bool:
    """Whether a value is one that the contract names, and so stays whatever it is."""
    return name in _CODES or (name in _AMOUNTS and _NUMERIC.fullmatch(str(value)) is not None)


def _texts(data: Any) -> Iterator[str]:
    """Every text and number of decoded JSON that is long enough to hold a secret."""
    waiting = [("", data)]
    while waiting:
        name, item = waiting.pop()
        if isinstance(item, Mapping):
            for key, value in item.items():
                if len(key) >= SHORTEST_IN_PAYLOADS:
                    yield key
                waiting.append((key, value))
        elif isinstance(item, list | tuple):
            waiting.extend((name, one) for one in item)
        elif item is not None and not isinstance(item, bool):
            text = item if isinstance(item, str) else str(item)
            if len(text) >= SHORTEST_IN_PAYLOADS and not _is_contracts(name, text):
                yield text
