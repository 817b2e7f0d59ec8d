"""What servers make of values in storing them is no change: our own writes come back, and the line is quiet."""

import time
import uuid
from collections import Counter
from contextlib import closing
from random import Random

import pytest

from cdcd import config as configuration
from cdcd import config_rules
from cdcd.config import Config
from cdcd.sqlite_driver import sqlite
from cdcd.testing.simulator import Simulation
from ends import End, mysql_end, postgres_end

FIELDS = {
    "j": ("json", "jsonb", "json"),
    "k": ("json", "json", "json"),
    "f": ("float", "double precision", "double"),
    "s": ("float(24)", "real", "float"),
    "n": ("decimal(12,4)", "numeric(12,4)", "decimal(12,4)"),
    "d": ("date", "date", "date"),
    "t": ("instant", "timestamptz", "timestamp(6) null"),
    "c": ("text", "char(9)", "char(9)"),
}
"""Field to its type, and the column in either database."""
NULL_UNLESS_FIT = ("f", "s", "n", "d", "t")
ROWS = {  # what the ERP inserts, in the order of FIELDS
    "plain": ("1.10", "1.1", "0.1", "0.1", "1.5", "2026-11-21", "2026-11-21 10:00:00.5+00", "ab"),
    "keys": ('{"b": 1, "a": [100, 2]}', '{"b": 1.50, "a": [1e2, 2]}', "1e300", "16777216", "0", "0001-01-01", None, ""),
    "specials": ("[1.10, 1E2]", "-0.0", "NaN", "Infinity", "NaN", "infinity", "infinity", "x"),
    "beyond": ('"\\u00e9"', "18446744073709551615", "-Infinity", "NaN", "1", "0044-03-15 BC", "1969-01-01+00", "é😀"),
}


class Line:
    """Both ends, and the line between them."""

    def __init__(self, erp: End, shop: End, simulation: Simulation) -> None:
        self.erp, self.shop, self.simulation = erp, shop, simulation
        self.marks = 0
        self.pass_marks()

    def pass_marks(self) -> None:
        """A record from each end to the other: everything before it, echoes among it, has been read by then."""
        for source, target in ((self.erp, self.shop), (self.shop, self.erp), (self.erp, self.shop)):
            self.marks += 1
            source.run(f"INSERT INTO item (sku) VALUES ('mark {self.marks}')")
            deadline = time.monotonic() + 60
            while not target.run(f"SELECT 1 FROM item WHERE sku = 'mark {self.marks}'"):
                assert time.monotonic() < deadline, "a record did not arrive in 60 seconds"
                self.simulation.settle()

    def decided(self, system: str) -> Counter[str]:
        """What was decided about changes by a system, but for the making of records and what is none."""
        counts = self.simulation._stages["resolve"].counts
        quiet = ("created", "echo", "equal", "settled", "unmatched")
        return Counter({what: n for (name, _, what), n in counts.items() if name == system and what not in quiet})

    def stored(self, table: str) -> list[tuple]:
        with closing(sqlite.connect(self.simulation.directory / "state.db")) as connection:
            return connection.execute(f"SELECT * FROM {table}").fetchall()


@pytest.fixture(scope="module")
def line(postgres, mariadb, tmp_path_factory):
    """Both systems may create; the shop owns what the ERP inserts first: so every echo is judged as the owner's."""
    erp, shop = postgres_end(postgres), mysql_end(mariadb)
    erp.run("CREATE TABLE item (sku text PRIMARY KEY, " + ", ".join(f"{f} {t[1]}" for f, t in FIELDS.items()) + ")")
    shop.run(
        "CREATE TABLE item (sku varchar(20) PRIMARY KEY, " + ", ".join(f"{f} {t[2]}" for f, t in FIELDS.items()) + ")"
    )
    columns = {f: {"column": f, "unfit": "null"} if f in NULL_UNLESS_FIT else f for f in FIELDS}
    raw = {
        "daemon": {"name": f"d{uuid.uuid4().hex[:12]}", "state-dir": "/nowhere"},
        "systems": {"erp": {"adapter": "postgres"}, "shop": {"adapter": "mysql"}},
        "entities": {
            "item": {
                "key": ["sku"],
                "create": ["erp", "shop"],
                "fields": {
                    "sku": {"type": "text(20)"},
                    **{f: {"type": t[0], "owner": "shop"} for f, t in FIELDS.items()},
                },
                "in": {
                    "erp": {"table": "item", "columns": {"sku": "sku", **{f: f for f in FIELDS}}},
                    "shop": {"table": "item", "columns": {"sku": "sku", **columns}},
                },
            }
        },
    }
    config: Config = configuration.convert(raw, Config, "test.toml", "")
    config_rules.check(config, "test.toml")
    directory = tmp_path_factory.mktemp("echoes")
    adapters = {"erp": (erp.adapter, erp.options), "shop": (shop.adapter, shop.options)}
    line = Line(erp, shop, Simulation(config, adapters, directory, Random(0)))
    yield line
    line.simulation.close()
    erp.close()
    shop.close()


def test_what_the_shop_stores_is_read_back_as_no_change_although_it_owns_the_fields(line):
    for sku, values in ROWS.items():
        listed = ", ".join("NULL" if value is None else "'" + value + "'" for value in values)
        line.erp.run(f"INSERT INTO item VALUES ('{sku}', {listed})")
    before = line.erp.run("SELECT item::text FROM item WHERE sku NOT LIKE 'mark%' ORDER BY sku")
    line.pass_marks()
    assert len(line.shop.run("SELECT 1 FROM item WHERE sku NOT LIKE 'mark%'")) == len(ROWS)
    assert line.shop.run("SELECT d, t, f, s, n FROM item WHERE sku = 'specials'") == [(None,) * 5]
    assert line.decided("shop") == line.decided("erp") == Counter()
    assert line.stored("conflicts") == line.stored("held") == []
    assert line.erp.run("SELECT item::text FROM item WHERE sku NOT LIKE 'mark%' ORDER BY sku") == before


def test_a_later_change_of_the_row_takes_nothing_with_it(line):
    line.shop.run("UPDATE item SET c = 'changed' WHERE sku = 'specials'")
    line.pass_marks()
    assert line.erp.run("SELECT c::text, d::text, t::text, f::text, n::text FROM item WHERE sku = 'specials'") == [
        ("changed", "infinity", "infinity", "NaN", "NaN")
    ]
    assert line.stored("conflicts") == line.stored("held") == []
    assert line.decided("shop") == Counter(written=1)
