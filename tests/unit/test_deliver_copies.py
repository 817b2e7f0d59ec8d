"""deliver: rows of plain copies that are refused or do not fit are kept, and go through by themselves when they can."""

from __future__ import annotations

import msgspec
import pytest

from cdcd import outbox
from cdcd.errors import NeedsOperator, Refused
from cdcd.model import ABSENT, Batch, ColumnShape, Op, Relation, Rows
from unit import deliver_line
from unit.deliver_line import CARRIER, SHAPES, carriers, full, in_memory, subject

line, impatient = deliver_line.line, deliver_line.impatient
WIDER = Relation("carrier", (*CARRIER.columns, "zone"), (*CARRIER.types, "integer"), (0,))


def wider_carriers(line, *rows):
    """Rows of a source that has got a column more."""
    line.journal.encode("erp", [Rows(WIDER, Op.INSERT, [])])
    return [-1, int(Op.INSERT), line.journal.relation_number("erp", WIDER), [list(row) for row in rows], None]


def with_columns(*columns):
    return msgspec.structs.replace(SHAPES["carrier"], columns=(*SHAPES["carrier"].columns, *columns))


def truncate():
    return [-1, int(Op.TRUNCATE), 1, [], None]


# ---- kept rows -------------------------------------------------------------------------------------------------


def test_a_parked_row_of_a_plain_copy_is_kept_and_tried_again_from_what_was_kept(line, impatient):
    line.target.refuses = lambda table, _row: table == "carrier"
    line.units([carriers(Op.INSERT, [1, "dhl", "x"])])
    line.deliver()
    assert line.deliverer.retry_due()
    assert line.commands() == [], "nobody else has the row"
    line.target.refuses = lambda _table, _row: False
    assert line.deliverer.retry_due()
    assert line.target.written == [("carrier", "UPSERT", [1, "dhl", "x"])]
    assert line.target.batches[-1][1] == Batch(1, 1)
    assert len(line.parked) == 0


def test_a_row_of_a_plain_copy_that_does_not_fit_is_kept_until_it_does(line, impatient, monkeypatch):
    line.units([carriers(Op.INSERT, [1, "much too long a name", "x"], [2, "ups", "y"])])
    line.deliver()
    assert [row for _, _, row in line.target.written] == [[2, "ups", "y"]]
    assert line.deliverer.retry_due()
    assert [r.code for r in line.parked.oldest()] == ["value-refused"]
    wider = msgspec.structs.replace(
        SHAPES["carrier"],
        columns=(ColumnShape("id", "integer"), ColumnShape("name", "text"), ColumnShape("note", "text")),
    )
    monkeypatch.setitem(SHAPES, "carrier", wider)
    line.start()
    assert line.deliverer.retry_due()
    assert line.target.written[-1] == ("carrier", "UPSERT", [1, "much too long a name", "x"])
    assert len(line.parked) == 0


def test_a_later_row_of_a_plain_copy_supersedes_the_parked_one(line, impatient):
    line.target.refuses = lambda _table, row: row[1:] == ["bad", "text"]
    line.units([carriers(Op.INSERT, [1, "bad", "text"])])
    line.deliver()
    line.units([carriers(Op.UPDATE, [1, "good", "text"])])
    line.deliver()
    assert len(line.parked) == 0
    assert line.target.written == [("carrier", "UPSERT", [1, "good", "text"])]


def test_a_later_row_that_leaves_values_out_takes_them_from_the_parked_one(line):
    line.target.refuses = lambda _table, row: row[1:2] == ["bad"]
    line.units([carriers(Op.INSERT, [1, "bad", "long text"])])
    line.deliver()
    line.units([carriers(Op.UPDATE, [1, "good", ABSENT])])
    line.deliver()
    assert line.target.written == [("carrier", "UPSERT", [1, "good", "long text"])]
    assert len(line.parked) == 0


def test_a_partial_row_of_a_plain_copy_that_is_not_there_is_kept_too(line, impatient):
    line.target.missing = {1}
    line.units([carriers(Op.UPDATE, [1, "dhl", ABSENT])])
    line.deliver()
    assert [r.code for r in line.parked.oldest()] == ["row-missing"]
    line.target.missing = set()
    assert line.deliverer.retry_due()
    assert line.target.written[-1] == ("carrier", "UPDATE", [1, "dhl"])
    assert len(line.parked) == 0


# ---- shapes ----------------------------------------------------------------------------------------------------


def test_rows_that_do_not_fit_wait_for_the_target_while_everything_else_flows(line, impatient, monkeypatch):
    line.units([wider_carriers(line, [1, "dhl", "x", 7], [2, "ups", "y", 8]), full("A")])
    line.deliver()
    assert [row for _, _, row in line.target.written] == [["A", "n"]]
    assert {(r.code, "zone (integer)" in r.cause) for r in line.parked.oldest()} == {("target-column-missing", True)}
    line.units([wider_carriers(line, [2, "ups", "newer", 9])])
    line.deliver()
    assert len(line.parked) == 2
    monkeypatch.setitem(SHAPES, "carrier", with_columns(ColumnShape("zone", "integer")))
    assert line.deliverer.retry_due()
    assert line.target.written[-2:] == [
        ("carrier", "UPSERT", [1, "dhl", "x", 7]),
        ("carrier", "UPSERT", [2, "ups", "newer", 9]),
    ]
    assert len(line.parked) == 0
    line.units([wider_carriers(line, [3, "gls", "z", 1])])
    line.deliver()
    assert line.target.written[-1] == ("carrier", "UPSERT", [3, "gls", "z", 1])


def test_rows_of_a_table_that_is_not_there_wait_for_it(line, impatient, monkeypatch):
    shape = SHAPES["carrier"]
    monkeypatch.delitem(SHAPES, "carrier")
    line.start()
    line.units([carriers(Op.INSERT, [1, "dhl", "x"]), full("A")])
    line.deliver()
    assert [r.code for r in line.parked.oldest()] == ["target-table-missing"]
    monkeypatch.setitem(SHAPES, "carrier", shape)
    assert line.deliverer.retry_due()
    assert line.target.written[-1] == ("carrier", "UPSERT", [1, "dhl", "x"])


def test_many_parked_rows_are_tried_together_and_the_refused_ones_found(line, impatient):
    line.target.refuses = lambda table, _row: table == "carrier"
    line.units([carriers(Op.INSERT, *([number, "c", "x"] for number in range(40)))])
    line.deliver()
    assert len(line.parked) == 40
    line.target.refuses = lambda _table, row: row[0] == 17
    tries = line.target.tries
    assert line.deliverer.retry_due()
    assert [r.subject for r in line.parked.oldest()] == [(-1, bytes([17]))]
    assert line.target.tries - tries < 14


# ---- emptied tables and changed keys ---------------------------------------------------------------------------


def test_a_truncate_clears_the_table_and_what_was_parked_of_it(line, impatient):
    line.target.refuses = lambda _table, row: row[1:2] == ["bad"]
    line.units([carriers(Op.INSERT, [1, "bad", "x"]), full("A", "bad")])
    line.deliver()
    assert len(line.parked) == 2
    line.units(
        [carriers(Op.INSERT, [2, "ups", "y"]), truncate(), carriers(Op.INSERT, [3, "bad", "z"], [4, "gls", "z"])]
    )
    line.deliver()
    assert line.target.cleared == ["carrier"]
    assert ("carrier", "UPSERT", [2, "ups", "y"]) not in line.target.written
    assert [r.subject for r in line.parked.oldest()] == [subject("A"), (-1, bytes([3]))]


def test_a_table_that_cannot_be_cleared_stops_the_target_before_anything_of_the_unit_is_written(line):
    line.target.refuses_clear = True
    line.units([carriers(Op.INSERT, [1, "dhl", "x"])], [truncate(), carriers(Op.INSERT, [3, "gls", "z"])])
    with pytest.raises(NeedsOperator) as stopped:
        line.deliver()
    assert stopped.value.code == "clear-refused"
    assert line.target.applied <= 1
    line.target.refuses_clear = False
    line.start()
    line.deliver()
    assert line.target.cleared == ["carrier"]
    assert line.target.written[-1] == ("carrier", "UPSERT", [3, "gls", "z"])
    assert len(line.parked) == 0


def test_a_row_whose_new_key_is_refused_is_kept_with_its_old_one(line, impatient):
    line.target.refuses = lambda _table, row: row == [1, 5]
    line.units([carriers(Op.UPDATE, [5, "B", ABSENT], olds=[[1, ABSENT, ABSENT]])])
    line.deliver()
    assert [r.subject for r in line.parked.oldest()] == [(-1, bytes([5]))]
    assert ("carrier", "UPDATE", [5, "B"]) not in line.target.written, "another row has that key"
    line.target.refuses = lambda _table, _row: False
    assert line.deliverer.retry_due()
    assert line.target.written[-2:] == [("carrier", "REKEY", [1, 5]), ("carrier", "UPDATE", [5, "B"])]
    assert len(line.parked) == 0


@in_memory
def test_rows_that_the_target_names_are_parked_without_halving(line):
    def refuse(rows):
        bad = tuple((0, place) for place, (_, _, row) in enumerate(rows) if row[0] % 3 == 0)
        return Refused("they refer to nothing", rows=bad) if bad else None

    line.target.names_refused = refuse
    line.units([carriers(Op.INSERT, *([number, "c", "x"] for number in range(30)))])
    line.deliver()
    assert len(line.parked) == 10
    assert line.target.tries <= 30
    assert {batch for _, batch in line.target.batches} == {Batch(outbox.as_part(0), 1), Batch(0, 1)}
