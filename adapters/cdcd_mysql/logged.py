"""What a statement in the log means for the captured tables. Pure.

Row changes are in row events; a statement that changes rows itself stops the source, because nobody knows which.
"""

from __future__ import annotations

import re
from typing import Final

from cdcd.errors import DecodeError
from cdcd.model import CHECKPOINT_TABLE, Op
from cdcd_mysql import refusals
from cdcd_mysql.binlog import Statement
from cdcd_mysql.captured import CapturedTables, TableName
from cdcd_mysql.charsets import decode_text
from cdcd_mysql.ddl import Notice, UnknownFormError, changes_rows, filled_table, notices, tokens_of

_COMMENT: Final = rb"(?:\s|/\*(?!M?!).*?\*/|/\*M?!\d*|--\s[^\n]*(?:\n|$)|#[^\n]*(?:\n|$))*"
_FIRST_WORD: Final = re.compile(_COMMENT + rb"\(*([A-Za-z]+)", re.DOTALL)
_READ_WORDS: Final = frozenset({"TRUNCATE", "DROP", "RENAME", "CREATE", "ALTER"})
_ROW_WORDS: Final = frozenset(
    {"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "DO", "CALL", "IMPORT"}
)
_EITHER_WORDS: Final = frozenset({"SET", "ANALYZE"})


def first_word(text: bytes) -> str:
    """The statement's first word in capitals, after comments; empty when it does not start with one."""
    match = _FIRST_WORD.match(text)
    return match[1].decode().upper() if match else ""


def read_statement(word: str, statement: Statement, tables: CapturedTables, where: str) -> list[tuple[Op, str]]:
    """What the statement, whose first word is `word`, takes from captured tables (as the configuration spells them).

    Raises DecodeError when it may change rows of a captured table, or has a form that is not understood.
    """
    if word in _ROW_WORDS:
        _refuse_rows(statement, tables, where)
    if word not in _READ_WORDS and word not in _EITHER_WORDS:
        return []
    text = decode_text(statement.text, tables.decoder_of(statement.collation))
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    tokens = tokens_of(tables.folded(text), statement.sql_mode)
    if changes_rows(tokens):
        _refuse_rows(statement, tables, where)
    database = tables.folded(statement.database.decode("utf-8", "surrogateescape"))
    try:
        filled = filled_table(tokens, database)
        if filled is not None and tables.spelled(TableName(*filled)) is not None:
            raise refusals.statement_logged(where)
        found = notices(tokens, database)
    except UnknownFormError:
        if tables.may_concern(statement.database, statement.text):
            raise _unknown_form(word, where) from None
        return []
    named = [(notice.op, spelled) for notice in found for spelled in _captured(notice, tables)]
    return [(op, spelled) for op, spelled in named if spelled != CHECKPOINT_TABLE]  # rows of it alone mean something


def _captured(notice: Notice, tables: CapturedTables) -> list[str]:
    if not notice.name.table:
        return tables.of_database(notice.name.database)
    spelled = tables.spelled(TableName(*notice.name))
    return [spelled] if spelled is not None else []


def _refuse_rows(statement: Statement, tables: CapturedTables, where: str) -> None:
    if tables.may_concern(statement.database, statement.text):
        raise refusals.statement_logged(where)


def _unknown_form(word: str, where: str) -> DecodeError:
    return DecodeError(
        f"a {word} statement in the log was not understood before {where}",
        cause="it may take away rows of captured tables",
        remedy="run 'cdcd reposition' for this system, and report the statement's form",
        code="statement-form",
    )
