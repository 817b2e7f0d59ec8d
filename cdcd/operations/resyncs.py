"""`resync` and `reposition`: tables are read again, and compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cdcd.adapter import RowFilter
from cdcd.backfills import Backfill, NewCopy
from cdcd.blueprint import Role
from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.model import CHECKPOINT_TABLE
from cdcd.operations.desk import Arguments, Desk, RequestError, Verb, named
from cdcd.recovering import recovery
from cdcd.resolve import suspension

Table = tuple[str, str]
"""A system, and the name of a table of it."""
_log: Final = logging.getLogger("cdcd.operations")


class Chosen(msgspec.Struct, frozen=True):
    """Only these rows of a table are to be read again."""

    system: str
    table: str
    filter: RowFilter


class Asked(msgspec.Struct, frozen=True):
    """The arguments of `resync`. `keys` are the named records' keys as hexadecimal; `dry_run`: only say what would be done.

    `systems`: only their tables. Of plain copies, `columns` and `rows` name the rows themselves.
    """

    entity: str
    systems: tuple[str, ...] | None = None
    chosen: tuple[Chosen, ...] = ()
    keys: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    dry_run: bool = False


class CopyProgress(msgspec.Struct, frozen=True):
    """The copy of a table as `resync --list` shows it. `state` is reading, paused, done, or why it ended."""

    system: str
    table: str
    entity: str
    state: str
    filtered: bool
    rows: int
    estimate: int
    chunks: int
    rows_per_second: float
    started_at_us: int
    read_at_us: int


# ---- resync --------------------------------------------------------------------------------------------------------


def _resync(desk: Desk, arguments: Arguments) -> Answer:
    asked = _understood(desk, arguments)
    copies = _copies(desk, asked)
    _refuse_where_it_cannot(desk, asked, copies)
    under_way = [[copy.source, copy.table] for copy in copies if _under_way(desk, copy.source, copy.table)]
    result = {
        "entity": asked.entity,
        "seq": None,
        "tables": [[copy.source, copy.table] for copy in copies],
        "filtered": bool(asked.chosen),
        "begun_anew": under_way,
        "rows": {f"{copy.source}:{copy.table}": _rows_before(desk, copy) for copy in copies},
    }
    if asked.dry_run:
        return Answer(ok=True, result=result)
    seq = desk.journal.command(Command("resync", _command_arguments(asked)), copies)
    _log.warning("resync by an operator", extra={"entity": asked.entity, "tables": len(copies), "seq": seq})
    desk.ring("resolve", "capture")
    return Answer(ok=True, result={**result, "seq": seq})


def _understood(desk: Desk, arguments: Arguments) -> Asked:
    entity = _entity(desk, arguments)
    try:
        asked = msgspec.convert({**arguments, "entity": entity}, Asked)
    except msgspec.ValidationError as error:
        raise RequestError("what is to be read again is not understood", cause=str(error)) from error
    of_entity = dict.fromkeys(system for system, _ in desk.blueprint.entity_tables[entity])
    for system in asked.systems or ():
        named(f"system of {entity}", system, of_entity)
    for chosen in asked.chosen:
        tables = [table for system, table in desk.blueprint.entity_tables[entity] if system == chosen.system]
        named(f"table of {entity} in {chosen.system}", chosen.table, tables)
    return asked


def _copies(desk: Desk, asked: Asked) -> list[NewCopy]:
    if asked.chosen:
        return [NewCopy(chosen.system, chosen.table, asked.entity, chosen.filter) for chosen in asked.chosen]
    tables = desk.blueprint.entity_tables[asked.entity]
    wanted = [table for table in tables if asked.systems is None or table[0] in asked.systems]
    return [NewCopy(system, table, asked.entity) for system, table in wanted]


def _command_arguments(asked: Asked) -> dict[str, Any]:
    """As resolve reads them (`resolve.resyncs.Resync`): what is as usual is left out."""
    systems = asked.systems or tuple(dict.fromkeys(chosen.system for chosen in asked.chosen))
    more = {
        "systems": list(systems),
        "filtered": bool(asked.chosen),
        "keys": [bytes.fromhex(key) for key in asked.keys],
        "columns": list(asked.columns),
        "rows": [list(row) for row in asked.rows],
    }
    return {"entity": asked.entity, **{name: value for name, value in more.items() if value}}


def _refuse_where_it_cannot(desk: Desk, asked: Asked, copies: Sequence[NewCopy]) -> None:
    is_whole = asked.systems is None and not asked.chosen
    if not is_whole and asked.entity in suspension.load(desk.state):
        raise RequestError(
            f"{asked.entity} is suspended: only what is read as a whole gets it going",
            remedy=f"cdcd resync {asked.entity}",
            code="resync-suspended",
        )
    if not asked.chosen:
        return
    if desk.state.summary().phases.get(asked.entity) == "seeding":
        raise RequestError(
            f"{asked.entity} is being copied for the first time: all its rows are read anyway",
            remedy="wait until 'cdcd status' says that it is settled",
            code="resync-first-copy",
        )
    for copy in copies:
        if _under_way(desk, copy.source, copy.table):
            raise RequestError(
                f"table {copy.table} of {copy.source} is being read already",
                remedy="wait for it ('cdcd resync --list'), or 'cdcd resync --cancel' it",
                code="resync-under-way",
            )


def _under_way(desk: Desk, system: str, table: str) -> Backfill | None:
    return next((b for b in desk.journal.backfills(system) if b.table == table and not b.done), None)


def _rows_before(desk: Desk, copy: NewCopy) -> int:
    """How many rows a copy is likely to have: as many as were asked for, or as the last one had."""
    if copy.filter is not None:
        return len(copy.filter.keys)
    known = [b for b in desk.journal.backfills(copy.source) if b.table == copy.table and b.filter is None]
    return max((max(b.rows, b.estimate) for b in known), default=0)


def _entity(desk: Desk, arguments: Arguments) -> str:
    return named("entity", _full_name(desk, arguments.get("entity")), desk.blueprint.entity_tables)


def _full_name(desk: Desk, subject: Any) -> Any:
    """The name of the plain copies of a table, with the table spelled in full."""
    system, colon, table = str(subject).partition(":")
    names = desk.blueprint.table_names.get(system, {})
    return f"{system}:{names.get(table, table)}" if colon else subject


# ---- what is under way ---------------------------------------------------------------------------------------------


def _list(desk: Desk, arguments: Arguments) -> Answer:
    """All copies that are not done, and what became of those that somebody asked for."""
    entity = _entity(desk, arguments) if arguments.get("entity") else None
    tables = None if entity is None else desk.blueprint.entity_tables[entity]
    found = [
        _progress(system, backfill)
        for system in desk.blueprint.sources
        for backfill in desk.journal.backfills(system)
        if (backfill.subject or not backfill.done) and (tables is None or (system, backfill.table) in tables)
    ]
    return Answer(ok=True, result={"copies": msgspec.to_builtins(found)})


def _progress(system: str, backfill: Backfill) -> CopyProgress:
    state = "paused" if backfill.paused else "reading"
    return CopyProgress(
        system,
        backfill.table,
        backfill.subject,
        (backfill.ended or "done") if backfill.done else state,
        backfill.filter is not None,
        backfill.rows,
        backfill.estimate,
        backfill.chunks,
        round(backfill.rows_per_second, 1),
        backfill.started_at_us,
        backfill.read_at_us,
    )


def _pause(desk: Desk, arguments: Arguments) -> Answer:
    entity, on = _entity(desk, arguments), arguments.get("on") is not False
    tables = _being_read(desk, entity, "pause" if on else "resume")
    desk.journal.pause_backfills(tables, paused=on)
    _log.warning("copies %s by an operator", "paused" if on else "resumed", extra={"entity": entity})
    desk.ring("capture")
    return Answer(ok=True, result={"entity": entity, "paused": on, "tables": [list(table) for table in tables]})


def _being_read(desk: Desk, entity: str, what: str) -> list[Table]:
    tables = [table for table in desk.blueprint.entity_tables[entity] if _under_way(desk, *table)]
    if not tables:
        raise RequestError(
            f"no table of {entity} is being read: there is nothing to {what}",
            remedy="cdcd resync --list",
            code="resync-none",
        )
    return tables


def _cancel(desk: Desk, arguments: Arguments) -> Answer:
    entity = _entity(desk, arguments)
    under_way = [(table, _under_way(desk, *table)) for table in _being_read(desk, entity, "cancel")]
    asked_for = [(table, copy) for table, copy in under_way if copy is not None and copy.subject == entity]
    emptied = [copy for _, copy in asked_for if copy.filter is None and ":" in entity]
    if not asked_for or emptied or entity in suspension.load(desk.state):
        raise RequestError(
            f"the copies of {entity} that are under way are needed",
            cause="it is copied for the first time, is read otherwise than before, was emptied, or is suspended",
            remedy=f"cdcd resync --pause {entity}",
            code="resync-needed",
        )
    tables = [table for table, _ in asked_for]
    seq = desk.journal.cancel_backfills(Command("cancel-resync", {"entity": entity}), tables)
    _log.warning("resync cancelled by an operator", extra={"entity": entity, "seq": seq})
    desk.ring("resolve", "capture")
    return Answer(ok=True, result={"entity": entity, "seq": seq, "tables": [list(table) for table in tables]})


# ---- reposition ----------------------------------------------------------------------------------------------------


def _reposition_plan(desk: Desk, arguments: Arguments) -> Answer:
    system = named("source", arguments.get("system"), desk.blueprint.sources)
    _refuse_to_reposition(desk, system)
    tables = _captured(desk, system)
    return Answer(
        ok=True,
        result={
            "system": system,
            "position": desk.journal.position(system),
            "read_until_us": desk.journal.captured_at_us(system),
            "tables": tables,
            "subjects": [
                name
                for name, of in desk.blueprint.entity_tables.items()
                if any(of_system == system for of_system, _ in of)
            ],
            "rows": sum(_rows_before(desk, NewCopy(system, table)) for table in tables),
        },
    )


def _reposition(desk: Desk, arguments: Arguments) -> Answer:
    system = named("source", arguments.get("system"), desk.blueprint.sources)
    _refuse_to_reposition(desk, system)
    return Answer(
        ok=True, result={"system": system, "seq": reposition(desk, system), "tables": _captured(desk, system)}
    )


def reposition(desk: Desk, system: str, *, compare: bool = True) -> int:
    """Have a system's log read from now on, and (`compare`) all that is read there compared; return the journal's seq.

    One commit: a crash leaves it done or not begun. Of what was on its way there the checkpoint tells what has arrived:
    it is read at a place of the new log, before any table, and counts as read back.
    """
    copies = (
        [NewCopy(system, CHECKPOINT_TABLE, filter=_own_row(desk, system))] if system in desk.blueprint.targets else []
    )
    copies += [NewCopy(system, table) for table in _captured(desk, system)] if compare else []
    command = Command("repositioned", {"system": system} if compare else {"system": system, "compare": False})
    seq = desk.journal.command(command, copies, from_now=system)
    _log.warning("to be read from now on", extra={"system": system, "tables": len(copies), "seq": seq})
    desk.ring("resolve")
    desk.crew.restart(Role("capture", system))
    return seq


def _own_row(desk: Desk, system: str) -> RowFilter:
    return RowFilter(columns=("daemon", "system"), keys=((desk.blueprint.config.daemon.name, system),))


def _captured(desk: Desk, system: str) -> list[str]:
    return [need.table for need in desk.blueprint.systems[system].tables if need.captured]


def _refuse_to_reposition(desk: Desk, system: str) -> None:
    state = desk.crew.state(Role("capture", system))
    if state not in ("stopped", "down"):
        raise RequestError(
            f"{system} is {state}: its place in the log is not lost",
            remedy=f"'cdcd status' says how it is; to compare what it holds: cdcd resync ENTITY --system {system}",
            code="reposition-not-needed",
        )
    why = recovery.unsettled(desk.journal, desk.state, system)
    if why:
        raise RequestError(
            f"{system} must be put right as a target first: else its old values are taken for changes",
            cause=why,
            remedy=f"'cdcd status' says how: 'cdcd rewind {system}'; then once more",
            code="reposition-too-early",
        )


VERBS: Final[dict[str, Verb]] = {
    "resync": _resync,
    "resyncs": _list,
    "resync-pause": _pause,
    "resync-cancel": _cancel,
    "reposition-plan": _reposition_plan,
    "reposition": _reposition,
}
