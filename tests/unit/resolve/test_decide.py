"""Who may change what, and who is told: records whose fields have fixed owners."""

from __future__ import annotations

import pytest

from cdcd.model import ABSENT
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import Told, delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
FULL = {"sku": "A", "name": "one", "status": "active", "stock": 5, "note": "n"}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}


@pytest.fixture
def line(products):
    """Product A, created in the ERP, and there in the shop."""
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    assert products.told("shop") == [Told("product", "FULL", ("A",), FULL, {"body": "w"})]
    products.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    products.resolve()
    assert products.told("shop") == products.told("erp") == []
    return products


def with_policy(policy: str) -> str:
    return PRODUCT.replace(
        'not-owner = { fields = { stock = "ignore", note = "hold" } }', f'not-owner = {{ default = "{policy}" }}'
    )


# ---- changes ------------------------------------------------------------------------------------------------


def test_an_owners_change_is_told_to_the_others_with_the_changed_fields_only(line):
    line.apps["erp"].write(update("item", 1, name="two", stock=6))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "two", "stock": 6})]
    assert line.told("erp") == []
    assert line.values("product", "A")["name"] == "two"


def test_each_system_may_change_what_it_owns(line):
    line.apps["shop"].write(update("products", 70, body="better"))
    line.resolve()
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "better"})]
    assert line.told("shop") == []


def test_a_change_by_another_system_is_reverted_to_the_owners_value(line):
    line.apps["shop"].write(update("products", 70, title="mine", body="and this is mine"))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "one"})]
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "and this is mine"})]
    assert line.values("product", "A")["name"] == "one"


def test_a_change_of_an_ignored_field_by_another_system_is_left_alone(line):
    line.apps["shop"].write(update("products", 70, stock=99))
    line.resolve()
    assert line.told("shop") == line.told("erp") == []
    assert line.values("product", "A")["stock"] == 5
    assert line.counted("shop", "product")["ignore"] == 1


def test_a_held_change_waits_for_a_person_with_its_value(line):
    line.apps["shop"].write(update("products", 70, note="please"))
    line.resolve()
    assert line.told("shop") == []
    assert line.conflicts() == [("product", ("A",), "shop", "held", "note", "please")]
    line.apps["shop"].write(update("products", 70, note="please!"))
    line.resolve()
    assert line.conflicts() == [("product", ("A",), "shop", "held", "note", "please!")], "one row for one field"


def test_a_conflict_names_the_journal_entry_that_raised_it_whatever_else_the_step_resolved(line):
    line.apps["shop"].write(update("products", 70, note="please"))
    raised = line.journal.last_seq()
    line.apps["erp"].write(update("item", 1, stock=7))
    line.resolve()
    assert line.state.connection.execute("SELECT seq FROM conflicts").fetchall() == [(raised,)]


def test_a_row_that_only_says_what_is_true_is_no_change(line):
    line.apps["erp"].write(update("item", 1, name="one"))
    line.resolve()
    assert line.told("shop") == line.told("erp") == []
    assert line.counted("erp", "product")["equal"] == 1


def test_a_value_that_the_log_left_out_is_no_change(line):
    line.apps["erp"].write(update("item", 1, name="two", web=ABSENT, note=ABSENT))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "two"})]
    assert line.values("product", "A")["note"] == "n"


def test_a_null_is_a_value(line):
    line.apps["erp"].write(update("item", 1, note=None))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"note": None})]


def test_changes_of_one_transaction_are_told_in_its_order(line):
    line.apps["erp"].write(update("item", 1, name="two"), update("item", 1, name="three"))
    line.resolve()
    assert [told.fields for told in line.told("shop")] == [{"name": "two"}, {"name": "three"}]


def test_a_row_image_with_a_value_that_a_write_on_its_way_will_replace_is_no_change(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["shop"].write(update("products", 70, body="new"))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "two"})]
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"body": "new"})]
    assert line.counted("shop", "product")["behind"] == 1


# ---- creating and deleting ----------------------------------------------------------------------------------


def test_a_record_created_without_the_right_is_taken_back(line):
    line.apps["shop"].write(insert("products", id=71, sku="X", title="mine"))
    line.resolve()
    assert line.told("shop") == [Told("product", "DELETE", ("X",), {})]
    assert line.told("erp") == []
    assert line.record("product", "X") is None


@pytest.mark.parametrize(("policy", "kind"), [("ignore", "create-ignored"), ("hold", "create-held")])
def test_a_record_created_without_the_right_may_also_be_left_alone_and_reported(make_line, policy, kind):
    line = make_line(with_policy(policy), PRODUCT_TABLES)
    line.apps["shop"].write(insert("products", id=71, sku="X", title="mine"))
    line.resolve()
    assert line.told("shop") == line.told("erp") == []
    assert line.conflicts(kept=policy == "ignore") == [("product", ("X",), "shop", kind, None, None)]


def test_a_record_that_its_system_may_delete_is_deleted_everywhere(line):
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert line.told("shop") == [Told("product", "DELETE", ("A",), {})]
    assert line.told("erp") == []
    assert line.values("product", "A") is None


def test_a_record_deleted_without_the_right_comes_back_whole_with_the_systems_own_fields(line):
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert line.told("shop") == [Told("product", "FULL", ("A",), FULL, {"body": "w"})]
    assert line.told("erp") == []


def test_a_delete_without_the_right_may_be_ignored_and_then_that_system_is_told_no_more(make_line):
    line = make_line(with_policy("ignore"), PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    assert line.told("shop") == []
    assert line.values("product", "A")["name"] == "two"


def test_a_held_delete_waits_for_a_person(make_line):
    line = make_line(with_policy("hold"), PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert line.conflicts() == [("product", ("A",), "shop", "delete-held", None, None)]


def test_a_record_that_was_deleted_and_is_created_again_is_restored_with_what_others_own(line):
    line.apps["shop"].write(update("products", 70, body="better"))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(insert("item", id=2, **(ROW | {"name": "back", "web": ABSENT})))
    line.resolve()
    assert line.told("shop") == [Told("product", "FULL", ("A",), FULL | {"name": "back"}, {"body": "better"})]


def test_deleting_what_is_deleted_changes_nothing(line):
    line.apps["erp"].write(delete("item", 1))
    line.apps["shop"].echo(delete("products", 70))
    line.apps["erp"].write(insert("item", id=1, **ROW), delete("item", 1))
    line.resolve()
    assert line.values("product", "A") is None
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert line.counted("shop", "product")["equal"] == 1


def test_an_update_of_a_record_that_was_deleted_elsewhere_does_not_bring_it_back(line):
    line.apps["erp"].write(delete("item", 1))
    line.apps["shop"].write(update("products", 70, body="too late"))
    line.resolve()
    assert [told.kind for told in line.told("shop")] == ["DELETE"]
    assert line.told("erp") == []


# ---- what a delete means in a target ------------------------------------------------------------------------


def test_a_binding_that_ignores_deletes_is_not_told_of_them(make_line):
    line = make_line(PRODUCT + 'on-delete = "ignore"\n', PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert [told.kind for told in line.told("shop")] == ["FULL"]
    line.apps["shop"].write(update("products", 70, title="mine now"))
    line.resolve()
    assert line.told("shop") == []


def test_a_row_that_stays_because_deletes_are_ignored_also_survives_a_resync(make_line):
    line = make_line(PRODUCT + 'on-delete = "ignore"\n', PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    line.told("shop")
    line.resync("product")
    assert line.told("shop") == line.told("erp") == []
    assert line.values("product", "A") is None


def test_a_record_comes_back_into_the_row_that_stayed(make_line):
    line = make_line(PRODUCT + 'on-delete = "ignore"\n', PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(insert("item", id=2, **ROW | {"name": "back"}))
    line.resolve()
    assert [(told.kind, told.fields["name"]) for told in line.told("shop")] == [("FULL", "back")]


# ---- Invariant 6 --------------------------------------------------------------------------------------------


def test_no_unit_writes_a_field_that_its_target_owns_but_as_the_first_value_of_a_new_row(line):
    erp, shop = line.apps["erp"], line.apps["shop"]
    erp.write(update("item", 1, name="two", web="not mine"))
    shop.write(update("products", 70, title="not mine", body="mine"))
    erp.write(insert("item", id=2, **ROW | {"code": "B"}))
    line.resolve()
    line.command("rewind", system="shop", since_us=0)
    line.resync("product")
    shop.write(delete("products", 70))
    line.resolve()
    told = line.told("shop")
    assert {t.kind for t in told} == {"UPDATE", "FULL"}
    assert all("body" not in t.fields for t in told)
    assert all(set(t.fields) <= {"sku", "body"} for t in line.told("erp") if t.kind == "UPDATE")


# ---- images that are only behind ------------------------------------------------------------------------------


def test_an_image_that_lacks_what_is_on_its_way_is_no_change_by_a_non_owner(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].write(update("products", 70, body="better"))  # its image still says "one"
    line.resolve()
    assert line.told("shop") == []
    assert line.counted("shop", "product")["behind"] == 1


def test_a_unit_that_was_read_back_excuses_no_later_change_of_its_field(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.told("shop")
    line.apps["shop"].echo(update("products", 70, title="two"))
    line.apps["erp"].write(update("item", 1, stock=7))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"stock": 7})]
    line.apps["shop"].write(update("products", 70, title="mine"))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "two"})]
