"""The stream reader keeps what it reads in order, and refuses a stream that breaks the form."""

import os

import pytest

from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Idle, Op, Relation, Rows
from cdcd.testing.stream import Change, StreamReader, Transaction, exactly, is_ours

RELATION = Relation("item", ("id", "name"), ("integer", "text"), (0,))


class Scripted:
    """A source that returns given events, one poll each."""

    def __init__(self, *events) -> None:
        self.events = list(events)
        self.descriptor = os.eventfd(1)

    def start(self, after):
        return after or "start"

    def poll(self):
        return [self.events.pop(0)] if self.events else []

    def fileno(self):
        return self.descriptor


@pytest.fixture
def read():
    opened = []

    def read(*events):
        source = Scripted(*events)
        opened.append(source)
        reader = StreamReader(source)
        while reader.poll():
            pass
        return reader

    yield read
    for source in opened:
        os.close(source.descriptor)


def insert(*rows, relation=RELATION):
    return Rows(relation, Op.INSERT, [*map(list, rows)])


def test_rows_up_to_a_commit_are_one_transaction(read):
    reader = read(insert((1, "a")), insert((2, "b")), Commit("p", 5), Idle("q"))
    a, b = (Change("item", Op.INSERT, {"id": number, "name": name}) for number, name in ((1, "a"), (2, "b")))
    assert reader.log == [Transaction("p", 5, (a, b)), Idle("q")]
    assert reader.position == "q"
    assert not is_ours(reader.transactions[0])


def test_before_anything_was_read_the_position_is_the_start(read):
    assert read().position == "start"


def test_a_change_of_the_checkpoint_table_marks_our_own_transaction(read):
    mark = Relation(CHECKPOINT_TABLE, ("daemon",), ("text",), (0,))
    reader = read(insert(("acme",), relation=mark), Commit("p", 5))
    assert is_ours(reader.transactions[0])


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ((insert((1, "a")), Idle("p")), "Idle inside"),
        ((insert((1, "a")), Chunk(Rows(RELATION, Op.READ, []), None, done=True)), "Chunk inside"),
        ((Commit("p", 5),), "Commit without rows"),
        ((Rows(RELATION, Op.READ, [[1, "a"]]),), "outside a Chunk"),
        ((insert((1,)),), "a value for every column"),
        ((Rows(RELATION, Op.INSERT, [[1, "a"]], [None]),), "old rows without an update"),
        ((Rows(RELATION, Op.UPDATE, [[1, "a"]], []),), "an old row for every row"),
        ((Rows(RELATION, Op.TRUNCATE, [[1, "a"]]),), "TRUNCATE with rows"),
    ],
)
def test_a_stream_that_breaks_the_form_is_refused(read, events, message):
    with pytest.raises(AssertionError, match=message):
        read(*events)


def test_waiting_for_what_never_comes_ends(read, monkeypatch):
    monkeypatch.setattr("cdcd.testing.stream.TIMEOUT_SECONDS", 0.1)
    with pytest.raises(AssertionError, match="did not come"):
        read().read_until(lambda: False)


def test_values_of_different_types_are_never_exactly_the_same():
    assert len({exactly(value) for value in (1, 1.0, True, "1", b"1", None, 0.0, -0.0)}) == 8
