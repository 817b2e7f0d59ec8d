"""docs/errors.md and the sources name the same codes, and the page says of each what to do."""

import re

import pytest

from cdcd.explained import CHECKS, entries, findings, page
from rules.error_codes import ROOT, codes, texts

PAGE = ROOT / "docs" / "errors.md"
SAID_ELSEWHERE = {"worker-ended", "journal-full", "outbox-full", "interrupted"}
"""Codes of states that no exception stands for, or with an exit status of their own."""


def test_every_code_that_is_raised_is_on_the_page():
    assert sorted(codes().keys() - entries().keys()) == []


def test_every_code_on_the_page_is_in_the_sources():
    assert sorted(code for code in entries() if code not in texts()) == []


def test_the_page_is_read_whole_and_each_code_stands_there_once():
    rows = re.findall(r"^\| `(.+?)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == list(dict.fromkeys(rows))
    assert rows == list(entries())


@pytest.mark.parametrize("code", entries())
def test_every_code_says_what_happened_and_what_to_do_next(code: str):
    found = entries()[code]
    assert found.meaning.endswith("."), "what happened is told in sentences"
    assert len(found.meaning) > 20
    assert found.next


def test_the_exit_statuses_are_those_of_the_classes_that_are_raised():
    wrong = {
        code: (sorted(statuses), entries()[code].exit_status)
        for code, statuses in codes().items()
        if statuses and code not in SAID_ELSEWHERE
        if entries()[code].exit_status != "-"
        if sorted(statuses) != sorted(map(int, entries()[code].exit_status.split(", ")))
    }
    assert wrong == {}


def test_the_next_commands_are_commands_of_ours():
    from cdcd.cli import COMMANDS  # noqa: PLC0415

    named = re.findall(r"`cdcd ([a-z-]+)", PAGE.read_text("utf-8"))
    assert sorted(set(named) - COMMANDS.keys()) == []


def test_links_lead_to_pages_that_exist():
    linked = re.findall(r"\]\(([\w/-]+\.md)\)", PAGE.read_text("utf-8"))
    assert [name for name in set(linked) if not (ROOT / "docs" / name).exists()] == []


def test_the_page_is_installed_with_the_package():
    configured = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in ("errors.md", *CHECKS.values()):
        assert f'"docs/{name}" = "cdcd/{name}"' in configured
    assert page("errors.md") == PAGE


def test_findings_of_a_check_are_explained_by_their_pages():
    for name in CHECKS.values():
        rows = re.findall(r"^\| (`.+?) \| (?:error|warning)", page(name).read_text("utf-8"), re.MULTILINE)
        assert {code for row in rows for code in re.findall(r"`([a-z0-9-]+)`", row)} <= findings().keys()
    assert findings()["wal-level"].meaning.startswith("A finding about PostgreSQL: 'wal_level' is not logical; ")
    assert "MySQL and MariaDB" in findings()["table-missing"].meaning
