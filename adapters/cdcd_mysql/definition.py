"""What SHOW CREATE TABLE says and information_schema keeps from accounts with few rights. Pure.

MariaDB lists CHECK constraints only for accounts with every privilege on a table, and the actions of foreign keys only for
those that may write to it. An account that reads would take JSON for text, and miss that rows are deleted without a word in
the log. It may see the statement that made the table, though. Quotes are as `sql_quote_show_create` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

_NAME: Final = r"`((?:[^`]|``)*)`"
_JSON: Final = re.compile(rf"^  {_NAME} longtext\b.* CHECK \((?P<clause>.*)\),?$", re.IGNORECASE)
_FOREIGN_KEY: Final = re.compile(
    rf"^  CONSTRAINT {_NAME} FOREIGN KEY \((?P<columns>.+?)\) REFERENCES (?:{_NAME}\.)?{_NAME} \((?P<parents>.+?)\)"
    r"(?: ON DELETE (?P<on_delete>[A-Z ]+?))?(?: ON UPDATE (?P<on_update>[A-Z ]+?))?,?$"
)
_EACH_NAME: Final = re.compile(_NAME)
_DEFAULT_ACTION: Final = "RESTRICT"


class DefinedKey(msgspec.Struct, frozen=True):
    """A foreign key. `parent_database` is empty where it is the table's own; `pairs` are a column and the parent's."""

    name: str
    parent_database: str
    parent_table: str
    on_delete: str
    on_update: str
    pairs: tuple[tuple[str, str], ...]


def json_columns(definition: str) -> frozenset[str]:
    """The columns that MariaDB made of JSON: LONGTEXT with a check that it is valid."""
    lines = (_JSON.match(line) for line in definition.split("\n"))
    return frozenset(_plain(line[1]) for line in lines if line and "json_valid" in line["clause"].lower())


def foreign_keys(definition: str) -> Iterator[DefinedKey]:
    """All foreign keys."""
    for line in definition.split("\n"):
        found = _FOREIGN_KEY.match(line)
        if found is not None:
            yield DefinedKey(
                _plain(found[1]),
                _plain(found[3] or ""),
                _plain(found[4]),
                found["on_delete"] or _DEFAULT_ACTION,
                found["on_update"] or _DEFAULT_ACTION,
                tuple(zip(_names(found["columns"]), _names(found["parents"]), strict=True)),
            )


def _names(listed: str) -> list[str]:
    return [_plain(name) for name in _EACH_NAME.findall(listed)]


def _plain(name: str) -> str:
    return name.replace("``", "`")
