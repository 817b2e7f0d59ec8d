"""Random rows through source, journal and target between real servers, compared in SQL at both ends.

What each server prints of a value is compared after these rules: numbers as numbers (MariaDB 10.11 has no -0), JSON by
its content, fractions of a second without zeros at their end. A value that has no form in the target must not be there
in another one: its row is parked. CDCD_TYPE_EXAMPLES has more examples tried than a test run can wait for.
"""

import os
import re
import select
import struct
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from decimal import Decimal
from itertools import groupby
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mysql_cases
import postgres_cases
from cases import TypeCase
from cdcd import config as configuration
from cdcd.adapter import Identity
from cdcd.config import Config
from cdcd.conversions import between
from cdcd.json_content import canonical_json
from cdcd.resolve.keys import decode_key
from cdcd.sqlite_driver import sqlite
from cdcd.testing.simulator import Simulation
from cdcd.values import ValueRefused, parse_type
from counterparts import counterpart
from ends import End, mysql_end, postgres_end
from random_values import values

EXAMPLES = int(os.environ.get("CDCD_TYPE_EXAMPLES", "6"))
ROWS_MAX = 60
ALIKE_MAX = 2
MANY = 50
"""Examples from which on time is no matter: then all types take part, and every run has others."""
TABLE_COLUMNS = 12
BINARY = (
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon",
    "multi", "vector",
)  # fmt: skip
PAIRS = [("postgres", "postgres"), ("postgres", "mysql"), ("mysql", "postgres"), ("mysql", "mysql")]
"""By adapter: CDCD_PG_BIN and CDCD_MYSQL_BIN choose the servers, MariaDB is the other one's default."""
TIMEOUT_SECONDS = 60.0
NOT_EVERYWHERE = ("xml",)  # a matter of how PostgreSQL was built


def cases_of(end: End) -> list[TypeCase]:
    """Cases of every type: of those that differ only in their arguments the first few, or all where time is no matter."""
    if end.server == "postgres":
        found = postgres_cases.CASES
    else:
        text = end.run("SELECT version()")[0][0]
        version = tuple(int(part) for part in text.split("-")[0].split(".")[:2])
        found = [case for case in mysql_cases.CASES if mysql_cases.exists_on(case, end.server, version)]
    chosen: dict[str, list[TypeCase]] = {}
    for case in found:
        alike = chosen.setdefault(re.sub(r"\(.*?\)", "", case.ddl), [])
        if len(alike) < (ALIKE_MAX if EXAMPLES < MANY else len(found)) and case.ddl not in [c.ddl for c in alike]:
            alike.append(case)
    return [case for alike in chosen.values() for case in alike if not case.ddl.startswith(NOT_EVERYWHERE)]


class Column(NamedTuple):
    """A column of the source under test, and what it is in the target. A row has a value in one column only."""

    number: int
    case: TypeCase
    target_ddl: str

    @property
    def table(self) -> int:
        return self.number // TABLE_COLUMNS

    @property
    def name(self) -> str:
        return f"c{self.number}"


class Pair:
    """A line between two databases that copies a table for every type."""

    def __init__(self, source: End, target: End, directory) -> None:
        self.source, self.target = source, target
        family = source.server == target.server
        wanted = [
            (case, case.ddl if family else counterpart(case.canonical, target.server)) for case in cases_of(source)
        ]
        self.columns = [Column(number, *found) for number, found in enumerate(wanted)]
        for end, pick in ((source, lambda column: column.case.ddl), (target, lambda column: column.target_ddl)):
            self._create(end, pick)
        tables = [f"t_{number}" for number in range(self.columns[-1].table + 1)] + ["marker"]
        raw = {
            "daemon": {"name": f"d{uuid.uuid4().hex[:12]}", "state-dir": str(directory)},
            "systems": {"a": {"adapter": "x"}, "b": {"adapter": "x"}},
            "replicate": [{"from": "a", "to": "b", "tables": tables}],
        }
        config: Config = configuration.convert(raw, Config, "test.toml", "")
        adapters = {"a": (source.adapter, source.options), "b": (target.adapter, target.options)}
        self.line = Simulation(config, adapters, directory, Random(0))
        self.rows = 0
        self.markers = 0
        self.catch_up()
        self.refuses = self._refusals(config)

    def _create(self, end: End, ddl: Callable[[Column], str]) -> None:
        if end.server == "postgres":
            for statement in dict.fromkeys(s for c in postgres_cases.CASES for s in c.setup_sql):
                end.run(statement)
        for number, columns in groupby(self.columns, lambda column: column.table):
            listed = ", ".join(f"{column.name} {ddl(column)}" for column in columns)
            end.run(f"CREATE TABLE t_{number} (id integer PRIMARY KEY, {listed})")
        end.run("CREATE TABLE marker (id integer PRIMARY KEY)")

    def _refusals(self, config: Config) -> dict[Column, Callable[[Any], bool]]:
        """Per column: whether a canonical value of the source has no form in the target, by our own rules."""
        identity = Identity(config.daemon.name, "b", "lineage")
        target = self.target.adapter.open_target(identity, self.target.options)
        spelled = {c.table: self.target.adapter.table_name(f"t_{c.table}") for c in self.columns}
        shapes = target.describe(list(spelled.values()))
        target.close()
        types = {column: shapes[spelled[column.table]].column(column.name).type for column in self.columns}
        return {column: refusing(column.case.canonical, kind) for column, kind in types.items()}

    def insert(self, column: Column, literal: str) -> tuple[int, str]:
        """The id and the statement of a new row."""
        self.rows += 1
        return self.rows, f"INSERT INTO t_{column.table} (id, {column.name}) VALUES ({self.rows}, {literal})"

    def catch_up(self) -> None:
        """Run the line until it has carried everything that was committed before."""
        self.markers += 1
        self.source.run(f"INSERT INTO marker VALUES ({self.markers})")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not self.target.run(f"SELECT 1 FROM marker WHERE id = {self.markers}"):
            assert time.monotonic() < deadline, "the line did not catch up"
            self.line.settle()
            capture = self.line._stages.get("capture:a")
            if capture is not None:
                select.select([capture.fileno()], [], [], 0.05)

    def printed(self, end: End, column: Column, ids: Collection[int]) -> dict[int, Any]:
        """What the server prints of a column in some rows, normalised."""
        ddl = column.case.ddl if end is self.source else column.target_ddl
        rows = end.run(
            f"SELECT id, {printing(end.server, ddl, column.name)} FROM t_{column.table}"
            f" WHERE id IN ({', '.join(map(str, ids))})"
        )
        kind = parse_type(column.case.canonical).kind
        short = column.case.canonical.startswith("float(24")
        return {row: None if text is None else normal(kind, str(text), short=short) for row, text in rows}

    def parked(self, column: Column) -> dict[int, str]:
        """Rows that are parked, with the code of the reason."""
        with closing(sqlite.connect(self.line.directory / "deliver-b.db")) as connection:
            found = connection.execute("SELECT key, code FROM parked WHERE subject = ?", (-1 - column.table,))
            return {decode_key(key, 1)[0]: code for key, code in found}

    def close(self) -> None:
        self.line.close()
        for end in (self.source, self.target):
            end.close()


def refusing(source: str, target: str) -> Callable[[Any], bool]:
    convert = between(parse_type(source), parse_type(target))

    def refuses(value: Any) -> bool:
        try:
            if convert is not None and value is not None:
                convert(value)
        except ValueRefused:
            return True
        return False

    return refuses


def printing(server: str, ddl: str, name: str) -> str:
    if server == "postgres":
        if ddl.startswith("char("):
            return f"{name}::text"
        printed = {"boolean": f"{name}::int", "bytea": f"encode({name}, 'hex')", "numeric": f"trim_scale({name})"}
        return printed.get(ddl, f"CASE WHEN num_nulls({name}) = 0 THEN format('%s', {name}) END")
    if ddl.startswith("bit"):
        return f"{name} + 0"
    if ddl.startswith(("float", "double")):
        return f"CAST({name} AS DOUBLE)"
    return f"LOWER(HEX({name}))" if ddl.startswith(BINARY) else f"CAST({name} AS CHAR)"


def normal(kind: str, text: str, *, short: bool) -> Any:
    if kind in ("integer", "boolean"):
        return int(text)
    if kind == "decimal":
        return text if text in ("NaN", "Infinity", "-Infinity") else Decimal(text)
    if kind == "float":
        number = float(text) + 0.0  # no -0
        return struct.pack("<f" if short else "<d", number)
    if kind == "json":
        return canonical_json(text)
    if kind in ("time", "datetime", "instant"):
        plain = text.removesuffix("+00").replace("+00 BC", " BC")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    return text


@pytest.fixture(scope="module", params=PAIRS, ids="-to-".join)
def pair(request, tmp_path_factory, postgres, mariadb) -> Iterator[Pair]:
    ends = [postgres_end(postgres) if name == "postgres" else mysql_end(mariadb) for name in request.param]
    pair = Pair(ends[0], ends[1], tmp_path_factory.mktemp("line"))
    yield pair
    pair.close()


def test_every_sample_arrives_or_is_parked(pair):
    expected: dict[Column, dict[int, bool]] = {}
    statements = []
    for column in pair.columns:
        for sample in column.case.samples:
            row, statement = pair.insert(column, sample.literal_sql)
            statements.append(statement)
            expected.setdefault(column, {})[row] = pair.refuses[column](sample.value)
    pair.source.run(";".join(statements))
    pair.catch_up()
    for column, refused in expected.items():
        check(pair, column, refused)


def check(pair: Pair, column: Column, refused: dict[int, bool]) -> None:
    """Compare both ends. A row that our own rules refuse must not be there; one that the server refuses may not."""
    source, target = pair.printed(pair.source, column, refused), pair.printed(pair.target, column, refused)
    where = f"{column.case.ddl} to {column.target_ddl}"
    for row, value in source.items():
        if refused[row]:
            assert row not in target, f"{where}: {value!r} should have been refused, and arrived as {target[row]!r}"
        elif row in target or not server_refuses(pair, column, value):
            assert row in target, f"{where}: {value!r} is not there"
            assert target[row] == value, f"{where}: {value!r} arrived as {target[row]!r}"


def server_refuses(pair: Pair, column: Column, value: Any) -> bool:
    """What only the target's server can judge."""
    if pair.target.server == "postgres":
        return isinstance(value, str) and ("\0" in value or "\\u0000" in value)
    if column.target_ddl.startswith(("float", "double")):
        return not any(value)  # MariaDB 10.11 has no -0
    return value == "NaN" or (column.target_ddl.startswith("enum") and value == "")


@pytest.fixture(scope="module")
def strategy(pair) -> st.SearchStrategy:
    """Rows: a column, the literal that is inserted, and what becomes of it (None: stays; DELETE; another literal)."""

    def row(column: Column) -> st.SearchStrategy:
        literals = values(column.case, pair.source.server)
        return st.tuples(st.just(column), literals | st.just("NULL"), st.none() | st.just("DELETE") | literals)

    return st.lists(st.sampled_from(pair.columns).flatmap(row), min_size=ROWS_MAX // 2, max_size=ROWS_MAX)


def test_random_rows_are_the_same_at_both_ends(pair, strategy):
    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=EXAMPLES < MANY,
        suppress_health_check=list(HealthCheck),
    )
    @given(rows=strategy)
    def run(rows) -> None:
        ids: dict[Column, list[int]] = {}
        statements = []
        for column, inserted, then in rows:
            row, statement = pair.insert(column, inserted)
            ids.setdefault(column, []).append(row)
            statements.append(statement)
            if then == "DELETE":
                statements.append(f"DELETE FROM t_{column.table} WHERE id = {row}")
            elif then is not None:
                statements.append(f"UPDATE t_{column.table} SET {column.name} = {then} WHERE id = {row}")
        pair.source.run(";".join(statements))
        pair.catch_up()
        for column, rows_of in ids.items():
            check_random(pair, column, rows_of)

    run()


def check_random(pair: Pair, column: Column, ids: list[int]) -> None:
    """Like `check`, for values of which only the servers know what they became: what is not parked must be there."""
    source, target = pair.printed(pair.source, column, ids), pair.printed(pair.target, column, ids)
    where = f"{column.case.ddl} to {column.target_ddl}"
    parked = pair.parked(column)
    assert not {parked[row] for row in ids if row in parked} & {"target-type-mismatch", "target-column-missing"}, where
    assert target.keys() - parked.keys() <= source.keys(), f"{where}: rows that the source does not have"
    for row in source.keys() - parked.keys():
        assert row in target, f"{where}: {source[row]!r} is not there"
        assert target[row] == source[row], f"{where}: {source[row]!r} arrived as {target[row]!r}"
