"""Too many parked records pause their entity, once, and say why."""

from __future__ import annotations

import pytest

from cdcd import pause_switches
from cdcd.config import Deliver, convert
from cdcd.errors import ConfigError
from cdcd.journal import Journal, decode_command
from cdcd.parking import limits as parked_limits
from cdcd.parking.limits import Limit, ParkedLimits, parse_limit
from cdcd.parking.parked import ParkedRecords
from cdcd.state import State
from unit.small_line import plan_of


class Bench:
    def __init__(self, directory):
        self.state = State(directory / "state.db", durable=False)
        self.journal = Journal(directory / "journal.db", durable=False)
        self.parked = ParkedRecords(directory / "deliver.db", durable=False)

    def park(self, count, number=0):
        self.parked.park([((number, str(n).encode()), None) for n in range(count)], 1, "check", "why")

    def golden(self, count):
        with self.state.transaction() as connection:
            rows = [(0, str(n).encode(), b"") for n in range(count)]
            connection.executemany("INSERT INTO golden VALUES (?,?,?)", rows)

    def commands(self):
        return [decode_command(entry.note) for entry in self.journal.read(0)]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(parked_limits, "SHARE_RECORDS_MIN", 10)
    bench = Bench(tmp_path)
    yield bench
    for resource in (bench.state, bench.journal, bench.parked):
        resource.close()


PRODUCT = """
[entities.product]
key = ["sku"]
fields = { sku = { type = "text" } }
in.erp = { table = "item", columns = { sku = "code" } }
in.shop = { table = "products", columns = { sku = "sku" }, deliver = { parked-max = LIMIT } }
[[replicate]]
from = "erp"
to = "shop"
tables = ["carrier"]
"""


def limits(bench, limit):
    plan = plan_of(PRODUCT.replace("LIMIT", limit))
    return ParkedLimits("shop", plan, bench.state, bench.journal, bench.parked)


def test_a_number_of_parked_records_pauses_their_entity_once(bench):
    watch = limits(bench, "3")
    bench.park(2)
    assert not watch.reached()
    bench.park(3)
    assert watch.reached()
    (reason,) = bench.journal.controls().values()
    assert "3 records of product are parked" in reason
    assert pause_switches.of_entity("shop", "product") in bench.journal.controls()
    (command,) = bench.commands()
    assert (command.name, command.arguments) == ("hold", {"systems": ["shop"], "entity": "product", "on": True})
    bench.park(4)
    assert not watch.reached()


@pytest.mark.parametrize(
    ("parked", "known", "paused"), [(9, 9, False), (10, 40, True), (10, 101, False), (30, 101, True)]
)
def test_a_share_counts_from_a_number_on(bench, parked, known, paused):
    bench.golden(known)
    bench.park(parked)
    assert limits(bench, '"20%"').reached() is paused


def test_rows_of_plain_copies_pause_nothing(bench):
    bench.park(50, number=-1)
    assert not limits(bench, "3").reached()


def test_a_limit_is_a_share_or_a_number():
    assert parse_limit("5%") == Limit(parked_limits.SHARE_RECORDS_MIN, 0.05)
    assert parse_limit("0.5%").share == pytest.approx(0.005)
    assert parse_limit(7) == Limit(7)


@pytest.mark.parametrize("wrong", ["0%", "101%", "5", "many", 0])
def test_the_configuration_refuses_other_limits(wrong):
    with pytest.raises(ConfigError, match="parked-max"):
        convert({"parked-max": wrong}, Deliver, "file", "")
