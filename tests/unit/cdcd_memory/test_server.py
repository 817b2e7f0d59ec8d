"""A memory server: transactions, keys, and a log that can be pruned, lost and cut off."""

import msgspec
import pytest

from cdcd.adapter import Identity, TableNeed
from cdcd.errors import NotReady, PositionLost, Unavailable
from cdcd.model import Batch, ColumnShape, Commit, Op, Rows, TableWrite, WriteKind
from cdcd.testing.faults import Crash, Die, FailAfterWrite, FaultPlan, Reject
from cdcd_memory import MemoryOptions, MemoryServer, Violation, adapter

IDENTITY = Identity("acme", "erp", "lineage")


@pytest.fixture
def server() -> MemoryServer:
    server = MemoryServer("unit", clock_us=lambda: 1_000_000)
    columns = [
        ColumnShape("id", "integer", nullable=False, has_default=True),
        ColumnShape("sku", "text(8)", nullable=False),
        ColumnShape("stock", "integer(0,100)"),
    ]
    server.create_table("item", columns, ("id",), ("sku",))
    return server


def source(server):
    return adapter.open_source(IDENTITY, MemoryOptions(server.name), [TableNeed("item")])


def target(server):
    return adapter.open_target(IDENTITY, MemoryOptions(server.name))


def rows(server):
    return [*server.tables["item"].rows.values()]


def upsert(*values):
    return TableWrite("item", WriteKind.UPSERT, ("sku",), ("sku", "stock"), [list(row) for row in values])


def test_ids_are_numbered_and_a_given_id_moves_the_counter(server):
    server.transaction([("insert", "item", {"sku": "a"}), ("insert", "item", {"id": 7, "sku": "b"})])
    server.transaction([("insert", "item", {"sku": "c"})])
    assert [row[0] for row in rows(server)] == [1, 7, 8]


def test_a_transaction_that_fails_changes_nothing_and_is_not_logged(server):
    server.transaction([("insert", "item", {"id": 1, "sku": "a", "stock": 1})])
    operations = [
        ("update", "item", {"id": 1}, {"sku": "z", "id": 9}),
        ("delete", "item", {"id": 9}),
        ("insert", "item", {"sku": "a"}),
        ("insert", "item", {"sku": "a"}),
    ]
    with pytest.raises(Violation, match="same sku"):
        server.transaction(operations)
    assert rows(server) == [[1, "a", 1]]
    assert server.head == 1
    server.transaction([("insert", "item", {"sku": "z"})])


@pytest.mark.parametrize("bad", [{"sku": None}, {"sku": "x" * 9}, {"stock": -1}, {"stock": 101}, {"stock": "1"}])
def test_a_value_that_the_column_cannot_hold_is_a_violation(server, bad):
    with pytest.raises(Violation):
        server.transaction([("insert", "item", {"sku": "a", **bad})])


def test_nulls_do_not_collide_in_a_unique_key():
    server = MemoryServer("nulls")
    server.create_table("t", [ColumnShape("id", "integer"), ColumnShape("u", "text")], ("id",), ("u",))
    server.transaction([("insert", "t", {"id": 1}), ("insert", "t", {"id": 2})])
    assert len(server.tables["t"].rows) == 2


def test_unknown_tables_and_columns_are_named(server):
    with pytest.raises(NotReady, match="nowhere"):
        server.transaction([("insert", "nowhere", {})])
    with pytest.raises(NotReady, match="colour"):
        server.transaction([("insert", "item", {"sku": "a", "colour": "red"})])


def test_changes_of_one_kind_to_one_table_are_one_run_in_the_log(server):
    reader = source(server)
    reader.start(None)
    server.transaction(
        [("insert", "item", {"sku": "a"}), ("insert", "item", {"sku": "b"}), ("delete", "item", {"id": 1})]
    )
    inserts, deletes, commit = reader.poll()
    assert (inserts.op, inserts.rows) == (Op.INSERT, [[1, "a", None], [2, "b", None]])
    assert (deletes.op, deletes.rows) == (Op.DELETE, [[1, "a", None]])
    assert commit == Commit("unit:1", 1_000_000)


def test_a_reader_may_change_the_rows_that_it_got(server):
    reader = source(server)
    start = reader.start(None)
    server.transaction([("insert", "item", {"sku": "a"})])
    reader.poll()[0].rows[0].clear()
    reader.start(start)
    assert reader.poll()[0].rows == [[1, "a", None]]


def test_a_pruned_log_is_kept_for_the_slowest_source():
    server = MemoryServer("pruned", prune=True)
    server.create_table("item", [ColumnShape("id", "integer")], ("id",))
    fast, slow = (
        adapter.open_source(
            msgspec.structs.replace(IDENTITY, system=system), MemoryOptions("pruned"), [TableNeed("item")]
        )
        for system in ("fast", "slow")
    )
    start = fast.start(None)
    assert slow.start(None) == start
    for number in range(3):
        server.transaction([("insert", "item", {"id": number})])
    fast.confirm("pruned:3")
    assert len(server.entries) == 3
    with pytest.raises(PositionLost):
        fast.start(start)
    slow.start(start)
    slow.confirm("pruned:2")
    assert [entry.number for entry in server.entries] == [3]
    assert [event.rows for event in slow.poll() if isinstance(event, Rows)] == [[[2]]]


@pytest.mark.parametrize("position", ["other:0", "unit:5", "unit:-1", "garbage", ""])
def test_a_position_of_another_server_or_of_the_future_is_lost(server, position):
    with pytest.raises(PositionLost):
        source(server).start(position)


def test_a_server_that_is_down_answers_nobody(server):
    reader, writer = source(server), target(server)
    reader.start(None)
    writer.open()
    server.available = False
    calls = (reader.poll, reader.status, lambda: reader.confirm("unit:0"), lambda: writer.apply([], Batch(0, 1)))
    for call in (*calls, writer.open, lambda: reader.start(None)):
        with pytest.raises(Unavailable):
            call()


def test_a_server_that_does_not_exist_is_not_ready():
    with pytest.raises(NotReady, match="no-such-server"):
        adapter.open_target(IDENTITY, MemoryOptions("no-such-server"))


def test_a_rejected_batch_is_rolled_back(server):
    writer = target(server)
    writer.open()
    server.faults = FaultPlan([Reject()])
    with pytest.raises(Exception, match="injected"):
        writer.apply([upsert(["a", 1])], Batch(0, 1))
    assert rows(server) == []
    assert target(server).open() == 0


def test_a_batch_whose_answer_is_lost_is_there_and_the_checkpoint_tells(server):
    writer = target(server)
    writer.open()
    server.faults = FaultPlan([FailAfterWrite()])
    with pytest.raises(Unavailable):
        writer.apply([upsert(["a", 1])], Batch(0, 1))
    assert rows(server) == [[1, "a", 1]]
    assert target(server).open() == 1


@pytest.mark.parametrize("point", ["start", "poll", "open", "confirm:before", "confirm:after"])
def test_the_simulator_can_crash_at_every_point(server, point):
    reader, writer = source(server), target(server)
    reader.start(None)
    server.faults = FaultPlan([Die(point)])
    steps = {
        "start": lambda: reader.start(None),
        "poll": reader.poll,
        "open": writer.open,
        "confirm:before": lambda: reader.confirm("unit:0"),
        "confirm:after": lambda: reader.confirm("unit:0"),
    }
    with pytest.raises(Crash):
        steps[point]()
