"""SQL text: names stay in their quotes."""

from hypothesis import given
from hypothesis import strategies as st

from cdcd_mysql.captured import TableName, table_name
from cdcd_mysql.statements import (
    delete_sql,
    derived_table,
    equals,
    greater_than,
    insert_head,
    insert_sql,
    key_condition,
    on_duplicate_sql,
    quote_name,
    quote_table,
    update_form,
    update_joined_sql,
    update_sql,
)

T = TableName("shop", "item")


@given(st.text(min_size=1))
def test_a_name_cannot_leave_its_quotes(name):
    quoted = quote_name(name)
    assert quoted[1:-1].replace("``", "").count("`") == 0
    assert quoted[1:-1].replace("``", "`") == name


def test_tables_are_spelled_bare_or_with_their_database():
    assert table_name("item", "shop") == T
    assert table_name("erp.item", "shop") == TableName("erp", "item")
    assert quote_table(TableName("a`b", "c.d")) == "`a``b`.`c.d`"


def test_keys_after_a_key_are_compared_so_that_an_index_serves():
    assert greater_than(["`a`"], ["1"]) == "(`a` > 1)"
    assert greater_than(["`a`", "`b`"], ["1", "'x'"]) == "(`a` > 1) OR (`a` = 1 AND `b` > 'x')"


def test_statements():
    assert key_condition(("a",), [("1",), ("2",)]) == "`a` IN (1,2)"
    assert key_condition(("a", "b"), [("1", "2"), ("3", "4")]) == "(`a` = 1 AND `b` = 2) OR (`a` = 3 AND `b` = 4)"
    insert = insert_sql(insert_head(T, ("a", "b")), ["1,2", "3,4"])
    assert insert == "INSERT INTO `shop`.`item` (`a`, `b`) VALUES (1,2),(3,4)"
    assert update_sql(T, [("b", "2")], equals(("a",), ("1",))) == "UPDATE `shop`.`item` SET `b` = 2 WHERE `a` = 1"
    assert delete_sql(T, "`a` = 1") == "DELETE FROM `shop`.`item` WHERE `a` = 1"


def test_the_form_of_an_update_becomes_the_update_of_a_row():
    form = update_form(T, ("b%", "c"), ("a", "d"))
    assert form % ("1", "'50 %s'", "2", "3") == (
        "UPDATE `shop`.`item` SET `b%` = 1, `c` = '50 %s' WHERE `a` = 2 AND `d` = 3"
    )


def test_upserts_name_new_values_as_each_server_wants_it():
    assert on_duplicate_sql(["b"], "a", has_row_alias=False) == " ON DUPLICATE KEY UPDATE `b` = VALUES(`b`)"
    assert on_duplicate_sql(["b"], "a", has_row_alias=True) == " AS cdcd_new ON DUPLICATE KEY UPDATE `b` = cdcd_new.`b`"
    assert on_duplicate_sql([], "a", has_row_alias=False) == " ON DUPLICATE KEY UPDATE `a` = `a`"


def test_literals_are_a_table_whose_columns_have_names():
    new = derived_table(["1,2", "3,4"], 2, is_mariadb=True)
    assert new == "(SELECT NULL c0,NULL c1 FROM DUAL WHERE FALSE UNION ALL VALUES (1,2),(3,4)) cdcd_new"
    assert "VALUES ROW(1,2),ROW(3,4))" in derived_table(["1,2", "3,4"], 2, is_mariadb=False)


def test_updates_are_joined_with_literals_and_led_by_either():
    conditions, sets = ["cdcd_old.`a` = cdcd_new.c0"], [("b", "cdcd_new.c1")]
    assert update_joined_sql(T, "(…) cdcd_new", conditions, sets, "") == (
        "UPDATE (…) cdcd_new STRAIGHT_JOIN `shop`.`item` cdcd_old ON cdcd_old.`a` = cdcd_new.c0"
        " SET cdcd_old.`b` = cdcd_new.c1"
    )
    assert update_joined_sql(T, "(…) cdcd_new", conditions, sets, "PRIMARY", "`a` IN (1)") == (
        "UPDATE `shop`.`item` cdcd_old FORCE INDEX (`PRIMARY`) STRAIGHT_JOIN (…) cdcd_new"
        " ON cdcd_old.`a` = cdcd_new.c0 SET cdcd_old.`b` = cdcd_new.c1 WHERE cdcd_old.`a` IN (1)"
    )
