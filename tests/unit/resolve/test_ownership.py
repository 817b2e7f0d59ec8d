"""Owners: the field's own, else by the first condition that holds, else nobody."""

from __future__ import annotations

import pytest

from cdcd.model import ABSENT
from cdcd.resolve.ownership import NOBODY, Ownership
from unit.small_line import plan_of

ERP, SHOP = 0, 1
TEXT = """
[entities.order]
key = ["number"]
create = ["shop"]
[entities.order.fields]
number = { type = "text" }
status = { type = "text" }
total = { type = "decimal(12,2)" }
weight = { type = "integer" }
customer = { type = "ref(customer)" }
tracking = { type = "text", owner = "erp" }
RULES
[entities.order.children.lines]
key = ["line_no"]
fields = { line_no = { type = "integer" }, product = { type = "text", owner = "erp" }, quantity = { type = "integer" } }
[entities.order.in.erp]
table = "o"
columns = { number = "n", status = "s", total = "t", weight = "w", tracking = "tr", customer = "c" }
children.lines = { table = "l", parent = "p", columns = { line_no = "l", product = "p2", quantity = "q" } }
[entities.order.in.shop]
table = "o"
columns = { number = "n", status = "s", total = "t", weight = "w", tracking = "tr", customer = "c" }
children.lines = { table = "l", parent = "p", columns = { line_no = "l", product = "p2", quantity = "q" } }
[entities.customer]
key = ["country", "number"]
[entities.customer.fields]
country = { type = "text" }
number = { type = "text" }
[entities.customer.in.erp]
table = "c"
columns = { country = "a", number = "b" }
[entities.customer.in.shop]
table = "c"
columns = { country = "a", number = "b" }
"""


def rule(when: str, owner: str) -> str:
    return f'[[entities.order.ownership]]\nwhen = "{when}"\nowner = "{owner}"\n'


def ownership(*rules: tuple[str, str], entity: str = "order") -> Ownership:
    plan = plan_of(TEXT.replace("RULES", "".join(rule(*each) for each in rules)))
    judged = plan.entities["order"]
    return Ownership(plan.entities[entity], judged, plan.vocabulary.systems)


def record(status="new", total="10.00", weight=1, customer=None):
    return ["O1", status, total, weight, customer, None]


NEW = ("record.status in ['new', 'paid']", "shop")
LATER = ("record.status in ['picking', 'shipped']", "erp")


def test_without_rules_owners_never_move():
    plan = plan_of(TEXT.replace("RULES", rule("record.status == 'x'", "erp")))
    fixed = Ownership(plan.entities["customer"], plan.entities["customer"], plan.vocabulary.systems)
    assert not fixed.moves
    assert fixed.owners(["DE", "C1"]) == (NOBODY, NOBODY)


def test_a_fields_own_owner_goes_before_every_rule():
    owners = ownership(NEW, LATER).owners(record("new"))
    assert owners == (SHOP, SHOP, SHOP, SHOP, SHOP, ERP)


def test_the_first_rule_that_holds_counts():
    owners = ownership(("record.status == 'new'", "erp"), NEW)
    assert owners.by_state(record("new")) == ERP
    assert owners.by_state(record("paid")) == SHOP


def test_where_no_rule_holds_nobody_owns():
    owners = ownership(NEW, LATER)
    assert owners.by_state(record("lost")) == NOBODY
    assert owners.owners(record("lost")) == (NOBODY,) * 5 + (ERP,)


@pytest.mark.parametrize(
    ("when", "values", "holds"),
    [
        ("record.total > 100.0", record(total="100.01"), True),
        ("record.total > 100.0", record(total="100.00"), False),
        ("record.total >= 100", record(total="100.00"), True),
        ("record.weight > 3", record(weight=4), True),
        ("record.status == null", record(status=None), True),
        ("record.status == null", record(status=ABSENT), True),
        ("record['status'] == 'new'", record(), True),
        ("has(record.weight) && record.weight == 1", record(), True),
    ],
)
def test_conditions_see_values_as_numbers_texts_and_nulls(when, values, holds):
    assert ownership((when, "shop")).by_state(values) == (SHOP if holds else NOBODY)


@pytest.mark.parametrize(
    ("when", "values"),
    [
        ("record.total > 100.0", record(total=None)),
        ("record.status > 3", record()),
        ("record.weight / 0 == 1", record()),
        ("record.weight * 9223372036854775807 > 0", record(weight=9)),
    ],
)
def test_a_condition_that_cannot_be_evaluated_does_not_hold(when, values):
    assert ownership((when, "erp"), ("true || record.weight == 1", "shop")).by_state(values) == SHOP


def test_a_key_of_several_parts_or_a_value_that_nobody_told_is_no_obstacle():
    owners = ownership(("record.customer != null && record.status == 'new'", "shop"))
    assert owners.by_state(record(customer=["DE", "C1"])) == SHOP
    assert owners.by_state(record(customer=ABSENT)) == NOBODY


def test_a_child_is_judged_by_its_parents_record():
    owners = ownership(NEW, LATER, entity="order.lines")
    assert owners.owners(record("new")) == (SHOP, ERP, SHOP)
    assert owners.owners(record("picking")) == (ERP, ERP, ERP)
    assert owners.by_state(record("picking")) == ERP


def test_the_last_claim_goes_down_the_list():
    owners = ownership(("record.weight == 1", "shop"), LATER)
    assert owners.last_claim(record("picking")) == (1, ERP)
    assert owners.last_claim(record("new")) == (0, SHOP)
    assert owners.last_claim(record("new", weight=2)) == (-1, NOBODY)


def test_a_state_is_evaluated_once(monkeypatch):
    owners = ownership(NEW, LATER)
    decided = []
    decide = owners._decide
    monkeypatch.setattr(owners, "_decide", lambda state: (decided.append(state), decide(state))[1])
    for number in range(100):
        owners.owners(record("new", total=f"{number}.00"))
    assert decided == [("new",)]
