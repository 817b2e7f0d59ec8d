"""`cdcd support-bundle`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdcd.cli.output import Verdict, answer, common

if TYPE_CHECKING:
    from cdcd.support_bundle import Written


@click.command("support-bundle")
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; by default named by the time, here.",
)
@click.option("--offline", is_flag=True, help="Leave out the checks of the servers.")
@click.option("--unit", default="cdcd.service", show_default=True, help="The systemd unit.")
@common
def command(output: Path | None, offline: bool, unit: str, config: Path, as_json: bool) -> None:
    """Put together what a bug report needs, in one .tar.gz: no column's value, no record's key, no secret.

    Works with the daemon down or hanging, too. Look into it before you send it: manifest.json says what is in it, and
    what could not be had.

    Examples: cdcd support-bundle; cdcd support-bundle --offline -o bundle.tar.gz
    """
    path = output or Path(f"cdcd-support-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")
    answer("support-bundle", as_json, lambda: _bundle(path, config, offline, unit), doing="putting it together")


def _bundle(path: Path, config: Path, offline: bool, unit: str) -> Verdict:
    from cdcd import support_bundle  # noqa: PLC0415 - the help does without it

    written = support_bundle.write(path, config, offline=offline, unit=unit)
    missing = sum(bool(part.error) for part in written)
    summary = f"{path} holds {len(written) - missing} parts" + (f", {missing} could not be had" if missing else "")
    return Verdict(
        f"{summary}; look into it before you send it", {"file": str(path), "parts": written}, _lines(written)
    )


def _lines(written: list[Written]) -> list[str]:
    return [f"  {part.file:<14} {_outcome(part)}" for part in written]


def _outcome(part: Written) -> str:
    return f"missing: {part.error}" if part.error else f"{part.size_bytes:>9,} bytes  {part.holds}"
