"""Roles made by what `cdcd grants` prints: the daemon does its work with them, and everything else is refused to them."""

import json
from collections.abc import Iterator

import psycopg
import pymysql
import pytest

from cdcd.adapter import Identity, TableNeed
from cdcd.config import Secret
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from cdcd_mysql import Options, adapter
from integration.daemon_process import wait_until
from integration.erp_and_shop import PASSWORD, Line
from integration.least_privilege import grant_in_mysql, grant_in_postgres

DIFFERENT = 10
REFUSED_BY_POSTGRES = [
    "SELECT * FROM salary",
    "UPDATE item SET id = 1",
    "INSERT INTO item (id, code) VALUES (99, 'x')",
    "TRUNCATE item",
    "DROP TABLE item",
    "ALTER TABLE item ADD x int",
    "CREATE TABLE mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE PUBLICATION mine FOR TABLE salary",
    "DROP PUBLICATION {publication}",
    "DELETE FROM cdcd_checkpoint",
    "SELECT setval('item_id_seq', 1)",
    "CREATE ROLE mine",
    "SET ROLE postgres",
    "COPY item TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "ALTER SYSTEM SET fsync = off",
]
REFUSED_BY_MYSQL = [
    "SELECT * FROM salary",
    "SELECT * FROM mysql.global_priv",
    "UPDATE products SET id = 1",
    "INSERT INTO products (id, sku) VALUES (99, 'x')",
    "TRUNCATE products",
    "DROP TABLE products",
    "ALTER TABLE products ADD x int",
    "CREATE TABLE mine (x int)",
    "CREATE DATABASE mine",
    "CREATE TRIGGER mine BEFORE INSERT ON products FOR EACH ROW SET NEW.sku = 'x'",
    "DELETE FROM cdcd_checkpoint",
    "CREATE USER mine",
    "GRANT SELECT ON products TO mine",
    "SELECT * FROM products INTO OUTFILE '/tmp/mine'",
    "SET sql_log_bin = 0",
    "SET GLOBAL read_only = 1",
    "PURGE BINARY LOGS TO 'x'",
]


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer
) -> Iterator[Line]:
    made = Line(tmp_path_factory.mktemp("roles"), postgres, mariadb)
    try:
        for run in (made.erp, made.shop):
            run("CREATE TABLE salary (id int PRIMARY KEY, amount int)")
        made.erp("INSERT INTO item (code, name, list_price) VALUES ('A', 'a', 1), ('B', 'b', 2)")
        made.start()
        made.wait_in_step()
        yield made
    finally:
        made.dispose()
        made.drop_slot()


def in_postgres(line: Line, sql: str) -> None:
    with psycopg.connect(line.postgres.dsn(line.name, line.name), autocommit=True) as connection:
        connection.execute(sql.encode())


def in_mysql(line: Line, sql: str) -> None:
    with pymysql.connect(
        host="127.0.0.1", port=line.mariadb.port, user=line.name, password=PASSWORD, database=line.name, autocommit=True
    ) as connection:
        connection.cursor().execute(sql)


def test_the_roles_do_their_part(line: Line):
    line.erp("INSERT INTO item (code, name, list_price) VALUES ('C', 'c', 3); DELETE FROM item WHERE code = 'B'")
    line.shop("UPDATE products SET body = 'from the shop' WHERE sku = 'A'")
    line.wait_in_step()
    line.shop("DELETE FROM products WHERE sku = 'C'")  # not its to delete: written back
    line.wait_in_step()
    assert line.cli("resync", "product").returncode == 0
    assert line.cli("wait").returncode == 0


@pytest.mark.parametrize("sql", REFUSED_BY_POSTGRES)
def test_postgres_refuses_everything_else(line: Line, sql: str):
    names = [name for (name,) in line.erp("SELECT pubname FROM pg_publication")]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        in_postgres(line, sql.format(publication=names[0]))


@pytest.mark.parametrize("sql", REFUSED_BY_MYSQL)
def test_mysql_refuses_everything_else(line: Line, sql: str):
    with pytest.raises(pymysql.Error) as caught:
        in_mysql(line, sql)
    assert caught.value.args[0] in (1044, 1419, 1142, 1143, 1227, 1370, 1410, 1698, 1045), caught.value


def difference(line: Line, system: str) -> tuple[list[str], list[str]]:
    """What --diff calls missing, and too much."""
    done = line.cli("grants", system, "--diff", "--json")
    answer = json.loads(done.stdout)
    missing, excess = ([grant["sql"] for grant in answer["result"][part]] for part in ("missing", "excess"))
    assert done.returncode == (DIFFERENT if missing or excess else 0), done.stderr
    return missing, excess


@pytest.mark.parametrize("system", ["erp", "shop"])
def test_with_what_is_printed_nothing_is_missing_and_nothing_too_much(line: Line, system: str):
    assert difference(line, system) == ([], [])


def test_what_is_missing_and_too_much_in_postgres_is_printed_and_what_is_printed_mends_it(line: Line):
    role = f'"{line.name}"'
    line.erp(f"REVOKE DELETE ON item FROM {role}; REVOKE USAGE ON SEQUENCE item_id_seq FROM {role}")
    line.erp(
        f"GRANT SELECT ON salary TO {role}; GRANT INSERT, UPDATE (id) ON item TO {role}; GRANT ALL ON SCHEMA public TO {role}"
    )
    line.erp(f"CREATE ROLE more_{line.name}; GRANT more_{line.name} TO {role}; ALTER ROLE {role} CREATEDB")
    missing, excess = difference(line, "erp")
    assert len(missing) == 2
    assert any("DELETE ON " in sql for sql in missing)
    assert {sql.split(" ON ")[0].split(" FROM ")[0] for sql in excess} >= {"REVOKE SELECT", "REVOKE INSERT"}
    assert any("NOCREATEDB" in sql for sql in excess)
    for sql in [*excess, *missing]:
        line.erp(sql)
    assert difference(line, "erp") == ([], [])


def test_what_is_missing_and_too_much_in_mysql_is_printed_and_what_is_printed_mends_it(line: Line):
    account = f"`{line.name}`@'127.0.0.1'"
    line.shop(f"REVOKE DELETE ON products FROM {account}; REVOKE REPLICATION SLAVE ON *.* FROM {account}")
    line.shop(
        f"GRANT SELECT ON salary TO {account}; GRANT INSERT ON products TO {account}; GRANT PROCESS ON *.* TO {account}"
    )
    line.shop(f"GRANT UPDATE (id) ON products TO {account}; GRANT CREATE ON `{line.name}`.* TO {account}")
    missing, excess = difference(line, "shop")
    assert len(missing) == 2
    assert len(excess) == 5
    for sql in [*excess, *missing]:
        line.shop(sql)
    assert difference(line, "shop") == ([], [])


def test_a_superuser_is_too_much(line: Line, postgres: PostgresServer):
    text = line.config.read_text()
    config = line.config.with_name("as-superuser.toml")
    config.write_text(text.replace(f"user='{line.name}'", "user='postgres'"))
    done = line.cli("grants", "erp", "--diff", "--config", str(config))
    assert done.returncode == DIFFERENT
    assert 'ALTER ROLE "postgres" NOSUPERUSER;' in done.stdout
    account = f"`{line.name}`@'127.0.0.1'"
    line.shop(f"GRANT ALL ON *.* TO {account} WITH GRANT OPTION")
    try:
        _, excess = difference(line, "shop")
        everything = "ALL PRIVILEGES" if line.mariadb.is_mariadb else "SUPER"  # MySQL lists them one by one
        assert {everything, "GRANT OPTION"} <= {sql.removeprefix("REVOKE ").split(" ON ")[0] for sql in excess}
    finally:
        line.shop(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account}")
        line.grant()


def test_a_new_table_of_the_configuration_is_missing_and_granting_again_is_enough(line: Line):
    line.erp("CREATE TABLE price (id integer PRIMARY KEY, amount numeric(10,2)); INSERT INTO price VALUES (1, 1)")
    line.shop("CREATE TABLE price (id integer PRIMARY KEY, amount decimal(10,2))")
    before = line.config.read_text()
    line.config.write_text(before + '[[replicate]]\nfrom = "erp"\nto = "shop"\ntables = ["price"]\n')
    try:
        missing, _ = difference(line, "erp")
        assert any(sql.startswith("GRANT SELECT ON ") for sql in missing)
        assert any("ALTER PUBLICATION" in sql for sql in missing)
        assert difference(line, "shop")[0]
        refused = line.cli("reload")
        assert refused.returncode == 3
        checked = line.cli("check")
        assert "cdcd grants erp" in checked.stdout
        assert "cdcd grants shop" in checked.stdout
        line.grant()
        assert line.cli("reload").returncode == 0
        wait_until(lambda: line.shop("SELECT 1 FROM price"), "the copy flows")
    finally:
        line.config.write_text(before)
        line.cli("reload")


def test_printed_sql_can_be_run_again_and_holds_no_password(line: Line):
    grant_in_postgres(line.postgres, line.name, line.config, "erp")
    grant_in_mysql(line.mariadb, line.config, "shop", PASSWORD)
    for system in ("erp", "shop"):
        printed = line.cli("grants", system)
        assert printed.returncode == 0
        assert PASSWORD not in printed.stdout
        assert "IDENTIFIED BY '<password>'" in printed.stdout or "\\password" in printed.stdout


def test_a_system_that_there_is_not_is_named_with_those_there_are(line: Line):
    done = line.cli("grants", "shopp")
    assert done.returncode == 2
    assert "did you mean 'shop'" in done.stderr


# ---- what an account with few rights is not shown ----------------------------------------------------------------


@pytest.fixture
def reading(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Options]:
    """An account that may only read two tables, and the log."""
    line.shop("CREATE TABLE parent (id int PRIMARY KEY)")
    line.shop(
        "CREATE TABLE child (id int PRIMARY KEY, parent int, content json,"
        " FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)"
    )
    line.shop(
        "CREATE USER IF NOT EXISTS reading@'127.0.0.1' IDENTIFIED BY 's3cret';"
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT /*!80000 , XA_RECOVER_ADMIN */ ON *.* TO reading@'127.0.0.1';"
        f"GRANT SELECT ON `{line.name}`.child TO reading@'127.0.0.1'"
    )
    monkeypatch.setenv("READING_PASSWORD", "s3cret")
    yield Options(
        database=line.name, user="reading", host="127.0.0.1", port=line.mariadb.port,
        password=Secret(env="READING_PASSWORD"), outage="1s",
    )  # fmt: skip
    line.shop("DROP TABLE child; DROP TABLE parent; DROP USER reading@'127.0.0.1'")


def test_cascades_and_json_are_seen_by_an_account_that_only_reads(line: Line, reading: Options):
    identity, needs = Identity("line", "shop", "lineage"), [TableNeed("child", ("id",))]
    source = adapter.open_source(identity, reading, needs)
    codes = {finding.code for finding in source.check(needs)}
    source.close()
    if line.mariadb.is_mariadb:
        assert "cascade" in codes
    assert "privilege" not in codes
    target = adapter.open_target(identity, reading)
    types = {column.name: column.type for column in target.describe(["child"])["child"].columns}
    target.close()
    assert types["content"].startswith("json")
