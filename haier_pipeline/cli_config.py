"""The command line's part for dealers, API tokens and REST: ``config``, ``token``, ``api``.

As in ``cli``: parse, call, print; modules are imported inside the commands.
"""

import codecs
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from haier_pipeline.errors import Cancelled, InvalidInput
from haier_pipeline.settings import DEALER_VARIABLES, read_settings
from haier_pipeline.terminal import Console, print_json, print_line

if TYPE_CHECKING:
    from haier_pipeline.installation import Installation
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

#: The options of `create` and `update`: one for each key that is no secret, by its name.
KEY_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "client_id": (str | None, typer.Option(help="Client id at the platform.")),
    "customer_code": (
        str | None,
        typer.Option(help="Sold-to party, ten digits such as 8800123456."),
    ),
    "send_to_code": (str | None, typer.Option(help="Ship-to party, ten digits too.")),
    "base_url": (str | None, typer.Option(help="The platform's address.")),
    "token_url": (str | None, typer.Option(help="Where tokens come from.")),
    "supplier_code": (str | None, typer.Option(help="1001 is Haier itself.")),
    "county_codes": (
        list[str] | None,
        typer.Option("--county-code", help="A county of the customer's, six digits (repeatable)."),
    ),
    "rate_limit": (
        int | None,
        typer.Option(
            help="Calls a second allowed; 100 where not given, by an older note of Haier's."
        ),
    ),
    "ylh_base_url": (
        str | None,
        typer.Option(help="The order side's address; follows that of the platform."),
    ),
    "ylh_client_id": (str | None, typer.Option(help="Client id at the order side.")),
    "ylh_username": (str | None, typer.Option(help="User at the order side.")),
    "ylh_source_system": (str | None, typer.Option(help="Your system's name, agreed with Haier.")),
    "ylh_shop_name": (str | None, typer.Option(help="The shop that orders come from.")),
    "ylh_callback_app_key": (str | None, typer.Option(help="AppKey that Haier calls back with.")),
    "ylh_seller_code": (
        str | None,
        typer.Option(help="The code to order as, where it is not the sold-to party."),
    ),
    "ylh_rate_limit": (
        int | None,
        typer.Option(help="Calls a second at the order side; 100 where not given."),
    ),
    "order_confirm_hours": (
        int | None,
        typer.Option(help="Hours after which a missing confirmation is said; 24 where not given."),
    ),
}

config = typer.Typer(help="The dealers' configurations.", no_args_is_help=True)
token = typer.Typer(help="Tokens of REST and the admin pages.", no_args_is_help=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Name = Annotated[str, typer.Argument(help="The dealer's name.", metavar="NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
SecretsFile = Annotated[
    Path | None,
    typer.Option(help="File with lines such as client_secret=…; - reads standard input."),
]
SecretsFromEnv = Annotated[
    bool,
    typer.Option(
        "--secrets-from-env", help="Take them from HAIER_CLIENT_SECRET, HAIER_PASSWORD and so on."
    ),
]


OrderSecrets = Annotated[
    bool, typer.Option("--order-secrets", help="Ask for the order side's secrets too.")
]


CANCELLED = "cancelled; the catalog is as it was"


@contextmanager
def opened(**options: Any) -> Iterator["Installation"]:
    """The installation that the environment describes."""
    from haier_pipeline.installation import Installation

    try:
        with Installation(read_settings(os.environ), **options) as installation:
            yield installation
    except KeyboardInterrupt:
        raise Cancelled(CANCELLED) from None


def _takes_keys(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `KEY_OPTIONS`; what was given of them is its ``values``."""

    @wraps(command)
    def run(**given: Any) -> None:
        values = {key: given.pop(key) for key in KEY_OPTIONS}
        command(values={key: value for key, value in values.items() if value is not None}, **given)

    options = [
        Parameter(key, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
        for key, (kind, option) in KEY_OPTIONS.items()
    ]
    name, *own = (each for each in signature(command).parameters.values() if each.name != "values")
    own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own]
    # What typer reads to find out what a command takes.
    run.__signature__ = Signature([name, *options, *own])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (name, *options, *own)}
    return run


@config.command("list")
def list_dealers(as_json: AsJson = False) -> None:
    """Show all dealers."""
    with opened() as installation:
        dealers = installation.dealers.all(limit=1_000)
    if as_json:
        _print_json({"dealers": [_as_json(dealer) for dealer in dealers]})
        return
    table = Table()
    for column in ("id", "name", "source", "active", "customer", "counties", "address"):
        table.add_column(column, overflow="fold")
    for dealer in dealers:
        table.add_row(
            str(dealer.id),
            escape(dealer.name),
            dealer.source + ", shadowed by the environment" * dealer.is_shadowed,
            "yes" if dealer.is_active else "no",
            escape(str(dealer.config["customer_code"] or "")),
            escape(", ".join(dealer.config["county_codes"])),
            escape(str(dealer.config["base_url"] or "")),
        )
    Console().print(table)


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
@_takes_keys
def create(
    name: Name,
    values: dict[str, Any],
    secrets_file: SecretsFile = None,
    secrets_from_env: SecretsFromEnv = False,
    order_secrets: OrderSecrets = False,
    inactive: Annotated[bool, typer.Option("--inactive", help="Store it disabled.")] = False,
    as_json: AsJson = False,
) -> None:
    """Store a dealer. Secrets come from a prompt, a file or variables, never from an argument."""
    questions = {**SECRET_QUESTIONS, **(ORDER_SECRET_QUESTIONS if order_secrets else {})}
    values |= _secrets(secrets_file, from_env=secrets_from_env, questions=questions)
    with opened() as installation:
        dealer = installation.dealers.create(name, values, active=not inactive)
    _print_dealer(dealer, as_json)


@config.command()
@_takes_keys
def update(
    name: Name,
    values: dict[str, Any],
    unset: Annotated[
        list[str] | None, typer.Option(help="Take this key back to its default (repeatable).")
    ] = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Ask for new secrets.")] = False,
    order_secrets: OrderSecrets = False,
    secrets_file: SecretsFile = None,
    secrets_from_env: SecretsFromEnv = False,
    as_json: AsJson = False,
) -> None:
    """Change what is given and leave the rest. A new host wants the secrets again."""
    questions = {
        **(SECRET_QUESTIONS if secrets else {}),
        **(ORDER_SECRET_QUESTIONS if order_secrets else {}),
    }
    values |= _secrets(secrets_file, from_env=secrets_from_env, questions=questions)
    values |= dict.fromkeys(unset or [])
    if not values:
        raise InvalidInput("nothing to change was given; see --help")
    with opened() as installation:
        dealers = installation.dealers
        dealer = dealers.update(dealers.find(name).id, values)
    _print_dealer(dealer, as_json)


@config.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a dealer sync."""
    with opened() as installation:
        dealers = installation.dealers
        _print_dealer(dealers.enable(dealers.find(name).id), as_json)


@config.command()
def disable(name: Name, as_json: AsJson = False) -> None:
    """Let a dealer sync no more; a sync at work stops at its next batch."""
    with opened() as installation:
        dealers = installation.dealers
        _print_dealer(dealers.disable(dealers.find(name).id), as_json)


@config.command()
def delete(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete a dealer's configuration; its catalog, answers and log stay."""
    with opened() as installation:
        dealers = installation.dealers
        number = dealers.find(name).id
        if not yes and not typer.confirm(f"Delete the dealer {name}?", err=True):
            raise InvalidInput("nothing was deleted")
        dealers.delete(number)
    errors.print(f"{escape(name)} is deleted; its catalog and log stay.")


@config.command()
def test(name: Name, as_json: AsJson = False) -> None:  # noqa: PT028 - a command, not a test
    """Ask the platform for a token, then for the listing; exit 1 where one does not work."""
    with opened() as installation:
        trial = installation.dealers.test(name)
    if as_json:
        _print_json({"ok": trial.ok, "failed": trial.failed, "message": trial.message})
    else:
        Console(soft_wrap=True).print(escape(trial.message), style="green" if trial.ok else "red")
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
    errors.print("This token is not shown again. Add to HAIER_API_TOKENS:")
    errors.print(entry)


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8300,
) -> None:
    """Run REST and the admin pages alone, until Ctrl-C."""
    from haier_pipeline.orchestration.launch import ProcessLauncher, dagster_problem
    from haier_pipeline.server.ports import require_free
    from haier_pipeline.web import serving
    from haier_pipeline.web.app import build_app

    require_free(port, host)
    # Whoever asks waits for the answer: a database that is away is said soon.
    with opened(patience=2.0) as installation:
        if not installation.settings.api_tokens:
            errors.print(
                "HAIER_API_TOKENS is not set, so nobody is let in; make a token with: "
                "haier token create --name me --role operator"
            )
        # Migrations and the first connection before the first request, not in it.
        _ = installation.engine
        app = build_app(
            installation,
            launch=ProcessLauncher(
                installation.settings.home / "syncs", lambda: installation.engine
            ),
            dagster_problem=lambda: dagster_problem(installation.engine),
        )
        serving.run(
            app, host=host, port=port, trusted_proxies=installation.settings.trusted_proxies
        )


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
        if not separator or key not in known:
            raise InvalidInput(f"{path}, line {place}: write key=value; keys: {sorted(known)}")
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
    table = Table(title=escape(dealer.name), title_justify="left", show_header=False)
    table.add_row("id", str(dealer.id))
    table.add_row("source", dealer.source)
    table.add_row("active", "yes" if dealer.is_active else "no")
    for key, value in dealer.config.items():
        shown = ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
        table.add_row(key, escape(shown))
    for key, is_set in dealer.secrets.items():
        table.add_row(key, "set" if is_set else "not set")
    if dealer.unknown_keys:
        table.add_row("left as they are", escape(", ".join(dealer.unknown_keys)))
    Console().print(table)


def _print_json(value: Mapping[str, Any]) -> None:
    print_json(json.dumps(value, ensure_ascii=False, default=str))
