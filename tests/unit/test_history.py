"""The history of a record: what its changes were, what became of them and why, and when who was told."""

from __future__ import annotations

import pytest

from cdcd.history import History, Reader
from cdcd.history_changes import Change
from cdcd.outbox import AppliedMark
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve import trimming
from cdcd.resolve.keys import encode_key
from cdcd.state_directory import StateDirectory
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.resolve.test_renaming import ORDER as RENAMING
from unit.resolve.test_renaming import TABLES as RENAMING_TABLES
from unit.small_line import SmallLine, delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}
RULE = "rule 1: shop owns it when record.status in ['new', 'paid']"


@pytest.fixture
def make_line(tmp_path):
    made: list[SmallLine] = []

    def make(text: str, tables: dict, *, live: bool = True) -> SmallLine:
        made.append(SmallLine(tmp_path, text, tables, live=live))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture
def line(make_line):
    """Product A, created in the ERP, and there in the shop."""
    line = make_line(PRODUCT, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.resolve()
    return line


@pytest.fixture
def orders(make_line):
    """Order O1 with a line, born in the shop and there in the ERP."""
    line = make_line(ORDER, ORDER_TABLES)
    line.apps["shop"].write(insert("customers", id=1, number="C1", name="c"))
    line.apps["shop"].write(
        insert("orders", id=1, number="O1", customer_id=1, status="new", total="1.00"),
        insert("order_items", id=1, order_id=1, position=1, quantity=2),
    )
    line.resolve()
    line.apps["erp"].echo(
        insert("partner", id=9, no="C1", name="c"),
        insert("sales_order", id=5, no="O1", partner_id=9, state="new", amount="1.00"),
        insert("sales_line", id=6, order_id=5, line_no=1, qty=2),
    )
    line.resolve()
    return line


def read(line: SmallLine, entity: str, *key: object, **options: object) -> History | None:
    reader = Reader(StateDirectory(line.directory), line.plan, "14d")
    try:
        return reader.read(line.plan.entities[entity], encode_key(key), **options)
    finally:
        reader.close()


def changes(line: SmallLine, entity: str, *key: object, **options: object) -> list[Change]:
    found = read(line, entity, *key, **options)
    assert found is not None
    return list(found.changes)


def fields(change: Change) -> list[tuple[object, ...]]:
    return [(f.field, f.old, f.new, f.decision, f.rule) for f in change.fields]


def effects(change: Change) -> list[tuple[object, ...]]:
    return [(e.system, e.outcome, e.write, e.fields) for e in change.effects]


# ---- decisions and their reasons ----------------------------------------------------------------------------------


def test_a_creation_says_by_which_right_and_who_was_told_what(line):
    (created,) = changes(line, "product", "A")
    assert (created.system, created.decision, created.rule) == ("erp", "created", "create = erp")
    assert effects(created) == [("shop", "committed", "full", ("sku", "name", "status", "stock", "note"))]
    assert created.effects[0].initial == ("body",)


def test_a_record_begins_with_the_values_it_had_then(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["shop"].write(update("products", 70, body="b"))
    line.apps["shop"].write(update("products", 70, title="mine"))
    line.apps["erp"].write(update("item", 1, name="three", note="m"))
    line.resolve()
    born = {"sku": "A", "name": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}
    assert [c.values for c in changes(line, "product", "A")] == [born, {}, {}, {}, {}]
    assert changes(line, "product", "A", field="name")[0].values == {"name": "one"}
    line.apps["erp"].write(delete("item", 1))
    line.apps["erp"].write(insert("item", id=2, **ROW | {"name": "again"}))
    line.resolve()
    beginnings = [(c.decision, c.values.get("name")) for c in changes(line, "product", "A") if c.values]
    assert beginnings == [("restored", "again")]


def test_a_change_shows_old_and_new_values_and_the_owner_that_decided(line):
    line.apps["erp"].write(update("item", 1, name="two", stock=6))
    line.resolve()
    change = changes(line, "product", "A")[-1]
    assert fields(change) == [
        ("name", "one", "two", "written", "erp owns it"),
        ("stock", 5, 6, "written", "erp owns it"),
    ]
    assert effects(change) == [("shop", "waiting", "update", ("name", "stock"))]
    assert change.kind == "transaction"
    assert change.at_us == line.now_us


def test_what_others_wrote_shows_with_what_it_got(line):
    line.apps["shop"].write(update("products", 70, title="mine", stock=1, note="look", body="new"))
    line.resolve()
    change = changes(line, "product", "A")[-1]
    assert fields(change) == [
        ("name", "one", "mine", "revert", "erp owns it"),
        ("stock", 5, 1, "ignore", "erp owns it"),
        ("note", "n", "look", "hold", "erp owns it"),
        ("body", "w", "new", "written", "shop owns it"),
    ]
    assert effects(change) == [("erp", "waiting", "update", ("body",)), ("shop", "waiting", "update", ("name",))]


def test_rows_that_bring_nothing_new_are_changes_too(line):
    line.apps["shop"].write(update("products", 70))
    line.resolve()
    assert [(c.system, c.decision) for c in changes(line, "product", "A")] == [("erp", "created"), ("shop", "equal")]


def test_a_row_without_news_that_comes_again_and_again_is_one_line(line):
    for _ in range(5):
        line.apps["shop"].write(update("products", 70))
    line.apps["erp"].write(update("item", 1))
    line.resolve()
    found = changes(line, "product", "A", limit=3)
    assert [(c.system, c.decision, c.repeated) for c in found] == [
        ("erp", "created", 1),
        ("shop", "equal", 5),
        ("erp", "equal", 1),
    ]


def test_a_creation_and_a_deletion_without_the_right_say_what_was_reverted(line):
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"sku": "B"}))
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    (made,) = changes(line, "product", "B")
    assert (made.system, made.decision, made.reason, made.rule) == ("shop", "revert", "created", "create = erp")
    assert effects(made) == [("shop", "waiting", "delete", ())]
    gone = changes(line, "product", "A")[-1]
    assert (gone.decision, gone.reason, gone.rule) == ("revert", "deleted", "delete = erp")
    assert gone.effects[0].write == "full"


def test_what_keeps_newer_changes_from_being_seen_is_remarked(line):
    found = read(line, "product", "A")
    assert found is not None
    assert found.remarks == ()
    line.apps["erp"].truncate("item")
    line.resolve()
    line.apps["erp"].write(update("item", 1, name="two"))
    found = read(line, "product", "A")
    assert found is not None
    assert "product is suspended at journal entry" in found.remarks[0]
    assert found.remarks[1:] == ("1 journal entry is not resolved yet",)


def test_where_ownership_moves_the_condition_that_held_is_named(orders):
    orders.apps["shop"].write(update("orders", 1, total="2.00", tracking="T"))
    orders.resolve()
    change = changes(orders, "order", "O1")[-1]
    assert fields(change) == [
        ("total", "1.00", "2.00", "written", RULE),
        ("tracking", None, "T", "revert", "erp owns it"),
    ]


def test_a_condition_that_the_configuration_has_no_more_is_still_named(orders):
    orders.apps["shop"].write(update("orders", 1, total="2.00"))
    orders.resolve()
    orders.start(orders.text.replace("['new', 'paid']", "['new']"))
    assert changes(orders, "order", "O1")[-1].fields[0].rule.startswith("a former rule: shop owns it when")


def test_a_child_is_judged_by_its_parents_rule_and_follows_it_when_it_goes(orders):
    orders.apps["shop"].write(update("order_items", 1, quantity=3))
    orders.resolve()
    orders.apps["shop"].write(delete("orders", 1))
    orders.resolve()
    created, changed, gone = changes(orders, "order.lines", "O1", 1)
    assert (created.decision, created.effects[0].outcome) == ("created", "committed")
    assert fields(changed) == [("quantity", 2, 3, "written", RULE)]
    assert effects(gone) == [("erp", "waiting", "delete", ()), ("shop", "waiting", "delete", ())]
    assert changes(orders, "order", "O1")[-1].rule == "delete = shop"


def test_one_field_shows_only_what_concerns_it(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["erp"].write(update("item", 1, stock=6))
    line.apps["erp"].write(update("item", 1, name="three", stock=7))
    line.resolve()
    found = read(line, "product", "A", field="stock")
    assert found is not None
    assert [(c.decision, [f.field for f in c.fields]) for c in found.changes] == [
        ("created", []),
        ("written", ["stock"]),
        ("written", ["stock"]),
    ]
    assert [(now.field, now.value, now.owner) for now in found.fields] == [("stock", 7, "erp")]


def test_a_system_that_is_not_told_has_a_reason(make_line):
    line = make_line(PRODUCT.replace('note = "note", body = "body"', 'body = "body"'), PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.apps["erp"].write(update("item", 1, note="m"))
    line.resolve()
    (effect,) = changes(line, "product", "A")[-1].effects
    assert (effect.system, effect.outcome, effect.reason) == ("shop", "not told", "it has no column for it")


def test_a_deleted_record_keeps_its_history(line):
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    found = read(line, "product", "A")
    assert found is not None
    assert (found.alive, found.systems) == (False, ())
    assert (found.changes[-1].decision, found.changes[-1].rule) == ("deleted", "delete = erp")


def test_a_first_copy_says_who_had_the_record_and_what_was_put_right(make_line):
    line = make_line(PRODUCT, PRODUCT_TABLES, live=False)
    line.apps["erp"].rows["item"][1] = {"id": 1, **ROW}
    line.apps["shop"].rows["products"][70] = {"id": 70, **SHOP_ROW, "title": "wrong"}
    line.go_live()
    (copied,) = changes(line, "product", "A")
    assert (copied.decision, copied.held_by, copied.kind) == ("settled", ("erp", "shop"), "copy of products")
    assert fields(copied) == [("name", "wrong", "one", "revert", "erp owns it")]
    assert effects(copied) == [("shop", "waiting", "update", ("name",))]


def test_a_row_that_waits_or_cannot_be_understood_shows_while_and_after_it_does(make_line):
    line = make_line(ORDER, ORDER_TABLES)
    line.apps["shop"].write(insert("orders", id=1, number="O1", customer_id=1, status="new", total="1.00"))
    line.resolve()
    assert [(c.decision, c.reason) for c in changes(line, "order", "O1")] == [("waiting", "reference-unknown")]
    line.apps["shop"].write(insert("customers", id=1, number="C1", name="c"))
    line.apps["shop"].write(update("orders", 1, status="unheard-of"))
    line.apps["shop"].write(update("orders", 1, status="paid"))
    line.resolve()
    assert [(c.decision, c.reason) for c in changes(line, "order", "O1")] == [
        ("waiting", "reference-unknown"),
        ("created", ""),
        ("held", "value-refused"),
        ("written", ""),
    ]


def test_an_operators_command_is_part_of_it(line):
    line.command("rewind", system="shop", since_us=0)
    line.resolve()
    asked, told = changes(line, "product", "A")[-2:]
    assert (asked.decision, asked.kind) == ("rewound", "command rewind")
    assert (told.decision, told.kind) == ("redelivered", "command deliver")
    assert told.effects[0].write == "full"


def test_what_a_pause_holds_back_is_shown_as_owed_until_it_is_told(line):
    line.command("hold", systems=["shop"], entity="product", on=True)
    line.apps["erp"].write(update("item", 1, name="later"))
    line.resolve()
    assert [(e.system, e.outcome) for e in changes(line, "product", "A")[-1].effects] == [("shop", "owed")]
    line.command("hold", systems=["shop"], entity="product", on=False)
    line.resolve()
    told = changes(line, "product", "A")[-1]
    assert (told.decision, [(e.system, e.outcome) for e in told.effects]) == ("redelivered", [("shop", "waiting")])


# ---- under another key ------------------------------------------------------------------------------------------


@pytest.fixture
def renamed(make_line):
    """Product A, which is C by now, and another A; order O1, whose line 1 was changed before and after it became O2."""
    line = make_line(RENAMING, RENAMING_TABLES)
    erp, shop = line.apps["erp"], line.apps["shop"]
    erp.write(insert("item", id=1, code="A", name="one"))
    shop.write(insert("order", id=1, number="O1"), insert("line", id=1, order=1, line=1, quantity=1))
    for code in ("B", "C"):
        erp.write(update("item", 1, code=code))
    erp.write(insert("item", id=2, code="A", name="another"))
    shop.write(update("line", 1, quantity=2))
    shop.write(update("order", 1, number="O2"))
    shop.write(update("line", 1, quantity=3))
    line.resolve()
    return line


def test_a_record_that_was_renamed_has_all_of_its_history_and_none_of_its_successors(renamed):
    assert [(c.decision, [(f.old, f.new) for f in c.fields]) for c in changes(renamed, "product", "C")] == [
        ("created", []),
        ("renamed", [("A", "B")]),
        ("renamed", [("B", "C")]),
    ]


def test_who_is_told_of_another_key_is_told_of_the_fields_of_the_key(renamed):
    (effect,) = changes(renamed, "product", "C", field="sku")[-1].effects
    assert (effect.system, effect.write, effect.fields) == ("shop", "rekey", ("sku",))


def test_an_old_key_has_what_happened_under_it(renamed):
    assert [c.decision for c in changes(renamed, "product", "A")] == ["created", "renamed", "restored"]
    assert [c.decision for c in changes(renamed, "product", "B")] == ["created", "renamed", "renamed"]
    found = read(renamed, "product", "B")
    assert found is not None
    assert (found.alive, found.remarks) == (False, ("it is product C by now",))


def test_a_child_keeps_its_history_when_its_parent_is_renamed(renamed):
    assert [[(f.old, f.new) for f in c.fields] for c in changes(renamed, "order.lines", "O2", 1)] == [
        [],
        [(1, 2)],
        [(2, 3)],
    ]


# ---- when it was committed ----------------------------------------------------------------------------------------


def test_the_targets_own_log_says_when_it_committed(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    line.apps["shop"].echo(update("products", 70, title="two"))
    line.resolve()
    (effect,) = changes(line, "product", "A")[-1].effects
    assert (effect.outcome, effect.committed_at_us) == ("committed", line.now_us)
    assert [c.decision for c in changes(line, "product", "A")] == ["created", "written"]


def test_what_was_applied_and_not_read_back_yet_is_committed_at_a_time_unknown(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    mark = AppliedMark(line.directory, "shop")
    mark.write(line.newest_unit("shop"))
    mark.close()
    assert [e.outcome for e in changes(line, "product", "A")[-1].effects] == ["unknown"]


def test_a_parked_change_says_why_and_its_retry_is_seen_to_arrive(line):
    subject = (line.plan.entities["product"].number, encode_key(["A"]))
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    unit = line.newest_unit("shop")
    parked = ParkedRecords(line.directory / "deliver-shop.db", durable=False)
    parked.park([(subject, None)], unit, "refused", "name is too long")
    line.apps["shop"].echo()
    line.resolve()
    found = read(line, "product", "A")
    assert found is not None
    assert found.parked == {"shop": "refused: name is too long"}
    (effect,) = found.changes[-1].effects
    assert (effect.outcome, effect.reason) == ("parked", "refused: name is too long")

    line.command("retry", system="shop", records=[list(subject)])
    line.resolve()
    parked.release([subject], unit)
    parked.close()
    line.apps["shop"].echo(update("products", 70, title="two"))
    line.resolve()
    assert [(c.decision, c.effects[0].outcome) for c in changes(line, "product", "A")[1:]] == [
        ("written", "parked"),
        ("redelivered", "committed"),
    ]


# ---- how much of it -----------------------------------------------------------------------------------------------


def test_the_newest_changes_are_shown_oldest_first_and_it_is_said_that_there_are_more(line):
    for stock in range(10, 20):
        line.apps["erp"].write(update("item", 1, stock=stock))
    line.resolve()
    found = read(line, "product", "A", limit=3)
    assert found is not None
    assert [c.fields[0].new for c in found.changes] == [17, 18, 19]
    assert found.earlier == "older changes are left out: --limit 3"


def test_what_the_journal_keeps_no_more_is_said_to_be_trimmed(line, monkeypatch):
    for stock in range(200):
        line.apps["erp"].write(update("item", 1, stock=stock))
    line.resolve()
    line.journal.trim(150, 2**60)
    found = read(line, "product", "A", limit=1_000)
    assert found is not None
    assert found.earlier == "older history was trimmed (journal.keep = 14d)"
    kinds = [c.kind for c in found.changes]
    assert set(kinds) == {"trimmed", "transaction"}
    monkeypatch.setattr(trimming, "TRIM_SECONDS", 0.0)
    line.apps["erp"].write(update("item", 1, stock=-1))
    line.resolve()
    trimmed = read(line, "product", "A", limit=1_000)
    assert trimmed is not None
    assert len(trimmed.changes) < len(found.changes)


def test_only_changes_since_a_moment_are_shown(line):
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    now_us = line.journal.origin(line.journal.last_seq()).journaled_at_us
    assert [c.decision for c in changes(line, "product", "A", since_us=now_us)] == ["written"]


def test_a_record_of_which_nothing_is_known_has_no_history(line):
    assert read(line, "product", "a") is None


def test_reading_changes_nothing(line):
    before = (line.directory / "state.db").read_bytes(), (line.directory / "state.db-wal").read_bytes()
    read(line, "product", "A")
    assert ((line.directory / "state.db").read_bytes(), (line.directory / "state.db-wal").read_bytes()) == before


def test_under_an_old_key_nobody_is_said_not_to_have_been_told(renamed):
    assert changes(renamed, "product", "A")[1].effects == ()
