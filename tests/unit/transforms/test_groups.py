"""What is read and written together: joined and split columns, amounts by their currency, constants."""

from __future__ import annotations

import tomllib

import msgspec
import pytest

from cdcd import config
from cdcd.column_groups import column_groups, grouped_slots
from cdcd.model import ABSENT, Relation
from cdcd.resolve.mapping import RowMapper
from cdcd.resolve.plan import BindingPlan, Plan
from cdcd.resolve.planning import build
from cdcd.transforms.currencies import DIGITS
from cdcd.values import ValueRefused, parse_type

PERSON = """
daemon = { name = "d", state-dir = "/d" }
[systems.shop]
[entities.person]
key = ["number"]
create = ["shop"]
[entities.person.fields]
number = { type = "text" }
name = { type = "text(30)" }
first = { type = "text(20)" }
last = { type = "text(20)" }
credit = { type = "decimal(12,4)" }
debit = { type = "decimal(12,4)" }
currency = { type = "text(3)" }
country = { type = "text(2)" }
colour = { type = "text" }
note = { type = "text" }
[entities.person.in.shop]
table = "person"
[entities.person.in.shop.columns]
number = "number"
name = { join = { columns = ["given", "family"], missing = "empty" }, trim = true }
first = { column = "contact", split = { by = ", ", take = "after-first" } }
last = { column = "contact", steps = [{ split = { by = ", ", take = "before-first" } }, { case = "upper" }] }
credit = { column = "credit", minor-units = "currency" }
debit = { column = "debit", minor-units = "currency" }
currency = "currency"
country = { constant = "DE" }
colour = { column = "extra", member = "colour" }
note = { column = "note", nulls = [""] }
"""
TYPES = {
    "number": "text",
    "given": "text(10)",
    "family": "text(10,padded)",
    "contact": "text(20)",
    "credit": "integer",
    "debit": "integer",
    "currency": "text(3)",
    "extra": "json",
    "note": "text",
}
ROW = {
    "number": "1",
    "given": "Ada King",
    "family": "Lovelace",
    "contact": "Lovelace, Ada",
    "credit": 1234,
    "debit": None,
    "currency": "EUR",
    "extra": '{"colour": "red"}',
    "note": "",
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build(msgspec.convert(tomllib.loads(PERSON), config.Config), lambda _system, table: table)


@pytest.fixture(scope="module")
def binding(plan) -> BindingPlan:
    return plan.entities["person"].bindings["shop"]


def read(plan: Plan, **changed: object) -> dict[str, object]:
    """A row's record, by field."""
    entity = plan.entities["person"]
    relation = Relation("person", tuple(TYPES), tuple(TYPES.values()), (0,))
    mapper = RowMapper(plan, entity, entity.bindings["shop"], relation, lambda _binding, _row_id: None)
    mapped = mapper.map([changed.get(name, value) for name, value in ROW.items()])
    return {field.name: value for field, value in zip(entity.fields, mapped.values, strict=True)}


def filled(plan: Plan, **values: object) -> dict[str, object]:
    """What the group of these fields writes, by column. Fields of it that are not named are NULL."""
    entity, names = plan.entities["person"], [field.name for field in plan.entities["person"].fields]
    types = [field.type for field in entity.fields]
    groups = column_groups(entity.bindings["shop"], types, lambda column: parse_type(TYPES[column]))
    slots = {names.index(name) for name in values}
    (group,) = [group for group in groups if slots <= set(group.slots)]
    return dict(zip(group.columns, group.fill([values.get(names[slot]) for slot in group.slots]), strict=True))


def test_a_row_is_read_with_all_that_makes_its_fields(plan):
    assert read(plan) == {
        "number": "1",
        "name": "Ada King Lovelace",
        "first": "Ada",
        "last": "LOVELACE",
        "credit": "12.3400",
        "debit": None,
        "currency": "EUR",
        "country": "DE",
        "colour": "red",
        "note": None,
    }


def test_what_the_log_left_out_of_a_joined_field_leaves_all_of_it_out(plan):
    assert read(plan, family=ABSENT)["name"] is ABSENT
    assert read(plan, extra=ABSENT)["colour"] is ABSENT
    assert read(plan, family=None)["name"] == "Ada King"


def test_an_amount_is_counted_as_the_currency_of_its_own_row_says(plan):
    assert read(plan, currency="JPY", debit=5)["debit"] == "5.0000"
    with pytest.raises(ValueRefused, match="no currency of ISO 4217"):
        read(plan, currency=None)
    with pytest.raises(ValueRefused):
        read(plan, currency=ABSENT)


def test_a_field_fills_the_columns_that_it_is_joined_of(plan):
    assert filled(plan, name="Ada King Lovelace") == {"given": "Ada King", "family": "Lovelace"}
    assert filled(plan, name=" Plato ") == {"given": "Plato", "family": ""}
    assert filled(plan, name=None) == {"given": "", "family": ""}
    with pytest.raises(ValueRefused, match="does not fit text"):
        filled(plan, name="Ada Lovelace-of-Ockham")


def test_two_fields_fill_the_column_that_they_share(plan):
    assert filled(plan, first="Ada", last="lovelace") == {"contact": "LOVELACE, Ada"}
    assert filled(plan, first=None, last="Plato") == {"contact": "PLATO"}
    assert filled(plan, first=None, last=None) == {"contact": None}
    with pytest.raises(ValueRefused, match="cannot share their column"):
        filled(plan, first="Ada", last=None)
    with pytest.raises(ValueRefused, match="limit is 20"):
        filled(plan, first="x" * 12, last="x" * 12)


def test_an_amount_is_written_as_its_currency_says(plan):
    assert filled(plan, credit="12.3400", currency="EUR") == {"credit": 1234}
    assert filled(plan, credit="12.0000", currency="JPY") == {"credit": 12}
    assert filled(plan, debit=None, currency="JPY") == {"debit": None}
    with pytest.raises(ValueRefused, match="fraction that its currency has not"):
        filled(plan, credit="12.3400", currency="JPY")
    with pytest.raises(ValueRefused, match="no currency"):
        filled(plan, credit="12.3400", currency=None)


def test_a_record_that_has_not_the_constant_of_a_system_is_refused_there(plan):
    assert filled(plan, country="DE") == {}
    with pytest.raises(ValueRefused, match="the value that all records of this system have"):
        filled(plan, country="FR")


def test_fields_that_fill_a_column_together_are_told_together(plan, binding):
    names = [field.name for field in plan.entities["person"].fields]
    together = [{name for slot, name in enumerate(names) if mask >> slot & 1} for mask in binding.told_together]
    assert together == [{"first", "last"}, {"credit", "debit", "currency"}]


def test_what_is_only_read_is_written_nowhere(plan, binding):
    names = [field.name for field in plan.entities["person"].fields]
    written = {name for slot, name in enumerate(names) if binding.written_mask >> slot & 1}
    assert written == set(names) - {"colour"}
    assert {names[slot] for slot in grouped_slots(binding)} == {"name", "first", "last", "credit", "debit", "country"}


def test_all_columns_are_asked_for_and_none_that_is_not_there(binding):
    assert set(binding.needed_columns) == set(TYPES)


def test_a_currency_that_is_a_constant_need_not_be_told(plan):
    text = PERSON.replace('currency = "currency"\n', 'currency = { constant = "JPY" }\n')
    other = build(msgspec.convert(tomllib.loads(text), config.Config), lambda _system, table: table)
    assert filled(other, credit="12.0000") == {"credit": 12}
    assert read(other, credit=12)["credit"] == "12.0000"
    assert len(other.entities["person"].bindings["shop"].told_together) == 1


def test_the_currencies_are_those_of_the_standard():
    assert (DIGITS["EUR"], DIGITS["JPY"], DIGITS["KWD"], DIGITS["CLF"]) == (2, 0, 3, 4)
    assert all(len(code) == 3 and code.isupper() for code in DIGITS)
    assert len(DIGITS) > 160
