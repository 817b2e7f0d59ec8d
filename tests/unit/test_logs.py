"""Log lines: one per event, for people and machines, without values."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("stream", ["8:1", "", "{dev}:{ino}"])
def test_only_a_stderr_that_is_the_journal_gets_priorities(tmp_path: Path, stream: str):
    """A shell below a service has JOURNAL_STREAM, too, and may write into a file."""
    program = "import logging\nfrom cdcd import logs\nlogs.setup('resolve')\nlogging.error('x')\n"
    with (tmp_path / "log").open("w+") as log:
        found = os.fstat(log.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": stream.format(dev=found.st_dev, ino=found.st_ino)}
        subprocess.run([sys.executable, "-c", program], stderr=log, env=environment, check=True)
    assert (tmp_path / "log").read_text().startswith("<3>level=error" if "dev" in stream else "at=")


def test_who_is_aborted_says_where_it_was():
    program = "import os\nfrom cdcd import logs\nlogs.setup('resolve')\ndef hangs(): os.abort()\nhangs()\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert "in hangs" in done.stderr


def test_an_unforeseen_exception_is_logged_with_its_place_but_without_its_message():
    program = "from cdcd import logs\nlogs.setup('resolve')\nraise ValueError('4711 secret street')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "exception=ValueError" in done.stderr
    assert "<string>:3" in done.stderr
    assert "4711" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_so_is_one_in_a_thread_which_ends_that_thread_only():
    program = (
        "import threading\nfrom cdcd import logs\nlogs.setup('test')\n"
        "def fail():\n    raise ValueError('s3cret')\n"
        "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()\nprint('went on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert "exception=ValueError" in done.stderr
    assert "s3cret" not in done.stderr
