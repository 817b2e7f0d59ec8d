"""The resolve loop: one commit a step, the same journal the same result, and rows that cannot be taken as they are."""

from __future__ import annotations

import random

import pytest

from cdcd.model import ABSENT, Op, Relation, Rows
from cdcd.resolve import open_changes
from cdcd.resolve import resolver as resolver_module
from cdcd.resolve.runs import RunDecider
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.small_line import Told, delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
TABLES_OF_STATE = ("golden", "crosswalk", "outbox", "conflicts", "held", "waiting", "phases", "meta")


def work(line, seed: int) -> None:
    """Random work of both applications, resolved in one go later."""
    chance = random.Random(seed)
    shop, erp = line.apps["shop"], line.apps["erp"]
    shop.write(insert("customers", id=1, number="C1", name="c"))
    for number in range(1, 30):
        status = chance.choice(["new", "paid", "picking", "nonsense"])
        shop.write(
            insert(
                "orders", id=number, number=f"O{number}", customer_id=chance.choice([1, 2]), status=status, total="1.00"
            ),
            insert("order_items", id=number, order_id=number, position=1, quantity=chance.randrange(9)),
        )
        if chance.random() < 0.5:
            shop.write(update("orders", chance.randrange(1, number + 1), status="picking", total=f"{number}.00"))
        if chance.random() < 0.3:
            erp.write(insert("partner", id=number, no=f"C{number}", name="e"))
        if chance.random() < 0.2:
            shop.write(delete("orders", chance.randrange(1, number + 1)))


# ---- Invariant 3 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_same_journal_gives_the_same_state_byte_for_byte_however_it_is_cut_into_steps(make_line, monkeypatch, seed):
    one, other = make_line(ORDER, ORDER_TABLES), make_line(ORDER, ORDER_TABLES)
    for line in (one, other):
        work(line, seed)
    one.resolve()
    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 1)
    monkeypatch.setattr(resolver_module, "STEP_ROWS", 0)
    while other.resolver.step():
        if seed:
            other.start()
    for table in ("golden", "crosswalk", "conflicts", "held", "waiting"):
        assert one.dump(table) == other.dump(table), table
    assert [line.told("erp") + line.told("shop") for line in (one,)] == [other.told("erp") + other.told("shop")]


def test_the_same_journal_in_the_same_steps_gives_the_same_outbox_byte_for_byte(make_line):
    lines = [make_line(ORDER, ORDER_TABLES), make_line(ORDER, ORDER_TABLES)]
    for line in lines:
        work(line, 7)
        line.resolve()
    assert lines[0].dump("golden") == lines[1].dump("golden")
    assert lines[0].dump("outbox") == lines[1].dump("outbox")


def test_a_step_that_took_everything_says_that_another_would_find_nothing(make_line, monkeypatch):
    line = make_line(ORDER, ORDER_TABLES)
    work(line, 1)
    line.resolver.step()
    assert not line.resolver.may_have_more
    work(line, 2)
    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 1)
    monkeypatch.setattr(resolver_module, "STEP_ROWS", 0)
    line.resolver.step()
    assert line.resolver.may_have_more


def test_a_step_that_fails_midway_changes_nothing_and_can_be_done_again(orders, monkeypatch):
    work(orders, 5)
    before = {table: orders.dump(table) for table in TABLES_OF_STATE}
    decide, calls = RunDecider.changed, []

    def fails_late(self, *arguments):
        calls.append(1)
        if len(calls) == 20:
            raise RuntimeError("the process has a bad day")
        decide(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunDecider, "changed", fails_late)
        with pytest.raises(RuntimeError):
            orders.resolver.step()
    assert {table: orders.dump(table) for table in TABLES_OF_STATE} == before
    orders.resolve()
    after = {table: orders.dump(table) for table in TABLES_OF_STATE if table != "meta"}
    assert after["golden"]
    assert orders.state.position == orders.journal.last_seq()


def test_what_was_resolved_is_not_resolved_again_after_a_restart(products):
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.start()
    assert not products.resolver.step()
    assert len(products.told("shop")) == 1


def test_a_transaction_of_long_rows_leaves_the_memory_on_the_way(products, monkeypatch):
    monkeypatch.setattr(open_changes, "OPEN_BYTES", 1)
    rows = [insert("item", id=n, **ROW | {"code": f"P{n}"}) for n in range(20)]
    kept = []
    golden = products.resolver._golden
    put_away = golden.put_away
    monkeypatch.setattr(golden, "put_away", lambda: (kept.append(golden.changed), put_away()))
    put_aside = products.resolver._outbox.put_aside
    monkeypatch.setattr(products.resolver._outbox, "put_aside", lambda: (kept.append(0), put_aside()))
    products.apps["erp"].write(*rows)
    products.resolve()
    assert kept.count(0) >= 1
    assert len(products.told("shop")) == 20


def test_a_huge_transaction_leaves_the_memory_on_the_way(products, monkeypatch):
    monkeypatch.setattr(open_changes, "OPEN_ROWS", 10)
    monkeypatch.setattr(open_changes, "OPEN_RECORDS", 10)
    rows = [insert("item", id=n, **ROW | {"code": f"P{n}"}) for n in range(100)]
    kept = []
    golden = products.resolver._golden
    put_away = golden.put_away
    monkeypatch.setattr(golden, "put_away", lambda: (kept.append(golden.changed), put_away()))
    products.apps["erp"].write(*rows)
    products.resolve()
    assert max(kept) <= 20
    assert len(products.told("shop")) == 100


# ---- rows that cannot be taken as they are --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": "unheard-of"}, "value-refused"),
        ({"name": "much too long a name"}, "value-refused"),
        ({"code": None}, "key-missing"),
    ],
)
def test_a_row_that_cannot_be_understood_is_held_and_cleared_by_its_next_good_version(products, changes, code):
    products.apps["erp"].write(insert("item", id=1, **ROW | changes))
    products.apps["erp"].write(insert("item", id=2, **ROW | {"code": "B"}))
    products.resolve()
    assert products.held() == [code]
    assert [told.key for told in products.told("shop")] == [("B",)], "everything else flows"
    products.start()
    products.apps["erp"].write(update("item", 1, **ROW))
    products.resolve()
    assert products.held() == []
    assert [told.key for told in products.told("shop")] == [("A",)]


def test_a_held_row_that_is_deleted_is_forgotten(products):
    products.apps["erp"].write(insert("item", id=1, **ROW | {"state": "unheard-of"}))
    products.apps["erp"].write(delete("item", 1))
    products.resolve()
    assert products.held() == []


def test_a_deleted_row_with_a_value_that_cannot_be_understood_is_still_a_deleted_record(make_line):
    """Of a table whose key is its identity, and whose log carries whole deleted rows."""
    tables = {
        s: {t: {n: k for n, k in c.items() if n != "id"} for t, c in named.items()}
        for s, named in PRODUCT_TABLES.items()
    }
    line = make_line(PRODUCT, tables)
    relation = line.apps["erp"].relations["item"]
    good = ["A", "one", "active", 5, "n", "w"]
    line.apps["erp"].log(Rows(relation, Op.INSERT, [good]))
    line.apps["erp"].log(Rows(relation, Op.UPDATE, [["A", "one", "unheard-of", 5, "n", "w"]], [None]))
    line.apps["erp"].log(Rows(relation, Op.DELETE, [["A", "one", "unheard-of", 5, "n", "w"]]))
    line.resolve()
    assert [told.kind for told in line.told("shop")] == ["FULL", "DELETE"]


def test_the_message_of_a_held_row_holds_no_value(products):
    products.apps["erp"].write(insert("item", id=1, **ROW | {"state": "s3cret"}))
    products.resolve()
    causes = products.state.connection.execute("SELECT cause FROM held").fetchall()
    assert "s3cret" not in str(causes)


def test_rows_of_a_system_that_the_configuration_lost_are_passed_over(make_line):
    text = PRODUCT + '[[replicate]]\nfrom = "old"\nto = "shop"\ntables = ["leftover"]\n'
    tables = PRODUCT_TABLES | {"old": {"leftover": {"id": "integer"}}}
    line = make_line(text, tables)
    line.apps["old"].write(insert("leftover", id=1))
    line.systems = ("erp", "shop")
    line.start(PRODUCT)
    line.resolve()
    assert line.state.position == line.journal.last_seq()


# ---- keys and references --------------------------------------------------------------------------------------


def test_a_row_whose_key_changes_stays_its_record(products):
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.told("shop")
    products.apps["erp"].write(update("item", 1, code="B"))
    products.resolve()
    assert [(told.kind, told.key) for told in products.told("shop")] == [("REKEY", ("B",))]
    assert products.values("product", "A") is None
    assert products.values("product", "B")["name"] == "one"


def test_a_key_changed_without_the_right_is_put_back(products):
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.apps["shop"].echo(
        insert("products", id=70, sku="A", title="one", status="active", stock=5, note="n", body="w")
    )
    products.resolve()
    products.told("shop")
    products.apps["shop"].write(update("products", 70, sku="Z"))
    products.resolve()
    assert [(told.kind, told.key) for told in products.told("shop")] == [("REKEY", ("A",))]


def test_a_key_that_is_the_rows_identity_changes_with_its_old_row(make_line):
    tables = {
        s: {t: {n: k for n, k in c.items() if n != "id"} for t, c in named.items()}
        for s, named in PRODUCT_TABLES.items()
    }
    line = make_line(PRODUCT, tables)
    relation = line.apps["erp"].relations["item"]
    line.apps["erp"].log(Rows(relation, Op.INSERT, [["A", "one", "active", 5, "n", "w"]]))
    old = ["A", ABSENT, ABSENT, ABSENT, ABSENT, ABSENT]
    line.apps["erp"].log(Rows(relation, Op.UPDATE, [["B", "one", "active", 5, "n", "w"]], [old]))
    line.resolve()
    assert [(told.kind, told.key) for told in line.told("shop")] == [
        ("FULL", ("A",)),
        ("REKEY", ("B",)),
    ]


def test_a_reference_travels_as_the_business_key_of_what_it_refers_to(orders):
    orders.apps["shop"].write(
        insert("customers", id=5, number="C1", name="c"), insert("customers", id=6, number="C2", name="d")
    )
    orders.apps["shop"].write(insert("orders", id=1, number="O1", customer_id=5, status="new", total="1.00"))
    orders.resolve()
    assert orders.values("order", "O1")["customer"] == "C1"
    orders.apps["shop"].write(update("orders", 1, customer_id=6))
    orders.resolve()
    assert orders.told("erp")[-1] == Told("order", "UPDATE", ("O1",), {"customer": "C2"})
    orders.apps["shop"].write(update("orders", 1, customer_id=None))
    orders.resolve()
    assert orders.told("erp")[-1] == Told("order", "UPDATE", ("O1",), {"customer": None})


def test_a_row_that_refers_to_an_unknown_one_waits_for_it_also_over_a_restart(orders):
    orders.apps["shop"].write(insert("orders", id=1, number="O1", customer_id=5, status="new", total="1.00"))
    orders.resolve()
    assert (orders.waiting(), orders.told("erp")) == (1, [])
    orders.start()
    orders.apps["shop"].write(update("orders", 1, total="2.00"))
    orders.resolve()
    assert orders.waiting() == 1, "the newer version waits instead"
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.resolve()
    assert orders.waiting() == 0
    assert orders.values("order", "O1")["total"] == "2.00"


def test_a_row_of_a_deleted_one_is_still_known_by_its_id(orders):
    """A transaction may delete the customer's row before the rows that refer to it."""
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.apps["shop"].write(insert("orders", id=1, number="O1", customer_id=5, status="new", total="1.00"))
    orders.apps["shop"].write(delete("customers", 5), delete("orders", 1))
    orders.resolve()
    assert orders.values("order", "O1") is None
    assert orders.waiting() == 0


# ---- plain copies ---------------------------------------------------------------------------------------------

COPY = '[[replicate]]\nfrom = "erp"\nto = "archive"\ntables = ["item"]\n'
COPY_TABLES = PRODUCT_TABLES | {"archive": {"item": PRODUCT_TABLES["erp"]["item"]}}


def copied(line):
    found = line.state.connection.execute("SELECT sum(writes) FROM outbox WHERE target='archive'").fetchone()
    return found[0] or 0


def test_the_rows_of_a_plain_copy_go_to_its_target_as_they_are(make_line):
    line = make_line(COPY, COPY_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW), insert("item", id=2, **ROW | {"state": "anything"}))
    line.resolve()
    assert copied(line) == 2


def test_a_plain_copy_also_carries_what_cdcd_itself_wrote_to_its_source(make_line):
    line = make_line(PRODUCT + COPY, COPY_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["erp"].echo(update("item", 1, web="by the shop"))
    line.resolve()
    assert copied(line) == 2


# ---- a configuration that grows -------------------------------------------------------------------------------


def test_a_field_that_is_added_is_unknown_in_old_records_until_somebody_tells_it(products):
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.told("shop")
    grown = (
        PRODUCT.replace(
            'body = { type = "text", owner = "shop" }',
            'body = { type = "text", owner = "shop" }\nweight = { type = "integer", owner = "erp" }',
        )
        .replace('body = "web" }', 'body = "web", weight = "grams" }')
        .replace('body = "body" }', 'body = "body", weight = "grams" }')
    )
    for app, table in (("erp", "item"), ("shop", "products")):
        known = products.apps[app].relations[table]
        products.apps[app].relations[table] = Relation(
            table, (*known.columns, "grams"), (*known.types, "integer"), (0,)
        )
    products.start(grown)
    products.apps["erp"].write(update("item", 1, stock=6, grams=70))
    products.resolve()
    assert products.told("shop") == [Told("product", "UPDATE", ("A",), {"stock": 6, "weight": 70})]


def test_fields_and_entities_in_another_order_read_the_same_records(products):
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.told("shop")
    lines = PRODUCT.splitlines()
    at = lines.index("[entities.product.fields]") + 1
    shuffled = [*lines[:at], *reversed(lines[at : at + 6]), *lines[at + 6 :]]
    products.start("\n".join(shuffled))
    products.apps["erp"].write(update("item", 1, name="two"))
    products.resolve()
    assert products.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "two"})]
