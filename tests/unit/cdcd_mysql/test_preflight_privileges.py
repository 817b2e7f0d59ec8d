"""What SHOW GRANTS says we may do."""

import pytest

from cdcd_mysql.captured import TableName
from cdcd_mysql.preflight_privileges import Grants

ITEM = TableName("shop", "item")


@pytest.mark.parametrize(
    "line",
    [
        "GRANT ALL PRIVILEGES ON *.* TO `cdcd`@`%` WITH GRANT OPTION",
        "GRANT SELECT, INSERT ON *.* TO `cdcd`@`%`",
        "GRANT INSERT, SELECT ON `shop`.* TO `cdcd`@`%`",
        "GRANT SELECT ON `sh%`.* TO `cdcd`@`%`",
        "GRANT SELECT ON `sho_`.* TO `cdcd`@`%`",
        "GRANT SELECT ON `shop`.`item` TO `cdcd`@`%`",
        "GRANT SELECT, UPDATE (`price`) ON `shop`.`item` TO `cdcd`@`%` IDENTIFIED BY PASSWORD '*A'",
    ],
)
def test_a_grant_that_includes_the_table_allows(line):
    assert Grants([line]).allows(("SELECT",), ITEM)


@pytest.mark.parametrize(
    "line",
    [
        "GRANT USAGE ON *.* TO `cdcd`@`%`",
        "GRANT INSERT ON `shop`.* TO `cdcd`@`%`",
        "GRANT SELECT ON `shop2`.* TO `cdcd`@`%`",
        "GRANT SELECT ON `sho\\_`.* TO `cdcd`@`%`",
        "GRANT SELECT ON `shop`.`items` TO `cdcd`@`%`",
        "GRANT SELECT (`id`) ON `shop`.`item` TO `cdcd`@`%`",
        "GRANT `SELECT`@`%` TO `cdcd`@`%`",
    ],
)
def test_any_other_does_not(line):
    assert not Grants([line]).allows(("SELECT",), ITEM)


def test_names_are_unescaped():
    grants = Grants(["GRANT SELECT ON `my\\_``shop`.* TO x@y"])
    assert grants.allows(("SELECT",), TableName("my_`shop", "item"))
    assert not grants.allows(("SELECT",), TableName("myx`shop", "item"))


def test_columns_count_where_they_are_all_that_is_needed():
    grants = Grants(["GRANT SELECT, UPDATE (`id`, `price`), INSERT (`id`) ON `shop`.`item` TO x@y"])
    assert grants.allows(("UPDATE",), ITEM, ("id", "price"))
    assert not grants.allows(("UPDATE",), ITEM, ("id", "stock"))
    assert not grants.allows(("UPDATE",), ITEM)
    assert not grants.allows(("INSERT",), ITEM, ("id", "price"))


def test_a_partial_revoke_takes_a_database_out_of_a_global_grant():
    lines = ["GRANT SELECT, INSERT ON *.* TO x@y", "REVOKE INSERT ON `shop`.* FROM x@y"]
    assert Grants(lines).allows(("SELECT",), ITEM)
    assert not Grants(lines).allows(("INSERT",), ITEM)
    assert Grants([*lines, "GRANT INSERT ON `shop`.`item` TO x@y"]).allows(("INSERT",), ITEM)
    assert Grants(lines).allows(("INSERT",), TableName("other", "item"))


def test_synonyms_and_dynamic_privileges_are_global():
    grants = Grants(["GRANT BINLOG MONITOR ON *.* TO x@y", "GRANT XA_RECOVER_ADMIN ON *.* TO x@y"])
    assert grants.allows(("REPLICATION CLIENT", "BINLOG MONITOR"), None)
    assert grants.allows(("XA_RECOVER_ADMIN",), None)
    assert not grants.allows(("REPLICATION SLAVE",), None)
    assert not Grants(["GRANT REPLICATION SLAVE ON `shop`.* TO x@y"]).allows(("REPLICATION SLAVE",), None)
