"""`cdcd history ENTITY KEY [FIELD]`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, common

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.text import Text

    from cdcd.history import History
    from cdcd.history_changes import Change, Effect, FieldChange
    from cdcd.record_names import Named, Near
    from cdcd.resolve.plan import Plan
    from cdcd.state_directory import StateDirectory

LIMIT = 50
VALUE_CHARACTERS = 60
PIPE_CHARACTERS = 1_000
"""Where nobody looks, a line is a line."""
_DECISIONS = {
    "written": "accepted",
    "revert": "reverted",
    "ignore": "ignored",
    "hold": "held for a person (cdcd conflicts)",
    "older": "a later change counts",
    "behind": "not read back yet what was told",
    "filtered": "the row is no such record any more",
    "equal": "nothing new",
    "echo": "our own write, read back",
    "trigger": "changed by a trigger in our own write",
    "corrected": "put right again",
    "settled": "first copy",
    "redelivered": "told anew",
    "rewound": "to be told anew",
    "unmatched": "may not be created from here",
    "told": "along with another record",
    "waiting": "waits for a row that it refers to",
    "held": "could not be understood",
    "not-published": "this system may not tell about it",
    "accept": "accepted by a person",
    "reject": "rejected by a person",
    "edited": "corrected by a person",
}
"""Decisions in other words, where the word alone says too little."""
_ABOUT = {"created": "its creation", "deleted": "its deletion", "archived": "the record was deleted before"}
_OWNERS = {"nobody": "", "latest": "  the latest change counts", "sum": "  changes are added up"}
_WRITES = {"full": "whole record: ", "delete": "delete", "add": "adds to ", "rekey": "another key: "}
_COLOURS = {
    "committed": "green",
    "parked": "red",
    "waiting": "yellow",
    "unknown": "green",
    "owed": "yellow",
    "not told": "dim",
}
_OUTCOMES = {"waiting": "not committed yet", "unknown": "committed", "owed": "owed"}
_SELF_ASKED = {"command deliver", "command retry", "command owe", "command copy"}
"""Commands that no operator gives, but the daemon itself."""
_LOST = {"revert", "ignore", "hold", "older", "trigger", "unmatched", "held", "waiting", "not-published"}


@click.command("history")
@click.argument("entity", shell_complete=completing.entities)
@click.argument("key", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(1), default=LIMIT, show_default=True, help="The newest so many changes.")
@click.option(
    "--since", help="Only changes since a time (2026-11-21T22:00, local unless it says otherwise) or '2h ago'."
)
@common
def command(entity: str, key: tuple[str, ...], limit: int, since: str | None, config: Path, as_json: bool) -> None:
    """Show what happened to a record: every change, what was decided about it and why, and when who was told.

    KEY is followed by a FIELD to see that one only. A key of several parts is written as one word, 1001/2, or as a word
    for each part; a child's key begins with its parent's: cdcd history order.lines 1001/2 quantity.

    Works without the daemon too. Exits with 1 when nothing is known of such a record, and says what is near.

    Examples: cdcd history product AB-1; cdcd history order.lines 1001/2 --since '2d ago'; cdcd history product AB-1 --json
    """
    answer("history", as_json, lambda: _history(config, entity, key, limit, since), doing="reading the journal")


def _history(config: Path, entity: str, words: tuple[str, ...], limit: int, since: str | None) -> Verdict:
    from cdcd import config_rules, record_names  # noqa: PLC0415 - the help does without them
    from cdcd.cli.rewind import parse_moment  # noqa: PLC0415
    from cdcd.history import Reader  # noqa: PLC0415
    from cdcd.state_directory import StateDirectory  # noqa: PLC0415

    since_us = 0 if since is None else parse_moment(since, datetime.now(UTC), "--since")
    loaded = config_rules.load(config)
    directory = StateDirectory(Path(loaded.daemon.state_dir))
    plan = _plan(loaded, directory)
    reader = Reader(directory, plan, loaded.journal.keep)
    try:
        named = record_names.named(plan, entity, record_names.untokened(reader.state, reader.masks, entity, words))
        found = reader.read(named.entity, named.key, field=named.field, since_us=since_us, limit=limit)
        if found is None:
            return _unknown(named, record_names.near(reader.state, reader.masks, named), reader.remarks(named.entity))
    finally:
        reader.close()
    return Verdict(summary(found), _builtins(found), [_rendered(found)] if found.changes or found.fields else [])


def _plan(config: Any, directory: StateDirectory) -> Plan:
    """The configuration compiled, with the numbers that the state has. Tables are called as the configuration does."""
    from cdcd.resolve.planning import build  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    directory.require(directory.state, directory.journal)
    state = State(directory.state, read_only=True)
    try:
        return build(config, lambda _system, table: table, state.vocabulary)
    finally:
        state.close()


def _unknown(named: Named, found: list[Near], remarks: tuple[str, ...]) -> Verdict:
    from cdcd.record_names import key_text  # noqa: PLC0415

    text = f"nothing is known of {named.entity.name} {_printable(key_text(named.parts))}"
    lines = [
        f"  {near.entity}{' ' + _printable(key_text(near.key)) if near.key else ''}: {near.what}" for near in found
    ]
    result = {"near": msgspec.to_builtins(found), "remarks": list(remarks)}
    return Verdict(text, result, [*remarks, *(["near is:"] if lines else []), *lines], 1)


def summary(history: History) -> str:
    """What it is now, in a line."""
    from cdcd.record_names import key_text  # noqa: PLC0415

    name = f"{history.entity} {_printable(key_text(history.key))}"
    where = f"is in {', '.join(history.systems)}" if history.systems else "is nowhere yet"
    count = len(history.changes)
    changes = f"{count} change{'' if count == 1 else 's'}"
    parked = "".join(f"; parked for {system}: {reason}" for system, reason in history.parked.items())
    return f"{name} {where if history.alive else 'does not exist'}; {changes} shown{parked}"


def _builtins(history: History) -> Any:
    """For programs: bytes as hexadecimal, a value that nobody has told as null."""
    return _without_bytes(msgspec.to_builtins(history, enc_hook=lambda _value: None, builtin_types=(bytes,)))


def _without_bytes(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _without_bytes(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_without_bytes(value) for value in found]
    return found.hex() if isinstance(found, bytes) else found


# ---- for people ------------------------------------------------------------------------------------------------


def _rendered(history: History) -> str:
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_CHARACTERS)
    with console.capture() as capture:
        for part in view(history):
            console.print(part)
    return capture.get().rstrip("\n")


def view(history: History) -> Iterator[RenderableType]:
    """The changes, oldest first, and what the record is now."""
    from rich.padding import Padding  # noqa: PLC0415

    if history.earlier:
        yield _text((history.earlier, "dim"))
    for change in history.changes:
        yield _heading(change)
        if change.values:
            yield Padding(_values(change), (0, 0, 0, 4), expand=False)
        for field in change.fields:
            yield Padding(_field(field, change), (0, 0, 0, 4), expand=False)
        for effect in change.effects:
            yield Padding(_effect(effect, change), (0, 0, 0, 4), expand=False)
    for remark in history.remarks:
        yield _text((remark, "yellow"))
    if history.fields and history.alive:
        yield _text(("now", "bold"))
        for now in history.fields:
            owner = _OWNERS.get(now.owner, f"  {now.owner} owns it")
            yield Padding(
                _text((f"{now.field}  ", ""), (_shown(now.value), "bold"), (owner, "dim")), (0, 0, 0, 4), expand=False
            )


def _text(*parts: tuple[str, str]) -> Text:
    from rich.text import Text  # noqa: PLC0415

    return Text.assemble(*parts)


def _heading(change: Change) -> Text:
    decision = _decision(change)
    nobody = "cdcd" if change.kind in _SELF_ASKED else "an operator"
    by = ", ".join(change.held_by) or change.system or nobody
    place = f" at {change.position}" if change.position else ""
    where = "its journal entry was trimmed" if change.at_us is None else f"{change.kind}{place}"
    return _text(
        (_moment(change.at_us), "bold"),
        (f"  {by}", "bold cyan"),
        (f"  {decision}" if decision else "", "yellow" if change.decision in _LOST else ""),
        (f" {_ABOUT.get(change.reason, f'[{change.reason}]')}" if change.reason else "", ""),
        (f" {change.repeated:,} times" if change.repeated > 1 else "", "dim"),
        (f" ({change.rule})" if change.rule else "", "dim"),
        (f"  {where}, entry {change.seq:,}", "dim"),
    )


def _decision(change: Change) -> str:
    """What was decided about the record as a whole; nothing where its fields say it."""
    if change.fields and change.decision in ("written", "revert"):
        return ""
    if change.decision == "told" and change.kind.startswith("copy"):
        return "missing somewhere"
    return "left alone," if change.reason == "archived" else _DECISIONS.get(change.decision, change.decision)


def _values(change: Change) -> Text:
    """What the record was when it began, in one paragraph."""
    parts = [
        ((f"{', ' if at else ''}{name} ", ""), (_shown(value), "bold"))
        for at, (name, value) in enumerate(change.values.items())
    ]
    return _text(("as ", "dim"), *(part for pair in parts for part in pair))


def _field(field: FieldChange, change: Change) -> Text:
    is_copy = change.decision == "settled"
    colour = "yellow" if field.decision in _LOST and not is_copy else "green"
    decision = "put right" if is_copy else _DECISIONS.get(field.decision, field.decision)
    return _text(
        (f"{field.field}  ", ""),
        (f"{_shown(field.old)} -> {_shown(field.new)}  ", "bold"),
        (decision, colour),
        (f": {field.rule}", "dim"),
    )


def _effect(effect: Effect, change: Change) -> Text:
    told = ", ".join(effect.fields)
    if effect.initial:
        told += f"{' ' if told else ''}(where new: {', '.join(effect.initial)})"
    write = _WRITES.get(effect.write, "")
    when = _outcome(effect, change)
    return _text(
        ("-> ", "dim"),
        (effect.system, "cyan"),
        (f"  {write}{told}", ""),
        (f"  {when}", _COLOURS[effect.outcome]),
        (f"  unit {effect.unit:,}" if effect.unit else "", "dim"),
    )


def _outcome(effect: Effect, change: Change) -> str:
    if effect.outcome == "committed" and effect.committed_at_us is not None:
        after = "" if change.at_us is None else f", {_seconds(effect.committed_at_us - change.at_us)} later"
        return f"committed {_moment(effect.committed_at_us)}{after}"
    return _OUTCOMES.get(effect.outcome, effect.outcome) + (f" ({effect.reason})" if effect.reason else "")


def _seconds(us: int) -> str:
    return f"{us / 1e6:,.3f} s"


def _moment(at_us: int | None) -> str:
    if at_us is None:
        return "?"
    return datetime.fromtimestamp(at_us / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _shown(value: Any) -> str:
    """A value as a person reads it, on one line and without anything that a terminal would obey."""
    from cdcd.model import ABSENT  # noqa: PLC0415
    from cdcd.resolve.trail import Shortened  # noqa: PLC0415

    if value is ABSENT:
        return "(unknown)"
    if value is None:
        return "NULL"
    if isinstance(value, Shortened):
        unit = "bytes" if isinstance(value.head, bytes) else "characters"
        return f"{_shown(value.head)} ({value.length:,} {unit})"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"0x{value.hex()}" if isinstance(value, bytes) else _printable(str(value))
    text = text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"
    return f'"{text}"' if isinstance(value, str) and (not text or text != text.strip()) else text


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
