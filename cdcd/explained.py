"""What each code of an error or a finding means: the pages of the documentation themselves, so that `cdcd explain` says the same."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

CHECKS: Final = {"PostgreSQL": "check-postgresql.md", "MySQL and MariaDB": "check-mysql.md"}
"""The pages about the findings of `cdcd check`, by what is checked."""
_FINDING: Final = re.compile(
    r"^\| (`[a-z0-9-]+`[^|]*) \| (?:error|warning)[^|]* \| (.+?)(?: \| (.+?))? \|$", re.MULTILINE
)
_ROW: Final = re.compile(r"^\| `([a-z0-9-]+)` \| (.+?) \| (.+?) \| ([0-9, -]+) \|$", re.MULTILINE)


class Entry(msgspec.Struct, frozen=True):
    """One code: what it means, what to do next, and the exit status of a command that ends with it ("1", "2, 3", "-")."""

    code: str
    meaning: str
    next: str
    exit_status: str


def page(name: str) -> Path:
    """A page as it was installed, or as it is in the source tree."""
    installed = Path(__file__).with_name(name)
    return installed if installed.exists() else Path(__file__).parents[1] / "docs" / name


@cache
def entries() -> dict[str, Entry]:
    """Every code of an error, in the order of its page."""
    rows = _ROW.findall(page("errors.md").read_text("utf-8"))
    return {code: Entry(code, *(_plain(text) for text in rest)) for code, *rest in rows}


@cache
def findings() -> dict[str, Entry]:
    """Every code of a finding of `cdcd check`; where several servers have it, with what it means for each."""
    found: dict[str, Entry] = {}
    for server, name in CHECKS.items():
        for listed, when, why in _FINDING.findall(page(name).read_text("utf-8")):
            for code in re.findall(r"`([a-z0-9-]+)`", listed):
                before = f"{found[code].meaning} " if code in found else ""
                text = f"{before}A finding about {server}: {_plain(when)}{f'; {_plain(why)}' if why else ''}."
                found[code] = Entry(code, text, "'cdcd check' prints the statement or setting that mends it", "3")
    return found


def _plain(text: str) -> str:
    """Without the marks of Markdown."""
    linked = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"\1 (docs/\2)", text)
    return linked.replace("`", "'").replace("**", "").replace("\\|", "|")
