"""Names and values that would be SQL if anybody put them into SQL: through every part of the line, on real servers."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess, wait_until
from integration.least_privilege import grant_in_mysql, grant_in_postgres

PASSWORD = "sh'op\"-s3cret`\\"
NAMES = {
    "table": """it"em'; DROP TABLE x; -- $$ $cdcd$""",
    "key": """ko`de"%s %(x)s""",
    "text": """na'me/* :x {y} \\ ü""",
    "long": "l" * 60 + "'\"`",
}
"""Table and columns of either database; quotes, comments, placeholders, escapes, and as long as PostgreSQL's names can be."""
SCHEMA = "od\"d sch'ema"
MYSQL_NAMES = {"table": NAMES["table"].replace("$cdcd$", "`` `"), **{k: NAMES[k] for k in ("key", "text", "long")}}
VALUES = [
    "'; DROP TABLE x; --",
    '"; DROP TABLE x; --',
    "`; DROP TABLE x; -- ",
    "\\'; DROP TABLE x; --",
    "\\",
    "\\\\'",
    "%s %(name)s {0} $1 :name ? @a",
    "/* x */ -- x # x",
    "line\nbreak\rand\ttab\x01\x1a\x7f",
    "NULL",
    "{a,b}",
    '{"a": 1}',
    "ünï çødé 😀 \u202e \ufeff",
    "$$ $cdcd$ $1",
    "' OR '1'='1",
    "",
]
CONFIG = """
[daemon]
name = "{name}"
state-dir = {state}
[systems.erp]
adapter = "postgres"
dsn = {dsn}
checkpoint-schema = {schema}
[systems.shop]
adapter = "mysql"
host = "127.0.0.1"
port = {port}
user = {user}
database = {database}
password = {{ env = "HOSTILE_PASSWORD" }}
outage = "1s"
[entities.thing]
key = ["code"]
create = ["erp"]
delete = ["erp"]
[entities.thing.fields]
code = {{ type = "text(100)" }}
name = {{ type = "text", owner = "erp" }}
remark = {{ type = "text", owner = "shop" }}
[entities.thing.in.erp]
table = {erp_table}
[entities.thing.in.erp.columns]
code = {key}
name = {text}
remark = {long}
[entities.thing.in.shop]
table = {shop_table}
[entities.thing.in.shop.columns]
code = {key}
name = {text}
remark = {long}
[[replicate]]
from = "erp"
to = "shop"
tables = [{copied}]
rename = {{ {copied} = {copy} }}
"""


def pg(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def my(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


class HostileLine(DaemonProcess):
    """An entity, and a plain copy of a table, under such names; connected with printed grants."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        number = uuid.uuid4().hex[:6]
        self.name = f"hostile_{number}"
        self.postgres, self.mariadb = postgres, mariadb
        self.database, self.role = f"da\"ta'b {number}", f"ro\"le's {number}"
        self.shop_database, self.user = f"da`ta'b\" {number}", f"us`er's\\ {number}"
        postgres.create_database(self.database)
        mariadb.create_database(self.shop_database)
        self.erp_table, self.shop_table = f"{pg(SCHEMA)}.{pg(NAMES['table'])}", my(MYSQL_NAMES["table"])
        columns = [NAMES["key"], NAMES["text"], NAMES["long"]]
        key, text, long = (pg(name) for name in columns)
        self.erp(f"CREATE SCHEMA {pg(SCHEMA)}")
        self.erp(
            f"CREATE TABLE {self.erp_table} (id serial PRIMARY KEY, {key} text NOT NULL UNIQUE, {text} text, {long} text)"
        )
        self.copied = f"{pg(SCHEMA)}.{pg('co' + NAMES['key'])}"
        self.erp(f"CREATE TABLE {self.copied} ({key} text PRIMARY KEY, {text} text)")
        key, text, long = (my(name) for name in columns)
        self.shop(
            f"CREATE TABLE {self.shop_table} (id int AUTO_INCREMENT PRIMARY KEY, {key} varchar(100) COLLATE utf8mb4_bin"
            f" NOT NULL UNIQUE, {text} text COLLATE utf8mb4_bin, {long} text COLLATE utf8mb4_bin) CHARACTER SET utf8mb4"
        )
        self.copy = my("co" + NAMES["key"])
        self.shop(
            f"CREATE TABLE {self.copy} ({key} varchar(100) COLLATE utf8mb4_bin PRIMARY KEY, {text} text COLLATE utf8mb4_bin)"
            " CHARACTER SET utf8mb4"
        )
        config, state = directory / "cdcd.toml", directory / "state"
        facts = {
            "state": str(state), "schema": SCHEMA, "user": self.user, "database": self.shop_database,
            "dsn": postgres.dsn(self.database, self.role), "erp_table": self.erp_table,
            "shop_table": MYSQL_NAMES["table"], "key": NAMES["key"], "text": NAMES["text"], "long": NAMES["long"],
            "copied": self.copied, "copy": "co" + NAMES["key"],
        }  # fmt: skip
        quoted = {name: json.dumps(value) for name, value in facts.items()}
        config.write_text(CONFIG.format(name=self.name, port=mariadb.port, **quoted))
        super().__init__(config, state)
        self.environment["HOSTILE_PASSWORD"] = PASSWORD
        grant_in_postgres(postgres, self.database, config, "erp")
        grant_in_mysql(mariadb, config, "shop", PASSWORD)

    def erp(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute(self.database, sql)

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        return self.mariadb.execute(sql, self.shop_database)

    def rows_of_erp(self) -> list[tuple[Any, ...]]:
        names = ", ".join(pg(NAMES[name]) for name in ("key", "text", "long"))
        return sorted(self.erp(f"SELECT {names} FROM {self.erp_table}"))

    def rows_of_shop(self) -> list[tuple[Any, ...]]:
        names = ", ".join(my(NAMES[name]) for name in ("key", "text", "long"))
        return sorted(self.shop(f"SELECT {names} FROM {self.shop_table}"))

    def wait_in_step(self) -> None:
        try:
            wait_until(lambda: self.rows_of_erp() == self.rows_of_shop(), "in step")
        except AssertionError as error:
            differing = {*self.rows_of_erp()} ^ {*self.rows_of_shop()}
            raise AssertionError(f"{error}\n{differing}\n{self.log.read_text()[-4000:]}") from error


def insert(line: HostileLine, table: str, rows: list[tuple[str, ...]], *columns: str) -> None:
    names, places = ", ".join(map(pg, columns)), ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    dsn = line.postgres.dsn(line.database)
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        for row in rows:
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})".encode(), row)


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[HostileLine]:
    made = HostileLine(tmp_path_factory.mktemp("hostile"), postgres, mariadb)
    key, text, long = NAMES["key"], NAMES["text"], NAMES["long"]
    try:
        insert(
            made, made.erp_table, [(f"{n} {value}", value, value) for n, value in enumerate(VALUES)], key, text, long
        )
        insert(made, made.copied, [(f"{n} {value}", value) for n, value in enumerate(VALUES)], key, text)
        made.start()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()
        slots = "FROM pg_replication_slots WHERE database = current_database()"
        wait_until(lambda: not made.erp(f"SELECT 1 {slots} AND active"), "the slot is free")
        made.erp(f"SELECT pg_drop_replication_slot(slot_name) {slots}")


def test_the_first_copy_brings_every_value_as_it_is(line: HostileLine):
    assert len(line.rows_of_shop()) == len(VALUES)
    names = ", ".join(my(NAMES[name]) for name in ("key", "text"))
    wait_until(lambda: len(line.shop(f"SELECT {names} FROM {line.copy}")) == len(VALUES), "the plain copy")
    assert sorted(line.shop(f"SELECT {names} FROM {line.copy}")) == sorted(
        (f"{n} {value}", value) for n, value in enumerate(VALUES)
    )


def test_changes_on_both_sides_arrive_as_they_are(line: HostileLine):
    key, text = pg(NAMES["key"]), pg(NAMES["text"])
    line.erp(
        f"UPDATE {line.erp_table} SET {text} = {text} || ' changed'; DELETE FROM {line.erp_table} WHERE {key} LIKE '3 %'"
    )
    insert(line, line.erp_table, [("new '\\", "'\\")], NAMES["key"], NAMES["text"])
    line.shop(f"UPDATE {line.shop_table} SET {my(NAMES['long'])} = CONCAT({my(NAMES['text'])}, '\\\\''')")
    line.wait_in_step()


def test_nothing_is_parked_and_check_and_grants_agree(line: HostileLine):
    assert (
        json.loads(line.cli("parked", "--json").stdout)["result"] in ([], {"records": []}, None)
        or not json.loads(line.cli("parked", "--json").stdout)["result"]
    )
    for system in ("erp", "shop"):
        done = line.cli("grants", system, "--diff")
        assert done.returncode == 0, done.stdout + done.stderr
    checked = line.cli("check", "--json")
    errors = [f for f in json.loads(checked.stdout)["result"]["findings"] if f["severity"] == "error"]
    assert errors == []


@pytest.mark.parametrize(
    "condition",
    [
        "{key} = '0 x'); DROP TABLE {table}; --",
        "true) OR (true",
        "1 = 1; DELETE FROM {table}",
        "{key} IN (SELECT {key} FROM {table}) UNION SELECT 1 --",
    ],
)
def test_a_condition_of_an_operator_cannot_leave_its_place(line: HostileLine, condition: str):
    before = line.rows_of_erp()
    where = condition.format(key=pg(NAMES["key"]), table=line.erp_table)
    done = line.cli("resync", "thing", "--system", "erp", "--where", where)
    assert done.returncode != 0
    assert line.rows_of_erp() == before
    line.wait_in_step()


def test_a_resync_of_some_rows_by_hostile_names_mends_them(line: HostileLine):
    line.shop("SET SESSION sql_log_bin = 0; " + f"UPDATE {line.shop_table} SET {my(NAMES['text'])} = 'broken'")
    done = line.cli("resync", "thing", "--system", "shop", "--where", f"{my(NAMES['key'])} LIKE '%'")
    assert done.returncode == 0, done.stderr
    line.wait_in_step()


def test_a_record_that_is_refused_is_parked_and_told_later(line: HostileLine):
    line.shop(f"ALTER TABLE {line.shop_table} ADD CONSTRAINT `de'c``ent` CHECK ({my(NAMES['text'])} <> 'ru''de')")
    insert(line, line.erp_table, [("ru'de", "ru'de")], NAMES["key"], NAMES["text"])
    wait_until(lambda: json.loads(line.cli("parked", "list", "--json").stdout)["result"]["count"] == 1, "it is parked")
    line.shop(f"ALTER TABLE {line.shop_table} DROP CONSTRAINT `de'c``ent`")
    assert line.cli("parked", "retry", "--all", "--yes").returncode == 0
    line.wait_in_step()
