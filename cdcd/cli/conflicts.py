"""`cdcd conflicts list | show | accept | reject`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.errors import CdcdError

if TYPE_CHECKING:
    from cdcd.conflict_list import Shown, Wanted
    from cdcd.conflicts import Conflict
    from cdcd.resolve.plan import Plan
    from cdcd.sensitive import Masks
    from cdcd.state import State

LIMIT: Final = 50
PART: Final = 200
"""So many conflicts go into one journalled command."""
WAIT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
VALUE_CHARACTERS: Final = 200


class ConflictsError(CdcdError):
    """What was asked for is not there, or too much."""

    exit_code = 2
    default_code = "conflicts-argument"


@click.group("conflicts")
def command() -> None:
    """Look at what lost against its owner, and decide.

    Open conflicts wait for a person. Others only keep what was lost (reverted, ignored, older); --kept shows them too, and
    they can still be accepted.

    Each of the commands takes --config (or CDCD_CONFIG) and --json.

    Examples: cdcd conflicts list; cdcd conflicts show product AB-1
    """


def filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose conflicts."""
    function = click.option("--kept", is_flag=True, help="Also those that only keep what was lost.")(function)
    function = click.option("--kind", help="Of this kind, as the list shows it.")(function)
    function = click.option("--field", help="About this field.")(function)
    function = click.option("--system", help="Of changes by this system.", shell_complete=completing.systems)(function)
    return click.option("--entity", help="Of this entity (order, order.lines).", shell_complete=completing.entities)(
        function
    )


@command.command("list")
@filtered
@click.option(
    "--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="At most so many, oldest first."
)
@common
def list_command(
    entity: str | None,
    system: str | None,
    field: str | None,
    kind: str | None,
    kept: bool,
    limit: int,
    config: Path,
    as_json: bool,
) -> None:
    """List conflicts, oldest first. Values are shown by `cdcd conflicts show`.

    Examples: cdcd conflicts list; cdcd conflicts list --entity product --field price
    """
    answer(
        "conflicts list",
        as_json,
        lambda: _list(config, (entity, system, field, kind, kept), limit),
        doing="reading the state directory",
    )


@command.command("show")
@click.argument("entity", shell_complete=completing.entities)
@click.argument("key", nargs=-1, required=True)
@common
def show_command(entity: str, key: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Show all conflicts of a record, with both values. KEY may be followed by a FIELD (see `cdcd history`).

    Examples: cdcd conflicts show product AB-1
    """
    answer("conflicts show", as_json, lambda: _show(config, entity, key), doing="reading the state directory")


def _verdict(name: str, text: str) -> None:
    @command.command(name, help=text)
    @click.argument("record", nargs=-1, metavar="[ENTITY KEY [FIELD]]")
    @filtered
    @click.option("--all", "every", is_flag=True, help="All that the options choose, instead of one record's.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @common
    def verdict(
        record: tuple[str, ...],
        entity: str | None,
        system: str | None,
        field: str | None,
        kind: str | None,
        kept: bool,
        every: bool,
        yes: bool,
        config: Path,
        as_json: bool,
    ) -> None:
        chosen = (entity, system, field, kind, kept)
        answer(f"conflicts {name}", as_json, lambda: _decide(config, name, record, chosen, every, yes, as_json))


_verdict(
    "accept",
    "Take what lost as if its owner had said so: everybody is told, the owner too.\n\n"
    "Examples: cdcd conflicts accept product AB-1; cdcd conflicts accept product AB-1 price;"
    " cdcd conflicts accept --entity product --field price --all",
)
_verdict(
    "reject",
    "Have the owner's value written back where it lost; a record that may not be there is deleted there.\n\n"
    "Examples: cdcd conflicts reject product AB-1; cdcd conflicts reject --system shop --all --yes",
)

_Chosen = tuple[str | None, str | None, str | None, str | None, bool]


# ---- reading ---------------------------------------------------------------------------------------------------


@contextmanager
def _opened(config: Path) -> Iterator[tuple[State, Masks]]:
    """The state, whether the daemon runs or not, and the plan with the numbers that it has, and what it hides."""
    from cdcd import config_rules  # noqa: PLC0415 - the help does without them
    from cdcd.cli import daemon  # noqa: PLC0415
    from cdcd.resolve.planning import build  # noqa: PLC0415
    from cdcd.sensitive import Masks  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    directory = daemon.directory_of(config)
    directory.require(directory.state)
    state = State(directory.state, read_only=True)
    try:
        plan = build(config_rules.load(config), lambda _system, table: table, state.vocabulary)
        yield state, Masks(plan, directory.path)
    finally:
        state.close()


def _wanted(plan: Plan, chosen: _Chosen) -> Wanted:
    from cdcd.conflict_list import Wanted  # noqa: PLC0415
    from cdcd.conflicts import KINDS  # noqa: PLC0415

    entity, system, field, kind, kept = chosen
    fields = {f.name for e in plan.entities.values() if entity in (None, e.name) for f in e.fields}
    for what, name, known in (
        ("entity", entity, plan.entities),
        ("system", system, plan.systems),
        ("kind", kind, KINDS),
        ("field", field, fields),
    ):
        if name is not None and name not in known:
            raise ConflictsError(f"unknown {what} {name!r}", remedy=f"known: {', '.join(sorted(known))}")
    return Wanted(entity=entity, field=field, system=system, kind=kind, kept=kept)


def _of_record(state: State, masks: Masks, words: Sequence[str], chosen: _Chosen) -> Wanted:
    """What ENTITY KEY [FIELD] names, within what the options choose."""
    from cdcd import record_names  # noqa: PLC0415

    plan = masks.plan
    named = record_names.named(plan, words[0], record_names.untokened(state, masks, words[0], words[1:]))
    _, system, field, kind, kept = chosen
    wanted = _wanted(plan, (named.entity.name, system, named.field or field, kind, kept))
    return msgspec.structs.replace(wanted, key=named.key)


def _list(config: Path, chosen: _Chosen, limit: int) -> Verdict:
    from cdcd import conflict_list  # noqa: PLC0415

    with _opened(config) as (state, masks):
        wanted = _wanted(masks.plan, chosen)
        found = conflict_list.find(state, masks.plan, wanted, limit + 1)
        shown = [conflict_list.show(state, masks, conflict) for conflict in found[:limit]]
    more = ", and there are more (--limit)" if len(found) > limit else ""
    rows = [_plain(one, values=False) for one in shown]
    return Verdict(f"{len(shown)} conflict{'' if len(shown) == 1 else 's'}{more}", rows, _table(shown))


def _table(shown: Sequence[Shown]) -> list[str]:
    rows = [(o.entity, _key(o.key), o.field or "-", o.system, o.kind, _moment(o.at_us)) for o in shown]
    heads = ("entity", "key", "field", "system", "kind", "since")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    return [line.rstrip() for line in lines] if rows else []


def _show(config: Path, entity: str, key: Sequence[str]) -> Verdict:
    from cdcd import conflict_list  # noqa: PLC0415

    with _opened(config) as (state, masks):
        wanted = _of_record(state, masks, (entity, *key), (None, None, None, None, True))
        shown = [conflict_list.show(state, masks, c) for c in conflict_list.find(state, masks.plan, wanted)]
    lines = [line for one in shown for line in _lines(one)]
    count = f"{len(shown)} conflict{'' if len(shown) == 1 else 's'}"
    return Verdict(count, [_plain(one, values=True) for one in shown], lines)


def _lines(one: Shown) -> Iterator[str]:
    """A conflict with both values, for people."""
    what = one.field or "the whole record"
    yield f"{one.entity} {_key(one.key)}, {what}: {one.kind}, by {one.system} at {_moment(one.at_us)} (entry {one.seq})"
    yield f"  {one.system} wanted  {'to delete it' if one.kind.startswith('delete') else _value(one.value)}"
    yield f"  it is         {'no record' if one.golden is None and one.field is None else _value(one.golden)}" + (
        f"  (owner: {one.owner})" if one.owner else ""
    )


def _plain(one: Shown, *, values: bool) -> dict[str, Any]:
    found = {
        "entity": one.entity,
        "key": [_json(part) for part in one.key],
        "field": one.field,
        "system": one.system,
        "kind": one.kind,
        "open": one.open,
        "seq": one.seq,
        "since": datetime.fromtimestamp(one.at_us / 1e6, UTC).isoformat(),
        "owner": one.owner or None,
    }
    return found | {"value": _json(one.value), "golden": _json(one.golden)} if values else found


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    return value.hex() if isinstance(value, bytes) else value


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_value(inner)}" for name, inner in value.items())
    text = msgspec.json.encode(_json(value)).decode()
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}… ({len(text)} characters)"


def _key(parts: Sequence[Any]) -> str:
    from cdcd.record_names import key_text  # noqa: PLC0415

    return "".join(c if c.isprintable() else "?" for c in key_text(parts))


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


# ---- deciding --------------------------------------------------------------------------------------------------


def _decide(
    config: Path, name: str, record: Sequence[str], chosen: _Chosen, every: bool, yes: bool, as_json: bool
) -> Verdict:
    if every == bool(record) or len(record) == 1:
        raise ConflictsError(f"{name} what?", remedy="name a record (ENTITY KEY [FIELD]), or give --all")
    from cdcd import conflict_list  # noqa: PLC0415

    with _opened(config) as (state, masks):
        wanted = _wanted(masks.plan, chosen) if every else _of_record(state, masks, record, chosen)
        found = _decidable(conflict_list.find(state, masks.plan, wanted), name, chosen, every=every)
        if not found:
            raise ConflictsError("there is no such conflict", remedy="see 'cdcd conflicts list' (and --kept)")
        if every and not yes:
            what = f"{name} {len(found)} conflicts"
            confirm(f"to {what} wants a confirmation", (), as_json, question=f"{what}?", remedy="add --yes")
        return _journal(config, state, name, found)


def _decidable(found: list[Conflict], name: str, chosen: _Chosen, *, every: bool) -> list[Conflict]:
    """Rejecting a record that only the first copy found deletes it: in bulk, that must be said (--kind unmatched)."""
    if every and name == "reject" and chosen[3] != "unmatched":
        return [conflict for conflict in found if conflict.kind != "unmatched"]
    return found


def _journal(config: Path, state: State, name: str, found: Sequence[Conflict]) -> Verdict:
    """Have the daemon journal the verdicts, and wait until resolve has come to them."""
    from cdcd.cli import daemon  # noqa: PLC0415
    from cdcd.resolve.verdicts import outcome_of  # noqa: PLC0415

    settled = changed = open_parts = 0
    for start in range(0, len(found), PART):
        listed = [[c.entity, c.key.hex(), c.system, c.slot, c.seq] for c in found[start : start + PART]]
        seq = daemon.ask(config, "conflicts", accept=name == "accept", conflicts=listed)["seq"]
        until = time.monotonic() + (WAIT_SECONDS if daemon.is_running(config) else 0.0)
        while (outcome := outcome_of(state, seq)) is None and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        if outcome is None:
            open_parts += len(listed)
        else:
            settled, changed = settled + outcome.settled, changed + outcome.changed
    result = {"settled": settled, "changed": changed, "journalled": open_parts}
    parts = [f"{settled} {name}ed"]
    parts += [f"{changed} changed meanwhile, look again" if changed else ""]
    parts += [f"{open_parts} journalled, resolve has not come to them yet" if open_parts else ""]
    return Verdict(", ".join(filter(None, parts)), result, (), 1 if changed else 0)
