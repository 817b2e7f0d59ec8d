"""The part of `SourceContract` on chunks of some rows, of the checkpoint, and on sizes of tables."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

import pytest

from cdcd.adapter import RowFilter
from cdcd.errors import FilterRefused
from cdcd.model import CHECKPOINT_TABLE, Batch, Chunk, Op, Row, Value
from cdcd.testing.source_session import HOSTILE, ITEM, TEXTS, SourceSession, item, summary
from cdcd.testing.stream import NamedRow, StreamReader, named_rows


def read_some(reader: StreamReader, table: str, row_filter: RowFilter, row_limit: int = 10) -> list[NamedRow]:
    """The rows of a table that a filter lets through, in chunks."""
    found: list[NamedRow] = []
    after_key: Row | None = None
    while True:
        chunk = reader.read_chunk(table, after_key, row_limit, row_filter)
        found += [change.row for change in named_rows(chunk.rows)]
        if chunk.done:
            return found
        after_key = chunk.last_key


class FilterContract:
    """Inherited by `SourceContract`, which has the fixture `session`."""

    def test_rows_are_copied_by_key_in_chunks(self, session: SourceSession) -> None:
        session.insert(ITEM, *(item(number, f"n{number}") for number in range(30)))
        reader = session.start()
        table = session.harness.full_name(ITEM)
        by_id = RowFilter(columns=("id",), keys=tuple((number,) for number in range(5, 45, 2)))
        assert read_some(reader, table, by_id, 3) == [item(number, f"n{number}") for number in range(5, 30, 2)]
        by_two = RowFilter(columns=("name", "id"), keys=(("n7", 7), ("n8", 7), ("n9", 9)))
        assert [row["id"] for row in read_some(reader, table, by_two)] == [7, 9]

    def test_a_key_of_any_text_finds_its_row(self, session: SourceSession) -> None:
        session.create(HOSTILE)
        first, *_, text = HOSTILE.column_names
        rows: list[NamedRow] = [
            {**dict.fromkeys(HOSTILE.column_names), first: number, text: value} for number, value in enumerate(TEXTS)
        ]
        session.insert(HOSTILE, *rows)
        reader = session.start()
        for number, value in enumerate(TEXTS):
            wanted = RowFilter(columns=(text, first), keys=((value, number),))
            found = read_some(reader, session.harness.full_name(HOSTILE), wanted)
            assert [row[first] for row in found] == [number]

    def test_a_key_that_no_row_has_gives_an_empty_chunk_that_is_the_last(self, session: SourceSession) -> None:
        session.insert(ITEM, item(1))
        reader = session.start()
        table = session.harness.full_name(ITEM)
        for keys in ((), ((7,),)):
            chunk = reader.read_chunk(table, None, 10, RowFilter(columns=("id",), keys=keys))
            assert (chunk.rows.rows, chunk.done, chunk.rows.relation.table) == ([], True, table)

    def test_rows_are_copied_by_a_condition(self, session: SourceSession) -> None:
        if not session.harness.speaks_sql:
            pytest.skip("this server knows no SQL")
        session.insert(ITEM, *(item(number) for number in range(30)))
        reader = session.start()
        table = session.harness.full_name(ITEM)
        wanted = RowFilter(where="id < 3 OR id > 20 -- and no others")
        assert [row["id"] for row in read_some(reader, table, wanted, 2)] == [0, 1, 2, *range(21, 30)]

    @pytest.mark.parametrize("condition", ["nothing = 1", "id = ", "1 / (version - version) = 'x'"])
    def test_a_condition_that_cannot_be_met_is_refused(self, session: SourceSession, condition: str) -> None:
        session.insert(ITEM, item(1))
        reader = session.start()
        with pytest.raises(FilterRefused):
            reader.read_chunk(session.harness.full_name(ITEM), None, 10, RowFilter(where=f"{condition} AND nix = 0"))

    def test_the_checkpoint_is_read_at_a_place_of_the_log(self, session: SourceSession) -> None:
        harness = session.harness
        target = harness.open_target()
        target.open()
        target.apply([], Batch(4, 7))
        reader = session.start()
        target.apply([], Batch(7, 9))
        own = RowFilter(columns=("daemon", "system"), keys=((harness.identity.daemon, harness.identity.system),))
        rows = read_some(
            reader, CHECKPOINT_TABLE, own
        )  # none, where what the stream has carried is left out of a chunk
        target.close()
        shown = [(row["lineage"], row["batch_through"]) for row in rows]
        assert shown in ([], [(harness.identity.lineage, 9)])
        marks = _marks_before_the_chunk(reader)
        assert marks == [9]

    def test_a_table_has_about_as_many_rows_as_the_server_thinks(self, session: SourceSession) -> None:
        session.insert(ITEM, item(1))
        source = session.start().source
        assert source.estimate(session.harness.full_name(ITEM)) >= 0
        session.insert(ITEM, item(2))
        assert summary(session.read_all()) == [[(Op.INSERT, 2)]]


def _marks_before_the_chunk(reader: StreamReader) -> list[Value]:
    """The units of our own transactions that the stream carried before the last chunk."""
    last = max(number for number, entry in enumerate(reader.log) if isinstance(entry, Chunk))
    carried = [entry for entry in reader.log[:last] if not isinstance(entry, Chunk) and hasattr(entry, "changes")]
    return [
        change.row["batch_through"] for entry in carried for change in entry.changes if change.table == CHECKPOINT_TABLE
    ]
