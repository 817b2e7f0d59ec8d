"""The text in which a person edits a parked record: it says the types, and takes back only what is of them."""

from __future__ import annotations

import pytest

from cdcd.model import ABSENT
from cdcd.parking.statement import ShownField
from cdcd.parking.text import editable, from_text, to_text
from cdcd.values import ValueType

FIELDS = [
    ShownField("name", "title", "text(10)", "text(200)", 'a "b"\nc', "erp"),
    ShownField("price", "cents", "decimal(6,2)", "integer(0,9)", "12.50", "erp"),
    ShownField("stock", "stock", "integer", "", 5),
    ShownField("live", "live", "boolean", "", True),
    ShownField("image", "image", "bytes(3)", "", b"\x00\xff"),
    ShownField("tags", "tags", "json", "", '["a"]'),
    ShownField("note", "note", "text", "", None),
    ShownField("customer", "customer_id", "ref(customer)", "", ["K1", 2]),
]


def edited(**lines):
    """The text with some lines in other words."""
    text = to_text(FIELDS, ["why"])
    kept = [line for line in text.splitlines() if line.partition(" =")[0] not in lines]
    return from_text("\n".join([*kept, *lines.values()]), FIELDS, {})


def test_it_says_why_and_of_which_types_the_values_are():
    text = to_text(FIELDS[:2], ["it is refused", ""])
    assert text.splitlines() == [
        "# it is refused",
        "#",
        "",
        "# name: text(10), written to title: text(200); owned by erp",
        'name = "a \\"b\\"\\nc"',
        "",
        "# price: decimal(6,2), written to cents: integer(0,9); owned by erp",
        'price = "12.50"',
        "",
    ]


def test_what_is_left_as_it_was_is_no_change():
    assert from_text(to_text(FIELDS, ["why"]), FIELDS, {}) == ({}, [])


@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        ("name", 'name = "x = y"', "x = y"),
        ("name", "name = null", None),
        ("price", 'price = "3"', "3.00"),
        ("price", "price = 3.25", "3.25"),
        ("stock", "stock = 7", 7),
        ("live", "live = false", False),
        ("image", 'image = {"hex": "01"}', b"\x01"),
        ("tags", 'tags = ["a", "b"]', '["a","b"]'),
        ("note", 'note=""', ""),
        ("customer", 'customer = ["K2", 3]', ["K2", 3]),
    ],
)
def test_a_changed_line_is_a_value_of_the_fields_type(name, line, value):
    changed, wrong = edited(**{name: line})
    assert wrong == []
    assert changed.keys() == {name}
    assert changed[name] == value or changed[name].replace(" ", "") == value


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("name", "name = better", "double quotes"),
        ("name", "name = 5", "double quotes"),
        ("name", 'name = "far too long a name"', "limit"),
        ("price", 'price = "3.255"', "decimal"),
        ("stock", 'stock = "many"', "integer"),
        ("image", 'image = "01"', "hex"),
        ("image", 'image = {"hex": "01020304"}', "limit"),
        ("image", 'image = {"hex": "0"}', ""),
        ("live", "live = 3", "boolean"),
    ],
)
def test_what_is_no_value_of_the_type_is_said(name, line, why):
    changed, (mistake,) = edited(**{name: line})
    assert changed == {}
    assert mistake.field == name
    assert why in mistake.why


def test_lines_that_are_unknown_twice_or_gone_are_said():
    _, wrong = edited(name='name = "x"\nname = "y"', price="", stock="stok = 3")
    assert {m.field: m.why[:12] for m in wrong} == {
        "name": "it is there ",
        "price": "it is not th",
        "stok": "there is no ",
        "stock": "it is not th",
    }


def test_a_reference_to_a_key_of_one_part_is_written_as_that():
    field = ShownField("customer", "customer_id", "ref(customer)", "", "K1")
    changed, wrong = from_text("customer = 5", [field], {"customer": ValueType("text")})
    assert (changed, [m.field for m in wrong]) == ({}, ["customer"])
    assert from_text('customer = "K2"', [field], {"customer": ValueType("text")})[0] == {"customer": "K2"}


def test_keys_and_unknown_values_are_not_edited():
    unknown = ShownField("x", "x", "text", "", ABSENT)
    assert editable([FIELDS[0], FIELDS[1], unknown], ["name"]) == [FIELDS[1]]
