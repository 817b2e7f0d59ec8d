"""Writes the tables of docs/types.md from the type cases: `PYTHONPATH=tests/types:. python -m types_table`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import mysql_cases
import postgres_cases
from cases import TypeCase
from cdcd.values import parse_type
from counterparts import counterpart

DOCUMENT = Path(__file__).parents[2] / "docs" / "types.md"
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_ARGUMENTS = re.compile(r"\(.*\)", re.DOTALL)
_NOT_ALIKE = ("json", "vector")
"""Types of the same name that the servers keep in different ways."""
REFUSED = {
    ("boolean", "mysql"): "",
    ("integer", "postgres"): "",
    ("integer", "mysql"): "",
    ("decimal", "mysql"): "NaN, infinities; more than 65 digits, or 30 after the point",
    ("float", "mysql"): "NaN, infinities; -0 in MariaDB before 11.8",
    ("date", "mysql"): "infinity, years before 1 or beyond 9999",
    ("datetime", "mysql"): "infinity, years before 1 or beyond 9999",
    (
        "instant",
        "mysql",
    ): "before 1970-01-01 00:00:01 or after 2038-01-19 03:14:07 UTC (MariaDB from 11.5: 2106-02-07 06:28:15)",
    ("date", "postgres"): "zero dates, days that no calendar has",
    ("datetime", "postgres"): "zero dates, days that no calendar has",
    ("instant", "postgres"): "the zero date",
    ("time", "postgres"): "negative, or longer than 24 hours",
    ("text", "postgres"): "the character NUL; bytes that are no text of the column's character set",
    ("json", "mysql"): "MySQL: a number that neither 64 bits nor a double keep; nesting of more than 100",
    ("json", "postgres"): r"`\u0000` in a text",
}
"""What a counterpart does not take, by canonical kind and family of the target."""


def tables() -> dict[str, str]:
    """The tables by name."""
    return {
        "postgres": table(["PostgreSQL", "canonical", "in MariaDB", "in MySQL", "refused there", ""], postgres_rows()),
        "mysql": table(["MySQL, MariaDB", "canonical", "in PostgreSQL", "refused there", ""], mysql_rows()),
    }


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def postgres_rows() -> Iterator[Sequence[str]]:
    for case in postgres_cases.CASES:
        kind = parse_type(case.canonical).kind
        theirs = [code(counterpart(case.canonical, server).removesuffix(" null")) for server in ("mariadb", "mysql")]
        refused = REFUSED.get((kind, "mysql"), "")
        yield [code(case.ddl), code(case.canonical), *theirs, refused, case.note]


def mysql_rows() -> Iterator[Sequence[str]]:
    """One row for types that differ in nothing but their arguments and character sets."""
    seen: set[str] = set()
    for case in mysql_cases.CASES:
        alike = _ARGUMENTS.sub("", case.ddl) + (str(case.servers) if case.ddl.startswith(_NOT_ALIKE) else "")
        if alike not in seen and "character set" not in case.ddl:
            seen.add(alike)
            kind = parse_type(case.canonical).kind
            theirs = code(counterpart(case.canonical, "postgres"))
            yield [code(where(case)), code(case.canonical), theirs, REFUSED.get((kind, "postgres"), ""), case.note]


def where(case: TypeCase) -> str:
    only = [server for server in case.servers if "timestamp" not in case.ddl]
    return case.ddl.removesuffix(" null") + (f" ({', '.join(only)})" if only else "")


def code(text: str) -> str:
    return f"`{text}`"


def written(document: str) -> str:
    """The document with its tables as the cases have them."""
    made = tables()
    return _PLACE.sub(lambda place: place[1] + made[place[2]] + place[3], document)


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8")), "utf-8")
