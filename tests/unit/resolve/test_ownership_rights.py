"""Rights in records as a whole: create, delete, restore; who is heard and who is told; what an accepted change is."""

import pytest

from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": None, "web": None}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": None, "body": None}


def having(**rights):
    lines = "".join(f"{name.replace('_', '-')} = {systems}\n" for name, systems in rights.items())
    return PRODUCT.replace('delete = ["erp"]\n', f'delete = ["erp"]\n{lines}')


def begin(make_line, text):
    """Product A, created in the ERP and there in the shop."""
    line = make_line(text, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.resolve()
    line.told("shop")
    return line


def kinds(line, system):
    return [told.kind for told in line.told(system)]


def happened(line, system):
    return {what: n for (s, _, what), n in line.resolver.happened.items() if s == system}


# ---- restore ------------------------------------------------------------------------------------------------


def test_who_may_create_or_delete_may_restore(make_line):
    line = begin(make_line, PRODUCT)
    line.apps["erp"].write(delete("item", 1))
    line.apps["erp"].write(insert("item", id=2, **ROW | {"name": "back"}))
    line.resolve()
    assert kinds(line, "shop") == ["DELETE", "FULL"]
    assert line.values("product", "A")["name"] == "back"
    assert happened(line, "erp") == {"created": 1, "deleted": 1, "restored": 1}


def test_who_may_create_need_not_be_one_who_may_restore(make_line):
    line = begin(make_line, having(restore='["shop"]'))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    line.apps["shop"].echo(delete("products", 70))
    line.told("shop")
    line.apps["erp"].write(insert("item", id=2, **ROW))
    line.resolve()
    assert kinds(line, "erp") == ["DELETE"]
    assert line.values("product", "A") is None
    line.apps["erp"].echo(delete("item", 2))
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"title": "again"}))
    line.resolve()
    assert kinds(line, "erp") == ["FULL"]
    assert line.values("product", "A")["name"] == "again"


# ---- policies for whole records ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "told", "kind"),
    [
        ("revert", ["DELETE"], "create-reverted"),
        ("ignore", [], "create-ignored"),
        ("hold", [], "create-held"),
    ],
)
def test_what_a_creation_without_the_right_gets_can_be_stated(make_line, policy, told, kind):
    text = PRODUCT.replace("not-owner = {", f'not-owner = {{ create = "{policy}",')
    line = begin(make_line, text)
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"sku": "X"}))
    line.resolve()
    assert kinds(line, "shop") == told
    found = [one[3] for one in line.conflicts() + line.conflicts(kept=True)]
    assert found == [kind]


@pytest.mark.parametrize(
    ("policy", "told", "kind"),
    [
        ("revert", ["FULL"], "delete-reverted"),
        ("ignore", [], "delete-ignored"),
        ("hold", [], "delete-held"),
    ],
)
def test_what_a_deletion_without_the_right_gets_can_be_stated(make_line, policy, told, kind):
    text = PRODUCT.replace("not-owner = {", f'not-owner = {{ delete = "{policy}",')
    line = begin(make_line, text)
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert kinds(line, "shop") == told
    assert [one[3] for one in line.conflicts() + line.conflicts(kept=True)] == [kind]


@pytest.mark.parametrize("policy", ["ignore", "hold"])
def test_a_deletion_that_is_left_alone_stays_so_at_a_resync_and_a_rewind(make_line, policy):
    text = PRODUCT.replace("not-owner = {", f'not-owner = {{ delete = "{policy}",')
    line = begin(make_line, text)
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    line.resync("product")
    line.command("rewind", system="shop", since_us=0)
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    assert set(kinds(line, "shop")) <= {"DELETE"}, "which it is already"
    line.apps["shop"].write(insert("products", id=72, **SHOP_ROW | {"title": "two"}))
    line.resolve()
    assert line.conflicts() == line.conflicts(kept=True) == []
    line.apps["erp"].write(update("item", 1, name="three"))
    line.resolve()
    assert kinds(line, "shop") == ["UPDATE"]


# ---- publish and subscribe -----------------------------------------------------------------------------------

HEARD = PRODUCT.replace('owner = "shop"', 'owner = "erp"').replace(
    'delete = ["erp"]\n', 'delete = ["erp"]\npublish = ["erp"]\n'
)


def test_a_system_that_does_not_publish_is_not_even_judged(make_line):
    line = begin(make_line, HEARD)
    line.apps["shop"].write(update("products", 70, title="mine"))
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"sku": "X"}))
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert line.told("shop") == line.told("erp") == line.conflicts() == line.conflicts(kept=True) == []
    assert line.counted("shop", "product")["not-published"] == 3
    assert line.values("product", "A")["name"] == "one"


def test_what_a_silent_system_has_at_first_is_put_right_and_its_own_records_are_left_alone(make_line):
    line = make_line(HEARD, PRODUCT_TABLES, live=False)
    line.apps["erp"].rows["item"][1] = {"id": 1, **ROW}
    line.apps["shop"].rows["products"][70] = {"id": 70, **SHOP_ROW, "title": "other"}
    line.apps["shop"].rows["products"][71] = {"id": 71, **SHOP_ROW, "sku": "X"}
    line.go_live()
    assert [(told.kind, told.fields) for told in line.told("shop")] == [("UPDATE", {"name": "one"})]
    assert line.record("product", "X") is None
    assert line.conflicts() == []


def test_our_own_writes_in_a_silent_system_are_still_read_back(make_line):
    line = begin(make_line, HEARD)
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.apps["shop"].echo(update("products", 70, title="two"))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert kinds(line, "shop") == ["UPDATE", "DELETE"]


def test_a_system_that_does_not_subscribe_never_gets_anything(make_line):
    line = make_line(having(subscribe='["erp"]'), PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["shop"].write(insert("products", id=70, **SHOP_ROW))
    line.apps["shop"].write(update("products", 70, title="not mine", body="mine"))
    line.resolve()
    line.command("rewind", system="shop", since_us=0)
    line.resync("product")
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert line.told("shop") == []
    assert [told.fields for told in line.told("erp") if told.kind == "UPDATE"] == [{"body": "mine"}]


def test_nothing_is_needed_of_a_table_that_is_never_written(make_line):
    line = make_line(having(subscribe='["erp"]'), PRODUCT_TABLES)
    assert [need.written for need in line.plan.tables("shop")] == [False]
    assert [need.written for need in line.plan.tables("erp")] == [True]
    assert (line.plan.is_target("shop"), line.plan.is_target("erp")) == (False, True)


# ---- what an accepted change is ------------------------------------------------------------------------------


def test_events_are_counted_by_whose_will_it_was(make_line):
    line = begin(make_line, PRODUCT)
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["shop"].write(update("products", 70, body="text"))
    line.apps["shop"].write(update("products", 70, title="not mine"))
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert happened(line, "erp") == {"created": 1, "updated": 1, "deleted": 1}
    assert happened(line, "shop") == {"updated": 1}


# ---- triggers in fields of others ----------------------------------------------------------------------------


def test_a_trigger_that_changes_a_field_which_we_did_not_write_is_reported_too(make_line):
    line = begin(make_line, PRODUCT)
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.apps["shop"].echo(update("products", 70, title="two", status="retired"))
    line.resolve()
    assert line.conflicts() == [("product", ("A",), "shop", "trigger", "status", "retired")]
    line.told("shop")
    line.apps["shop"].write(update("products", 70, status="active"))
    line.resolve()
    assert line.conflicts() == []


def test_what_is_only_on_its_way_or_ignored_is_not_taken_for_a_trigger(make_line):
    line = begin(make_line, PRODUCT)
    line.apps["shop"].write(update("products", 70, stock=99))  # ignored
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    first = line.newest_unit("shop")
    line.apps["erp"].write(update("item", 1, state="retired"))
    line.resolve()
    line.apps["shop"].echo(update("products", 70, title="two"), through=first)
    line.resolve()
    assert line.conflicts() == []
