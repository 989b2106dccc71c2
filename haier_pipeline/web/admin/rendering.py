"""Pages out of templates: the language, the words' forms, the headers of every answer.

Everything a template prints is escaped, whoever it came from (fault matrix, row 54), and control
characters in it are shown instead of obeyed. A value that cannot be shown in its form is shown as
it is: one strange row takes nothing from the others.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from haier_pipeline.catalog.log import STATUS_LABELS, TYPE_LABELS
from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.web.admin.sessions import Session
from haier_pipeline.web.admin.words import CHANGE_LABELS, CHINESE
from haier_pipeline.web.models import CONTROLS

Language = Literal["en", "zh"]

LANGUAGES: Final[dict[Language, str]] = {"en": "English", "zh": "中文"}
_COOKIE: Final = "haier_admin_language"
_YEAR_SECONDS: Final = 365 * 24 * 3600

# No script may run on these pages, wherever it comes from; ours have none.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Words:
    """Text in the language of the page; called with English text, as ``_`` in the templates."""

    language: Language

    def __call__(self, english: str, **values: object) -> str:
        text = CHINESE[english] if self.language == "zh" else english
        return text.format(**values) if values else text

    # A newer program beside this one may write words that this one has no label for.
    def type(self, sync_type: str) -> str:
        return self._label(TYPE_LABELS, sync_type)

    def status(self, status: str) -> str:
        return self._label(STATUS_LABELS, status)

    def kind(self, change: str) -> str:
        return self._label(CHANGE_LABELS, change)

    def short(self, value: float) -> str:
        """A number beside a chart; "–" for one that is none."""
        if not math.isfinite(value):
            return "–"
        for size, english in ((1_000_000, "M"), (1_000, "k")):
            if value >= size:
                return f"{value / size:g}{english}"
        return f"{value:g}"

    def ago(self, moment: datetime) -> str:
        """How long ago, in the largest unit that fits."""
        seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
        if seconds < 60:
            return self("just now")
        for english, size, limit in (
            ("{n} min ago", 60, 3600),
            ("{n} h ago", 3600, 48 * 3600),
            ("{n} days ago", 86400, None),
        ):
            if limit is None or seconds < limit:
                return self(english, n=seconds // size)
        raise AssertionError

    def duration(self, seconds: float | None) -> str:
        if seconds is None or not math.isfinite(seconds):
            return "–"
        if seconds < 60:
            return self("{n} s", n=f"{seconds:.1f}")
        minutes, rest = divmod(round(seconds), 60)
        return self("{m} min {s} s", m=minutes, s=rest)

    def _label(self, labels: Mapping[str, Sequence[str]], word: str) -> str:
        return labels[word][0 if self.language == "en" else 1] if word in labels else word


def _moment(value: datetime | str | None) -> str:
    if value is None:
        return "–"
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return f"{moment.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"
    # A database knows times that no calendar of ours does.
    except (ValueError, OverflowError):
        return str(value)


def _amount(value: str | Decimal | None) -> str:
    return "–" if value is None else _number(value, lambda number: f"{number:,.2f}")


def _percent(fraction: str | Decimal | None) -> str:
    return "–" if fraction is None else _number(fraction, lambda number: f"{number * 100:.2f} %")


def _count(value: float | None) -> str:
    return "–" if value is None else _number(value, lambda number: f"{number:,.0f}")


def _number(value: Any, shown: Callable[[Decimal], str]) -> str:
    try:
        number = Decimal(value)
        # A hundred digits are none of a price; written out, 1E+999999 would be a megabyte.
        return shown(number) if number.is_finite() and number.adjusted() < 100 else str(value)
    except (DecimalException, ValueError, TypeError, OverflowError):
        return str(value)


def _pretty(value: Any) -> str:
    """JSON to read; an exact decimal as the number it is."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=_json_default)


def _json_default(value: object) -> object:
    if isinstance(value, Decimal):
        if not value.is_finite() or abs(value.adjusted()) > 15:
            return str(value)
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


_HIDDEN: Final = re.compile(rf"(?![\t\n\r])[{CONTROLS}\ud800-\udfff]")


def _visible(value: object) -> object:
    """Control characters shown as their code points: a page must not be turned round by them."""
    if isinstance(value, str) and _HIDDEN.search(value):
        return type(value)(_HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", value))
    return value


def _environment() -> Environment:
    environment = Environment(
        finalize=_visible,
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "moment": _moment,
        "amount": _amount,
        "percent": _percent,
        "count_": _count,
        "pretty": _pretty,
    }
    environment.filters.update(filters)
    return environment


_TEMPLATES: Final = _environment()


def language_of(request: Request) -> Language:
    """Asked for just now, else chosen before, else what the browser prefers."""
    for asked in (request.query_params.get("lang"), request.cookies.get(_COOKIE)):
        for language in LANGUAGES:
            if asked == language:
                return language
    preferred = request.headers.get("Accept-Language", "")
    return "zh" if preferred.lower().startswith("zh") else "en"


def render(
    request: Request,
    template: str,
    *,
    session: Session | None,
    status: int = 200,
    **context: Any,
) -> HTMLResponse:
    """The page, with the notices that wait in the session."""
    language = language_of(request)
    root = request.scope["root_path"]

    def here(**changes: object) -> str:
        """This page with other parameters; ``None`` leaves one out."""
        asked = {**request.query_params, **changes}
        kept = {key: value for key, value in asked.items() if value not in (None, "")}
        return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path

    html = _TEMPLATES.get_template(template).render(
        {
            "_": Words(language),
            "language": language,
            "languages": LANGUAGES,
            "root": root,
            "path": request.url.path.removeprefix(root),
            "query": request.query_params,
            "here": here,
            "session": session,
            "notices": session.take_notices() if session else [],
            **context,
        }
    )
    response = HTMLResponse(
        html,
        status_code=status,
        headers={"Content-Security-Policy": POLICY, "Content-Language": language},
    )
    if request.query_params.get("lang") == language:
        response.set_cookie(
            _COOKIE,
            language,
            max_age=_YEAR_SECONDS,
            path=root,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return response
