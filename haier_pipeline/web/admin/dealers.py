"""The pages that act: dealers are created, changed, tried out, enabled, disabled and synced.

Every role may look at them; an act wants an operator, in a form of this session. Secrets go in and
never come out, not even into the form they came from.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import Conflict, HaierError, InvalidConfig, InvalidInput, NotFound
from haier_pipeline.platform.config import (
    DEFAULTS,
    HAIER_ENVIRONMENTS,
    ORDER_FIELDS,
    ORDER_HOSTS,
    REQUIRED,
    SECRET_FIELDS,
    TOKEN_PATH,
)
from haier_pipeline.sync.dealers import ENVIRONMENT_ID, SANDBOX_DEALER, Dealer, Trial
from haier_pipeline.sync.requests import accept
from haier_pipeline.web.admin.rendering import render
from haier_pipeline.web.admin.sessions import Form, Notice, OperatorsForm, Session, SessionHere
from haier_pipeline.web.services import Services, ServicesHere

router = APIRouter()

#: In the order in which a person fills them in.
FORM: Final = (
    "client_id",
    "client_secret",
    "customer_code",
    "send_to_code",
    "password",
    "seller_password",
    "customer_password",
    "county_codes",
    "supplier_code",
    "rate_limit",
    "base_url",
    "token_url",
    *ORDER_FIELDS,
)
#: Secrets that a dealer can do without, and so can have taken away.
FORGETTABLE: Final = frozenset(SECRET_FIELDS - REQUIRED)
_MOST_DEALERS: Final = 1_000


@router.get("/dealers")
def show_dealers(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """All dealers."""
    dealers = services.dealers.all(limit=_MOST_DEALERS)
    sandbox = services.dealers.active() == [SANDBOX_DEALER]
    return render(request, "dealers.html", session=session, dealers=dealers, sandbox=sandbox,
                  sandbox_name=SANDBOX_DEALER, key=_new_key())  # fmt: skip


@router.get("/dealers/new")
def show_new(request: Request, session: SessionHere) -> HTMLResponse:
    """The empty form."""
    return _form(request, session, None, {"is_active": "on"})


@router.post("/dealers/new")
def create(
    request: Request, services: ServicesHere, session: SessionHere, form: OperatorsForm
) -> Response:
    """Store a dealer, or show the form again with what is wrong."""
    sent = _sent(form)
    values = {key: sent[key] for key in FORM if sent[key]}
    try:
        dealer = services.dealers.create(sent["name"], values, active=form.get("is_active") == "on")
    except (InvalidInput, Conflict) as error:
        return _form(request, session, None, {**sent, "is_active": _text(form, "is_active")}, error)
    session.say(Notice(True, "The dealer is stored. Test its connection next."))
    return _to(request, f"/dealers/{dealer.id}")


@router.get("/dealers/{number}")
def show_dealer(
    request: Request, services: ServicesHere, session: SessionHere, number: int
) -> HTMLResponse:
    """One dealer: its configuration to read or change, and its buttons."""
    dealer = _get(services, number)
    return _form(request, session, dealer, _shown(dealer))


@router.post("/dealers/{number}")
def update(
    request: Request,
    services: ServicesHere,
    session: SessionHere,
    form: OperatorsForm,
    number: int,
) -> Response:
    """Change what differs from what is stored; a secret that is left blank stays."""
    dealer = _get(services, number)
    sent, before = _sent(form), _shown(dealer)
    changes: dict[str, object] = {}
    for key in FORM:
        if key in SECRET_FIELDS:
            if sent[key]:
                changes[key] = sent[key]
        elif sent[key] != before[key]:
            changes[key] = sent[key] or None
    for key in FORGETTABLE:
        if form.get(f"forget_{key}") == "on":
            changes[key] = None
    try:
        services.dealers.update(number, changes)
    except NotFound:
        raise
    except (InvalidInput, Conflict) as error:
        return _form(request, session, dealer, {**before, **sent}, error)
    session.say(Notice(True, "The changes are stored."))
    return _to(request, f"/dealers/{number}")


@router.post("/dealers/{number}/enable")
def enable(
    request: Request, services: ServicesHere, session: SessionHere, _: OperatorsForm, number: int
) -> Response:
    """Let the dealer sync."""
    _act(session, lambda: services.dealers.enable(number), "The dealer is enabled.")
    return _to(request, f"/dealers/{number}")


@router.post("/dealers/{number}/disable")
def disable(
    request: Request, services: ServicesHere, session: SessionHere, _: OperatorsForm, number: int
) -> Response:
    """Let it sync no more."""
    _act(
        session,
        lambda: services.dealers.disable(number),
        "The dealer is disabled. A sync at work stops at its next batch.",
    )
    return _to(request, f"/dealers/{number}")


@router.post("/dealers/{number}/test")
def test(
    request: Request, services: ServicesHere, session: SessionHere, _: OperatorsForm, number: int
) -> Response:
    """Ask for a token, then for the listing."""
    dealer = _get(services, number)
    trial = _act(session, lambda: services.dealers.test(dealer.name), None)
    if isinstance(trial, Trial):
        headline = {
            None: "The connection works.",
            "token": "The platform gives no token.",
            "listing": "The token works, the listing does not.",
        }[trial.failed]
        session.say(Notice(trial.ok, headline, trial.message))
    return _to(request, f"/dealers/{number}")


@router.post("/sync")
def start_sync(
    request: Request, services: ServicesHere, session: SessionHere, form: OperatorsForm
) -> Response:
    """Start a sync of today and show its rows in the log; a form sent twice starts one."""
    name, key = _text(form, "dealer"), _text(form, "key")

    def work() -> str:
        order, _ = accept(
            services.engine,
            services.dealers,
            SyncRequest(dealer=services.choose_dealer(name)),
            services.launch,
            caller=session.caller.name,
            key=key[:200] or None,
        )
        return order.run_id

    run_id = _act(session, work, "The sync is accepted.")
    return _to(request, f"/log?run_id={run_id}" if run_id else "/dealers")


def _act(session: Session, work: Callable[[], Any], done: str | None) -> Any:
    """Do it and leave a notice of what came of it; ``None`` where it did not work."""
    try:
        result = work()
    except NotFound:
        raise
    except HaierError as error:
        session.say(Notice(False, "That did not work.", str(error)))
        return None
    if done is not None:
        session.say(Notice(True, done))
    return result


def _get(services: Services, number: int) -> Dealer:
    if not 0 <= number < 2**63:
        raise NotFound(f"there is no dealer with the id {number}")
    return services.dealers.get(number)


def _form(
    request: Request,
    session: Session,
    dealer: Dealer | None,
    values: Mapping[str, str],
    error: HaierError | None = None,
) -> HTMLResponse:
    """The form with these values, of which no secret is shown."""
    return render(
        request,
        "dealer.html",
        session=session,
        status=200 if error is None else 409 if isinstance(error, Conflict) else 422,
        dealer=dealer,
        fields=FORM,
        secrets=SECRET_FIELDS,
        required=REQUIRED,
        values={key: value for key, value in values.items() if key not in SECRET_FIELDS},
        defaults={key: _in_form(value) for key, value in DEFAULTS.items()},
        hosts=[f"https://{host}" for host in HAIER_ENVIRONMENTS],
        token_hosts=[f"https://{host}{TOKEN_PATH}" for host in HAIER_ENVIRONMENTS],
        order_hosts=[f"https://{host}" for host in ORDER_HOSTS],
        forgettable=FORGETTABLE,
        error=None if error is None else str(error),
        wrong=error.fields if isinstance(error, InvalidConfig) else (),
        may_edit=session.caller.is_operator and (dealer is None or dealer.id != ENVIRONMENT_ID),
        key=_new_key(),
    )


def _shown(dealer: Dealer) -> dict[str, str]:
    """What of a stored configuration stands in the form."""
    shown = {"name": dealer.name}
    return shown | {key: _in_form(dealer.config.get(key)) for key in FORM}


def _in_form(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return "" if value is None else str(value)


def _sent(form: Form) -> dict[str, str]:
    return {key: _text(form, key) for key in ("name", *FORM)}


def _text(form: Form, key: str) -> str:
    return form.get(key, "").strip()


def _new_key() -> str:
    return str(uuid.uuid4())


def _to(request: Request, path: str) -> RedirectResponse:
    return RedirectResponse(request.scope["root_path"] + path, status_code=303)
