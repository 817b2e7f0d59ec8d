"""`resync`."""

from __future__ import annotations

import logging
from typing import Any, Final

from cdcd.control import Answer
from cdcd.journal import Command
from cdcd.operations.desk import Arguments, Desk, Verb, named

_log: Final = logging.getLogger("cdcd.operations")


def _resync(desk: Desk, arguments: Arguments) -> Answer:
    entity = named("entity", _full_name(desk, arguments.get("entity")), desk.blueprint.entity_tables)
    tables = desk.blueprint.entity_tables[entity]
    seq = desk.journal.command(Command("resync", {"entity": entity}), tables)
    _log.warning("resync by an operator", extra={"entity": entity, "tables": len(tables), "seq": seq})
    desk.ring("resolve", "capture")
    return Answer(ok=True, result={"entity": entity, "seq": seq, "tables": [list(table) for table in tables]})


def _full_name(desk: Desk, subject: Any) -> Any:
    """The name of the plain copies of a table, with the table spelled in full."""
    system, colon, table = str(subject).partition(":")
    names = desk.blueprint.table_names.get(system, {})
    return f"{system}:{names.get(table, table)}" if colon else subject


VERBS: Final[dict[str, Verb]] = {"resync": _resync}
