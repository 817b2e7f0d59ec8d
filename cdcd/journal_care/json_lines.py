"""Journal entries as JSON: what `cdcd journal tail --json` and `cdcd journal export` write. The form is in docs/journal.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from cdcd.journal_care.view import Contents, JournalView, Listed, Wanted, command_of, copy_of
from cdcd.model import ABSENT, Relation, Row, Rows
from cdcd.sensitive import masked

Hidden: TypeAlias = Callable[[str, str], Container[str]]
"""By source and table, the columns whose values are shown to nobody (`cdcd.sensitive`)."""
_encode = msgspec.json.Encoder().encode


def nothing_hidden(_source: str, _table: str) -> Container[str]:
    """Nothing is sensitive."""
    return ()


def entry_object(listed: Listed, contents: Contents | None = None) -> dict[str, Any]:
    """An entry without its rows."""
    return {
        "seq": listed.seq,
        "source": listed.source,
        "kind": listed.kind.name.lower(),
        "position": listed.position,
        "committed_at": iso(listed.committed_at_us),
        "journaled_at": iso(listed.journaled_at_us),
        "changes": listed.changes,
        "units": listed.units,
        **({} if contents is None else {"tables": contents}),
        **({} if (command := command_of(listed)) is None else {"command": msgspec.to_builtins(command)}),
        **({} if (copy := copy_of(listed)) is None else {"copy": msgspec.to_builtins(copy)}),
    }


def row_objects(run: Rows, hidden: Container[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a run, with the operation; `old` where the log told what a row was before. Of `hidden` columns a mask."""
    named = {"table": run.relation.table, "op": run.op.name.lower()}
    if not run.rows:
        yield named
    for number, row in enumerate(run.rows):
        old = None if run.olds is None else run.olds[number]
        yield {
            **named,
            "row": _named(run.relation, row, hidden),
            **({} if old is None else {"old": _named(run.relation, old, hidden)}),
        }


def export_lines(
    view: JournalView, listed: Listed, wanted: Wanted, known: set[Relation], hidden: Hidden = nothing_hidden
) -> Iterator[bytes]:
    """An entry as lines: itself, each shape when it is first met (`known` remembers them), each row. Raises Gone.

    `hidden` says which columns of a source's table are masked.
    """
    yield _line({"type": "entry", **entry_object(listed)})
    for run in view.runs(listed):
        if not wanted.is_table(listed.source, run.relation.table):
            continue
        if run.relation not in known:
            known.add(run.relation)
            yield _line({"type": "table", "source": listed.source, **_shape(run.relation)})
        for row in row_objects(run, hidden(listed.source, run.relation.table)):
            yield _line({"type": "row", "seq": listed.seq, **row})


def plain(value: Any) -> Any:
    """A canonical value for JSON: what JSON has no word for is an object with one member, which no value is."""
    if value is ABSENT:
        return {"absent": True}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def iso(at_us: int) -> str:
    """A moment in UTC with microseconds."""
    seconds, us = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{us:06}Z"


def _named(relation: Relation, row: Row, hidden: Container[str]) -> Mapping[str, Any]:
    cells = zip(relation.columns, row, strict=False)
    return {name: plain(masked(value, hidden=name in hidden)) for name, value in cells}


def _shape(relation: Relation) -> dict[str, Any]:
    return {
        "table": relation.table,
        "columns": dict(zip(relation.columns, relation.types, strict=True)),
        "identity": [relation.columns[at] for at in relation.identity],
    }


def _line(content: dict[str, Any]) -> bytes:
    return _encode(content) + b"\n"
