"""No name and no value enters SQL but through the functions that quote: what the adapters' source says of itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cdcd
from cdcd_mysql.grants import account
from cdcd_mysql.statements import quote_name, quote_text
from cdcd_postgres.grants import do
from cdcd_postgres.names import TableName, parse_table, quote_identifier, quote_literal

ADAPTERS = Path(cdcd.__file__).parent.parent / "adapters"
SQL = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|LOCK|START_REPLICATION|SET|KILL|WITH|COPY|DO)\s"
)
RAW = {"name", "table", "schema", "database", "spelled", "column", "user", "lineage", "key", "slot"}
"""Attributes that hold a name as it is. What holds it quoted is called `sql`, or came out of a function that quotes."""
QUOTED = {
    ("watch.py", "part.name"): "regclass, which the server has quoted",
    ("checks.py", "part.name"): "regclass, which the server has quoted",
    ("preflight_privileges.py", "self.name"): "the account as GRANT names it",
}


def sources() -> list[Path]:
    return sorted(path for path in ADAPTERS.rglob("*.py") if path.parent.name != "cdcd_memory")


def statements(tree: ast.AST) -> Iterator[ast.JoinedStr]:
    """F-strings that begin as SQL does, where they are not a message to a person."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and node.values:
            first = node.values[0]
            if isinstance(first, ast.Constant) and SQL.match(str(first.value)):
                yield node


def raw_parts(node: ast.JoinedStr) -> Iterator[str]:
    for value in node.values:
        if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Attribute) and value.value.attr in RAW:
            yield ast.unparse(value.value)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_no_statement_has_a_name_in_it_that_was_not_quoted(path: Path):
    tree = ast.parse(path.read_text("utf-8"))
    found = [(node.lineno, part) for node in statements(tree) for part in raw_parts(node)]
    assert [(line, part) for line, part in found if (path.name, part) not in QUOTED] == []


def test_the_rule_finds_what_it_is_for():
    tree = ast.parse('sql = f"SELECT 1 FROM {table.name} WHERE {column.sql} = {value}"')
    assert [part for node in statements(tree) for part in raw_parts(node)] == ["table.name"]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_no_statement_is_made_with_percent_or_format_of_values(path: Path):
    """`format` fills templates of ours with names that were quoted; `%` fills nothing."""
    tree = ast.parse(path.read_text("utf-8"))
    found = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mod)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.left.value, str)
    ]
    assert found == []


HOSTILE = [
    "a",
    'a"b',
    "a`b",
    "a'b",
    "a\\",
    "a\\'b",
    "a;--",
    "a$$b",
    "$cdcd$",
    "ü 😀",
    "x" * 63,
    "%s",
    "a\nb",
    "a.b",
    '"a',
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_quoted_name_ends_only_where_it_ends(name: str):
    inner = quote_identifier(name)[1:-1]
    assert inner.replace('""', "").count('"') == 0
    inner = quote_name(name)[1:-1]
    assert inner.replace("``", "").count("`") == 0
    assert parse_table(TableName(name, name).spelled) == TableName(name, name)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_quoted_text_ends_only_where_it_ends(text: str):
    for quoted in (quote_text(text), quote_literal(text).removeprefix("E")):
        inner = quoted[1:-1].replace("\\\\", "").replace("''", "")
        assert "'" not in inner
    assert account(text, "%").endswith("'@'%'")


def test_a_block_cannot_be_ended_by_a_name_in_it():
    body = 'BEGIN ALTER PUBLICATION "$cdcd$; DROP TABLE x; $cdcd1$" SET TABLE x; END'
    quote = do(body).split("\n")[0].removeprefix("DO ")
    assert quote not in body
    assert do(body).count(quote) == 2
