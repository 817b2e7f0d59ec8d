"""deliver folds the next batch while the target writes the present one; nothing else is different for it."""

from __future__ import annotations

import pytest

from cdcd import outbox, pause_switches
from cdcd.errors import NeedsOperator, Unavailable
from cdcd.folding.fold import Folder
from cdcd.model import ABSENT, Batch, ColumnShape, Op, TableShape
from unit import deliver_line
from unit.deliver_line import Line, carriers, delete, full, subject, update

SEVERAL = [[full("A"), full("B")], [update("A", "two"), full("C")], [delete("B")], [full("D")]]


class Watched:
    """Says when something is folded, and when the target has been given all of a batch."""

    def __init__(self, line, monkeypatch):
        self.events = []
        self.at_work = lambda _batch: None
        fold, apply = Folder.fold, line.target.apply

        def folding(folder, units, parked):
            self.events.append(("fold", [unit.number for unit in units]))
            return fold(folder, units, parked)

        def applying(writes, batch):
            listed = list(writes)
            self.events.append(("write", batch.through))
            self.at_work(batch)
            return apply(listed, batch)

        monkeypatch.setattr(Folder, "fold", folding)
        monkeypatch.setattr(line.target, "apply", applying)


@pytest.fixture
def line(tmp_path, monkeypatch):
    """Every row of its outbox is a full batch."""
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    line = Line(tmp_path)
    yield line
    line.close()


@pytest.fixture
def watched(line, monkeypatch):
    return Watched(line, monkeypatch)


def raising_once(error):
    """Refuses the first batch, when all of it was handed over."""
    errors = [error]

    def at_work(_batch):
        if errors:
            raise errors.pop()

    return at_work


def fill(line, units=SEVERAL):
    for items in units:
        line.units(items)


def batches(line):
    return [batch for _, batch in line.target.batches]


def test_the_next_batch_is_folded_before_the_target_is_done_with_the_one_before(line, watched):
    fill(line)
    line.deliver()
    assert watched.events == [
        ("fold", [1]),
        ("fold", [2]),
        ("write", 1),
        ("fold", [3]),
        ("write", 2),
        ("fold", [4]),
        ("write", 3),
        ("write", 4),
    ]
    assert batches(line) == [Batch(0, 1), Batch(1, 2), Batch(2, 3), Batch(3, 4)]


def test_a_batch_that_is_not_full_has_nothing_folded_behind_it(line, watched, monkeypatch):
    monkeypatch.setattr(outbox, "READ_BYTES", 10_000)
    fill(line)
    watched.at_work = lambda _batch: line.units([full("Z")])
    line.deliverer.step()
    assert watched.events == [("fold", [1, 2, 3, 4]), ("write", 4)]


def test_what_was_folded_ahead_is_folded_again_once_a_record_is_parked(line, watched):
    line.target.refuses = lambda _table, row: row[0] == "B" and len(row) == 2
    fill(line, [[full("A"), full("B")], [update("B", "two")], [full("C")]])
    line.deliver()
    assert ("fold", [2]) in watched.events[: watched.events.index(("write", 1))]
    assert watched.events.count(("fold", [2])) == 2
    assert subject("B") in line.parked
    assert line.deliverer.counts["waiting"] == 1
    assert [row for _, _, row in line.target.written] == [["A", "n"], ["C", "n"]]


def test_what_was_folded_ahead_is_put_aside_when_its_entity_is_paused_meanwhile(line, watched):
    fill(line, [[full("A")], [full("B")]])
    line.deliverer.step()
    line.journal.set_control(pause_switches.of_entity("shop", "product"), "an operator")
    line.deliverer.look_at_switches()
    line.deliver()
    assert watched.events[1] == ("fold", [2])
    assert [row for _, _, row in line.target.written] == [["A", "n"]]
    owed = [record for c in line.commands() if c.name == "owe" for record in c.arguments["records"]]
    assert [bytes(key) for _, key, _ in owed] == [subject("B")[1]]
    assert batches(line)[-1] == Batch(1, 2)


def test_what_was_folded_ahead_is_folded_for_the_table_as_it_is_then(line, watched, monkeypatch):
    fill(line, [[full("A")], [full("B", "longer than ten")]])
    line.deliverer.step()
    assert watched.events[1] == ("fold", [2])
    wide = (ColumnShape("sku", "text"), ColumnShape("title", "text(20)"))
    monkeypatch.setitem(deliver_line.SHAPES, "products", TableShape("products", wide, ("sku",), (("sku",),)))
    line.deliverer.look_at_tables()
    line.deliver()
    assert [row for _, _, row in line.target.written] == [["A", "n"], ["B", "longer than ten"]]
    assert len(line.parked) == 0


def test_a_batch_that_fails_takes_what_was_folded_ahead_with_it(line, watched):
    fill(line)
    watched.at_work = raising_once(Unavailable("gone"))
    with pytest.raises(Unavailable):
        line.deliverer.step()
    line.start()
    line.deliver()
    assert batches(line) == [Batch(0, 1), Batch(1, 2), Batch(2, 3), Batch(3, 4)]
    assert [event for event in watched.events if event[0] == "write"][:2] == [("write", 1), ("write", 1)]


def test_a_table_that_was_changed_under_a_batch_has_both_batches_folded_again(line, watched, monkeypatch):
    fill(line, [[full("A")], [full("B")], [full("C")]])
    watched.at_work = raising_once(NeedsOperator("the table has changed"))
    wide = (*deliver_line.SHAPES["products"].columns, ColumnShape("more", "text"))
    monkeypatch.setitem(deliver_line.SHAPES, "products", TableShape("products", wide, ("sku",), (("sku",),)))
    line.deliver()
    assert [row[0] for _, _, row in line.target.written] == ["A", "B", "C"]
    assert batches(line) == [Batch(0, 1), Batch(1, 2), Batch(2, 3)]


def test_what_cannot_be_folded_does_not_stop_the_batch_before_it(line, watched):
    fill(line, [[full("A")], [full("B"), carriers(Op.DELETE, [ABSENT, ABSENT, ABSENT])]])
    assert line.deliverer.step()
    assert watched.events == [("fold", [1]), ("fold", [2]), ("write", 1)]
    with pytest.raises(NeedsOperator, match="cannot be named"):
        line.deliverer.step()
    assert [row for _, _, row in line.target.written] == [["A", "n"]]


def test_nothing_is_folded_ahead_of_a_rate_limit(line, watched):
    line.deliverer.rows_max = 1
    fill(line)
    line.deliver()
    assert [event for event in watched.events if event[0] == "write"] == [("write", n) for n in (1, 2, 3, 4)]
    assert watched.events[1] == ("write", 1)


def test_a_large_unit_behind_a_batch_is_left_for_its_own_turn(line, watched, monkeypatch):
    monkeypatch.setattr(outbox, "PART_WRITES", 2)
    monkeypatch.setattr("cdcd.backlog.LARGE_WRITES", 4)
    fill(line, [[full("A")], [full(f"P{number}") for number in range(9)], [full("Z")]])
    line.deliver()
    assert [event for event in watched.events if event[0] == "fold"] == [("fold", [1]), ("fold", [3])]
    assert batches(line) == [Batch(0, 1), Batch(1, 2), Batch(2, 3)]
    assert len(line.target.written) == 11
