"""An operator's correction: it becomes the truth, everybody is told, and what was before can be brought back."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.resolve.correcting import Correction, digest
from cdcd.resolve.keys import encode_key
from cdcd.resolve.verdicts import Outcome, outcome_of
from unit.resolve.test_verdicts import begin, decide
from unit.small_line import Told, delete, insert, update


@pytest.fixture
def line(make_line):
    return begin(make_line)


def correct(line, entity="product", key=("A",), seen=None, **values):
    """Correct fields of a record for the shop; what came of it."""
    plan = line.plan.entities[entity]
    slots = {field.name: slot for slot, field in enumerate(plan.fields)}
    known = line.values(entity, *key) | (seen or {})
    changed = {slots[name]: (digest(known[name]), value) for name, value in values.items()}
    correction = Correction("shop", plan.number, encode_key(key), changed)
    seq = line.command("edit", correction=msgspec.to_builtins(correction, builtin_types=(bytes,)))
    line.resolve()
    return outcome_of(line.state, seq)


def test_a_correction_is_told_to_everybody_also_to_the_fields_owner(line):
    assert correct(line, name="better") == Outcome(settled=1)
    assert line.values("product", "A")["name"] == "better"
    assert Told("product", "UPDATE", ("A",), {"name": "better"}) in line.told("erp")
    (whole, change) = line.told("shop")
    assert (whole.kind, whole.fields["name"]) == ("FULL", "better")
    assert change == Told("product", "UPDATE", ("A",), {"name": "better"})


def test_what_a_field_held_before_is_kept_and_can_be_brought_back(line):
    correct(line, name="better", body="nice")
    assert line.conflicts(kept=True) == [
        ("product", ("A",), "erp", "edited", "name", "one"),
        ("product", ("A",), "shop", "edited", "body", None),
    ]
    assert line.conflicts() == []
    assert decide(line, "accept").settled == 2
    assert (line.values("product", "A")["name"], line.values("product", "A")["body"]) == ("one", None)


def test_the_owner_who_reads_it_back_changes_nothing(line):
    correct(line, name="better")
    line.told("shop")
    line.apps["erp"].echo(update("item", 1, name="better"))
    line.resolve()
    assert line.values("product", "A")["name"] == "better"
    assert line.told("shop") == []
    assert [kept[3] for kept in line.conflicts(kept=True)] == ["edited"]


def test_the_owner_has_the_last_word_afterwards(line):
    correct(line, name="better")
    line.apps["erp"].echo(update("item", 1, name="better"))
    line.apps["erp"].write(update("item", 1, name="best"))
    line.resolve()
    assert line.values("product", "A")["name"] == "best"


@pytest.mark.parametrize(
    "wrong", [{"seen": {"name": "older"}, "name": "x"}, {"sku": "B"}, {"seen": {"note": "?"}, "note": "x", "name": "y"}]
)
def test_a_correction_of_something_else_than_was_seen_does_nothing_at_all(line, wrong):
    before = line.values("product", "A")
    assert correct(line, **wrong) == Outcome(changed=1)
    assert line.values("product", "A") == before
    assert line.told("shop") == line.told("erp") == []


def test_a_record_that_is_no_more_is_not_corrected(line):
    line.apps["erp"].write(delete("item", 1))
    line.resolve()
    assert line.values("product", "A") is None
    correction = Correction("shop", 0, encode_key(["A"]), {1: (0, "x")})
    seq = line.command("edit", correction=msgspec.to_builtins(correction, builtin_types=(bytes,)))
    line.resolve()
    assert outcome_of(line.state, seq) == Outcome(changed=1)


def test_a_correction_where_ownership_moves_is_told_to_the_owner_of_the_moment(orders):
    line = orders
    shop = line.apps["shop"]
    shop.write(insert("orders", id=7, number="O1", status="new", total="9.50"))
    line.resolve()
    line.told("erp")
    plan = line.plan.entities["order"]
    slot = next(slot for slot, field in enumerate(plan.fields) if field.name == "total")
    correction = Correction("erp", plan.number, encode_key(["O1"]), {slot: (digest("9.50"), "1.00")})
    seq = line.command("edit", correction=correction)
    line.resolve()
    assert outcome_of(line.state, seq) == Outcome(settled=1)
    assert line.told("shop") == [Told("order", "UPDATE", ("O1",), {"total": "1.00"})]
    assert line.told("erp")[0].fields["total"] == "1.00"
    assert [(c[2], c[3], c[5]) for c in line.conflicts(kept=True)] == [("shop", "edited", "9.50")]
