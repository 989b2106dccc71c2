"""The commands for dealers and for tokens of REST: ``haier config`` and ``haier token``."""

import codecs
import functools
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from haier_pipeline.cli.command import AsJson, opened
from haier_pipeline.cli.output import (
    note,
    print_json,
    print_line,
    print_styled,
    print_table,
    print_values,
)
from haier_pipeline.errors import InvalidInput
from haier_pipeline.settings import DEALER_VARIABLES

if TYPE_CHECKING:
    from haier_pipeline.sync.dealers import Dealer

#: What is asked for on a terminal: always, and for the order side.
SECRET_QUESTIONS: Mapping[str, str] = {
    "client_secret": "Client secret",
    "password": "Password of the account",
    "seller_password": "Seller password",
}
ORDER_SECRET_QUESTIONS: Mapping[str, str] = {
    "ylh_client_secret": "Client secret of the order side",
    "ylh_password": "Password of the order side's user",
    "ylh_callback_secret": "Secret that callbacks are signed with",
}
SECRETS = (
    *SECRET_QUESTIONS,
    "customer_password",
    *ORDER_SECRET_QUESTIONS,
    "ylh_callback_secret_previous",
)

config = typer.Typer(help="The dealers' configurations.", no_args_is_help=True)
token = typer.Typer(help="Tokens of REST and the admin pages.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The dealer's name.", metavar="NAME")]


@dataclass(frozen=True)
class Given:
    """What ``create`` and ``update`` take of a configuration, each an option; secrets apart."""

    client_id: Annotated[str | None, typer.Option(help="Client id at the platform.")] = None
    customer_code: Annotated[
        str | None, typer.Option(help="Sold-to party, ten digits such as 8800123456.")
    ] = None
    send_to_code: Annotated[str | None, typer.Option(help="Ship-to party, ten digits too.")] = None
    base_url: Annotated[str | None, typer.Option(help="The platform's address.")] = None
    token_url: Annotated[str | None, typer.Option(help="Where tokens come from.")] = None
    supplier_code: Annotated[str | None, typer.Option(help="1001 is Haier itself.")] = None
    county_code: Annotated[
        list[str] | None, typer.Option(help="A county of the customer's, six digits (repeatable).")
    ] = None
    rate_limit: Annotated[
        int | None,
        typer.Option(
            help="Calls a second allowed; 100 where not given, by an older note of Haier's."
        ),
    ] = None
    ylh_base_url: Annotated[
        str | None, typer.Option(help="The order side's address; follows that of the platform.")
    ] = None
    ylh_client_id: Annotated[str | None, typer.Option(help="Client id at the order side.")] = None
    ylh_username: Annotated[str | None, typer.Option(help="User at the order side.")] = None
    ylh_source_system: Annotated[
        str | None, typer.Option(help="Your system's name, agreed with Haier.")
    ] = None
    ylh_shop_name: Annotated[str | None, typer.Option(help="The shop that orders come from.")] = (
        None
    )
    ylh_callback_app_key: Annotated[
        str | None, typer.Option(help="AppKey that Haier calls back with.")
    ] = None
    ylh_seller_code: Annotated[
        str | None, typer.Option(help="The code to order as, where it is not the sold-to party.")
    ] = None
    ylh_rate_limit: Annotated[
        int | None, typer.Option(help="Calls a second at the order side; 100 where not given.")
    ] = None
    order_confirm_hours: Annotated[
        int | None,
        typer.Option(help="Hours after which a missing confirmation is said; 24 where not given."),
    ] = None
    order_secrets: Annotated[
        bool, typer.Option("--order-secrets", help="Ask for the order side's secrets too.")
    ] = False
    secrets_file: Annotated[
        Path | None,
        typer.Option(help="File with lines such as client_secret=…; - reads standard input."),
    ] = None
    secrets_from_env: Annotated[
        bool,
        typer.Option(
            "--secrets-from-env",
            help="Take them from HAIER_CLIENT_SECRET, HAIER_PASSWORD and so on.",
        ),
    ] = False

    def values(self, *, prompt: bool) -> dict[str, Any]:
        """The configuration's keys that were given; secrets are asked for with ``prompt``.

        Raises:
            InvalidInput: the secrets cannot be read where they were said to be.
        """
        values = asdict(self)
        questions = {
            **(SECRET_QUESTIONS if prompt else {}),
            **(ORDER_SECRET_QUESTIONS if values.pop("order_secrets") else {}),
        }
        path, from_env = values.pop("secrets_file"), values.pop("secrets_from_env")
        values["county_codes"] = values.pop("county_code")
        given = {key: value for key, value in values.items() if value is not None}
        return given | _secrets(path, from_env=from_env, questions=questions)


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command the options of `Given`; it finds them in its parameter ``given``."""
    options = inspect.signature(Given).parameters
    own = inspect.signature(command).parameters

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        given = Given(**{name: arguments.pop(name) for name in options})
        command(given=given, **arguments)

    parameters = [*own.values()]
    place = list(own).index("given")
    parameters[place : place + 1] = [
        option.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for option in options.values()
    ]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


@config.command("list")
def list_dealers(as_json: AsJson = False) -> None:
    """Show all dealers."""
    with opened() as installation:
        dealers = installation.dealers.all(limit=1_000)
    if as_json:
        _print_json({"dealers": [_as_json(dealer) for dealer in dealers]})
        return
    rows = [
        (
            str(dealer.id),
            dealer.name,
            dealer.source + ", shadowed by the environment" * dealer.is_shadowed,
            "yes" if dealer.is_active else "no",
            str(dealer.config["customer_code"] or ""),
            ", ".join(dealer.config["county_codes"]),
            str(dealer.config["base_url"] or ""),
        )
        for dealer in dealers
    ]
    columns = ("id", "name", "source", "active", "customer", "counties", "address")
    print_table(columns, rows, folded=columns)


@config.command()
def show(
    name: Name,
    key: Annotated[str | None, typer.Option(help="Print this one value only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a dealer, or one value of it, with defaults; secrets only as set or not set."""
    with opened() as installation:
        if key is not None:
            value = installation.dealers.value(name, key)
            shown = ",".join(value) if isinstance(value, list) else str(value or "")
            if as_json:
                _print_json({key: value})
            else:
                print_line(shown)
            return
        _print_dealer(installation.dealers.find(name), as_json)


@config.command()
@_with_options
def create(
    name: Name,
    given: Given,
    inactive: Annotated[bool, typer.Option("--inactive", help="Store it disabled.")] = False,
    as_json: AsJson = False,
) -> None:
    """Store a dealer. Secrets come from a prompt, a file or variables, never from an argument."""
    values = given.values(prompt=True)
    with opened() as installation:
        dealer = installation.dealer_editor.create(name, values, active=not inactive)
    _print_dealer(dealer, as_json)


@config.command()
@_with_options
def update(
    name: Name,
    given: Given,
    unset: Annotated[
        list[str] | None, typer.Option(help="Take this key back to its default (repeatable).")
    ] = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Ask for new secrets.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change what is given and leave the rest. A new host wants the secrets again."""
    values = given.values(prompt=secrets) | dict.fromkeys(unset or [])
    if not values:
        raise InvalidInput("nothing to change was given; see --help")
    with opened() as installation:
        dealer = installation.dealer_editor.update(installation.dealers.find(name), values)
    _print_dealer(dealer, as_json)


@config.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a dealer sync."""
    with opened() as installation:
        dealer = installation.dealers.find(name)
        _print_dealer(installation.dealer_editor.enable(dealer), as_json)


@config.command()
def disable(name: Name, as_json: AsJson = False) -> None:
    """Let a dealer sync no more; a sync at work stops at its next batch."""
    with opened() as installation:
        dealer = installation.dealers.find(name)
        _print_dealer(installation.dealer_editor.disable(dealer), as_json)


@config.command()
def delete(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete a dealer's configuration; its catalog, answers and log stay."""
    with opened() as installation:
        dealer = installation.dealers.find(name)
        if not yes and not typer.confirm(f"Delete the dealer {name}?", err=True):
            raise InvalidInput("nothing was deleted")
        installation.dealer_editor.delete(dealer)
    note(f"{name} is deleted; its catalog and log stay.")


@config.command()
def test(name: Name, as_json: AsJson = False) -> None:  # noqa: PT028 - a command, not a test
    """Ask the platform for a token, then for the listing; exit 1 where one does not work."""
    from haier_pipeline.sync.trial import try_connection

    with opened() as installation:
        trial = try_connection(installation.dealers, name)
    if as_json:
        _print_json({"ok": trial.ok, "failed": trial.failed, "message": trial.message})
    else:
        print_styled((trial.message, "green" if trial.ok else "red"))
    sys.exit(0 if trial.ok else 1)


@token.command("create")
def create_token(
    name: Annotated[str, typer.Option(help="Whose token it is, as logs show it.")],
    role: Annotated[str, typer.Option(help="reader or operator.")] = "reader",
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once; its hash goes into HAIER_API_TOKENS."""
    from haier_pipeline.web.auth import new_token

    secret, entry = new_token(name, role)
    if as_json:
        _print_json({"token": secret, "entry": entry})
        return
    print_line(secret)
    note("This token is not shown again. Add to HAIER_API_TOKENS:")
    note(entry)


def _secrets(path: Path | None, *, from_env: bool, questions: Mapping[str, str]) -> dict[str, str]:
    if path is not None and from_env:
        raise InvalidInput("give --secrets-file or --secrets-from-env, not both")
    if path is not None:
        return _read_secrets(path)
    if from_env:
        return {
            key: os.environ[variable]
            for variable, key in DEALER_VARIABLES.items()
            if key in SECRETS and os.environ.get(variable)
        }
    if not questions:
        return {}
    if not sys.stdin.isatty():
        raise InvalidInput(
            "secrets are asked for on a terminal; here give --secrets-file or --secrets-from-env"
        )
    return {
        key: typer.prompt(question, hide_input=True, err=True)
        for key, question in questions.items()
    }


def _read_secrets(path: Path) -> dict[str, str]:
    known = set(SECRETS)
    by_variable = {variable: key for variable, key in DEALER_VARIABLES.items() if key in known}
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = _decode(data)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not a text in UTF-8; store it as one") from None
    secrets: dict[str, str] = {}
    # Not splitlines(): a secret may hold one of the rarer separators.
    for place, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, separator, value = line.partition("=")
        key = key.strip().removeprefix("export ").strip()
        key = by_variable.get(key, key)
        # The line is not repeated: it may be a secret without its key.
        if not separator or key not in SECRETS:
            raise InvalidInput(f"{path}, line {place}: write key=value; keys: {sorted(SECRETS)}")
        if key in secrets:
            raise InvalidInput(f"{path}, line {place}: {key} stands there twice; leave one")
        secrets[key] = _unquoted(value.strip())
    return secrets


def _decode(data: bytes) -> str:
    """Windows' editors begin a text with a mark, and write UTF-16 where they are asked to."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _unquoted(value: str) -> str:
    """What stands between a pair of quotes; a backslash is itself, as a secret may hold one."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _as_json(dealer: "Dealer") -> dict[str, Any]:
    return {
        "id": dealer.id,
        "name": dealer.name,
        "source": dealer.source,
        "is_active": dealer.is_active,
        "is_shadowed": dealer.is_shadowed,
        "config": dict(dealer.config),
        "unknown_keys": list(dealer.unknown_keys),
        "secrets": dict(dealer.secrets),
    }


def _print_dealer(dealer: "Dealer", as_json: bool) -> None:
    if as_json:
        _print_json(_as_json(dealer))
        return
    values = [
        ("id", str(dealer.id)),
        ("source", dealer.source),
        ("active", "yes" if dealer.is_active else "no"),
    ]
    for key, value in dealer.config.items():
        shown = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
        values.append((key, shown))
    values += [(key, "set" if is_set else "not set") for key, is_set in dealer.secrets.items()]
    if dealer.unknown_keys:
        values.append(("left as they are", ", ".join(dealer.unknown_keys)))
    print_values(dealer.name, values)


def _print_json(value: Mapping[str, Any]) -> None:
    print_json(json.dumps(value, ensure_ascii=False, default=str))
