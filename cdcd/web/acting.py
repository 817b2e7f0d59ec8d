"""Actions over the web: a page that shows first what would come of one, then the deed, once, by who is named in the log.

A form is taken only from our own page: it carries a token for this person and this action, which is good once.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cdcd.errors import CdcdError
from cdcd.web import actions
from cdcd.web.access import Tokens
from cdcd.web.daemon import Daemon
from cdcd.web.pages import Pages

FORM_BYTES_MAX: Final = 8_192
OUTCOMES_MAX: Final = 50
_log: Final = logging.getLogger("cdcd.web")


class Outcome(msgspec.Struct, frozen=True):
    """What came of an action."""

    verb: str
    text: str
    error: CdcdError | None = None


class Acting:
    """The actions of one application."""

    def __init__(self, daemon: Daemon, pages: Pages) -> None:
        self._daemon = daemon
        self._pages = pages
        self._tokens = Tokens()
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()

    def routes(self) -> list[Route]:
        """Look, act, and see what came of it."""
        return [
            Route("/actions/{verb}", self._look, methods=["GET"]),
            Route("/actions/{verb}", self._act, methods=["POST"]),
            Route("/outcomes/{number}", self._outcome, methods=["GET"]),
        ]

    def _look(self, request: Request) -> Response:
        """What would be done, with the button that does it. Nothing is done yet."""
        verb = request.path_params["verb"]
        try:
            action, arguments = actions.chosen(verb, dict(request.query_params))
            plan = action.plan(self._daemon, arguments)
        except CdcdError as error:
            return self._pages.outcome(verb, "", error)
        token = self._tokens.issue(request.state.user, _meant(verb, arguments))
        return self._pages.confirmation(verb, arguments, plan, token)

    async def _act(self, request: Request) -> Response:
        if not _is_ours(request):
            raise HTTPException(403, "this form did not come from this page")
        form = await _form(request)
        return await run_in_threadpool(self._carry_out, request, form)

    def _carry_out(self, request: Request, form: dict[str, str]) -> Response:
        verb, user = request.path_params["verb"], request.state.user
        try:
            action, arguments = actions.chosen(verb, form)
        except CdcdError as error:
            return self._pages.outcome(verb, "", error)
        if not self._tokens.spend(form.get("token", ""), user, _meant(verb, arguments)):
            self._daemon.acted.count(verb, "refused")
            return self._pages.stale(verb, arguments)
        about = {
            "user": user,
            "address": request.client.host if request.client else "",
            "verb": verb,
            "about": " ".join(f"{name}={value}" for name, value in arguments.items()),
        }
        _log.warning("action on the status page", extra={**about, "result": "begun"})
        try:
            outcome = Outcome(verb, action.carry_out(self._daemon, arguments))
        except CdcdError as error:
            outcome = Outcome(verb, "", error)
        result = "done" if outcome.error is None else "failed"
        self._daemon.acted.count(verb, result)
        code = {"code": outcome.error.code} if outcome.error is not None else {}
        _log.warning("action on the status page", extra={**about, "result": result, **code})
        return RedirectResponse(f"/outcomes/{self._keep(outcome)}", 303)

    def _keep(self, outcome: Outcome) -> str:
        number = secrets.token_hex(8)
        self._outcomes[number] = outcome
        while len(self._outcomes) > OUTCOMES_MAX:
            self._outcomes.popitem(last=False)
        return number

    def _outcome(self, request: Request) -> Response:
        """As often as somebody looks: nothing is done again."""
        found = self._outcomes.get(request.path_params["number"])
        if found is None:
            return RedirectResponse("/", 303)
        return self._pages.outcome(found.verb, found.text, found.error)


def _meant(verb: str, arguments: actions.Arguments) -> str:
    """What a token is for."""
    return urlencode([("verb", verb), *sorted(arguments.items())])


def _is_ours(request: Request) -> bool:
    """Browsers say where a form comes from; what says nothing still needs the token."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(413, "this form is too long")
    return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=20))
