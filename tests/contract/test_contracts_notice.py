"""The contract suites notice adapters that break their promises: each class here breaks one."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import msgspec
import pytest

from cdcd.errors import PositionLost, Refused
from cdcd.folding.found_ids import FoundIds
from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Idle, Op, Rows, WriteKind
from cdcd.testing.source_contract import SourceContract
from cdcd.testing.source_session import ITEM, SourceSession
from cdcd.testing.target_contract import TargetContract
from cdcd.testing.target_session import ITEM as TARGET_ITEM
from cdcd.testing.target_session import TargetSession
from cdcd_memory import MemoryServer, MemorySource, MemoryTarget
from cdcd_memory import adapter as memory_adapter
from contract.memory_harness import Buffer, MemoryHarness


class SlowHarness(MemoryHarness):
    """Leaves the reader time to read between two transactions."""

    @contextmanager
    def transaction(self) -> Iterator[Buffer]:
        with super().transaction() as buffer:
            yield buffer
        time.sleep(0.0005)


def harness_of(source: type[MemorySource] = MemorySource, target: type[MemoryTarget] = MemoryTarget) -> MemoryHarness:
    def open_source(identity, options, tables):
        return source(MemoryServer.named(options.server), identity, tables)

    def open_target(identity, options):
        return target(MemoryServer.named(options.server), identity)

    names = SimpleNamespace(table_name=memory_adapter.table_name, open_source=open_source, open_target=open_target)
    return SlowHarness(prune=True, adapter=names)


# ---- sources ---------------------------------------------------------------------------------------------------------


class ResumesOneLater(MemorySource):
    def start(self, after):
        position = super().start(after)
        self._number = min(self._number + (after is not None), self._server.head)
        return position


class ResumesOneEarlier(MemorySource):
    def start(self, after):
        position = super().start(after)
        self._number = max(self._number - (after is not None), self._server.floor)
        return position


class StartsAtTheHeadWhenThePositionIsLost(MemorySource):
    def start(self, after):
        try:
            return super().start(after)
        except PositionLost:
            return super().start(None)


class ChangesEvents(MemorySource):
    """A source that passes every event through `change`, which may drop it."""

    def change(self, event):
        return event

    def poll(self):
        return [changed for event in super().poll() if (changed := self.change(event)) is not None]


class DropsTheLastRow(ChangesEvents):
    def change(self, event):
        if isinstance(event, Rows) and len(event.rows) > 1:
            event.rows.pop()
        return event


class ReversesRows(ChangesEvents):
    def change(self, event):
        if isinstance(event, Rows):
            event.rows.reverse()
        return event


class HidesTheOldIdentity(ChangesEvents):
    def change(self, event):
        if isinstance(event, Rows):
            event.olds = None
        return event


class NullsWhatDidNotChange(ChangesEvents):
    def change(self, event):
        if isinstance(event, Rows) and event.op is Op.UPDATE and "body" in event.relation.columns:
            event.rows[0][event.relation.columns.index("body")] = None
        return event


class NumbersForBooleans(ChangesEvents):
    def change(self, event):
        if isinstance(event, Rows):
            event.rows[:] = [[int(v) if isinstance(v, bool) else v for v in row] for row in event.rows]
        return event


class NumbersForBooleansInChunks(ChangesEvents):
    def change(self, event):
        if isinstance(event, Chunk):
            event.rows.rows[:] = [[int(v) if isinstance(v, bool) else v for v in row] for row in event.rows.rows]
        return event


class CommitsInLocalTime(ChangesEvents):
    def change(self, event):
        if isinstance(event, Commit):
            return msgspec.structs.replace(event, committed_at_us=event.committed_at_us + 9 * 3600 * 1_000_000)
        return event


class CommitsWithThePositionBefore(ChangesEvents):
    def change(self, event):
        if isinstance(event, Commit):
            name, _, number = event.position.rpartition(":")
            return msgspec.structs.replace(event, position=f"{name}:{int(number) - 1}")
        return event


class NeverIdle(ChangesEvents):
    def change(self, event):
        return None if isinstance(event, Idle) else event


class ReadsOtherTablesToo(MemorySource):
    def start(self, after):
        self._tables |= self._server.tables.keys()
        return super().start(after)


class HidesTheCheckpointTable(MemorySource):
    def start(self, after):
        self._tables -= {CHECKPOINT_TABLE}
        return super().start(after)


class ReadsAllAtOnce(MemorySource):
    def poll(self):
        events = []
        while more := super().poll():
            events += more
        return events


class ReadsChunksTooEarly(MemorySource):
    """The chunk is read at the request, and returned after transactions that were committed later."""

    _chunk = None

    def request_chunk(self, table, after_key, row_limit, row_filter=None):
        self._chunk = self._read_chunk(table, after_key, row_limit, row_filter)
        due, deadline = self._server.head + 3, time.monotonic() + 0.05
        while self._server.head < due and time.monotonic() < deadline:
            time.sleep(0.0005)

    def poll(self):
        events = [*super().poll()]
        if self._chunk is not None and self._number == self._server.head and (event := self._next()) is None:
            events.append(self._chunk)
            self._chunk = None
        elif self._chunk is not None and self._number == self._server.head:
            events.append(event)
        return events


class ChunksSkipARow(ChangesEvents):
    def change(self, event):
        if isinstance(event, Chunk) and event.last_key and event.rows.relation.table == "item":
            return Chunk(event.rows, [event.last_key[0] + 1], event.done)
        return event


class ChunksAreDoneTooEarly(ChangesEvents):
    def change(self, event):
        return Chunk(event.rows, event.last_key, done=True) if isinstance(event, Chunk) else event


SOURCES = [
    (ResumesOneLater, SourceContract.test_reading_resumes_after_any_position_without_gap_or_duplicate),
    (ResumesOneLater, SourceContract.test_what_was_committed_while_no_source_was_open_is_read),
    (ResumesOneEarlier, SourceContract.test_reading_resumes_after_any_position_without_gap_or_duplicate),
    (StartsAtTheHeadWhenThePositionIsLost, SourceContract.test_a_position_that_the_log_no_longer_reaches_is_lost),
    (
        StartsAtTheHeadWhenThePositionIsLost,
        SourceContract.test_a_position_before_a_confirmed_one_is_lost_where_the_server_discards,
    ),
    (DropsTheLastRow, SourceContract.test_transactions_arrive_whole_and_in_commit_order),
    (ReversesRows, SourceContract.test_transactions_arrive_whole_and_in_commit_order),
    (HidesTheOldIdentity, SourceContract.test_a_change_of_the_identity_reports_the_old_row),
    (NullsWhatDidNotChange, SourceContract.test_a_large_value_that_an_update_leaves_alone_is_itself_or_absent),
    (NumbersForBooleans, SourceContract.test_every_value_of_every_type_arrives_exactly),
    (NumbersForBooleansInChunks, SourceContract.test_a_chunk_and_the_log_spell_every_value_alike),
    (CommitsInLocalTime, SourceContract.test_a_commit_carries_the_time_of_the_commit_in_utc),
    (CommitsWithThePositionBefore, SourceContract.test_reading_resumes_after_any_position_without_gap_or_duplicate),
    (NeverIdle, SourceContract.test_an_idle_log_moves_on_and_can_be_confirmed),
    (ReadsOtherTablesToo, SourceContract.test_a_transaction_on_other_tables_is_idle_at_most),
    (HidesTheCheckpointTable, SourceContract.test_our_own_writes_show_the_checkpoint_table_in_their_transaction),
    (ReadsAllAtOnce, SourceContract.test_a_large_transaction_spans_several_bounded_polls),
    (ReadsChunksTooEarly, SourceContract.test_no_chunk_row_is_older_than_what_came_before_it),
    (ChunksSkipARow, SourceContract.test_chunks_cover_the_whole_table_once_in_identity_order),
    (ChunksAreDoneTooEarly, SourceContract.test_chunks_cover_the_whole_table_once_in_identity_order),
]


@pytest.mark.parametrize(("source", "promise"), SOURCES, ids=lambda value: value.__name__)
def test_a_source_that_breaks_its_promise_is_noticed(source, promise, monkeypatch):
    monkeypatch.setattr("cdcd.testing.stream.TIMEOUT_SECONDS", 1.0)
    session = SourceSession(harness_of(source=source))
    session.create(ITEM)
    with closing(session), pytest.raises((AssertionError, pytest.fail.Exception)):
        promise(SourceContract(), session)


# ---- targets ---------------------------------------------------------------------------------------------------------


class MovesTheCheckpointFirst(MemoryTarget):
    def apply(self, writes, batch):
        super().apply([], batch)
        return super().apply(writes, batch)


class NeverMovesTheCheckpoint(MemoryTarget):
    def apply(self, writes, batch):
        return super().apply(writes, msgspec.structs.replace(batch, through=0))


class IgnoresTheFence(MemoryTarget):
    def apply(self, writes, batch):
        self._epoch = self._server.tables[CHECKPOINT_TABLE].find(("system",), (self._identity.system,))[3]
        return super().apply(writes, batch)


class IgnoresTheLineage(MemoryTarget):
    def open(self, *, xref_table="", adopt=""):  # noqa: ARG002 - the contract
        with self._server.begin() as transaction:
            row = self._checkpoint(transaction) if CHECKPOINT_TABLE in self._server.tables else None
            if row is not None:
                transaction.update(CHECKPOINT_TABLE, row, {"lineage": self._identity.lineage})
        return super().open(xref_table=xref_table)


class HidesWhatIsMissing(MemoryTarget):
    def apply(self, writes, batch):
        return msgspec.structs.replace(super().apply(writes, batch), missing=())


class TakesUnchangedForMissing(MemoryTarget):
    def apply(self, writes, batch):
        return msgspec.structs.replace(super().apply(writes, batch), missing=((0, 0),))


class ChangesWrites(MemoryTarget):
    """A target that passes every write through `change`."""

    def change(self, write):
        return write

    def apply(self, writes, batch):
        return super().apply([self.change(write) for write in writes], batch)


class WritesInsertOnlyColumnsAlways(ChangesWrites):
    def change(self, write):
        return msgspec.structs.replace(write, insert_only=())


class ReplacesWholeRows(ChangesWrites):
    def change(self, write):
        if write.kind is WriteKind.UPSERT and write.table == "item":
            extra = ("stock", "price")
            rows = [[*row, None, None] for row in write.rows]
            return msgspec.structs.replace(write, columns=(*write.columns, *extra), rows=rows)
        return write


class CutsTexts(ChangesWrites):
    def change(self, write):
        rows = [[value[:64] if isinstance(value, str) else value for value in row] for row in write.rows]
        return msgspec.structs.replace(write, rows=rows)


class StoresNullForALookupThatFindsNothing(ChangesWrites):
    def change(self, write):
        if not write.lookups or write.kind is WriteKind.DELETE:
            return write
        place = write.columns.index(write.lookups[0].column)
        known = {"a@x", "b@x", "n1", "n2"}
        rows = [[v if i != place or v in known else None for i, v in enumerate(row)] for row in write.rows]
        return msgspec.structs.replace(write, rows=rows)


class MergesIntoTheRowWithTheSameUniqueKey(ChangesWrites):
    def change(self, write):
        if write.table == "product" and "id" in write.columns:
            rows = [row[1:] for row in write.rows]
            return msgspec.structs.replace(write, key=("sku",), columns=write.columns[1:], rows=rows)
        return write


class RefusesToDeleteWhatIsGone(MemoryTarget):
    def apply(self, writes, batch):
        for write in writes:
            present = {row[0] for row in self._server.tables[write.table].rows.values()}
            if write.kind is WriteKind.DELETE and {row[0] for row in write.rows} - present:
                raise Refused("gone already")
        return super().apply(writes, batch)


class SortsWritesByTable(MemoryTarget):
    def apply(self, writes, batch):
        return super().apply(sorted(writes, key=lambda write: write.kind), batch)


class IgnoresWhichRowsCount(ChangesWrites):
    def change(self, write):
        return msgspec.structs.replace(write, where=())


class ForgetsTheIdsOfNewRows(MemoryTarget):
    def apply(self, writes, batch):
        with patch.object(FoundIds, "keep"):
            return super().apply(writes, batch)


class TakesAnyOfSeveralRows(ChangesWrites):
    def change(self, write):
        lookups = tuple(msgspec.structs.replace(lookup, first_by=()) for lookup in write.lookups)
        return msgspec.structs.replace(write, lookups=lookups)


class TellsValues(MemoryTarget):
    def apply(self, writes, batch):
        try:
            return super().apply(writes, batch)
        except Refused as error:
            raise Refused(f"{error.what}: {writes[0].rows}") from error


TARGETS = [
    (MovesTheCheckpointFirst, TargetContract.test_a_refused_row_leaves_all_rows_and_the_checkpoint, ("name", "x" * 65)),
    (NeverMovesTheCheckpoint, TargetContract.test_the_checkpoint_moves_with_the_rows, ()),
    (NeverMovesTheCheckpoint, TargetContract.test_a_batch_without_writes_moves_the_checkpoint_alone, ()),
    (IgnoresTheFence, TargetContract.test_a_second_open_fences_the_first, ()),
    (IgnoresTheLineage, TargetContract.test_a_target_written_by_another_lineage_needs_the_operator, ()),
    (HidesWhatIsMissing, TargetContract.test_an_update_writes_only_rows_that_exist_and_names_the_others, ()),
    (TakesUnchangedForMissing, TargetContract.test_an_update_that_changes_nothing_is_not_missing, ()),
    (WritesInsertOnlyColumnsAlways, TargetContract.test_insert_only_columns_are_written_only_where_the_row_is_new, ()),
    (ReplacesWholeRows, TargetContract.test_an_upsert_leaves_the_columns_that_it_does_not_name, ()),
    (CutsTexts, TargetContract.test_a_refused_row_leaves_all_rows_and_the_checkpoint, ("name", "x" * 65)),
    (
        StoresNullForALookupThatFindsNothing,
        TargetContract.test_lookups_that_find_nothing_are_refused_and_the_rows_named,
        (WriteKind.UPSERT,),
    ),
    (
        MergesIntoTheRowWithTheSameUniqueKey,
        TargetContract.test_an_upsert_that_meets_another_unique_key_is_refused_and_touches_nothing,
        (2,),
    ),
    (RefusesToDeleteWhatIsGone, TargetContract.test_deleting_a_row_that_is_gone_is_fine, ()),
    (SortsWritesByTable, TargetContract.test_writes_are_done_in_order, ()),
    (IgnoresWhichRowsCount, TargetContract.test_a_row_with_the_key_that_does_not_count_is_not_touched, ()),
    (ForgetsTheIdsOfNewRows, TargetContract.test_a_row_found_through_another_is_made_once_with_it_and_then_changed, ()),
    (ForgetsTheIdsOfNewRows, TargetContract.test_a_row_is_deleted_after_the_one_it_is_found_through, ()),
    (TakesAnyOfSeveralRows, TargetContract.test_a_row_found_through_two_is_refused, ()),
    (TellsValues, TargetContract.test_a_message_of_refusal_holds_no_value, ()),
]


@pytest.mark.parametrize(("target", "promise", "arguments"), TARGETS)
def test_a_target_that_breaks_its_promise_is_noticed(target, promise, arguments):
    harness = harness_of(target=target)
    harness.create_table(TARGET_ITEM)
    session = TargetSession(harness)
    with pytest.raises((AssertionError, pytest.fail.Exception, Refused)):
        promise(TargetContract(), session, *arguments)
