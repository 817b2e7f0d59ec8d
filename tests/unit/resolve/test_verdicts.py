"""What a person decides about conflicts: accepted as if the owner had said so, or put right; judged at its place in the journal."""

import pytest

from cdcd import conflicts
from cdcd.resolve.verdicts import Outcome, outcome_of
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.resolve.test_ownership_sum import ERP_ROW, STOCK
from unit.resolve.test_ownership_sum import SHOP_ROW as SHOP_STOCK_ROW
from unit.resolve.test_ownership_sum import TABLES as STOCK_TABLES
from unit.small_line import Told, delete, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": None, "web": None}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": None, "body": None}


def begin(make_line, text=PRODUCT):
    """Product A, created in the ERP and there in the shop."""
    line = make_line(text, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    line.resolve()
    line.told("shop")
    return line


@pytest.fixture
def line(make_line):
    return begin(make_line)


def decide(line, verdict, seq=None):
    """Decide all that is kept; what came of it."""
    listed = conflicts.listed(line.state.connection)
    named = [[c.entity, c.key, c.system, c.slot, c.seq if seq is None else seq] for c in listed]
    at = line.command("conflicts", accept=verdict == "accept", conflicts=named)
    line.resolve()
    return outcome_of(line.state, at)


def everything(line):
    return line.conflicts() + line.conflicts(kept=True)


# ---- fields --------------------------------------------------------------------------------------------------


def test_a_held_value_that_is_accepted_becomes_the_owners(line):
    line.apps["shop"].write(update("products", 70, note="better"))
    line.resolve()
    assert decide(line, "accept") == Outcome(settled=1)
    assert line.values("product", "A")["note"] == "better"
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"note": "better"})]
    assert line.told("shop") == everything(line) == []


def test_a_held_value_that_is_rejected_is_put_back(line):
    line.apps["shop"].write(update("products", 70, note="worse"))
    line.resolve()
    assert decide(line, "reject") == Outcome(settled=1)
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"note": None})]
    assert line.told("erp") == everything(line) == []


def test_a_value_that_was_reverted_can_still_be_accepted_and_is_told_to_who_wrote_it_too(line):
    line.apps["shop"].write(update("products", 70, title="mine"))
    line.resolve()
    line.apps["shop"].echo(update("products", 70, title="one"))
    line.resolve()
    line.told("shop")
    assert line.conflicts(kept=True) == [("product", ("A",), "shop", "reverted", "name", "mine")]
    assert decide(line, "accept") == Outcome(settled=1)
    assert line.told("erp") == [Told("product", "UPDATE", ("A",), {"name": "mine"})]
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"name": "mine"})]


def test_a_verdict_about_something_that_has_changed_since_does_nothing(line):
    line.apps["shop"].write(update("products", 70, note="first"))
    line.resolve()
    (seen,) = conflicts.listed(line.state.connection)
    line.apps["shop"].write(update("products", 70, note="second"))
    assert decide(line, "accept", seq=seen.seq) == Outcome(changed=1)
    assert line.values("product", "A")["note"] is None
    assert line.conflicts() == [("product", ("A",), "shop", "held", "note", "second")]


def test_a_verdict_about_a_conflict_that_is_no_more_does_nothing(line):
    line.apps["shop"].write(update("products", 70, note="better"))
    line.resolve()
    (seen,) = conflicts.listed(line.state.connection)
    line.apps["erp"].write(update("item", 1, note="better"))
    line.resolve()
    assert everything(line) == []
    at = line.command("conflicts", accept=True, conflicts=[[seen.entity, seen.key, seen.system, seen.slot, seen.seq]])
    line.resolve()
    assert outcome_of(line.state, at) == Outcome(changed=1)


# ---- records -------------------------------------------------------------------------------------------------


def policy(**named):
    stated = ", ".join(f'{name} = "{value}"' for name, value in named.items())
    return PRODUCT.replace("not-owner = {", f"not-owner = {{ {stated},")


def test_a_held_record_that_is_accepted_is_created_everywhere(make_line):
    line = begin(make_line, policy(create="hold"))
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"sku": "X", "body": "text"}))
    line.resolve()
    assert decide(line, "accept") == Outcome(settled=1)
    assert [(told.kind, told.key) for told in line.told("erp")] == [("FULL", ("X",))]
    assert line.values("product", "X")["body"] == "text"
    assert line.told("shop") == everything(line) == []


def test_a_held_record_that_is_rejected_is_deleted_where_it_is(make_line):
    line = begin(make_line, policy(create="hold"))
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"sku": "X"}))
    line.resolve()
    assert decide(line, "reject") == Outcome(settled=1)
    assert line.told("shop") == [Told("product", "DELETE", ("X",), {})]


def test_a_record_that_was_deleted_again_can_still_be_accepted_and_comes_back(make_line):
    line = begin(make_line)
    line.apps["shop"].write(insert("products", id=71, **SHOP_ROW | {"sku": "X"}))
    line.resolve()
    line.apps["shop"].echo(delete("products", 71))
    line.resolve()
    line.told("shop")
    assert decide(line, "accept") == Outcome(settled=1)
    assert [told.kind for system in ("erp", "shop") for told in line.told(system)] == ["FULL", "FULL"]


def test_a_held_deletion_that_is_accepted_deletes_everywhere(make_line):
    line = begin(make_line, policy(delete="hold"))
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert decide(line, "accept") == Outcome(settled=1)
    assert [told.kind for told in line.told("erp")] == ["DELETE"]
    assert line.values("product", "A") is None
    assert everything(line) == []


def test_a_held_deletion_that_is_rejected_brings_the_row_back(make_line):
    line = begin(make_line, policy(delete="hold"))
    line.apps["shop"].write(delete("products", 70))
    line.resolve()
    assert decide(line, "reject") == Outcome(settled=1)
    assert [told.kind for told in line.told("shop")] == ["FULL"]


@pytest.mark.parametrize(("verdict", "erp", "shop"), [("accept", ["FULL"], []), ("reject", [], ["DELETE"])])
def test_a_record_that_only_the_first_copy_found_is_spread_or_deleted(make_line, verdict, erp, shop):
    line = make_line(PRODUCT, PRODUCT_TABLES, live=False)
    line.apps["shop"].rows["products"][70] = {"id": 70, **SHOP_ROW}
    line.go_live()
    assert decide(line, verdict) == Outcome(settled=1)
    assert [told.kind for told in line.told("erp")] == erp
    assert [told.kind for told in line.told("shop")] == shop
    assert everything(line) == []


# ---- totals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "verdict", "total", "erp", "shop"),
    [
        ("hold", "accept", 7, [-3], []),
        ("hold", "reject", 10, [], [3]),
        ("revert", "accept", 7, [-3], [-3]),
    ],
)
def test_what_is_held_of_a_total_is_a_difference(make_line, policy, verdict, total, erp, shop):
    text = STOCK.replace('"integer", owner = "sum"', '"integer", owner = "sum", between = ["erp"]')
    text = text.replace("[entities.item.fields]", f'not-owner = {{ default = "{policy}" }}\n[entities.item.fields]')
    line = make_line(text, STOCK_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_STOCK_ROW))
    line.apps["shop"].write(update("goods", 7, quantity=9))
    line.apps["shop"].write(update("goods", 7, quantity=7))
    line.resolve()
    if policy == "revert":
        line.apps["shop"].echo(update("goods", 7, quantity=10))
        line.apps["shop"].write(update("goods", 7, quantity=7))
        line.resolve()
        line.apps["shop"].echo(update("goods", 7, quantity=10))
        line.resolve()
    line.told("shop")
    assert decide(line, verdict) == Outcome(settled=1)
    assert line.values("item", "A")["stock"] == total
    assert [told.fields["stock"] for told in line.told("erp")] == erp
    assert [told.fields["stock"] for told in line.told("shop")] == shop


# ---- keeping -------------------------------------------------------------------------------------------------


def test_of_a_field_only_the_last_that_lost_is_kept(line):
    for title in ("a", "b", "c"):
        line.apps["shop"].write(update("products", 70, title=title))
        line.resolve()
        line.apps["shop"].echo(update("products", 70, title="one"))
    line.resolve()
    assert line.conflicts(kept=True) == [("product", ("A",), "shop", "reverted", "name", "c")]


def test_an_image_that_shows_a_held_value_again_does_not_make_it_newer(line):
    line.apps["shop"].write(update("products", 70, note="held"))
    line.resolve()
    (first,) = conflicts.listed(line.state.connection)
    line.apps["shop"].write(update("products", 70, body="mine"))
    line.resolve()
    assert conflicts.listed(line.state.connection) == [first]


def test_a_held_value_is_settled_when_its_system_shows_the_owners_value(line):
    line.apps["shop"].write(update("products", 70, note="held"))
    line.resolve()
    line.apps["shop"].write(update("products", 70, note=None))
    line.resolve()
    assert everything(line) == []


def test_conflicts_of_a_record_that_is_deleted_are_settled(line):
    line.apps["shop"].write(update("products", 70, note="held", title="mine"))
    line.resolve()
    assert len(everything(line)) == 2
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert everything(line) == []


def test_what_was_only_kept_goes_with_the_journal_and_what_waits_for_a_person_stays(line):
    line.apps["shop"].write(update("products", 70, note="held", title="mine"))
    line.resolve()
    book = conflicts.ConflictBook(line.state)
    assert book.forget_before(line.journal.last_seq() + 1) == 1
    assert [one[3] for one in everything(line)] == ["held"]


def test_a_restart_and_many_conflicts_change_nothing(line, monkeypatch):
    monkeypatch.setattr(conflicts, "KNOWN_MAX", 0)
    line.apps["shop"].write(update("products", 70, note="held"))
    line.resolve()
    line.start()
    line.apps["shop"].write(update("products", 70, note=None))
    line.resolve()
    assert everything(line) == []


def test_accepting_one_field_leaves_what_waits_in_others(line):
    line.apps["shop"].write(update("products", 70, note="held", title="mine"))
    line.resolve()
    reverted = next(c for c in conflicts.listed(line.state.connection) if c.kind == "reverted")
    named = [[reverted.entity, reverted.key, reverted.system, reverted.slot, reverted.seq]]
    line.command("conflicts", accept=True, conflicts=named)
    line.resolve()
    assert [one[3] for one in everything(line)] == ["held"]
