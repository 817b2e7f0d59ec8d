"""The template as its supervisor sees it: asked for processes, and done without where it fails."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd import forking
from cdcd.errors import CdcdError
from cdcd.forking import Forked, Template
from cdcd.preflight import CheckApart, check_apart
from cdcd.testing.watchdog import parents


def child(script: str) -> Forked:
    return Forked(os.posix_spawn("/bin/sh", ["sh", "-c", script], {}))


def test_how_a_process_ended_is_known_ever_after():
    made = child("exit 3")
    assert (made.wait(30), made.poll(), made.poll()) == (3, 3, 3)


def test_a_signal_that_ended_it_shows_as_its_negative_number_and_later_ones_go_nowhere():
    made = child("sleep 60")
    assert made.poll() is None
    made.kill()
    assert made.wait(30) == -signal.SIGKILL
    made.send_signal(signal.SIGTERM)


def test_waiting_for_a_process_has_an_end():
    made = child("sleep 60")
    with pytest.raises(subprocess.TimeoutExpired):
        made.wait(0.01)
    made.kill()
    made.wait(30)


# ---- the template -------------------------------------------------------------------------------------------------


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Template]:
    made = Template(str(tmp_path / "missing.toml"))
    made.tend()
    yield made
    made.close()


def refused(check: CheckApart) -> str:
    """The code of what it found wrong."""
    with pytest.raises(CdcdError) as caught:
        check_apart(Path("missing.toml"), check)
    return caught.value.code


def test_what_the_template_forks_is_our_child_and_does_what_it_was_asked_for(template: Template):
    check = CheckApart(Path(template.file), template)
    assert isinstance(check._process, Forked)
    assert parents().get(check._process.pid, os.getpid()) == os.getpid()
    assert refused(check) == "config"
    assert template.has_served


def test_a_template_that_was_killed_is_done_without_and_replaced(template: Template):
    CheckApart(Path(template.file), template).close()
    os.kill(template.pid, signal.SIGKILL)
    check = CheckApart(Path(template.file), template)
    assert isinstance(check._process, subprocess.Popen)
    assert refused(check) == "config"
    template.tend()
    assert refused(CheckApart(Path(template.file), template)) == "config"
    assert template.has_served


def test_a_template_that_does_not_answer_is_ended_and_what_it_was_asked_for_is_made_without_it(
    template: Template, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(forking, "IMPORT_SECONDS", 0.05)
    frozen = template.pid
    os.kill(frozen, signal.SIGSTOP)
    check = CheckApart(Path(template.file), template)
    assert isinstance(check._process, subprocess.Popen)
    assert frozen not in parents()
    check.close()


def test_a_template_that_ends_before_it_has_forked_is_not_tried_again(template: Template):
    os.kill(template.pid, signal.SIGKILL)
    assert template._process is not None
    template._process.wait(30)
    template.tend()
    assert template.pid == 0
    template.renew()
    assert template.pid


def test_what_systemd_tells_the_supervisor_is_not_for_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    assert "NOTIFY_SOCKET" not in forking.public_environment()


def test_a_process_with_threads_or_descriptors_of_others_does_not_fork():
    script = """
import os, threading
from cdcd.template import obstacle
assert obstacle([]) == "", obstacle([])
kept = os.open("/dev/null", os.O_RDONLY)
assert "1 descriptors" in obstacle([]), obstacle([])
assert obstacle([kept]) == ""
end = threading.Event()
thread = threading.Thread(target=end.wait)
thread.start()
print(obstacle([kept]))
end.set()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "an import has started 1 threads\n"
