"""What every source must do: `SourceContract`, inherited by a test class beside a fixture `harness` (see `harness`).

The core relies on each of these sentences (invariants 2 and 8, and the placing of chunks that backfill needs).
"""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import PositionLost, Unavailable
from cdcd.model import ABSENT, CHECKPOINT_TABLE, Batch, Chunk, Idle, Op, Rows, TableWrite, WriteKind
from cdcd.testing.harness import Column, Harness, Table
from cdcd.testing.source_filters import FilterContract
from cdcd.testing.source_keeping import KeepingContract
from cdcd.testing.source_places import PlacesContract
from cdcd.testing.source_session import (
    HOSTILE,
    ITEM,
    OTHER,
    TEXTS,
    BusyWriter,
    SourceSession,
    item,
    read_table,
    rebuild,
    summary,
    type_tables,
)
from cdcd.testing.stream import Change, NamedRow, exactly, named_rows
from cdcd.values import parse_type


class SourceContract(FilterContract, KeepingContract, PlacesContract):
    """The suite."""

    @pytest.fixture
    def session(self, harness: Harness) -> Iterator[SourceSession]:
        """ITEM exists and is read; the source is closed at the end."""
        session = SourceSession(harness)
        session.create(ITEM)
        yield session
        session.close()

    # ---- transactions ------------------------------------------------------------------------------------------------

    def test_only_what_is_committed_after_the_start_is_seen(self, session: SourceSession) -> None:
        session.insert(ITEM, item(1))
        session.start()
        session.insert(ITEM, item(2))
        assert summary(session.read_all()) == [[(Op.INSERT, 2)]]

    def test_transactions_arrive_whole_and_in_commit_order(self, session: SourceSession) -> None:
        session.start()
        session.insert(ITEM, item(1), item(2), item(3))
        session.write((Op.UPDATE, ITEM, item(2, "b")), (Op.DELETE, ITEM, item(1)), (Op.INSERT, ITEM, item(4)))
        session.insert(ITEM, item(5))
        insert, update, delete = Op.INSERT, Op.UPDATE, Op.DELETE
        assert summary(session.read_all()) == [
            [(insert, 1), (insert, 2), (insert, 3)],
            [(update, 2), (delete, 1), (insert, 4)],
            [(insert, 5)],
        ]

    def test_two_interleaved_transactions_come_in_the_order_of_their_commits(self, session: SourceSession) -> None:
        session.start()
        with session.harness.transaction() as first:
            first.insert(ITEM, item(1))
            with session.harness.transaction() as second:
                second.insert(ITEM, item(2))
            first.insert(ITEM, item(3))
        assert summary(session.read_all()) == [[(Op.INSERT, 2)], [(Op.INSERT, 1), (Op.INSERT, 3)]]

    def test_a_rolled_back_transaction_is_not_seen(self, session: SourceSession) -> None:
        session.start()
        with pytest.raises(ZeroDivisionError), session.harness.transaction() as writer:  # noqa: PT012
            writer.insert(ITEM, item(1))
            raise ZeroDivisionError
        session.insert(ITEM, item(2))
        assert summary(session.read_all()) == [[(Op.INSERT, 2)]]

    def test_changes_to_several_tables_keep_their_order_in_the_transaction(self, session: SourceSession) -> None:
        session.create(OTHER)
        session.start()
        rows: list[tuple[Table, NamedRow]] = [
            (ITEM, item(1)),
            (OTHER, {"id": 2, "note": "n"}),
            (ITEM, item(3)),
            (OTHER, {"id": 4, "note": None}),
        ]
        session.write(*((Op.INSERT, table, row) for table, row in rows))
        (transaction,) = session.read_all()
        assert [(change.table, change.row["id"]) for change in transaction.changes] == [
            (session.harness.full_name(table), row["id"]) for table, row in rows
        ]

    def test_a_transaction_on_other_tables_is_idle_at_most(self, session: SourceSession) -> None:
        session.harness.create_table(OTHER)
        session.start()
        session.insert(OTHER, {"id": 1, "note": "n"})
        session.write((Op.INSERT, OTHER, {"id": 2, "note": "n"}), (Op.INSERT, ITEM, item(1)))
        assert summary(session.read_all()) == [[(Op.INSERT, 1)]]

    def test_a_commit_carries_the_time_of_the_commit_in_utc(self, session: SourceSession) -> None:
        session.start()
        session.insert(ITEM, item(1))
        (transaction,) = session.read_all()
        assert abs(transaction.committed_at_us / 1e6 - time.time()) < 60

    def test_a_large_transaction_spans_several_bounded_polls(self, session: SourceSession) -> None:
        table = Table("large", (Column("id", nullable=False), Column("body", "text")), ("id",))
        session.create(table)
        reader = session.start()
        with session.harness.transaction() as writer:
            rows: list[NamedRow] = [{"id": number, "body": f"{number:06}" * 1000} for number in range(2000)]
            writer.insert(table, *rows)
        done = session.mark()
        polled_bytes = []
        while not done():
            values = [
                value for event in reader.poll() if isinstance(event, Rows) for row in event.rows for value in row
            ]
            polled_bytes.append(sum(len(value) for value in values if isinstance(value, str)))
            reader.wait(0.05)
        (transaction,) = session.without_markers(reader.transactions)
        assert [change.row["id"] for change in transaction.changes] == list(range(2000))
        assert max(polled_bytes) <= 8 << 20

    # ---- positions ---------------------------------------------------------------------------------------------------

    def test_reading_resumes_after_any_position_without_gap_or_duplicate(self, session: SourceSession) -> None:
        session.harness.create_table(OTHER)
        reader = session.start()
        for number in range(4):
            session.insert(ITEM, item(number), item(number + 100))
            session.insert(OTHER, {"id": number, "note": "n"})
        whole = session.read_all()
        places = [(reader.started_at, 0)]
        for entry in reader.log:
            if not isinstance(entry, Chunk):
                seen = places[-1][1] + (entry in whole)
                places.append((entry.position, seen))
        for position, seen in dict(places).items():
            resumed = session.start(position)
            assert resumed.started_at == position
            assert session.read_all() == whole[seen:]

    def test_what_was_read_but_not_confirmed_is_read_again(self, session: SourceSession) -> None:
        reader = session.start()
        session.insert(ITEM, item(1))
        session.insert(ITEM, item(2))
        first = session.read_all()
        session.close()
        session.start(reader.started_at)
        assert session.read_all() == first

    def test_what_was_committed_while_no_source_was_open_is_read(self, session: SourceSession) -> None:
        reader = session.start()
        session.close()
        session.insert(ITEM, item(1))
        session.start(reader.started_at)
        assert summary(session.read_all()) == [[(Op.INSERT, 1)]]

    def test_starting_from_now_twice_is_allowed(self, session: SourceSession) -> None:
        session.start()
        session.insert(ITEM, item(1))
        session.start()
        session.insert(ITEM, item(2))
        assert summary(session.read_all())[-1:] == [[(Op.INSERT, 2)]]

    def test_reading_goes_on_after_confirm_and_from_the_confirmed_position(self, session: SourceSession) -> None:
        reader = session.start()
        session.insert(ITEM, item(1))
        session.read_all()
        reader.source.confirm(reader.position)
        reader.source.confirm(reader.position)
        session.insert(ITEM, item(2))
        assert summary(session.read_all())[-1:] == [[(Op.INSERT, 2)]]
        position = session.without_markers(reader.transactions)[0].position
        reader.source.confirm(position)
        session.start(reader.position)
        session.insert(ITEM, item(3))
        assert summary(session.read_all()) == [[(Op.INSERT, 3)]]

    def test_an_idle_log_moves_on_and_can_be_confirmed(self, session: SourceSession) -> None:
        session.harness.create_table(OTHER)
        reader = session.start()
        for number in range(5):
            session.insert(OTHER, {"id": number, "note": "n"})
        reader.read_until(lambda: any(isinstance(entry, Idle) for entry in reader.log))
        assert reader.position != reader.started_at
        reader.source.confirm(reader.position)
        session.start(reader.position)
        session.insert(ITEM, item(1))
        assert summary(session.read_all()) == [[(Op.INSERT, 1)]]

    def test_a_position_that_the_log_no_longer_reaches_is_lost(self, session: SourceSession) -> None:
        if not session.harness.can_lose_log:
            pytest.skip("this harness cannot lose its log")
        reader = session.start()
        session.insert(ITEM, item(1))
        session.read_all()
        session.close()
        session.harness.lose_log()
        with pytest.raises(PositionLost):
            session.start(reader.started_at)
        session.start()
        session.insert(ITEM, item(2))
        assert summary(session.read_all())[-1:] == [[(Op.INSERT, 2)]]

    def test_a_position_before_a_confirmed_one_is_lost_where_the_server_discards(self, session: SourceSession) -> None:
        if not session.harness.confirm_discards:
            pytest.skip("this server keeps its log whatever is confirmed")
        reader = session.start()
        session.insert(ITEM, item(1))
        session.read_all()
        reader.source.confirm(reader.position)
        reader.poll()
        session.close()
        with pytest.raises(PositionLost):
            session.start(reader.started_at)

    def test_reading_can_begin_anew_at_the_earliest_position_that_the_server_keeps_for_us(
        self, session: SourceSession
    ) -> None:
        before = session.harness.open_source(ITEM)
        assert before.earliest() is None
        before.close()
        reader = session.start()
        session.insert(ITEM, item(1))
        session.read_all()
        reader.source.confirm(reader.position)
        reader.poll()
        session.close()
        session.insert(ITEM, item(2))
        looking = session.harness.open_source(ITEM)
        earliest = looking.earliest()
        looking.close()
        if earliest is None:
            assert not session.harness.confirm_discards
            return
        session.start(earliest)
        assert [step for step in summary(session.read_all()) if step][-1] == [(Op.INSERT, 2)]

    def test_a_restarted_server_is_unavailable_and_then_read_on_from_the_last_position(
        self, session: SourceSession
    ) -> None:
        if not session.harness.can_restart:
            pytest.skip("this harness cannot restart its server")
        reader = session.start()
        session.insert(ITEM, item(1))
        session.read_all()
        session.harness.restart()
        with pytest.raises(Unavailable):
            reader.read_until(lambda: False)
        session.insert(ITEM, item(2))
        session.start(reader.position)
        assert summary(session.read_all()) == [[(Op.INSERT, 2)]]

    def test_closing_twice_or_before_starting_is_safe(self, session: SourceSession) -> None:
        source = session.harness.open_source(ITEM)
        source.close()
        source.close()
        reader = session.start()
        reader.source.close()
        reader.source.close()

    def test_the_file_descriptor_tells_that_something_came(self, session: SourceSession) -> None:
        reader = session.start()
        session.read_all()
        reader.read_until(lambda: not reader.wait(0.0))
        session.insert(ITEM, item(1))
        assert reader.wait(20)
        reader.read_until(lambda: bool(session.without_markers(reader.transactions)))

    def test_status_counts_what_was_not_read_yet(self, session: SourceSession) -> None:
        reader = session.start()
        session.read_all()
        session.insert(ITEM, *(item(number, "x" * 200) for number in range(500)))
        behind = reader.source.status()
        session.read_all()
        level = reader.source.status()
        assert behind.lag_bytes > level.lag_bytes >= 0
        assert level.retained_bytes >= 0
        assert level.head

    # ---- rows --------------------------------------------------------------------------------------------------------

    def test_every_value_of_every_type_arrives_exactly(self, session: SourceSession) -> None:
        tables = type_tables(session)
        session.start()
        expected = []
        for table, values in tables:
            for number, value in enumerate([*values, None]):
                session.insert(table, {"id": number, "v": value})
                expected.append((table.name, number, exactly(value)))
        changes = [change for entry in session.read_all() for change in entry.changes]
        names = {session.harness.full_name(table): table.name for table, _ in tables}
        assert [(names[change.table], change.row["id"], exactly(change.row["v"])) for change in changes] == expected

    def test_updates_to_and_from_null_and_deletes_arrive_for_every_type(self, session: SourceSession) -> None:
        tables = type_tables(session)
        for table, values in tables:
            session.insert(table, {"id": 1, "v": values[0]}, {"id": 2, "v": None})
        session.start()
        for table, values in tables:
            session.write((Op.UPDATE, table, {"v": None}), key={"id": 1})
            session.write((Op.UPDATE, table, {"v": values[-1]}), key={"id": 2})
            session.write((Op.DELETE, table, {"id": 2}))
        transactions = iter(session.read_all())
        for _, values in tables:
            assert next(transactions).changes[0].row == {"id": 1, "v": None}
            assert exactly(next(transactions).changes[0].row["v"]) == exactly(values[-1])
            deleted = next(transactions).changes[0]
            assert (deleted.op, deleted.row["id"]) == (Op.DELETE, 2)
            assert deleted.row["v"] is ABSENT or exactly(deleted.row["v"]) == exactly(values[-1])

    def test_the_relation_says_the_types_of_its_columns(self, session: SourceSession) -> None:
        tables = type_tables(session)
        reader = session.start()
        for table, values in tables:
            session.insert(table, {"id": 1, "v": values[0]})
        session.read_all()
        relations = {event.relation.table: event.relation for event in reader.events if isinstance(event, Rows)}
        for table, _ in tables:
            relation = relations[session.harness.full_name(table)]
            assert relation.columns == ("id", "v")
            assert relation.identity == (0,)
            assert [parse_type(spec).kind for spec in relation.types] == [
                parse_type(column.type).kind for column in table.columns
            ]

    def test_hostile_texts_arrive_exactly(self, session: SourceSession) -> None:
        session.start()
        for number, text in enumerate(TEXTS):
            session.insert(ITEM, item(number, text))
        assert [entry.changes[0].row["name"] for entry in session.read_all()] == list(TEXTS)

    def test_hostile_names_of_tables_and_columns_arrive_exactly(self, session: SourceSession) -> None:
        session.create(HOSTILE)
        reader = session.start()
        row: NamedRow = dict(zip(HOSTILE.column_names, (1, "a", "b", "c"), strict=True))
        session.insert(HOSTILE, row)
        (transaction,) = session.read_all()
        assert transaction.changes == (Change(session.harness.full_name(HOSTILE), Op.INSERT, row),)
        chunk = reader.read_chunk(session.harness.full_name(HOSTILE), None, 10)
        assert [change.row for change in named_rows(chunk.rows)] in ([row], [])

    def test_a_change_of_the_identity_reports_the_old_row(self, session: SourceSession) -> None:
        session.insert(ITEM, item(1), item(2))
        session.start()
        session.write((Op.UPDATE, ITEM, {"id": 10, "name": "b"}), key={"id": 1})
        session.write((Op.UPDATE, ITEM, {"name": "c"}), key={"id": 2})
        moved, kept = (entry.changes[0] for entry in session.read_all())
        assert (moved.op, moved.row["id"], moved.row["name"]) == (Op.UPDATE, 10, "b")
        assert moved.old is not None
        assert moved.old["id"] == 1
        assert moved.old["name"] is ABSENT or moved.old["name"] == "a"
        assert (kept.op, kept.row["id"], kept.old) == (Op.UPDATE, 2, None)

    def test_a_large_value_that_an_update_leaves_alone_is_itself_or_absent(self, session: SourceSession) -> None:
        table = Table("document", (Column("id", nullable=False), Column("body", "text"), Column("version")), ("id",))
        session.create(table)
        body = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))  # noqa: S311
        session.insert(table, {"id": 1, "body": body, "version": 1})
        session.start()
        session.write((Op.UPDATE, table, {"version": 2}), key={"id": 1})
        (change,) = session.read_all()[0].changes
        assert change.row["version"] == 2
        assert change.row["body"] is ABSENT or change.row["body"] == body

    def test_a_column_added_later_is_in_the_rows_written_after_it(self, session: SourceSession) -> None:
        session.start()
        session.insert(ITEM, item(1))
        session.harness.add_column(ITEM, Column("added", "text(20)"))
        wider = Table(ITEM.name, (*ITEM.columns, Column("added", "text(20)")), ITEM.primary_key)
        session.insert(wider, {**item(2), "added": "x"})
        before, after = (entry.changes[0] for entry in session.read_all())
        assert before.row == item(1)
        assert after.row == {**item(2), "added": "x"}

    def test_a_truncate_is_reported(self, session: SourceSession) -> None:
        if not session.harness.reports_truncate:
            pytest.skip("this log does not report truncates")
        session.insert(ITEM, item(1))
        session.start()
        session.harness.truncate(ITEM)
        session.insert(ITEM, item(2))
        first, second = session.read_all()
        assert first.changes == (Change(session.harness.full_name(ITEM), Op.TRUNCATE, {}),)
        assert second.changes[0].row == item(2)

    def test_our_own_writes_show_the_checkpoint_table_in_their_transaction(self, session: SourceSession) -> None:
        session.start()
        target = session.harness.open_target()
        target.open()
        table = session.harness.full_name(ITEM)
        write = TableWrite(table, WriteKind.UPSERT, ("id",), ITEM.column_names, [[1, "a", 0]])
        target.apply([write], Batch(4, 7))
        target.close()
        session.insert(ITEM, item(2))
        *_, ours, theirs = session.read_all()
        marks = [change.row for change in ours.changes if change.table == CHECKPOINT_TABLE]
        assert [change.row for change in ours.changes if change.table == table] == [item(1)]
        assert CHECKPOINT_TABLE not in {change.table for change in theirs.changes}
        identity = session.harness.identity
        assert [(mark["daemon"], mark["system"], mark["lineage"]) for mark in marks] == [
            (identity.daemon, identity.system, identity.lineage)
        ]
        assert [(mark["batch_after"], mark["batch_through"]) for mark in marks] == [(4, 7)]

    # ---- chunks ------------------------------------------------------------------------------------------------------

    def test_chunks_cover_the_whole_table_once_in_identity_order(self, session: SourceSession) -> None:
        session.insert(ITEM, *(item(number, f"n{number}") for number in range(250)))
        reader = session.start()
        sizes, rows = read_table(session, reader, ITEM, 100)
        assert rows == [item(number, f"n{number}") for number in range(250)]
        assert sizes[:2] == [100, 100]

    def test_chunks_continue_after_any_key_of_several_columns(self, session: SourceSession) -> None:
        table = Table("pair", (Column("a", "text(40)", nullable=False), Column("b", nullable=False)), ("a", "b"))
        session.create(table)
        keys = [(text, number) for text in ("a", "b'", "c d", "日本", "%s", "😀", "\\", "Z") for number in (-1, 0, 7)]
        rows: list[NamedRow] = [{"a": text, "b": number} for text, number in keys]
        session.insert(table, *rows)
        _, found = read_table(session, session.start(), table, 5)
        assert sorted(repr(row) for row in found) == sorted(repr(row) for row in rows)

    def test_a_chunk_of_an_empty_table_is_done(self, session: SourceSession) -> None:
        reader = session.start()
        chunk = reader.read_chunk(session.harness.full_name(ITEM), None, 10)
        assert (chunk.rows.rows, chunk.last_key, chunk.done) == ([], None, True)

    def test_a_chunk_and_the_log_spell_every_value_alike(self, session: SourceSession) -> None:
        tables = type_tables(session)
        for table, values in tables:
            session.insert(table, *({"id": number, "v": value} for number, value in enumerate([*values, None])))
        reader = session.start()
        for table, values in tables:
            _, rows = read_table(session, reader, table, 100)
            assert [exactly(row["v"]) for row in rows] == [exactly(value) for value in [*values, None]]
            session.insert(table, {"id": -1, "v": values[0]})
        session.read_all()
        streamed = {event.relation for event in reader.events if isinstance(event, Rows)}
        chunked = {event.rows.relation for event in reader.events if isinstance(event, Chunk)}
        assert {relation for relation in streamed if relation.columns == ("id", "v")} == chunked

    def test_a_chunk_holds_what_was_committed_before_it_was_requested(self, session: SourceSession) -> None:
        reader = session.start()
        session.insert(ITEM, item(1, "streamed"))
        read_table(session, reader, ITEM, 10)
        assert rebuild(session, reader) == {1: item(1, "streamed")}

    def test_no_chunk_row_is_older_than_what_came_before_it(self, session: SourceSession) -> None:
        session.insert(ITEM, *(item(number, "start", number) for number in range(40)))
        reader = session.start()
        busy = BusyWriter(session.harness, transaction_count=300)
        busy.start()
        while busy.is_alive():
            read_table(session, reader, ITEM, 7, before_chunk=busy.wait_for_commit)
        rebuilt = rebuild(session, reader)
        actual = {row[0]: dict(zip(ITEM.column_names, row, strict=True)) for row in session.harness.rows(ITEM)}
        assert rebuilt == actual

    # ---- check -------------------------------------------------------------------------------------------------------

    def test_check_finds_nothing_wrong_with_tables_that_fit(self, session: SourceSession) -> None:
        needs = [TableNeed(session.harness.full_name(ITEM), ("id",), ITEM.column_names)]
        source = session.harness.open_source(ITEM)
        assert [finding for finding in source.check(needs) if finding.severity == "error"] == []
        source.close()

    def test_check_names_a_missing_table_and_a_missing_column(self, session: SourceSession) -> None:
        missing = session.harness.adapter.table_name("nowhere")
        needs = [TableNeed(missing), TableNeed(session.harness.full_name(ITEM), ("id",), ("id", "no_such_column"))]
        source = session.harness.open_source(ITEM)
        findings = [finding for finding in source.check(needs) if finding.severity == "error"]
        source.close()
        assert any("nowhere" in finding.subject + finding.message for finding in findings)
        assert any("no_such_column" in finding.subject + finding.message for finding in findings)
        assert all(finding.remedy and finding.code for finding in findings)
