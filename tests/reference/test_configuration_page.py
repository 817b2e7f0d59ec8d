"""docs/configuration.md is what the structs say, and every key says what it means."""

from configuration_page import DOCUMENT, page, tables


def test_the_page_is_what_the_code_says():
    assert DOCUMENT.read_text("utf-8") == page(), "run: PYTHONPATH=tests/reference:. python -m configuration_page"


def test_every_key_says_what_it_means():
    assert [f"{table.name} {key.name}" for table in tables() for key in table.keys if not key.meaning] == []
