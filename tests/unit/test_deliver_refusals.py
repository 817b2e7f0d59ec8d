"""A unit of which very much is refused: found without recursion, and given up where it is too much."""

from __future__ import annotations

import pytest

from cdcd import pause_switches
from cdcd.errors import Refused
from cdcd.model import Op
from unit import deliver_line
from unit.deliver_line import carriers, full, in_memory, subject

line = deliver_line.line
LIMIT = 20


@pytest.fixture(autouse=True)
def _limit(monkeypatch):
    shop = 'in.shop = { table = "products", columns = { sku = "sku", name = "title" } }'
    limited = shop.replace(" } }", f" }}, deliver = {{ parked-max = {LIMIT} }} }}")
    assert shop in deliver_line.TEXT
    monkeypatch.setattr(deliver_line, "TEXT", deliver_line.TEXT.replace(shop, limited))


@in_memory
@pytest.mark.parametrize("names", [True, False], ids=["named by the target", "found by halving"])
def test_thousands_of_refused_rows_are_parked_one_by_one(line, names):
    def refuse(rows):
        bad = next((at for at, (_, _, row) in enumerate(rows) if row[0] % 2), None)
        return None if bad is None else Refused("no", rows=((0, bad),) if names else ())

    line.target.names_refused = refuse
    line.units([carriers(Op.INSERT, *([number, "c", "x"] for number in range(3_000)))])
    line.deliver()
    assert len(line.parked) == 1_500
    assert len(line.target.written) == 1_500
    assert line.target.tries < 7_000


def test_what_is_left_of_an_entity_is_owed_when_too_much_of_it_is_refused(line):
    line.target.refuses = lambda table, _row: table == "products"
    line.units([carriers(Op.INSERT, [1, "c", None]), *[full(f"P{n}") for n in range(400)]])
    line.deliver()
    assert pause_switches.of_entity("shop", "product") in line.journal.controls()
    assert line.target.tries < 500
    owed = [record for c in line.commands() if c.name == "owe" for record in c.arguments["records"]]
    assert len(line.parked) < 3 * LIMIT
    names = {(number, bytes(key)) for number, key, _ in owed} | {one.subject for one in line.parked.oldest()}
    assert names == {subject(f"P{n}") for n in range(400)}
    assert [row for table, _, row in line.target.written] == [[1, "c", None]]
    assert line.target.applied == 1
    before = line.target.tries
    line.units([full("Q"), carriers(Op.INSERT, [2, "d", None])])
    line.deliver()
    assert line.target.tries == before + 1
