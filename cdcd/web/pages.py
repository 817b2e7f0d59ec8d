"""The pages as HTML: an overview put into templates, which escape everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, TypeVar

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from cdcd.config import parse_duration
from cdcd.errors import CdcdError
from cdcd.notices.occurrences import Occurrence
from cdcd.notices.sight import Limits
from cdcd.notices.store import recent
from cdcd.state_directory import StateDirectory
from cdcd.status import DaemonStatus
from cdcd.verifying import results
from cdcd.verifying.results import Results, Run, Standing
from cdcd.web import assets, overview, sparkline, wording
from cdcd.web.actions import Arguments, Plan
from cdcd.web.daemon import Daemon
from cdcd.web.overview import Overview
from cdcd.web.records import RecordReader, Records, translating

EVENTS_MAX: Final = 12
REFRESH_SECONDS: Final = 2
RETRY_SECONDS: Final = 5
KEPT_SECONDS: Final = 0.5
T = TypeVar("T")
ENVIRONMENT: Final = Environment(
    loader=PackageLoader("cdcd.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.globals |= {
    "ago": wording.ago,
    "asset": assets.address,
    "spark_width": sparkline.WIDTH,
    "spark_height": sparkline.HEIGHT,
    "refresh_seconds": REFRESH_SECONDS,
    "retry_seconds": RETRY_SECONDS,
}


class Pages:
    """Makes the pages of one application. Any thread."""

    def __init__(self, daemon: Daemon, *, may_act: bool) -> None:
        self._daemon = daemon
        self._may_act = may_act
        self._records = RecordReader()
        self._lock = threading.Lock()
        self._kept: Overview | None = None
        self._kept_at = float("-inf")
        self._failure: CdcdError | None = None
        self._failed_at = float("-inf")

    def whole(self) -> HTMLResponse:
        """The status page; where the supervisor does not answer, one that says so."""
        try:
            page = self._overview()
        except CdcdError as error:
            return self._html("silent.html", 503, error=error)
        return self._html("page.html", page=page)

    def live(self) -> HTMLResponse:
        """The part of the page that changes. Raises CdcdError."""
        return self._html("sections.html", page=self._overview())

    def confirmation(self, verb: str, arguments: Arguments, plan: Plan, token: str) -> HTMLResponse:
        """What an action would do, and the button."""
        return self._html("confirmation.html", verb=verb, arguments=arguments, plan=plan, token=token)

    def outcome(self, verb: str, text: str, error: CdcdError | None) -> HTMLResponse:
        """What came of an action, or why there is none."""
        code = 200 if error is None else 409
        return self._html("outcome.html", code, verb=verb, text=text, error=error)

    def stale(self, verb: str, arguments: Arguments) -> HTMLResponse:
        """A form was sent twice, or after its time, or by somebody else."""
        return self._html("stale.html", 403, verb=verb, arguments=arguments)

    def _html(self, template: str, code: int = 200, **context: Any) -> HTMLResponse:
        text = ENVIRONMENT.get_template(template).render(may_act=self._may_act, **context)
        return HTMLResponse(text, code)

    def _overview(self) -> Overview:
        """One at a time, and not more often than people can see: ten viewers cost as much as one.

        So they wait as long as one, too, for a supervisor that does not answer.
        """
        asked_at = time.monotonic()
        with self._lock:
            if self._failure is not None and self._failed_at >= asked_at:
                raise self._failure
            if self._kept is None or time.monotonic() - self._kept_at > KEPT_SECONDS:
                self._kept = overview.make(self._status(), self._sources())
                self._kept_at = time.monotonic()
            return self._kept

    def _status(self) -> DaemonStatus:
        try:
            return self._daemon.status()
        except CdcdError as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise

    def _sources(self) -> overview.Sources:
        """What lies in the state directory. What cannot be read is named, and the rest is shown."""
        unreadable: list[str] = []
        directory = self._daemon.directory

        def read(what: Callable[[], T], nothing: T) -> T:
            try:
                with translating():
                    return what()
            except CdcdError as error:
                unreadable.append(f"{error.what} [{error.code}]")
                return nothing

        records = read(lambda: self._records.read(self._daemon.blueprint(), directory), Records())
        no_events: list[Occurrence] = []
        events = read(lambda: recent(directory, EVENTS_MAX), no_events)
        verified = read(lambda: _verified(directory), Verified())
        return overview.Sources(
            self._daemon.history(),
            records,
            tuple(events),
            verified.runs,
            verified.standings,
            tuple(unreadable),
            Limits(parse_duration(self._daemon.blueprint().config.notices.lag)),
        )


class Verified(msgspec.Struct, frozen=True):
    """Verifications under way, and how everything stands."""

    runs: tuple[Run, ...] = ()
    standings: tuple[Standing, ...] = ()


def _verified(directory: StateDirectory) -> Verified:
    path = results.path_in(directory.path)
    if not path.exists():
        return Verified()
    with closing(Results(path, read_only=True)) as found:
        running = found.next()
        return Verified(() if running is None else (running,), found.standings())
