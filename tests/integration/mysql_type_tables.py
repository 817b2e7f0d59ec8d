"""What tests of MySQL's column types share: a server whose defaults are unlike our sessions', and tables of all types."""

import contextlib
import os
from typing import NamedTuple

import pytest

import mysql_cases
from cdcd.adapter import TableNeed
from cdcd.config import Secret
from cdcd.testing.servers import mysql_family_server
from cdcd.testing.stream import StreamReader
from cdcd_mysql import Options
from contract.mysql_harness import MySqlHarness, PrivateHarness

UNFRIENDLY = {
    "default-time-zone": "SYSTEM",
    "sql-mode": "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION",
    "character-set-server": "gbk",
    "collation-server": "gbk_bin",
    "div-precision-increment": "0",
    "max-allowed-packet": "16M",
    "explicit-defaults-for-timestamp": "OFF",
}
TIME_MODES = {True: "TIME_ROUND_FRACTIONAL", False: "TIME_TRUNCATE_FRACTIONAL"}
COLUMNS_PER_TABLE = 12
SETTINGS = ("SET SESSION sql_mode = '" + mysql_cases.WRITING_SQL_MODE + "'",)


class Cell(NamedTuple):
    """Where a case is: the `place` of its column in a table, counted after id and version."""

    table: str
    place: int


@pytest.fixture(scope="module")
def harness():
    """On a private server, or on the one that CDCD_TEST_MYSQL names."""
    place = os.environ.get("CDCD_TEST_MYSQL")
    if place is not None:
        user, _, address = place.partition("@")
        password = Secret(env="CDCD_TEST_MYSQL_PASSWORD")
        port = int(address.partition(":")[2])
        harness = MySqlHarness(Options(host="127.0.0.1", port=port, user=user, password=password, database=""))
        yield harness
        harness.dispose()
        return
    server = mysql_family_server(settings=UNFRIENDLY)
    server.settings["sql-mode"] += "," + TIME_MODES[server.is_mariadb]
    server.environment = {**server.environment, "TZ": "Europe/Berlin"}
    with server:
        yield PrivateHarness(server)


@pytest.fixture(scope="module")
def version(harness):
    text = harness.sql("SELECT version()")[0][0]
    numbers = tuple(int(part) for part in text.split("-")[0].split(".")[:2])
    return ("mariadb" if "MariaDB" in text else "mysql"), numbers


@pytest.fixture(scope="module")
def cells(version):
    cases = [number for number, case in enumerate(mysql_cases.CASES) if mysql_cases.exists_on(case, *version)]
    return {number: Cell(f"t{n // COLUMNS_PER_TABLE}", n % COLUMNS_PER_TABLE) for n, number in enumerate(cases)}


def tables_of(cells):
    tables = {}
    for number, cell in cells.items():
        tables.setdefault(cell.table, []).append(mysql_cases.CASES[number])
    return tables


def create_sql(table, cases, more=""):
    columns = ", ".join(f"c{n} {case.ddl}" for n, case in enumerate(cases))
    return f"CREATE TABLE {table} (id int PRIMARY KEY, version int, {columns}{more}) CHARACTER SET utf8mb4"


def case_name(number):
    case = mysql_cases.CASES[number]
    return f"{number}-{case.ddl[:40]}"


every_case = pytest.mark.parametrize("number", range(len(mysql_cases.CASES)), ids=case_name)


@contextlib.contextmanager
def opened(harness, *tables):
    source = harness.adapter.open_source(harness.identity, harness.options, [TableNeed(table) for table in tables])
    try:
        yield StreamReader(source)
    finally:
        source.close()
