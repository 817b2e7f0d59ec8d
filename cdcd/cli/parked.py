"""`cdcd parked list | show | retry | edit | discard`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.errors import CdcdError

if TYPE_CHECKING:
    from cdcd.parking.listing import Wanted

LIMIT: Final = 50


class ParkedError(CdcdError):
    """What was asked for is not there, or is not clear."""

    exit_code = 2
    default_code = "parked-argument"


@click.group("parked")
def command() -> None:
    """Look at records that a target refuses, and decide what becomes of them.

    A parked record keeps later changes of itself behind it, everything else flows. It is tried again by itself, ever more
    seldom, at least every ten minutes; and at once after a reconnect, a change of its table or of the configuration.

    A record is named as in `cdcd history`: product AB-1, order.lines 1001/2; a row of a plain copy by its source:
    erp:carrier 12. Each of the commands takes --config (or CDCD_CONFIG) and --json, and works without the daemon too.

    Examples: cdcd parked list --system shop; cdcd parked show product AB-1
    """


def filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose parked records."""
    function = click.option("--reason", "code", help="With this code, as the list shows it (row-missing, …).")(function)
    function = click.option("--system", help="Of this target.", shell_complete=completing.systems)(function)
    return click.option(
        "--entity",
        help="Of this entity (order, order.lines), or copy (erp:carrier).",
        shell_complete=completing.entities,
    )(function)


@command.command("list")
@filtered
@click.option(
    "--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="At most so many, oldest first."
)
@common
def list_command(
    entity: str | None, system: str | None, code: str | None, limit: int, config: Path, as_json: bool
) -> None:
    """List parked records, oldest first, and how many there are for which reason. Values are shown by `cdcd parked show`.

    Examples: cdcd parked list; cdcd parked list --system shop --entity product
    """

    def listed() -> Verdict:
        from cdcd.cli import parked_showing  # noqa: PLC0415 - the help does without it

        return parked_showing.listed(config, _wanted(entity, system, code), limit)

    answer("parked list", as_json, listed, doing="reading the state directory")


@command.command("show")
@click.argument("entity", shell_complete=completing.entities)
@click.argument("key", nargs=-1, required=True)
@click.option("--system", help="Only as parked for this target.", shell_complete=completing.systems)
@common
def show_command(entity: str, key: tuple[str, ...], system: str | None, config: Path, as_json: bool) -> None:
    """Show what would be written of a parked record, why the target refuses it, who owns its fields, and what to do.

    Examples: cdcd parked show product AB-1
    """

    def shown() -> Verdict:
        from cdcd.cli import parked_showing  # noqa: PLC0415

        return parked_showing.shown(config, _wanted(entity, system, None, key))

    answer("parked show", as_json, shown, doing="reading the state directory")


def _decision(name: Literal["retry", "discard"], text: str) -> None:
    @command.command(name, help=text)
    @click.argument("record", nargs=-1, metavar="[ENTITY KEY]")
    @filtered
    @click.option("--all", "every", is_flag=True, help="All that the options choose, instead of one record.")
    @click.option("--dry-run", is_flag=True, help="Say which, and do nothing.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @common
    def decision(
        record: tuple[str, ...],
        entity: str | None,
        system: str | None,
        code: str | None,
        every: bool,
        dry_run: bool,
        yes: bool,
        config: Path,
        as_json: bool,
    ) -> None:
        def decided() -> Verdict:
            from cdcd.cli import parked_deciding  # noqa: PLC0415

            wanted = _chosen(name, record, entity, system, code, every)
            ask = None if yes else confirming(as_json)
            return parked_deciding.decided(config, name, wanted, every=every, dry_run=dry_run, ask=ask)

        answer(f"parked {name}", as_json, decided)


_decision(
    "retry",
    "Try parked records at once.\n\n"
    "Examples: cdcd parked retry product AB-1; cdcd parked retry --entity product --all; cdcd parked retry --all --dry-run",
)
_decision(
    "discard",
    "Let parked records go: the target stays as it is, and later changes of them flow. What was parked never arrives.\n\n"
    "Examples: cdcd parked discard product AB-1; cdcd parked discard --entity product --all --dry-run",
)


@command.command("edit")
@click.argument("entity", shell_complete=completing.entities)
@click.argument("key", nargs=-1, required=True)
@click.option(
    "--system", help="As parked for this target, where it is parked for several.", shell_complete=completing.systems
)
@click.option("--dry-run", is_flag=True, help="Show the difference, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def edit_command(
    entity: str, key: tuple[str, ...], system: str | None, dry_run: bool, yes: bool, config: Path, as_json: bool
) -> None:
    """Open the values of a parked record in $EDITOR, and write what is made of them.

    Of an entity's record that corrects the truth: every system is told, also the fields' owners; what they held is kept (`cdcd
    conflicts list --kept`) and can be brought back. Of a plain copy only the row that waits is changed.

    Examples: cdcd parked edit product AB-1; cdcd parked edit product AB-1 --system shop
    """

    def edited() -> Verdict:
        from cdcd.cli import parked_editing  # noqa: PLC0415

        ask = None if yes else confirming(as_json)
        return parked_editing.edited(config, _wanted(entity, system, None, key), dry_run=dry_run, ask=ask)

    answer("parked edit", as_json, edited)


def _wanted(entity: str | None, system: str | None, code: str | None, key: tuple[str, ...] = ()) -> Wanted:
    from cdcd.parking.listing import Wanted  # noqa: PLC0415

    return Wanted(entity, system, code, key)


def _chosen(
    name: str, record: tuple[str, ...], entity: str | None, system: str | None, code: str | None, every: bool
) -> Wanted:
    if every == bool(record) or len(record) == 1:
        raise ParkedError(f"{name} what?", remedy="name a record (ENTITY KEY), or give --all")
    if record and entity not in (None, record[0]):
        raise ParkedError(f"{name} what?", remedy="name the entity once")
    return _wanted(record[0] if record else entity, system, code, record[1:])


def confirming(as_json: bool) -> Callable[[str, Sequence[str]], None]:
    """Asks a question, below some lines, before what is hard to undo.

    Raises DeclinedError when nobody can be asked, or says no.
    """

    def ask(question: str, lines: Sequence[str]) -> None:
        confirm(f"to {question} wants a confirmation", lines, as_json, question=f"{question}?", remedy="add --yes")

    return ask
