"""`python -m demo`: the options, and how it ends. Exit status 0 only when both databases are in step."""

from __future__ import annotations

import signal
import sys
from random import SystemRandom
from types import FrameType

import click
from rich.console import Console

from cdcd.errors import CdcdError
from demo.play import Options, run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.FloatRange(min=0), help="How long business goes on.  [default: until Ctrl-C]")
@click.option("--seed", type=int, help="Repeats the same choices.  [default: another one each time]")
@click.option("--products", type=click.IntRange(min=20), default=2000, show_default=True, help="Products in the ERP.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=40.0,
    show_default=True,
    help="Business transactions per second, on each side.",
)
@click.option(
    "--kill-every",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="SIGKILL a process of the daemon that often.",
)
@click.option("--keep", is_flag=True, help="Keep logs, configuration and state, and say where.")
def main(
    seconds: float | None, seed: int | None, products: int, rate: float, kill_every: float | None, *, keep: bool
) -> None:
    """Play business on a private ERP (PostgreSQL) and a private shop (MariaDB) while cdcd keeps them in step.

    At the end both are compared, field by field, with what the owner of each field last wrote.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    chosen = SystemRandom().randrange(10_000) if seed is None else seed
    options = Options(seconds, chosen, products, rate, kill_every, keep)
    try:
        sys.exit(run(options, Console()))
    except CdcdError as error:
        click.echo(f"the demo failed: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("given up: no verdict", err=True)
        sys.exit(130)


def _end(number: int, _frame: FrameType | None) -> None:
    """End as after an exception, so that servers and daemon are cleaned up on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
