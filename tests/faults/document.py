"""The table of docs/faults.md: written by a run, held complete by a test."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from cdcd import failpoints
from faults.injections import FAULTS
from faults.run import Run

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
HEADINGS: Final = ("fault", "times", "transactions", "lost", "duplicated")
BEGIN, END = "<!-- table: make test-faults ARGS=--write -->", "<!-- end of table -->"


class Summary(msgspec.Struct, frozen=True):
    """A run in one sentence."""

    faults: int
    transactions: int
    lost: int
    duplicated: int
    seconds: float

    @classmethod
    def of(cls, run: Run, transactions: int, seconds: float) -> Summary:
        lost = sum(row.lost for row in run.rows.values())
        duplicated = sum(row.duplicated for row in run.rows.values())
        return cls(len(run.injections), transactions, lost, duplicated, seconds)

    @property
    def text(self) -> str:
        return (
            f"{self.faults} faults, {self.transactions:,} transactions, {self.lost} lost, {self.duplicated} duplicated, "
            f"in {self.seconds / 60:.0f} minutes"
        )


def names() -> list[str]:
    """All faults that a run injects."""
    return sorted({fault.name for fault in FAULTS} | {f"kill at {name}" for name in failpoints.NAMES})


def rows(run: Run) -> list[tuple[str, ...]]:
    """The table's rows, with the total."""
    found = [
        (name, str(row.times), f"{row.transactions:,}", str(row.lost), str(row.duplicated))
        for name, row in sorted(run.rows.items())
    ]
    total = [
        sum(getattr(row, field) for row in run.rows.values())
        for field in ("times", "transactions", "lost", "duplicated")
    ]
    return [*found, ("all", str(total[0]), f"{total[1]:,}", str(total[2]), str(total[3]))]


def write(run: Run, summary: Summary) -> None:
    """Put the table into the page."""
    lines = [BEGIN, f"Run of {datetime.now(tz=UTC):%Y-%m-%d}: {summary.text}.", ""]
    lines += [f"| {' | '.join(HEADINGS)} |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(run)]
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + "\n".join([*lines, END]) + rest.split(END)[1], "utf-8")


def named() -> set[str]:
    """The faults that the page's table has a row for."""
    table = PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0]
    return set(re.findall(r"^\| (.+?) \| \d", table, flags=re.MULTILINE)) - {"all"}
