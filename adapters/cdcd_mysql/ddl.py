"""Notices statements that take tables or rows away without row events: TRUNCATE, DROP, RENAME, partitions.

Only these are looked into, and only for which tables they name; no data is ever decoded by a statement's text. Comments,
version comments (the server replaces the ! of those that it did not execute), quoting, IF EXISTS, several tables and
the default database are understood. Syntax: MySQL 9 and MariaDB 11 reference manuals, SQL statements. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from cdcd.model import Op

ANSI_QUOTES: Final = 1 << 2
NO_BACKSLASH_ESCAPES: Final = 1 << 20
"""Bits of sql_mode that change how a statement is read."""
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|/\*M?!\d*|\*/|/\*.*?(?:\*/|\Z)|--(?=\s|\Z)[^\n]*|\#[^\n]*)
      | (?P<word>[0-9A-Za-z$_\u0080-\U0010ffff\udc80-\udcff]+)
      | `(?P<name>(?:[^`]|``)+)`
      | "(?P<double>(?:[^"\\]|""|\\.)*)"
      | '(?:[^'\\]|''|\\.)*'
      | (?P<symbol>.)""",
    re.DOTALL | re.VERBOSE,
)
_TOKEN_PLAIN_BACKSLASH: Final = re.compile(_TOKEN.pattern.replace(r"[^'\\]|''|\\.", "[^']|''"), _TOKEN.flags)


class Token(NamedTuple):
    """`word` in capitals, empty for what is quoted; `text` is a name without its quotes; `symbol` is one character."""

    word: str
    text: str
    symbol: str = ""


class Name(NamedTuple):
    """A table by its database, the default one filled in."""

    database: str
    table: str


class Notice(NamedTuple):
    """What happened to a table. An empty `table` means every table of the database."""

    op: Op
    name: Name


class UnknownFormError(Exception):
    """A statement of a kind that takes rows away, in a form that is not understood."""


def tokens_of(text: str, sql_mode: int = 0) -> list[Token]:
    """The parts of a statement, without comments and spaces; what a version comment holds is part of it."""
    pattern = _TOKEN_PLAIN_BACKSLASH if sql_mode & NO_BACKSLASH_ESCAPES else _TOKEN
    tokens = []
    for match in pattern.finditer(text):
        if match["space"] is not None:
            continue
        if match["word"] is not None:
            tokens.append(Token(match["word"].upper(), match["word"]))
        elif match["name"] is not None:
            tokens.append(Token("", match["name"].replace("``", "`")))
        elif match["double"] is not None:
            tokens.append(Token("", match["double"].replace('""', '"')))
        else:
            tokens.append(Token("", "", match["symbol"] or "'"))
    return _without_set_statement(tokens)


def _without_set_statement(tokens: list[Token]) -> list[Token]:
    """MariaDB's SET STATEMENT variable = value FOR statement: the statement."""
    if [token.word for token in tokens[:2]] == ["SET", "STATEMENT"]:
        place = next((n for n, token in enumerate(tokens) if token.word == "FOR"), len(tokens))
        return tokens[place + 1 :]
    return tokens


def changes_rows(tokens: Sequence[Token]) -> bool:
    """Whether the statement itself may change rows, which nobody logs beside it: then the log is not in rows."""
    words = [token.word for token in tokens]
    first = words[0] if words else ""
    if first == "ANALYZE":  # MariaDB's ANALYZE statement executes it
        return len(words) > 1 and (words[1] in _CHANGES_ROWS or words[1] == "FORMAT")
    return first in _CHANGES_ROWS


def filled_table(tokens: Sequence[Token], default: str) -> Name | None:
    """The table that CREATE TABLE … SELECT makes with its rows, which then are not logged as such."""
    cursor = _Cursor(tokens, default)
    if not cursor.accept("CREATE"):
        return None
    cursor.accept("OR", "REPLACE")
    if not cursor.accept("TABLE") or not any(token.word in ("SELECT", "VALUES", "WITH") for token in tokens):
        return None
    if any(token.word == "PARTITION" for token in tokens) and not any(token.word == "SELECT" for token in tokens):
        return None  # VALUES LESS THAN, VALUES IN
    cursor.accept("IF", "NOT", "EXISTS")
    return cursor.name()


def notices(tokens: Sequence[Token], default: str) -> list[Notice]:
    """What a statement takes away. `default` is its default database. Raises UnknownFormError."""
    for words, reader in _READERS.items():
        cursor = _Cursor(tokens, default)
        if cursor.accept(*words):
            return reader(cursor)
    return []


class _Cursor:
    """Reads tokens from the left."""

    def __init__(self, tokens: Sequence[Token], default: str) -> None:
        self._tokens = tokens
        self._default = default
        self._place = 0

    @property
    def at_end(self) -> bool:
        return self._place >= len(self._tokens) or self._tokens[self._place].symbol == ";"

    def accept(self, *words: str) -> bool:
        """Step over these words, if they come next."""
        found = tuple(token.word for token in self._tokens[self._place : self._place + len(words)])
        if found != words:
            return False
        self._place += len(words)
        return True

    def accept_any(self, *words: str) -> bool:
        return any(self.accept(word) for word in words)

    def symbol(self, symbol: str) -> bool:
        if self._place < len(self._tokens) and self._tokens[self._place].symbol == symbol:
            self._place += 1
            return True
        return False

    def step(self) -> Token:
        token = self._tokens[self._place] if self._place < len(self._tokens) else Token("", "")
        self._place += 1
        return token

    def identifier(self) -> str:
        token = self.step()
        if not token.text:
            raise UnknownFormError
        return token.text

    def name(self) -> Name:
        """`table`, `database.table` or `.table`."""
        if self.symbol("."):
            return Name(self._default, self.identifier())
        first = self.identifier()
        return Name(first, self.identifier()) if self.symbol(".") else Name(self._default, first)

    def wait(self) -> None:
        """MariaDB's WAIT n and NOWAIT."""
        if self.accept("WAIT"):
            self.step()
        self.accept("NOWAIT")

    def end(self) -> None:
        """The statement must be over."""
        if not self.at_end:
            raise UnknownFormError


def _truncate(cursor: _Cursor) -> list[Notice]:
    cursor.accept("TABLE")
    name = cursor.name()
    cursor.wait()
    cursor.end()
    return [Notice(Op.TRUNCATE, name)]


def _drop_tables(cursor: _Cursor) -> list[Notice]:
    cursor.accept("IF", "EXISTS")
    found = [Notice(Op.TABLE_GONE, cursor.name())]
    while cursor.symbol(","):
        found.append(Notice(Op.TABLE_GONE, cursor.name()))
    cursor.wait()
    cursor.accept_any("RESTRICT", "CASCADE")
    cursor.end()
    return found


def _drop_database(cursor: _Cursor) -> list[Notice]:
    cursor.accept("IF", "EXISTS")
    database = cursor.identifier()
    cursor.end()
    return [Notice(Op.TABLE_GONE, Name(database, ""))]


def _rename_tables(cursor: _Cursor) -> list[Notice]:
    """The net effect: a name that another table of the same statement takes over is not gone."""
    moved: dict[Name, None] = {}
    made: set[Name] = set()
    cursor.accept("IF", "EXISTS")
    while True:
        old = cursor.name()
        cursor.wait()
        if not cursor.accept("TO"):
            raise UnknownFormError
        if old not in made:
            moved[old] = None
        made.discard(old)
        made.add(cursor.name())
        if not cursor.symbol(","):
            break
    cursor.end()
    return [Notice(Op.TABLE_GONE, name) for name in moved if name not in made]


def _create_or_replace(cursor: _Cursor) -> list[Notice]:
    cursor.accept("IF", "NOT", "EXISTS")
    return [Notice(Op.TRUNCATE, cursor.name())]


def _alter_table(cursor: _Cursor) -> list[Notice]:
    cursor.accept("IF", "EXISTS")
    name = cursor.name()
    cursor.wait()
    found: list[Notice] = []
    depth = 0
    while not cursor.at_end:
        if cursor.symbol("("):
            depth += 1
        elif cursor.symbol(")"):
            depth -= 1
        elif depth or not (notice := _alteration(cursor, name)):
            cursor.step()
        else:
            found += notice
    return list(dict.fromkeys(found))


def _alteration(cursor: _Cursor, name: Name) -> list[Notice]:
    """One of the alterations that matter, if it comes next. Of what an exchange brings in, nothing is named either."""
    if cursor.accept("RENAME"):
        if cursor.accept_any("COLUMN", "INDEX", "KEY"):
            return []
        cursor.accept_any("TO", "AS")
        cursor.symbol("=")
        return [Notice(Op.TABLE_GONE, name)] if cursor.name() != name else []
    if cursor.accept("EXCHANGE", "PARTITION"):
        cursor.step()
        if not cursor.accept("WITH", "TABLE"):
            raise UnknownFormError
        return [Notice(Op.ROWS_LOST, name), Notice(Op.ROWS_LOST, cursor.name())]
    if cursor.accept("CONVERT", "TABLE"):
        return [Notice(Op.ROWS_LOST, name), Notice(Op.TABLE_GONE, cursor.name())]
    if any(cursor.accept(*words) for words in _LOSES_ROWS):
        return [Notice(Op.ROWS_LOST, name)]
    return []


_LOSES_ROWS: Final = (
    ("DROP", "PARTITION"),
    ("DROP", "SUBPARTITION"),
    ("TRUNCATE", "PARTITION"),
    ("CONVERT", "PARTITION"),
    ("DISCARD", "TABLESPACE"),
    ("DISCARD", "PARTITION"),
    ("IMPORT", "TABLESPACE"),
    ("IMPORT", "PARTITION"),
)
_CHANGES_ROWS: Final = frozenset(
    {"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "DO", "CALL", "IMPORT"}
)
Reading: TypeAlias = Callable[[_Cursor], list[Notice]]
_READERS: Final[Mapping[tuple[str, ...], Reading]] = {
    ("TRUNCATE",): _truncate,
    ("DROP", "TABLE"): _drop_tables,
    ("DROP", "TABLES"): _drop_tables,
    ("DROP", "DATABASE"): _drop_database,
    ("DROP", "SCHEMA"): _drop_database,
    ("RENAME", "TABLE"): _rename_tables,
    ("RENAME", "TABLES"): _rename_tables,
    ("CREATE", "OR", "REPLACE", "TABLE"): _create_or_replace,
    ("ALTER", "TABLE"): _alter_table,
    ("ALTER", "ONLINE", "TABLE"): _alter_table,
    ("ALTER", "IGNORE", "TABLE"): _alter_table,
    ("ALTER", "ONLINE", "IGNORE", "TABLE"): _alter_table,
}
