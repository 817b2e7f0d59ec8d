"""Log lines: one per event, for people and machines, without values."""

import logging
import subprocess
import sys

import pytest

from cdcd import logs


def line(message: str, level: int = logging.INFO, *, for_journal: bool = False, **extra: object) -> str:
    record = logging.makeLogRecord(
        {"msg": message, "levelno": level, "levelname": logging.getLevelName(level), **extra}
    )
    return logs.KeyValueFormatter("capture:erp", for_journal=for_journal).format(record)


def test_a_line_is_keys_and_values():
    text = line("worker ended", code=-9, worker="resolve")
    assert text.endswith('level=info role=capture:erp event="worker ended" code=-9 worker=resolve')
    assert text.startswith("at=")


def test_what_would_break_a_line_is_quoted():
    assert line("x", cause='two\nlines "and" a \\').endswith('event=x cause="two\\nlines \\"and\\" a \\\\"')
    assert line("x", cause="").endswith('cause=""')


@pytest.mark.parametrize(("level", "prefix"), [(logging.INFO, "<6>"), (logging.WARNING, "<4>"), (logging.ERROR, "<3>")])
def test_for_the_journal_a_priority_stands_before_the_line_and_no_time_in_it(level: int, prefix: str):
    text = line("x", level, for_journal=True)
    assert text.startswith(f"{prefix}level=")
    assert "at=" not in text


def test_an_unforeseen_exception_is_logged_with_its_place_but_without_its_message():
    program = "from cdcd import logs\nlogs.setup('resolve')\nraise ValueError('4711 secret street')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "exception=ValueError" in done.stderr
    assert "<string>:3" in done.stderr
    assert "4711" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
