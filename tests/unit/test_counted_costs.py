"""What a change costs, in calls, statements and commits. How long that takes is measured by `make bench`, not here.

Most of these compare two sizes of the same work: what does not depend on the number of rows is done for all of them at
once, in C. When such a number grows, a call for every row has come in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from cdcd.adapter import Applied, Identity
from cdcd.capture import Capture
from cdcd.folding.fold import Folder
from cdcd.journal import Draft, Journal, Kind
from cdcd.model import Commit, Event, Op, Relation, Rows
from cdcd.outbox import Unit
from unit.counting import blocks_left, python_calls, statements
from unit.deliver_line import SHAPES, Line
from unit.small_line import SmallLine, plan_of
from unit.test_capture import ScriptedSource

COPY = """
[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier"]
"""
ENTITY = """
[entities.product]
key = ["sku"]
create = ["erp"]
[entities.product.fields]
sku = { type = "text", owner = "erp" }
name = { type = "text", owner = "erp" }
note = { type = "text", owner = "shop" }
[entities.product.in.erp]
table = "item"
columns = { sku = "sku", name = "name", note = "note" }
[entities.product.in.shop]
table = "products"
columns = { sku = "sku", name = "name", note = "note" }
"""
ITEM = {"sku": "text", "name": "text", "note": "text"}
IDENTITY = Identity("acme", "erp", "lineage-1")
NEW_RECORD_CALLS = 1
CHANGED_RECORD_CALLS = 8.5
EQUAL_RECORD_CALLS = 7
ECHO_CALLS = 0.5
"""Of Python functions, for each further row of a run. Changed and equal ones were 44 and 20 while every row was decided alone."""
SMALL_TRANSACTION_CALLS = 120
"""The same for each further transaction of ten changed rows. It was 180 while each was read by itself."""

FITTING = Relation("carrier", ("id", "name", "note"), ("integer", "text(10)", "text"), (0,))
"""As the target has it: nothing is converted."""


def rows(first: int, count: int) -> Rows:
    return Rows(FITTING, Op.INSERT, [[n, f"c{n}", None] for n in range(first, first + count)])


# ---- capture -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "counted.db", durable=False)
    yield made
    made.close()


@pytest.fixture
def capturing(journal: Journal) -> tuple[ScriptedSource, Capture]:
    source = ScriptedSource(journal)
    capture = Capture(IDENTITY, source, journal, ())
    capture.start()
    source.arrived.append(transactions(1, 1))
    capture.step()
    return source, capture


def transactions(count: int, each: int) -> list[Event]:
    return [event for n in range(count) for event in (rows(n * each, each), Commit(f"after {n}", 1_000_000 * n))]


def test_capture_makes_no_call_for_a_row(capturing: tuple[ScriptedSource, Capture]) -> None:
    source, capture = capturing
    found = []
    for each in (10, 900):
        source.arrived.append(transactions(5, each))
        found.append(python_calls(capture.step))
    assert found[0] == found[1]


def test_what_arrives_together_is_one_commit_of_the_journal(
    journal: Journal, capturing: tuple[ScriptedSource, Capture]
) -> None:
    source, capture = capturing
    source.arrived.append(transactions(200, 2))
    found = statements(journal.database.connection, capture.step)
    assert found["COMMIT"] == 1
    assert found["INSERT"] == 200 + 1  # and the source's position


# ---- resolve -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_is_trimmed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is now and then, by the clock: on a slow machine between any two steps."""
    monkeypatch.setattr("cdcd.resolve.trimming.TRIM_SECONDS", float("inf"))


@pytest.fixture
def copying(tmp_path: Path) -> Iterator[SmallLine]:
    columns = dict(zip(FITTING.columns, FITTING.types, strict=True))
    line = SmallLine(tmp_path, COPY, {"erp": {"carrier": columns}, "shop": {"carrier": columns}})
    yield line
    line.close()


def journalled(line: SmallLine, relation: Relation, op: Op, transactions: Sequence[Sequence[list[object]]]) -> None:
    drafts = [
        Draft(Kind.LOG, "", line.now_us + n, len(some), line.journal.encode("erp", [Rows(relation, op, [*some])]))
        for n, some in enumerate(transactions)
    ]
    line.journal.append("erp", drafts, None)


def test_resolve_makes_no_call_and_no_statement_for_a_row_of_a_plain_copy(copying: SmallLine) -> None:
    calls, executed = [], []
    for count in (1, 200, 900):
        journalled(copying, FITTING, Op.INSERT, [rows(0, count).rows])
        calls.append(python_calls(copying.resolver.step))
        journalled(copying, FITTING, Op.INSERT, [rows(0, count).rows])
        executed.append(statements(copying.state.connection, copying.resolver.step))
    assert calls[1] == calls[2]
    assert executed[1] == executed[2]


def test_resolve_makes_one_commit_of_many_transactions(copying: SmallLine) -> None:
    journalled(copying, FITTING, Op.INSERT, [rows(n, 1).rows for n in range(500)])
    assert statements(copying.state.connection, copying.resolver.step)["COMMIT"] == 1


@pytest.fixture
def golden(tmp_path: Path) -> Iterator[SmallLine]:
    line = SmallLine(tmp_path, ENTITY, {"erp": {"item": ITEM}, "shop": {"products": ITEM}})
    yield line
    line.close()


def products(first: int, count: int, name: str) -> list[list[object]]:
    return [[f"sku {n}", f"{name} {n}", "theirs"] for n in range(first, first + count)]


def per_row(line: SmallLine, op: Op, name: str) -> float:
    """What calls a further row costs: the difference between 600 rows and 100."""
    found = []
    relation = line.apps["erp"].relations["item"]
    for at, size in ((0, 100), (100, 600)):
        journalled(line, relation, op, [products(at, size, name)])
        found.append(python_calls(line.resolver.step).total())
    return (found[1] - found[0]) / 500


def test_a_new_record_costs_a_bounded_number_of_calls(golden: SmallLine) -> None:
    assert per_row(golden, Op.INSERT, "new") <= NEW_RECORD_CALLS


def test_a_changed_record_costs_a_bounded_number_of_calls(golden: SmallLine) -> None:
    per_row(golden, Op.INSERT, "new")
    assert per_row(golden, Op.UPDATE, "changed") <= CHANGED_RECORD_CALLS


def test_a_small_transaction_of_changes_costs_a_bounded_number_of_calls(golden: SmallLine) -> None:
    per_row(golden, Op.INSERT, "new")
    relation, found = golden.apps["erp"].relations["item"], []
    for at, count in (("first", 10), ("second", 60)):
        journalled(golden, relation, Op.UPDATE, [products(10 * n, 10, at) for n in range(count)])
        found.append(python_calls(golden.resolver.step).total())
    assert (found[1] - found[0]) / 50 <= SMALL_TRANSACTION_CALLS


def test_a_record_that_did_not_change_costs_a_bounded_number_of_calls(golden: SmallLine) -> None:
    per_row(golden, Op.INSERT, "new")
    assert per_row(golden, Op.UPDATE, "new") <= EQUAL_RECORD_CALLS


def test_our_own_write_that_is_read_back_costs_no_call(golden: SmallLine) -> None:
    per_row(golden, Op.INSERT, "new")
    relation, found = golden.apps["shop"].relations["products"], []
    for at, size in ((0, 100), (100, 600)):
        runs = [Rows(relation, Op.INSERT, products(at, size, "new"))]
        body = golden.journal.encode("shop", runs)
        golden.journal.append(
            "shop", [Draft(Kind.LOG, "", golden.now_us, size, body, mark=(0, golden.state.units))], None
        )
        found.append(python_calls(golden.resolver.step).total())
    assert golden.counted("shop", "product") == {"echo": 700}
    assert (found[1] - found[0]) / 500 <= ECHO_CALLS


# ---- deliver -------------------------------------------------------------------------------------------------------------


class TakesAll:
    """A target that looks at nothing."""

    def __init__(self, line: Line) -> None:
        self._target = line.target
        self.applied = 0

    def apply(self, writes, batch):  # noqa: ARG002 - the contract names it
        self.applied += 1
        self.rows = sum(len(write.rows) for write in writes)
        return Applied(())


@pytest.fixture
def delivering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Line, TakesAll]]:
    line = Line(tmp_path)
    line.journal.encode("erp", [Rows(FITTING, Op.INSERT, [])])
    target = TakesAll(line)
    monkeypatch.setattr(line.target, "apply", target.apply)
    yield line, target
    line.close()


def copied(op: Op, some: Rows, line: Line) -> list[object]:
    return [-1, int(op), line.journal.relation_number("erp", FITTING), some.rows, None]


@pytest.mark.parametrize("op", [Op.INSERT, Op.UPDATE, Op.DELETE])
def test_deliver_makes_no_call_for_a_row_of_a_plain_copy(delivering: tuple[Line, TakesAll], op: Op) -> None:
    line, target = delivering
    found = []
    for count in (1, 10, 1_000):
        line.units([copied(op, rows(0, count), line)])
        found.append(python_calls(line.deliverer.step))
        assert target.rows == count
    assert (found[2] - found[1]).total() < 20


def test_a_batch_makes_no_call_for_a_table_that_it_has_nothing_of() -> None:
    found = []
    for others in (0, 40):
        tables = ["carrier", *(f"other_{n}" for n in range(others))]
        plan = plan_of(COPY.replace('["carrier"]', str(tables).replace("'", '"')))
        folder = Folder(plan, "shop", SHAPES, lambda _number: FITTING)
        (number,) = [-1 - route.number for route in plan.routes if route.source_table == "carrier"]
        unit = Unit(1, 0, [[number, int(Op.INSERT), 1, rows(0, 5).rows, None]], partial=False)
        found.append(python_calls(partial(folder.fold, [unit], None)))
    assert found[0] == found[1]


def test_many_small_units_are_one_transaction_of_the_target(delivering: tuple[Line, TakesAll]) -> None:
    line, target = delivering
    line.units(*([copied(Op.INSERT, rows(n, 1), line)] for n in range(500)))
    line.deliver()
    assert target.applied == 1
    assert target.rows == 500


# ---- memory --------------------------------------------------------------------------------------------------------------


def test_resolve_keeps_nothing_of_what_it_has_resolved(copying: SmallLine) -> None:
    def again() -> None:
        journalled(copying, FITTING, Op.INSERT, [rows(0, 20).rows])
        copying.resolver.step()

    assert blocks_left(again, rounds=1_000) < 3_000  # not one for each of 20 rows, of which there are 20,000


def test_deliver_keeps_nothing_of_what_it_has_delivered(delivering: tuple[Line, TakesAll]) -> None:
    line, _ = delivering

    def again() -> None:
        line.units([copied(Op.INSERT, rows(0, 20), line)])
        line.deliver()

    assert blocks_left(again, rounds=1_000) < 3_000  # not one for each of 20 rows, of which there are 20,000
