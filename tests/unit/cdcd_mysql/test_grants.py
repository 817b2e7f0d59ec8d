"""What an account of MySQL or MariaDB is granted, and what it has beyond it."""

import pytest

from cdcd.adapter import TableNeed
from cdcd_mysql import Options
from cdcd_mysql.captured import TableName
from cdcd_mysql.grants import TableAccess, account_host, excess, grants, missing, missing_of_log
from cdcd_mysql.preflight_privileges import Grants

OPTIONS = Options(database="shop", user="cdcd", host="shop.internal", tls="verify-full")
ITEM = TableAccess(TableName("shop", "item"), {"SELECT": None, "UPDATE": ("price", "stock")})
NAME = "'cdcd'@'%'"


def sql_of(*tables: TableNeed, options: Options = OPTIONS) -> list[str]:
    return [grant.sql for grant in grants(options, tables) if not grant.optional]


def test_the_account_is_made_locked_and_for_tls_where_that_is_demanded():
    assert sql_of(TableNeed("item"))[0] == "CREATE USER IF NOT EXISTS 'cdcd'@'%' REQUIRE SSL ACCOUNT LOCK"
    plain = Options(database="shop", user="cdcd", host="127.0.0.1")
    assert sql_of(TableNeed("item"), options=plain)[0] == "CREATE USER IF NOT EXISTS 'cdcd'@'127.0.0.1' ACCOUNT LOCK"


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({"host": "localhost"}, "localhost"),
        ({"unix_socket": "/run/mysqld/mysqld.sock"}, "localhost"),
        ({"host": "127.0.0.1"}, "127.0.0.1"),
        ({"host": "::1"}, "::1"),
        ({"host": "shop.internal"}, "%"),
        ({"host": "10.0.0.7"}, "%"),
    ],
)
def test_where_we_come_from_is_told_by_where_the_server_is(options: dict[str, str], host: str):
    assert account_host(Options(database="d", user="u", **options)) == host


def test_a_table_that_is_written_is_written_in_its_columns():
    need = TableNeed("item", written=True, inserted=("a", "b`"), updated=("a",), deleted=False)
    found = sql_of(need)
    assert f"GRANT SELECT, INSERT (`a`, `b```), UPDATE (`a`) ON `shop`.`item` TO {NAME}" in found
    assert f"GRANT SELECT, INSERT, UPDATE ON `shop`.`cdcd_checkpoint` TO {NAME}" in found
    assert not any(" DELETE " in sql for sql in found)


def test_who_only_writes_does_not_read_the_log():
    assert not any("REPLICATION" in sql for sql in sql_of(TableNeed("item", captured=False, written=True)))


def test_what_is_missing_is_granted_on_its_columns():
    has = Grants(["GRANT SELECT, UPDATE (`price`) ON `shop`.`item` TO x@y"])
    assert [g.sql for g in missing(has, [ITEM], NAME)] == [
        f"GRANT UPDATE (`price`, `stock`) ON `shop`.`item` TO {NAME}"
    ]
    has = Grants(["GRANT BINLOG MONITOR ON *.* TO x@y"])
    assert [g.sql for g in missing_of_log(has, is_mariadb=True, name=NAME)] == [
        f"GRANT REPLICATION SLAVE ON *.* TO {NAME}"
    ]


@pytest.mark.parametrize(
    ("line", "revoked"),
    [
        ("GRANT SELECT, UPDATE (`price`, `stock`) ON `shop`.`item` TO x@y", []),
        ("GRANT REPLICATION SLAVE, BINLOG MONITOR, XA_RECOVER_ADMIN ON *.* TO x@y", []),
        ("GRANT USAGE ON *.* TO x@y IDENTIFIED BY PASSWORD '*AB'", []),
        ("GRANT DELETE ON `shop`.`item` TO x@y", ["REVOKE DELETE ON `shop`.`item`"]),
        ("GRANT UPDATE (`price`, `id`) ON `shop`.`item` TO x@y", ["REVOKE UPDATE (`id`) ON `shop`.`item`"]),
        ("GRANT SELECT ON `shop`.* TO x@y", ["REVOKE SELECT ON `shop`.*"]),
        ("GRANT SUPER, FILE ON *.* TO x@y", ["REVOKE SUPER ON *.*", "REVOKE FILE ON *.*"]),
        (
            "GRANT ALL PRIVILEGES ON *.* TO `x`@`y` WITH GRANT OPTION",
            ["REVOKE ALL PRIVILEGES ON *.*", "REVOKE GRANT OPTION ON *.*"],
        ),
        ("GRANT `clerk`@`%` TO `x`@`y`", ["REVOKE `clerk`@`%`"]),
    ],
)
def test_what_is_too_much_is_revoked(line: str, revoked: list[str]):
    found = [grant.sql.split(" FROM ")[0] for grant in excess(Grants([line]), [ITEM], NAME, reads=True)]
    assert found == revoked


def test_what_is_granted_on_the_table_and_needed_on_columns_is_narrowed():
    (grant,) = excess(Grants(["GRANT UPDATE ON `shop`.`item` TO x@y"]), [ITEM], NAME, reads=True)
    assert grant.sql == (
        f"REVOKE UPDATE ON `shop`.`item` FROM {NAME}; GRANT UPDATE (`price`, `stock`) ON `shop`.`item` TO {NAME}"
    )


def test_names_with_quotes_and_words_of_grants_in_them_are_read():
    has = Grants(["GRANT SELECT, INSERT (`a) ON ``x`, `b, c`) ON `my``db`.`t TO u` TO `x`@`y`"])
    name = TableName("my`db", "t TO u")
    assert has.allows(("INSERT",), name, ("a) ON `x", "b, c"))
    assert not has.allows(("INSERT",), name, ("d",))
