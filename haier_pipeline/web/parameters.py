"""Query parameters that several routes share."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from haier_pipeline.platform.config import MAX_NAME_LENGTH
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
