"""What of a configuration matters for rows that were read already."""

from __future__ import annotations

import pytest

from cdcd.resolve.reconfiguration import readings, recopies
from unit.resolve.conftest import ORDER, PRODUCT
from unit.small_line import plan_of

BOTH = PRODUCT + ORDER


def changed(old: str, new: str) -> dict[str, tuple[str, ...]]:
    """Reasons by subject, when `old` in the configuration becomes `new`."""
    assert old in BOTH, old
    before = plan_of(BOTH)
    now = plan_of(BOTH.replace(old, new), known=before.vocabulary)
    return {recopy.subject: recopy.reasons for recopy in recopies(readings(before), readings(now))}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('stock = "ignore"', 'stock = "revert"'),
        ('delete = ["erp"]', 'delete = ["shop"]'),
        ("'picking', 'shipped']", "'picking']"),
        ('table = "products"', 'table = "products"\non-delete = "ignore"'),
    ],
)
def test_rights_policies_and_what_becomes_of_deleted_rows_do_not_matter(old: str, new: str):
    assert changed(old, new) == {}


@pytest.mark.parametrize(
    ("old", "new", "subject", "reason"),
    [
        ('body = "web" }', 'body = "html" }', "product", "product in erp has another column for body"),
        (
            'body = "web" }',
            'body = { column = "web", unfit = "null" } }',
            "product",
            "product in erp has another column for body",
        ),
        (', body = "web" }', " }", None, ""),
        (
            'name = { type = "text(10)"',
            'name = { type = "text(50)"',
            "product",
            "product.name was a text(10) and is a text(50)",
        ),
        ('table = "item"', 'table = "article"', "product", "product in erp has moved from item to article"),
        (
            'table = "item"',
            'table = "item"\nid = "nr"',
            "product",
            "product in erp takes other rows of item, or names them otherwise",
        ),
        (
            'table = "item"',
            'table = "item"\nwhere = { active = true }',
            "product",
            "product in erp takes other rows of item, or names them otherwise",
        ),
    ],
)
def test_what_is_read_otherwise_is_told(old: str, new: str, subject: str | None, reason: str):
    assert changed(old, new) == ({} if subject is None else {subject: (reason,)})


def test_a_part_and_how_its_rows_are_chosen_matter_but_not_how_they_are_written():
    part = 'table = "item"\nparts.text = { table = "texts", parent = "item"%s }'
    bound = BOTH.replace('body = "web"', 'body = "text.body"').replace(
        'owner = "shop" }\n[ent', 'owner = "erp" }\n[ent'
    )
    text = bound.replace('table = "item"', part % "")
    before = plan_of(text)

    def reasons(more: str) -> list[str]:
        now = plan_of(text.replace(part % "", part % more), known=before.vocabulary)
        return [reason for recopy in recopies(readings(before), readings(now)) for reason in recopy.reasons]

    assert reasons(', write = "never"') == reasons(', new = { kind = "x" }') == []
    assert reasons(', where = { lang = "de" }') == ["product in erp has another part text"]


def test_a_child_collection_is_read_with_its_parent():
    before = plan_of(BOTH)
    now = plan_of(BOTH.replace('quantity = "qty"', 'quantity = "pieces"'), known=before.vocabulary)
    found = recopies(readings(before), readings(now))
    assert [recopy.subject for recopy in found] in (["order"], [])
    assert before.entities_tables("order")


def test_everything_is_new_to_who_has_read_nothing_of_it():
    before = plan_of(PRODUCT)
    now = plan_of(BOTH, known=before.vocabulary)
    found = {recopy.subject: recopy for recopy in recopies(readings(before), readings(now))}
    assert found.keys() == {"customer", "order"}
    assert found["order"].new == ("order", "order.lines")
    assert found["order"].reasons == ("order is new", "order.lines is new")
