"""The demo from beginning to end: set the stage, start the daemon, play, wait until the line is quiet, compare."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

import msgspec
from rich.console import Console

from cdcd.errors import CdcdError
from demo import comparison, erp, shop
from demo.activity import FEED_LENGTH, Activity, Event
from demo.daemon import Daemon
from demo.erp_business import ErpBusiness
from demo.ledger import Ledger
from demo.opening import BARRIER, Opening
from demo.records import Books
from demo.screen import Moment, Screen
from demo.shop_business import ShopBusiness
from demo.stage import Stage, set_up
from demo.status import DaemonView, StatusFeed

LOOK_SECONDS: Final = 0.25
STANDSTILL_SECONDS: Final = 90.0
"""Waiting fails when nothing has moved for this long."""
BARRIER_ROUNDS: Final = 2
"""One round proves that everything written has been decided upon, the second that what follows from it has arrived."""


class Options(msgspec.Struct, frozen=True):
    """What the command line says. `seconds` None: until Ctrl-C. `rate`: business transactions per second on each side."""

    seconds: float | None
    seed: int
    products: int
    rate: float
    kill_every_seconds: float | None
    keep: bool


class StandstillError(CdcdError):
    """Something the demo waits for does not come."""

    default_code = "demo-standstill"


def run(options: Options, console: Console) -> int:
    """Play; return 0 when every field on both sides is what its owner wrote, else 1."""
    screen = Screen(console)
    screen.say(f"seed {options.seed}: starting a private PostgreSQL and a private MariaDB, and loading both …")
    opening = Opening(Random(options.seed), options.products)
    with set_up(opening) as stage:
        postgres, mariadb = stage.servers
        screen.say(f"ERP: PostgreSQL {postgres.binaries.version}, port {postgres.port}, {_sizes(opening.erp)}")
        screen.say(f"shop: MariaDB, port {mariadb.port}, {_sizes(opening.shop)}")
        try:
            return Play(options, stage, opening, screen).run()
        finally:
            if options.keep:
                screen.say(f"logs, configuration and state: {stage.keep_logs()}")


def _sizes(books: Books) -> str:
    return ", ".join(f"{len(records)} {kind.replace('_', ' ')}s" for kind, records in books.items())


class Play:
    """One performance on a stage that is set."""

    def __init__(self, options: Options, stage: Stage, opening: Opening, screen: Screen) -> None:
        self._options = options
        self._stage = stage
        self._screen = screen
        self._ledger = Ledger(opening.truth())
        self._feed: deque[Event] = deque(maxlen=FEED_LENGTH)
        self._daemon = Daemon(stage.config, stage.environment)
        self._status = StatusFeed(stage.state_dir)
        self._view: DaemonView | None = None
        self._killer = Random(f"{options.seed}-killer")
        self._activities = self._make_activities()
        self._reverts_of_the_copy = 0
        self._started_at = time.monotonic()
        self._phase = "starting"

    def _make_activities(self) -> list[Activity]:
        seed, rate = self._options.seed, self._options.rate
        purchasing, storefront = Random(f"{seed}-erp"), Random(f"{seed}-shop")
        return [
            Activity(ErpBusiness(self._stage.erp_dsn, self._ledger, purchasing), purchasing, rate, self._feed),
            Activity(ShopBusiness(self._stage.shop_port, self._ledger, storefront), storefront, rate, self._feed),
        ]

    def run(self) -> int:
        """Everything after the stage is set; ends the daemon in any case."""
        try:
            self._daemon.start()
            with self._screen:
                self._wait("copying the opening state", lambda: self._view is not None and self._view.copied)
                self._wait("catching up", self._is_quiet)
                self._reverts_of_the_copy = self._reverts()
                self._play_business()
                settled = self._settle()
            return self._verdict(settled)
        finally:
            self._daemon.stop()

    def _play_business(self) -> None:
        self._phase = "business"
        ends_at = time.monotonic() + self._options.seconds if self._options.seconds is not None else float("inf")
        kill_every_seconds = self._options.kill_every_seconds or float("inf")
        kills_at = time.monotonic() + kill_every_seconds
        with self._at_work():
            while time.monotonic() < ends_at and all(activity.is_alive() for activity in self._activities):
                if time.monotonic() >= kills_at:
                    kills_at += kill_every_seconds
                    self._feed.append(Event("erp", f"SIGKILL to {self._daemon.kill_one(self._killer)}", forbidden=True))
                self._look()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Both businesses run within; a Ctrl-C ends business, and only that."""
        for activity in self._activities:
            activity.start()
        try:
            yield
        except KeyboardInterrupt:
            self._screen.say("business ends; waiting until everything has arrived (Ctrl-C again to give up)")
        finally:
            for activity in self._activities:
                activity.stop()
            for activity in self._activities:
                activity.join()

    def _look(self) -> None:
        """Look after the daemon, ask it how it is, show it, and wait a moment."""
        if self._daemon.look_after():
            self._feed.append(Event("erp", "the daemon was killed and is started again", forbidden=True))
        self._view = self._status.ask()
        self._screen.show(
            Moment(
                phase=self._phase,
                elapsed_seconds=time.monotonic() - self._started_at,
                daemon=self._view,
                events=list(self._feed),
                transactions=sum(activity.counts.total() for activity in self._activities),
                attempts=self._ledger.attempts.total(),
                kills=self._daemon.kills,
                restarts=self._daemon.restarts,
            )
        )
        time.sleep(LOOK_SECONDS)

    # ---- waiting -----------------------------------------------------------------------------------------

    def _wait(self, phase: str, condition: Callable[[], bool]) -> None:
        """Look until `condition` holds. Raises StandstillError when nothing has moved for a long time."""
        self._phase = phase
        moved, moved_at = None, time.monotonic()
        while not condition():
            self._look()
            now = self._view.moved if self._view is not None else None
            if now != moved:
                moved, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STANDSTILL_SECONDS:
                what = f"nothing has moved for {STANDSTILL_SECONDS:.0f} s ({phase})"
                raise StandstillError(what, cause=self._daemon.last_lines())

    def _is_quiet(self) -> bool:
        return self._view is not None and self._view.quiet

    def _settle(self) -> bool:
        """Wait until the line is empty; whether it became so.

        The daemon's own word is taken first, but not relied upon: marks written on both sides must come out on the
        other one, behind everything that was written before them.
        """
        try:
            with erp.connect(self._stage.erp_dsn) as purchasing, shop.connect(self._stage.shop_port) as storefront:
                for mark in range(1, BARRIER_ROUNDS + 1):
                    self._wait("until the line is quiet", self._is_quiet)
                    self._write_marks(purchasing, storefront, mark)
                    self._wait("until the last marks arrive", lambda: self._marks_arrived(purchasing, storefront))
                self._wait("until the line is quiet", self._is_quiet)
        except CdcdError as error:
            self._screen.say(str(error))
            return False
        return True

    def _write_marks(self, purchasing: erp.Connection, storefront: shop.Connection, mark: int) -> None:
        stock, description = -mark, f"mark {mark}"
        with purchasing.cursor() as cursor:
            erp.update(cursor, "product", BARRIER, stock=stock)
        purchasing.commit()
        with storefront.cursor() as cursor:
            shop.update(cursor, "product", BARRIER, description=description)
        storefront.commit()
        self._ledger.write("product", BARRIER, stock=stock, description=description)

    def _marks_arrived(self, purchasing: erp.Connection, storefront: shop.Connection) -> bool:
        expected = self._ledger.get("product", BARRIER)
        at_erp = erp.read_one(purchasing, "product", BARRIER)
        at_shop = shop.read_one(storefront, "product", BARRIER)
        found = (at_shop["stock"], at_erp["description"])
        return found == (expected["stock"], expected["description"])

    # ---- the end -----------------------------------------------------------------------------------------

    def _verdict(self, settled: bool) -> int:
        with erp.connect(self._stage.erp_dsn) as purchasing, shop.connect(self._stage.shop_port) as storefront:
            verdict = comparison.compare(self._ledger.books(), erp.read(purchasing), shop.read(storefront))
        failures = [activity.failure for activity in self._activities if activity.failure is not None]
        for failure in failures:
            self._screen.say("".join(traceback.format_exception(failure)))
        self._screen.say(self._summary())
        self._screen.tell(verdict, self._reverts() - self._reverts_of_the_copy)
        return 0 if verdict.in_step and settled and not failures else 1

    def _reverts(self) -> int:
        return sum(system.reverts for system in self._view.systems) if self._view is not None else 0

    def _summary(self) -> str:
        sides = ", ".join(f"{activity.name} {activity.counts.total()}" for activity in self._activities)
        conflicts = sum(activity.lock_conflicts for activity in self._activities)
        attempts = self._ledger.attempts
        return (
            f"transactions: {sides}; without the right to: {attempts['erp']} in the ERP, {attempts['shop']} in the "
            f"shop; {conflicts} lost a lock; {self._daemon.kills} kills, {self._daemon.restarts} restarts of the daemon"
        )
