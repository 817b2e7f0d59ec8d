"""What is hidden of a configuration: fields, what refers to hidden keys, all columns that they have to do with, and copies."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cdcd import config as c
from cdcd import config_rules, state_key
from cdcd.config import Config
from cdcd.errors import ConfigError
from cdcd.journal_care.json_lines import row_objects
from cdcd.model import ABSENT, Op, Relation, Rows
from cdcd.parking.statement import ShownField
from cdcd.parking.text import from_text, to_text
from cdcd.resolve.planning import build
from cdcd.sensitive import MASK, Masks, is_token, masked
from cdcd.values import parse_type

HEAD = """
[daemon]
name = "test"
state-dir = "/nowhere"
"""
KEY = '[daemon.state-key]\nenv = "STATE_KEY"\n'
PERSON = """
[entities.person]
key = ["email"]
create = ["shop"]
[entities.person.fields]
email = { type = "text", sensitive = true }
name = { type = "text", owner = "shop", sensitive = true }
phone = { type = "text", owner = "shop", sensitive = true }
city = { type = "text", owner = "shop" }
[entities.person.in.erp]
table = "public.partner"
id = "id"
parts.contact = { table = "public.contact", parent = "partner_id" }
new = { label = { template = "{name} of {city}" }, kind = "person" }
[entities.person.in.erp.columns]
email = "mail"
name = { join = { columns = ["first", "last"] } }
phone = "contact.number"
city = "city"
[entities.person.in.shop]
table = "people"
columns = { name = "name", city = "city" }
xref = true
[entities.order]
key = ["number"]
create = ["shop"]
[entities.order.fields]
number = { type = "text" }
person = { type = "ref(person)", owner = "shop" }
[entities.order.in.erp]
table = "public.orders"
columns = { number = "no", person = "partner_id" }
[entities.order.in.shop]
table = "orders"
columns = { number = "no", person = "person_id" }
[[replicate]]
from = "erp"
to = "shop"
tables = ["public.partner", "public.note"]
rename = { "public.note" = "notes" }
sensitive = ["public.note.text"]
"""


def loaded(text: str) -> Config:
    raw = tomllib.loads(HEAD + text) | {"systems": {name: {"adapter": "none"} for name in ("erp", "shop")}}
    config: Config = c.convert(raw, Config, "test.toml", "")
    config_rules.check(config, "test.toml")
    return config


@pytest.fixture
def masks(tmp_path: Path):
    state_key.keep(tmp_path, lambda: "ab" * 32)
    yield Masks(build(loaded(KEY + PERSON), lambda _system, table: table), tmp_path)
    state_key.keep(tmp_path, None)


def test_what_is_sensitive_needs_a_key_to_be_kept_with():
    with pytest.raises(ConfigError) as caught:
        loaded(PERSON)
    assert "entities.person.fields.email.sensitive" in str(caught.value)
    assert "openssl rand -hex 32" in str(caught.value)
    with pytest.raises(ConfigError, match="table of this copy"):
        loaded(KEY + PERSON.replace("public.note.text", "public.other.text"))
    assert loaded(PERSON.replace(", sensitive = true", "").replace("sensitive = [", "leave-out = ["))


def test_columns_are_hidden_wherever_a_hidden_field_has_to_do_with_them(masks: Masks):
    assert masks.columns("erp", "public.partner") == {"mail", "first", "last", "label"}
    assert masks.columns("erp", "contact") == {"number"}, "named without its schema, too"
    assert masks.columns("shop", "people") == {"name"}
    assert masks.columns("shop", "cdcd_xref") == {"key"}
    assert masks.columns("erp", "public.orders") == {"partner_id"}, "it names somebody whose key is hidden"
    assert masks.columns("erp", "public.note") == masks.columns("shop", "notes") == {"text"}
    assert masks.columns("shop", "public.partner") == masks.columns("erp", "public.partner"), "a copy of it"
    assert masks.columns("erp", "other") == frozenset()


def test_a_value_is_shown_the_same_whatever_it_is(masks: Masks):
    assert {masked(value, hidden=True) for value in (None, "", "x" * 1000, 5, b"x")} == {MASK}
    assert masked(ABSENT, hidden=True) is ABSENT
    person, order = masks.plan.entities["person"], masks.plan.entities["order"]
    shown = [masks.value(person, slot, "x") for slot in range(4)]
    assert shown == [MASK, MASK, MASK, "x"]
    assert [masks.value(order, slot, "x") for slot in range(2)] == ["x", MASK]


def test_keys_are_told_apart_by_what_depends_on_the_state_key_alone(masks: Masks, tmp_path: Path):
    person = masks.plan.entities["person"]
    (one,), (other,) = masks.key(person, ["a@example.org"]), masks.key(person, ["b@example.org"])
    assert is_token(one)
    assert one != other
    assert masks.key(person, ["a@example.org"]) == (one,)
    assert masks.key(masks.plan.entities["order"], ["O1"]) == ("O1",)
    state_key.keep(tmp_path, lambda: "cd" * 32)
    assert masks.key(person, ["a@example.org"]) != (one,)


def test_of_a_copied_row_only_hidden_columns_of_its_key_are_hidden_and_all_where_nobody_knows_them(masks: Masks):
    partner, note = masks.plan.routes
    assert masks.copied_key(partner, ("id",), (5,)) == (5,)
    shown = masks.copied_key(partner, ("id", "mail"), (5, "a@example.org"))
    assert shown == (5, masks.token("a@example.org"))
    assert is_token(masks.copied_key(note, (), (5,))[0])


def test_rows_of_the_journal_are_shown_with_masks_old_ones_too(masks: Masks):
    relation = Relation("public.partner", ("id", "mail", "city"), ("integer", "text", "text"), (0,))
    run = Rows(relation, Op.UPDATE, [[1, "a@example.org", "Ulm"]], [[2, None, ABSENT]])
    (shown,) = row_objects(run, masks.columns("erp", relation.table))
    assert shown["row"] == {"id": 1, "mail": MASK, "city": "Ulm"}
    assert shown["old"] == {"id": 2, "mail": MASK, "city": {"absent": True}}


def test_a_field_that_was_removed_stays_hidden_beside_hidden_ones(masks: Masks):
    text = KEY + PERSON.replace('city = { type = "text", owner = "shop" }\n', "").replace(', city = "city"', "")
    text = text.replace('city = "city"\n', "").replace(" of {city}", "")
    later = Masks(build(loaded(text), lambda _system, table: table, masks.plan.vocabulary), Path("/nowhere"))
    assert later.value(later.plan.entities["person"], 3, "Ulm") == MASK


def test_an_edited_text_keeps_what_is_masked_and_takes_what_is_written():
    fields = [
        ShownField("name", "name", "text", "", "Erika", hidden=True),
        ShownField("phone", "phone", "text", "", "1", hidden=True),
    ]
    text = to_text(fields, [])
    assert "Erika" not in text
    kinds = {field.field: parse_type(field.type) for field in fields}
    assert from_text(text, fields, kinds) == ({}, [])
    assert from_text(text.replace(f'phone = "{MASK}"', 'phone = "2"'), fields, kinds) == ({"phone": "2"}, [])


def test_what_refers_to_one_another_is_hidden_all_the_same():
    text = PERSON.replace(
        'city = { type = "text", owner = "shop" }',
        'city = { type = "text", owner = "shop" }\nlast = { type = "ref(order)", owner = "shop" }',
    ).replace('city = "city"\n[entities', 'city = "city"\nlast = "last_order"\n[entities')
    plan = build(loaded(KEY + text), lambda _system, table: table)
    for first in ("person", "order"):
        masks = Masks(plan, Path("/nowhere"))
        masks.slots(plan.entities[first])
        assert [masks.slots(plan.entities[name]) for name in ("person", "order")] == [{0, 1, 2}, {1}]
