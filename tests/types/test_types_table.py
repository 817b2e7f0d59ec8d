"""The documentation of types says what the tests show."""

import pytest

import mysql_cases
import postgres_cases
from cdcd.values import KINDS, parse_type
from types_table import DOCUMENT, tables, written


def test_the_document_is_in_step_with_the_cases():
    text = DOCUMENT.read_text("utf-8")
    assert written(text) == text, "run: PYTHONPATH=tests/types:. python -m types_table"


@pytest.mark.parametrize("name", sorted(tables()))
def test_the_document_has_every_table(name):
    assert f"<!-- table: {name} -->" in DOCUMENT.read_text("utf-8")


def test_every_canonical_type_is_a_case_and_is_documented():
    found = {parse_type(case.canonical).kind for case in (*postgres_cases.CASES, *mysql_cases.CASES)}
    assert found == KINDS - {"ref"}
    text = DOCUMENT.read_text("utf-8")
    assert all(f"`{kind}" in text for kind in KINDS - {"ref"})
