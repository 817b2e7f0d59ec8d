"""The daemon's template: what it forks is the supervisor's, has nothing of others, and nothing depends on it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdcd.testing.watchdog import descendants, parents
from integration.daemon_process import alive, wait_until
from integration.idle_daemon import IdleDaemon


@contextmanager
def begun(
    directory: Path, preparation: str = "import cdcd.workforce as w; w.TEMPLATE_SECONDS = 1e9"
) -> Iterator[IdleDaemon]:
    """By default the template stays."""
    made = IdleDaemon(directory, directory / "state")
    script = f"{preparation}; from cdcd.cli import main; main()"
    made.command = lambda *arguments: [sys.executable, "-c", script, *arguments]
    (made.base / "a" / "descriptors").mkdir()
    try:
        made.start()
        made.wait_for_states()
        yield made
    finally:
        made.dispose()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[IdleDaemon]:
    with begun(tmp_path) as made:
        yield made


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[IdleDaemon]:
    """Waits a second for a template that has served before."""
    with begun(
        tmp_path, "import cdcd.forking as f, cdcd.workforce as w; f.ANSWER_SECONDS = 1.0; w.TEMPLATE_SECONDS = 1e9"
    ) as made:
        yield made


def words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ").split()
    except OSError:
        return []


def templates(daemon: IdleDaemon) -> list[int]:
    return [pid for pid in descendants(daemon.pid) if "cdcd.template" in words(pid)]


def is_forked(pid: int) -> bool:
    """Whether a worker has its command line from us (one string), not from an exec."""
    return b"\0-P\0" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def workers(daemon: IdleDaemon) -> dict[str, int]:
    return {role: worker.pid for role, worker in daemon.status().workers().items()}


def test_workers_are_forked_and_are_the_supervisors_children_with_their_role_in_the_process_list(daemon: IdleDaemon):
    found = workers(daemon)
    for role, pid in found.items():
        assert is_forked(pid)
        assert parents()[pid] == daemon.pid
        assert words(pid)[-4:] == ["-m", "cdcd.worker", role, str(daemon.config)]
    assert len(templates(daemon)) == 1
    assert set(descendants(daemon.pid)) == {*found.values(), *templates(daemon)}


def test_a_worker_has_no_descriptors_but_its_own(daemon: IdleDaemon):
    pid = workers(daemon)["capture:a"]
    opened = (daemon.base / "a" / "descriptors" / str(pid)).read_text().split("\n")
    assert opened.count("anon_inode:[eventfd]") == len(workers(daemon))
    assert sum(name.startswith("socket:") for name in opened) == 3  # reports, and both ends of the signals' pair
    assert sum(name.startswith("pipe:") for name in opened) == 1  # the supervisor's life
    others = [name for name in opened if not name.startswith(("anon_inode:[eventfd]", "socket:", "pipe:"))]
    places = ("/dev/null", str(daemon.log), str(daemon.directory.path))
    assert [name for name in others if not name.startswith(places)] == []


def test_a_killed_template_stops_nothing_and_the_next_worker_starts_anyway(daemon: IdleDaemon):
    before = workers(daemon)["resolve"]
    (template,) = templates(daemon)
    os.kill(template, signal.SIGKILL)
    os.kill(before, signal.SIGKILL)
    daemon.wait_for(lambda s: s.workers()["resolve"].pid not in (0, before), "resolve came back")
    daemon.wait_for_states()
    wait_until(lambda: templates(daemon) not in ([], [template]), "there is a new one")
    assert daemon.end() == 0


def test_a_frozen_template_is_done_without(impatient: IdleDaemon):
    daemon = impatient
    before = workers(daemon)["deliver:b"]
    template = templates(daemon)[0]
    os.kill(template, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)
    status = daemon.wait_for(lambda s: s.workers()["deliver:b"].pid not in (0, before), "deliver:b came back")
    assert not is_forked(status.workers()["deliver:b"].pid)
    assert not alive(template)
    daemon.wait_for_states()
    assert daemon.end() == 0


def test_it_ends_when_all_work_and_who_is_started_again_needs_none(tmp_path: Path):
    with begun(tmp_path, "import cdcd.workforce as w; w.TEMPLATE_SECONDS = 0.5") as daemon:
        wait_until(lambda: not templates(daemon), "it has ended")
        before = workers(daemon)["resolve"]
        os.kill(before, signal.SIGKILL)
        status = daemon.wait_for(lambda s: s.workers()["resolve"].pid not in (0, before), "resolve came back")
        assert not is_forked(status.workers()["resolve"].pid)
        daemon.wait_for_states()
        assert daemon.end() == 0


def test_a_reload_replaces_it(daemon: IdleDaemon):
    before = templates(daemon)
    former = set(workers(daemon).values())
    daemon.config.write_text(daemon.config.read_text() + '\n[journal]\nkeep = "2d"\n')
    reloaded = daemon.cli("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    status = daemon.wait_for_states()
    pids = {worker.pid for worker in status.workers().values()}
    assert pids.isdisjoint(former)
    assert all(is_forked(pid) for pid in pids)
    assert len(templates(daemon)) == 1
    assert templates(daemon) != before
    assert daemon.end() == 0


def test_all_die_with_a_killed_supervisor_also_a_frozen_template(daemon: IdleDaemon):
    pids = descendants(daemon.pid)
    os.kill(templates(daemon)[0], signal.SIGSTOP)
    daemon.end(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids), "all ended")
