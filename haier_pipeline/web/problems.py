"""Errors as answers: one form for all of them, RFC 9457.

Which error of ours becomes which status is decided here. An answer never repeats a value that was
sent: it may have been a secret.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from haier_pipeline import errors

logger = logging.getLogger(__name__)

#: Seconds after which to ask again, where the platform did not say.
RETRY_AFTER_SECONDS: Final = 30
_DATABASE_RETRY_SECONDS: Final = 5


class FieldProblem(BaseModel):
    """What is wrong with one parameter or field."""

    field: str
    problem: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it. ``errors`` names every parameter or field at fault."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "limit: Input should be less than or equal to 200",
                    "errors": [
                        {
                            "field": "limit",
                            "problem": "Input should be less than or equal to 200",
                        }
                    ],
                }
            ]
        }
    )

    type: str = Field("about:blank", description="Always `about:blank`: the status says it all.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="One sentence for a person.")
    errors: list[FieldProblem] = []


class ProblemResponse(JSONResponse):
    """The answer to an error."""

    media_type = "application/problem+json"


class WebError(Exception):
    """An error that only a route knows of: its status, one sentence, headers."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class InvalidBody(WebError):
    """What was sent is wrong in ways that only the use case knows; ``fields`` are at fault."""

    def __init__(self, detail: str, fields: Sequence[str]) -> None:
        super().__init__(422, detail)
        self.fields = tuple(fields)


def problem(
    status: int,
    detail: str,
    *,
    fields: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """The answer with this status and sentence."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=[FieldProblem(field=field, problem=text) for field, text in fields],
    )
    return ProblemResponse(
        body.model_dump(exclude_defaults=False), status_code=status, headers=dict(headers or {})
    )


def of_error(error: errors.HaierError) -> ProblemResponse:
    """The answer to an error of ours."""
    text = str(error)
    match error:
        case errors.InvalidConfig():
            # A write that is refused says 422 in its route; here a stored one cannot be used.
            return problem(409, text, fields=[(name, "is at fault") for name in error.fields])
        case errors.NotFound():
            return problem(404, text)
        case errors.PositionGone():
            return problem(410, text)
        case errors.Conflict():
            return problem(409, text)
        case errors.InvalidInput():
            return problem(422, text)
        case errors.PlatformError():
            return problem(
                _platform_status(error),
                text,
                headers={"Retry-After": str(math.ceil(error.retry_after or RETRY_AFTER_SECONDS))},
            )
        case errors.DatabaseUnavailable():
            return problem(503, text, headers={"Retry-After": str(_DATABASE_RETRY_SECONDS)})
        case errors.SyncStopped():
            return problem(409, text)
    return problem(500, text)


def _platform_status(error: errors.PlatformError) -> int:
    """504: no answer in time. 503: overloaded or away for now. 502: any other refusal."""
    if isinstance(error, errors.DeadlinePassed) or error.status == 504:
        return 504
    # What was tried several times without any status is a network that may come back.
    if error.status in (429, 503) or (error.status is None and error.attempts > 1):
        return 503
    return 502


def add_handlers(app: FastAPI) -> None:
    """Let every error of the app leave as a problem."""

    @app.exception_handler(errors.HaierError)
    async def ours(request: Request, error: errors.HaierError) -> ProblemResponse:
        del request
        answer = of_error(error)
        if answer.status_code >= 500:
            logger.warning("%s: %s", type(error).__name__, error)
        return answer

    @app.exception_handler(WebError)
    async def of_route(request: Request, error: WebError) -> ProblemResponse:
        del request
        fields = error.fields if isinstance(error, InvalidBody) else ()
        return problem(
            error.status,
            error.detail,
            fields=[(field, "is missing or wrong") for field in fields],
            headers=error.headers,
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> ProblemResponse:
        del request
        fields = [(_place(found), str(found["msg"])) for found in error.errors()]
        return problem(422, "; ".join(f"{name}: {text}" for name, text in fields), fields=fields)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> ProblemResponse:
        del request
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> ProblemResponse:
        # The traceback goes to the server's log only: it may hold a secret.
        del request, error
        return problem(500, "an unexpected error; the server's log has more")


_FIELD: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


def _place(found: Any) -> str:
    """``query.limit`` as ``limit``, ``body.config.base_url`` as ``config.base_url``.

    A name that nobody knows was sent too: it is repeated only if it could be a field's.
    """
    parts = [str(part) for part in found["loc"]]
    parts = [part if _FIELD.fullmatch(part) else "(unreadable name)" for part in parts]
    # Behind the key of a JSON error comes only the position of the character.
    if found["type"] == "json_invalid":
        return "body"
    return ".".join(parts[1:])[:100] or parts[0]


_DESCRIPTIONS: Final = {
    400: "The request cannot be read",
    401: "No token, or an unknown one",
    403: "The token's role may only read",
    404: "There is nothing here",
    409: "What is there does not allow it",
    410: "The position is too old, or of another database: read the list anew",
    411: "The body does not tell its length",
    413: "The body is too large",
    415: "The body is not JSON in UTF-8",
    422: "A parameter or field is wrong; `errors` names it",
    429: "Too many wrong tokens from this address",
    431: "The headers or the address are too large",
    500: "An unexpected error; the server's log has more",
    502: "The platform refused",
    503: "The platform or the database is away or overloaded; see `Retry-After`",
    504: "No answer in time",
}
EVERYWHERE: Final = (400, 401, 403, 411, 413, 415, 422, 429, 431, 500, 503)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route for the OpenAPI description: these, and those of every route."""
    return {
        status: {
            "model": Problem,
            "description": _DESCRIPTIONS[status],
            # The framework files a model under its default type; ours has its own.
            "content": {ProblemResponse.media_type: {}},
        }
        for status in sorted({*EVERYWHERE, *statuses})
    }
