"""`make bench ARGS="--scale 0.1 W1 W3"`: cdcd and its peers on the same work, one after the other, in one run."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from bench import results, targets
from bench.run import LINES, LineRun, Servers, Wanted
from bench.workloads import WORKLOADS

USUAL = (*WORKLOADS, "W5", "INIT", "IDLE")
WORK = (*USUAL, "GROWTH", "SOAK")


@click.command()
@click.argument("work", nargs=-1, type=click.Choice(WORK))
@click.option("--scale", default=0.1, show_default=True, help="Of 700,000 products, and of the counts of W1 to W4.")
@click.option("--runs", default=1, show_default=True, help="Everything so often, each with fresh databases.")
@click.option("--minutes", default=60, show_default=True, help="Of SOAK.")
@click.option("--line", "lines", multiple=True, type=click.Choice(LINES), help="Only this line; may be repeated.")
@click.option("--json", "save_to", type=click.Path(dir_okay=False, path_type=Path), help="Keep the results there.")
@click.option("--compare", type=click.Path(exists=True, path_type=Path), help="Results that --json kept earlier.")
def main(
    work: tuple[str, ...],
    scale: float,
    runs: int,
    minutes: int,
    lines: tuple[str, ...],
    save_to: Path | None,
    compare: Path | None,
) -> None:
    """Measure WORK: W1 bulk, W2 orders, W3 hot rows, W4 one huge transaction, W5 latency, INIT first copy, IDLE; all these by default.

    GROWTH (a long journal and a thousand tables) and SOAK (memory over an hour) only when they are named. Nothing else should
    run on the machine. Ratios are of the same run.
    """
    console = Console(stderr=True)
    console.print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, scale {scale:g}, {runs} run(s);"
        f" Python {platform.python_version()} of {sys.base_prefix}"  # one that was built without a profile takes a tenth more
    )
    found: list[results.Result] = []
    servers = Servers()
    try:
        with tempfile.TemporaryDirectory(prefix="cdcd-bench-") as directory:
            for run in range(1, runs + 1):
                for line in lines or LINES:
                    wanted = Wanted(work or USUAL, scale, run, minutes)
                    one = LineRun(servers, line, wanted, Path(directory), console.print)
                    found += one.measure()
    finally:
        servers.close()
        if save_to is not None:
            results.save(found, save_to)
        wide = Console(width=max(150, Console().width))
        results.show(found, results.load(compare) if compare else [], wide)
        targets.show(found, wide)


if __name__ == "__main__":
    main()
