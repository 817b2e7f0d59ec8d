"""What a person sees: a live table on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, Self

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from demo.activity import Event
from demo.comparison import Verdict
from demo.status import DaemonView, SystemView

FEED_LINES: Final = 12
PLAIN_SECONDS: Final = 5.0
DIFFERENCES_SHOWN: Final = 20
SYSTEM_NAMES: Final = {"erp": "ERP", "shop": "shop"}


class Moment(msgspec.Struct, frozen=True):
    """Everything the screen shows of one moment; `daemon` is None while it does not answer."""

    phase: str
    elapsed_seconds: float
    daemon: DaemonView | None
    events: Sequence[Event]
    transactions: int
    attempts: int
    kills: int
    restarts: int


class Screen:
    """The terminal. A context manager around the time in which things move."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._printed_at = float("-inf")
        self._printed_phase = ""

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """The present moment."""
        if self._live is not None:
            self._live.update(_frame(moment), refresh=True)
            return
        now = time.monotonic()
        if moment.phase != self._printed_phase or now - self._printed_at >= PLAIN_SECONDS:
            self._printed_at, self._printed_phase = now, moment.phase
            self.say(plain_line(moment))

    def tell(self, verdict: Verdict, reverts: int) -> None:
        """The verdict, in words."""
        for line in verdict_lines(verdict, reverts):
            self.say(line)


def verdict_lines(verdict: Verdict, reverts: int) -> list[str]:
    """What was compared, and the first differences."""
    counts = verdict.record_counts
    compared = (
        f"{counts['product']} products, {counts['customer']} customers, {counts['contact']} contacts, "
        f"{counts['order']} orders with {counts['order_line']} lines, {verdict.field_count} fields compared on both "
        f"sides with what their owners wrote, {reverts} reverts"
    )
    if verdict.in_step:
        return [f"in step: {compared}"]
    shown = [f"  {difference}" for difference in verdict.differences[:DIFFERENCES_SHOWN]]
    more = len(verdict.differences) - len(shown)
    return [
        f"NOT in step, {len(verdict.differences)} differences: {compared}",
        *shown,
        *([f"  … and {more} more"] if more else []),
    ]


def plain_line(moment: Moment) -> str:
    """The moment as one line."""
    head = f"{moment.elapsed_seconds:5.0f} s  {moment.phase}: {moment.transactions} business transactions"
    if moment.daemon is None:
        return f"{head} | the daemon does not answer ({moment.restarts} restarts)"
    return " | ".join([head, *(_plain_system(system) for system in moment.daemon.systems)])


def _plain_system(system: SystemView) -> str:
    trouble = f", {system.error}" if system.error else ""
    return (
        f"{system.name}: {system.read} read, {system.written} written, {system.waiting_writes} waiting, "
        f"lag {system.lag_seconds:.1f} s, {system.reverts} put right, {system.parked} parked{trouble}"
    )


def _frame(moment: Moment) -> RenderableType:
    kills = f", {moment.kills} kills, {moment.restarts} restarts of the daemon" if moment.kills else ""
    title = (
        f"{moment.phase}, {moment.elapsed_seconds:.0f} s: {moment.transactions} business transactions, "
        f"{moment.attempts} of them by somebody who had no right{kills}"
    )
    return Group(Text(title, style="bold"), _table(moment.daemon), Text.from_markup("\n".join(_feed(moment.events))))


def _table(daemon: DaemonView | None) -> RenderableType:
    if daemon is None:
        return Text("the daemon does not answer", style="yellow")
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=0, collapse_padding=True)
    table.add_column("system", no_wrap=True, min_width=6)
    table.add_column("state", no_wrap=True, min_width=7)
    table.add_column("position", overflow="ellipsis", no_wrap=True, min_width=12, ratio=1)
    for name in ("lag", "waiting", "read", "written", "reverts", "parked"):
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    for system in daemon.systems:
        table.add_row(*_row(system))
    return table


def _row(system: SystemView) -> list[str]:
    numbers = (system.waiting_writes, system.read, system.written, system.reverts, system.parked)
    return [
        SYSTEM_NAMES.get(system.name, system.name),
        _state(system),
        escape(system.position.partition(" ")[0]),  # MariaDB: the place in the binlog, without what identifies the log
        f"{system.lag_seconds:.1f} s",
        *(f"{number:,}" for number in numbers),
    ]


def _state(system: SystemView) -> str:
    if system.capture_state == system.deliver_state:
        return f"[{'green' if system.capture_state == 'running' else 'yellow'}]{escape(system.capture_state)}[/]"
    return f"[yellow]{escape(f'{system.capture_state}/{system.deliver_state}')}[/]"


def _feed(events: Sequence[Event]) -> Iterable[str]:
    for event in list(events)[-FEED_LINES:]:
        text = escape(event.text.replace("\n", " "))
        yield f"[red]{event.side:>4} ✗ {text}[/]" if event.forbidden else f"[dim]{event.side:>4}[/] · {text}"
