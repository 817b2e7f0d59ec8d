"""`cdcd events`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from cdcd.cli.output import Verdict, answer, common

if TYPE_CHECKING:
    from cdcd.notices.occurrences import Occurrence
    from cdcd.state_directory import StateDirectory

FOLLOW_SECONDS: Final = 0.5
LIMIT: Final = 50


@click.command("events")
@click.option("-f", "--follow", is_flag=True, help="Then show what begins and ends as it comes, until Ctrl-C.")
@click.option(
    "--since", metavar="TIME", help="From then on: 2026-11-21T22:00, local unless it says otherwise; or '2h ago'."
)
@click.option("-n", "limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="The last so many.")
@click.option("--open", "only_open", is_flag=True, help="Only what lasts.")
@common
def command(follow: bool, since: str | None, limit: int, only_open: bool, config: Path, as_json: bool) -> None:
    """List what happened: servers that went away, workers that stopped, records that were parked, pauses, reloads.

    Works without the daemon too. The last thousand are kept. What each code means: docs/notifications.md. With --follow,
    --json writes one JSON object per line instead of one for all.

    Examples: cdcd events; cdcd events --since '2h ago'; cdcd events --open; cdcd events --follow --json
    """
    answer("events", as_json, lambda: _events(config, since, limit, only_open, follow, as_json))


def _events(config: Path, since: str | None, limit: int, only_open: bool, follow: bool, as_json: bool) -> Verdict:
    from cdcd.cli.daemon import directory_of  # noqa: PLC0415 - the help does without it
    from cdcd.cli.rewind import parse_moment  # noqa: PLC0415
    from cdcd.notices import store  # noqa: PLC0415

    directory = directory_of(config)
    since_us = parse_moment(since, datetime.now(UTC), "--since") if since is not None else 0
    found = [one for one in store.recent(directory, limit, since_us) if not only_open or one.ended_at_us is None]
    found.reverse()
    if follow:
        _follow(directory, found, as_json)
    lasting = sum(one.ended_at_us is None for one in found)
    return Verdict(
        f"{len(found)} events, {lasting} of them last", found, [line for one in found for line in lines(one)]
    )


def _follow(directory: StateDirectory, found: Sequence[Occurrence], as_json: bool) -> None:
    """Until Ctrl-C, or until nobody reads what we write."""
    from cdcd.notices import store  # noqa: PLC0415

    shown: dict[int, Any] = {}
    try:
        while True:
            for one in found:
                if one.id not in shown or shown[one.id] != one.ended_at_us:
                    _print(one, as_json, is_end=one.id in shown)
                    shown[one.id] = one.ended_at_us
            time.sleep(FOLLOW_SECONDS)
            found = store.recent(directory, store.OCCURRENCES_MAX)[::-1]
            found = [one for one in found if one.id in shown or one.id > max(shown, default=0)]
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)


def _print(one: Occurrence, as_json: bool, *, is_end: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(one).decode())
    else:
        for line in [f"{_moment(one.ended_at_us or 0)}  over      {one.text}"] if is_end else lines(one):
            click.echo(line)
    sys.stdout.flush()


def lines(one: Occurrence) -> list[str]:
    """One event for people: when, how bad, what; how long it lasted, or what to do."""
    text = f"{_moment(one.at_us)}  {one.severity:<8}  {one.text} [{one.code}]"
    if one.ended_at_us is None:
        return [f"{text}, lasts", *([f"{'':<31}next: {one.next}"] if one.next else [])]
    return [text if one.ended_at_us == one.at_us else f"{text}, until {_moment(one.ended_at_us)}"]


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
