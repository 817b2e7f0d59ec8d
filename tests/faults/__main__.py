"""`make test-faults`: the options, and the table. Exit status 0 only when nothing was lost and nothing came twice."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from random import SystemRandom

import click
from rich.console import Console
from rich.table import Table

from faults import document
from faults.rig import Rig
from faults.run import Options, RigError, Run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--transactions", default=300_000, show_default=True, help="At least so many, on both sides together.")
@click.option("--faults", default=200, show_default=True, help="At least so many injections.")
@click.option("--seed", type=int, help="Repeats the same choices.  [default: another one each time]")
@click.option(
    "--per-second", default=900.0, show_default=True, help="Transactions that are written, both sides together."
)
@click.option("--only", default="", help="Only faults whose names hold this text.")
@click.option("--record", type=click.Path(path_type=Path), help="Where each injection is noted, a JSON object a line.")
@click.option("--write", is_flag=True, help="Put the table into docs/faults.md.")
def main(
    transactions: int, faults: int, seed: int | None, per_second: float, only: str, record: Path | None, *, write: bool
) -> None:
    """Two databases in business, the daemon between them, and everything failing; then both sides are compared."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    chosen = SystemRandom().randrange(10_000) if seed is None else seed
    place = record or Path(tempfile.gettempdir()) / f"cdcd-faults-{chosen}.jsonl"
    console = Console(highlight=False)
    console.print(f"seed {chosen}; every injection is noted in {place}")
    options = Options(transactions, faults, chosen, per_second, place, only)
    begun = time.monotonic()
    with Rig(seed=chosen, per_second=per_second) as rig:
        run = Run(options, rig, lambda line: console.print(line, markup=False, soft_wrap=True))
        try:
            right = run.play()
        except RigError as error:
            console.print(f"{error}", markup=False)
            right = False
        total = rig.transactions() if right else sum(row.transactions for row in run.rows.values())
        if not right:
            console.print(f"what it left is in {rig.keep_logs()}")
    summary = document.Summary.of(run, total, time.monotonic() - begun)
    console.print(_table(run, summary))
    for name, reason in run.lacking.items():
        console.print(f"not injected: {name}: {reason}", markup=False)
    if write and right:
        document.write(run, summary)
    sys.exit(0 if right else 1)


def _table(run: Run, summary: document.Summary) -> Table:
    table = Table(title=summary.text, title_justify="left")
    for heading in document.HEADINGS:
        table.add_column(heading, justify="left" if heading == "fault" else "right", no_wrap=True)
    for row in document.rows(run):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
