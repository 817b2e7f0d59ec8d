"""Spelling and quoting of names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.adapter import Identity
from cdcd.errors import ConfigError
from cdcd_postgres import adapter
from cdcd_postgres.names import TableName, object_name, parse_table, quote_identifier, quote_literal

NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("spelled", "schema", "name"),
    [
        ("item", "public", "item"),
        ("shop.Item", "shop", "Item"),
        ('public."we""ird.table"', "public", 'we"ird.table'),
        ('"my.schema"."my.table"', "my.schema", "my.table"),
        ('we"ird', "public", 'we"ird'),
        ('"item"', "public", "item"),
        ("sale order.line 1", "sale order", "line 1"),
    ],
)
def test_a_table_is_read_letter_for_letter(spelled, schema, name):
    assert parse_table(spelled) == TableName(schema, name)


@pytest.mark.parametrize("spelled", ["", ".", "a.", ".a", "a.b.c", '"a', '"a"b', '""', 'a."b"c', "a\0b"])
def test_what_is_no_table_name_is_a_configuration_error(spelled):
    with pytest.raises(ConfigError):
        parse_table(spelled)


@given(NAME, NAME)
def test_a_spelled_name_reads_back_as_itself(schema, name):
    table = TableName(schema, name)
    assert parse_table(table.spelled) == table
    assert adapter.table_name(table.spelled) == table.spelled


def test_a_bare_name_is_in_schema_public():
    assert adapter.table_name("item") == "public.item"
    assert adapter.table_name("erp.item") == "erp.item"


def test_quotes_in_names_and_literals_are_doubled():
    assert quote_identifier('we"ird') == '"we""ird"'
    assert quote_literal("it's") == "'it''s'"
    assert quote_literal("a\\'") == "E'a\\\\'''"


def test_our_objects_are_named_after_daemon_and_system():
    assert object_name(Identity("acme", "erp", "x")) == "cdcd_acme_erp"


@pytest.mark.parametrize(
    ("daemon", "system"), [("Acme", "erp"), ("a" * 40, "b" * 40), ("ac-me", "erp"), ("日本", "erp")]
)
def test_a_name_that_a_slot_cannot_have_is_changed_without_meeting_another(daemon, system):
    name = object_name(Identity(daemon, system, "x"))
    assert len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
    assert name != object_name(Identity(daemon + "x", system, "x"))
