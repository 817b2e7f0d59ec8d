"""What `check` finds in tables and privileges on real servers, and that the SQL of each remedy mends it."""

import copy

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.config import Secret
from cdcd.errors import NotReady
from cdcd_mysql import preflight
from integration.mysql_checking import check_source, check_target, codes, harness, server  # noqa: F401 (fixtures)
from integration.mysql_reading import opened, read_changes  # noqa: F401 (fixtures)

REFERENCE = "CONSTRAINT child_parent FOREIGN KEY (p) REFERENCES parent (id) ON DELETE {action}"
FAMILY = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    f"CREATE TABLE child (id int PRIMARY KEY, p int, v int, {REFERENCE})",
    "INSERT INTO parent VALUES (1)",
    "INSERT INTO child VALUES (10, 1, 0), (11, 1, 0)",
)


@pytest.fixture
def account(harness, server, monkeypatch):
    """Makes an account without rights, and a harness that uses it."""

    def make(name):
        server.execute(f"DROP USER IF EXISTS '{name}'@'127.0.0.1'; CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY 'pw'")
        monkeypatch.setenv("ACCOUNT_PASSWORD", "pw")
        made = copy.copy(harness)
        made.options = msgspec.structs.replace(harness.options, user=name, password=Secret(env="ACCOUNT_PASSWORD"))
        return made

    return make


def lacking(findings):
    return {finding.subject for finding in findings if finding.code == "privilege"}


def test_every_missing_privilege_is_found_and_its_remedy_grants_it(harness, server, account):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    weak = account("weak")
    server.execute(f"GRANT SHOW VIEW ON `{harness.database}`.* TO 'weak'@'127.0.0.1'")
    needs = [TableNeed("t", ("id",))]
    for check in (check_source, check_target):
        for _ in range(12):
            findings = [finding for finding in check(weak, *needs) if finding.code == "privilege"]
            if not findings:
                break
            server.execute(findings[0].remedy)
        assert [finding for finding in check(weak, *needs) if finding.severity == "error"] == []
    grants = server.execute("SHOW GRANTS FOR 'weak'@'127.0.0.1'")
    assert "SUPER" not in str(grants)
    source = weak.adapter.open_source(weak.identity, weak.options, needs)
    source.start(None)
    source.request_chunk("t", None, 10)
    source.status()
    source.close()
    target = weak.open_target()
    assert target.open() == 0
    target.close()


def test_privileges_by_pattern_and_by_table_count(harness, server, account):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    narrow = account("narrow")
    server.execute("GRANT SELECT ON `contract%`.* TO 'narrow'@'127.0.0.1'")
    server.execute(f"GRANT INSERT, UPDATE, DELETE ON `{harness.database}`.t TO 'narrow'@'127.0.0.1'")
    assert lacking(check_target(narrow, TableNeed("t", ("id",)))) == {f"`{harness.database}`.`cdcd_checkpoint`"}


def test_privileges_on_columns_count_where_they_are_all_that_is_needed(harness, server, account):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, v int, w int)")
    narrow = account("columns")
    server.execute(f"GRANT ALL ON `{harness.database}`.cdcd_checkpoint TO 'columns'@'127.0.0.1'")
    server.execute(
        f"GRANT SELECT, DELETE, INSERT (id, v), UPDATE (v, id) ON `{harness.database}`.t TO 'columns'@'127.0.0.1'"
    )
    assert lacking(check_target(narrow, TableNeed("t", ("id",), ("v",)))) == set()
    assert lacking(check_target(narrow, TableNeed("t", ("id",), ("v", "w")))) == {f"`{harness.database}`.`t`"}
    assert lacking(check_target(narrow, TableNeed("t", ("id",)))) == {f"`{harness.database}`.`t`"}


def test_privileges_of_active_roles_count(harness, server, account):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    member = account("member")
    role = "clerk" if server.is_mariadb else "clerk@'%'"
    server.execute(
        "DROP ROLE IF EXISTS clerk; CREATE ROLE clerk; GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON *.* TO clerk"
    )
    server.execute(f"GRANT SELECT ON *.* TO 'member'@'127.0.0.1'; GRANT {role} TO 'member'@'127.0.0.1'")
    assert lacking(check_target(member, TableNeed("t", ("id",))))
    server.execute(f"SET DEFAULT ROLE {role} {'FOR' if server.is_mariadb else 'TO'} 'member'@'127.0.0.1'")
    assert lacking(check_target(member, TableNeed("t", ("id",)))) == set()


def test_a_database_that_is_taken_out_of_a_global_grant_is_found(mysql_only, harness, server, account):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY)")
    partial = account("partial")
    server.execute(
        "SET GLOBAL partial_revokes = ON; GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN ON *.* TO 'partial'@'127.0.0.1'"
    )
    server.execute(f"REVOKE SELECT ON `{harness.database}`.* FROM 'partial'@'127.0.0.1'")
    server.execute(f"GRANT SHOW VIEW ON `{harness.database}`.* TO 'partial'@'127.0.0.1'")
    try:
        assert lacking(check_source(partial, "t")) == {f"`{harness.database}`.`t`"}
    finally:
        server.execute("DROP USER 'partial'@'127.0.0.1'; SET GLOBAL partial_revokes = OFF")


# ---- tables --------------------------------------------------------------------------------------------------------


def test_faults_of_tables_are_found(harness, server):
    harness.sql(
        "CREATE TABLE good (id int PRIMARY KEY)",
        "CREATE TABLE loose (id int)",
        "CREATE TABLE old (id int PRIMARY KEY) ENGINE=MyISAM",
        "CREATE TABLE many (id int PRIMARY KEY) ENGINE=MERGE UNION=(old)",
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3",
        "CREATE VIEW seen AS SELECT id FROM good",
        "CREATE TEMPORARY TABLE brief (id int PRIMARY KEY)",
    )
    names = ["good", "loose", "old", "many", "parts", "seen", "brief", TableNeed("good", (), ("x",))]
    expected = {
        ("loose", "no-primary-key"): "error",
        ("old", "engine"): "warning",
        ("many", "engine"): "error",
        ("seen", "table-kind"): "error",
        ("brief", "table-missing"): "error",
        ("good", "column-missing"): "error",
    }
    if server.is_mariadb:
        harness.sql("CREATE TABLE versioned (id int PRIMARY KEY) WITH SYSTEM VERSIONING", "CREATE SEQUENCE numbers")
        names += ["versioned", "numbers"]
        expected |= {("versioned", "table-kind"): "error", ("numbers", "table-kind"): "error"}
    found = {(finding.subject, finding.code): finding.severity for finding in check_source(harness, *names)}
    assert {key: severity for key, severity in found.items() if key != ("many", "no-primary-key")} == expected


def test_a_name_in_another_case_is_told(harness):
    harness.sql("CREATE TABLE Item (id int PRIMARY KEY)")
    (finding,) = [finding for finding in check_source(harness, "item") if finding.code == "table-missing"]
    assert "write Item" in finding.remedy


@pytest.mark.parametrize(("action", "left"), [("CASCADE", []), ("SET NULL", [10, 11])])
def test_a_foreign_key_that_changes_captured_rows_is_refused_and_its_remedy_logs_them(
    mariadb_only, harness, opened, action, left
):
    harness.sql(*(statement.format(action=action) for statement in FAMILY))
    (finding,) = check_source(harness, "child", "parent")
    assert (finding.severity, finding.code, finding.subject) == ("error", "cascade", "child")
    harness.sql(*finding.remedy.rpartition("; or ")[0].split("; "))
    assert check_source(harness, "child", "parent") == []
    reader = opened(harness, tables=("child",))
    harness.sql("DELETE FROM parent")
    assert len(read_changes(reader, 2)) == 2
    assert [int(row[0]) for row in harness.sql("SELECT id FROM child ORDER BY id")] == left


@pytest.mark.parametrize(("action", "left"), [("CASCADE", []), ("SET NULL", [10, 11])])
def test_mysql_logs_what_foreign_keys_change_from_9_6_on(mysql_only, harness, server, opened, action, left):
    if "innodb_native_foreign_keys" not in str(server.execute("SHOW VARIABLES LIKE 'innodb_native_foreign_keys'")):
        pytest.skip("this MySQL is older than 9.6")
    harness.sql(*(statement.format(action=action) for statement in FAMILY))
    assert check_source(harness, "child", "parent") == []
    reader = opened(harness, tables=("child",))
    harness.sql("DELETE FROM parent")
    assert len(read_changes(reader, 2)) == 2
    assert [int(row[0]) for row in harness.sql("SELECT id FROM child ORDER BY id")] == left


def test_a_foreign_key_is_no_matter_where_its_columns_are_not_read_or_it_is_accepted(mariadb_only, harness):
    harness.sql(*(statement.format(action="SET NULL") for statement in FAMILY))
    assert check_source(harness, TableNeed("child", ("id",), ("v",))) == []
    harness.options = msgspec.structs.replace(harness.options, accept_cascades=True)
    assert codes(check_source(harness, "child")) == {("warning", "cascade")}


def test_a_foreign_key_that_is_added_stops_a_running_source_at_its_next_look(
    mariadb_only, harness, opened, monkeypatch
):
    monkeypatch.setattr(preflight, "_WATCH_SECONDS", 0)
    harness.sql("CREATE TABLE parent (id int PRIMARY KEY)", "CREATE TABLE child (id int PRIMARY KEY, p int)")
    reader = opened(harness, tables=("child",))
    reader.source.status()
    harness.sql("ALTER TABLE child ADD CONSTRAINT cp FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE")
    with pytest.raises(NotReady) as caught:
        reader.source.status()
    assert caught.value.code == "cascade"


def test_a_key_must_be_unique_in_the_target(harness):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, sku varchar(9), UNIQUE (sku(3)))")
    assert codes(check_target(harness, TableNeed("t", ("sku",)))) == {("error", "key-not-unique")}
    harness.sql("ALTER TABLE t ADD UNIQUE whole (sku)")
    assert check_target(harness, TableNeed("t", ("sku",))) == []


def test_generated_columns_are_reported_in_the_target(harness):
    harness.sql("CREATE TABLE t (id int PRIMARY KEY, v int, w int AS (v + 1) STORED)")
    assert codes(check_target(harness, TableNeed("t", ("id",), ("v", "w")))) == {("warning", "generated-column")}
    assert check_target(harness, TableNeed("t", ("id",), ("v",))) == []


def test_triggers_that_set_what_we_write_are_reported(harness):
    harness.sql(
        "CREATE TABLE t (id int PRIMARY KEY, price int, seen int)",
        "CREATE TRIGGER prices BEFORE UPDATE ON t FOR EACH ROW SET new . `price` = old.price",
        "CREATE TRIGGER counts BEFORE INSERT ON t FOR EACH ROW SET NEW.seen = IF(NEW.price = 1, 0, 1)",
    )
    (finding,) = check_target(harness, TableNeed("t", ("id",), ("price",)))
    assert (finding.severity, finding.code) == ("warning", "trigger")
    assert "prices" in finding.message
    harness.sql(finding.remedy.partition(",")[0])
    assert check_target(harness, TableNeed("t", ("id",), ("price",))) == []


def test_a_checkpoint_table_without_transactions_is_found_and_its_remedy_mends_it(harness):
    target = harness.open_target()
    target.open()
    target.close()
    assert check_target(harness) == []
    harness.sql("ALTER TABLE cdcd_checkpoint ENGINE = MyISAM")
    (finding,) = check_target(harness)
    assert (finding.severity, finding.code) == ("error", "checkpoint-engine")
    harness.sql(finding.remedy)
    assert check_target(harness) == []
