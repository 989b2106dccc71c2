"""Query parameters: those that several routes share, and the refusal of those that none knows."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from haier_pipeline.platform.config import MAX_NAME_LENGTH
from haier_pipeline.web.guard import REST
from haier_pipeline.web.models import CODE, PRINTABLE

DealerName = Annotated[
    str | None,
    Query(
        max_length=MAX_NAME_LENGTH,
        pattern=PRINTABLE,
        description="Whose; left out, the only active dealer's",
    ),
]
_CODE = re.compile(CODE)
_MOST_NAMED = 20


def read_codes(text: str | None, *, most: int, name: str = "code") -> Sequence[str]:
    """The distinct codes of ``A,B``; of nothing, none.

    Raises:
        RequestValidationError: one is blank or too long, or there are more than ``most``.
    """
    if text is None:
        return ()
    codes = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if len(codes) > most:
        raise invalid(name, f"names more than {most} codes")
    if not all(_CODE.fullmatch(code) for code in codes):
        raise invalid(name, "holds a blank code, or one longer than 100 characters")
    return codes


async def only_known(request: Request) -> None:
    """Refuse a query parameter that the description of the route does not have, or that is given
    twice: ignored, a misspelt filter would answer with everything.

    Raises:
        RequestValidationError: it names the parameters.
    """
    if not request.scope["query_string"]:
        return
    paths, path = request.app.openapi()["paths"], request.scope["route"].path_format
    # The framework names a route without what it was included under.
    operation = (paths.get(REST + path) or paths[path])[request.method.lower()]
    known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    given = [name for name, _ in request.query_params.multi_items()]
    found = [
        {"loc": ("query", name), "msg": message, "type": "value"}
        for name in dict.fromkeys(given)
        for message in [
            "is no parameter of this route"
            if name not in known
            else "is given more than once"
            if given.count(name) > 1
            else ""
        ]
        if message
    ]
    if found:
        raise RequestValidationError(found[:_MOST_NAMED])


def described(model: type[BaseModel]) -> list[dict[str, Any]]:
    """A model's fields as the query parameters of an OpenAPI description."""
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "schema": field,
            **({"description": field["description"]} if "description" in field else {}),
        }
        for name, field in schema["properties"].items()
    ]


def invalid(name: str, message: str) -> RequestValidationError:
    """The framework's own error for a parameter that its rules cannot judge."""
    return RequestValidationError([{"loc": ("query", name), "msg": message, "type": "value"}])
