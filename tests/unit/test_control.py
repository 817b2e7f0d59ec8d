"""The control socket: one line in, one line out, whatever the client does."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd import control
from cdcd.control import Answer, Ready, Request, Server
from cdcd.errors import CdcdError, NeedsOperator, Unavailable
from cdcd.wake import wait


class Daemon:
    """A server in a thread, with a few commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = Server(path)
        self.ready = False
        self._end = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._end:
            self.server.serve(wait(self.server.filenos(), 0.02), self._handle)

    def _handle(self, request: Request) -> Answer | Ready:
        if request.command == "echo":
            return Answer(ok=True, result=request.arguments)
        if request.command == "later":
            return lambda: Answer(ok=True, result="now") if self.ready else None
        if request.command == "later-no":
            return self._refuse
        raise NeedsOperator("no such thing", remedy="ask for another", cause="it was never made")

    @staticmethod
    def _refuse() -> Answer | None:
        raise NeedsOperator("it turned out to be wrong")

    def end(self) -> None:
        self._end = True
        self._thread.join()
        self.server.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "control.sock")
    yield made
    made.end()


def test_a_command_is_answered(daemon: Daemon):
    assert control.ask(daemon.path, "echo", {"system": "shop"}) == {"system": "shop"}


def test_an_error_that_turns_out_later_is_an_answer_too(daemon: Daemon):
    with pytest.raises(CdcdError, match="it turned out to be wrong"):
        control.ask(daemon.path, "later-no")
    assert control.ask(daemon.path, "echo", {}) == {}


def test_an_error_crosses_with_all_its_parts(daemon: Daemon):
    with pytest.raises(CdcdError) as caught:
        control.ask(daemon.path, "unknown")
    error = caught.value
    assert (error.what, error.cause, error.remedy) == ("no such thing", "it was never made", "ask for another")
    assert (error.code, error.exit_code) == ("needs-operator", 3)


def test_an_answer_may_take_its_time_while_others_are_served(daemon: Daemon):
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(control.ask(daemon.path, "later")))
    waiting.start()
    assert control.ask(daemon.path, "echo") == {}
    assert found == []
    daemon.ready = True
    waiting.join(10)
    assert found == ["now"]


def test_only_our_own_account_can_open_the_socket(daemon: Daemon):
    assert daemon.path.stat().st_mode & 0o777 == 0o600


def test_without_a_daemon_the_error_says_how_to_start_it(tmp_path: Path):
    for path in (tmp_path / "control.sock", tmp_path / "nowhere" / "control.sock"):
        with pytest.raises(Unavailable, match="not running") as caught:
            control.ask(path, "status")
        assert caught.value.code == "not-running"
        assert "systemctl start cdcd" in caught.value.remedy


def test_a_socket_left_by_a_killed_daemon_counts_as_no_daemon_and_is_replaced(tmp_path: Path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(Unavailable):
        control.ask(path, "status")
    daemon = Daemon(path)
    assert control.ask(path, "echo") == {}
    daemon.end()
    assert not path.exists()


def test_the_path_may_be_longer_than_a_socket_name(tmp_path: Path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    daemon = Daemon(deep / "control.sock")
    assert control.ask(daemon.path, "echo") == {}
    daemon.end()


@pytest.mark.parametrize("garbage", [b"\n", b"{}\n", b'{"command": 5}\n', b"\xff\xfe\n", b'{"command":"echo","x":1}\n'])
def test_what_is_not_understood_is_answered_so(daemon: Daemon, garbage: bytes):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(daemon.path))
        client.sendall(garbage)
        assert b'"control-request"' in client.makefile("rb").readline()


def test_a_request_without_an_end_is_hung_up_on(daemon: Daemon):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(daemon.path))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            client.sendall(b"x" * 2**24)
    assert control.ask(daemon.path, "echo") == {}


def test_two_requests_in_one_write_are_both_answered_in_order(daemon: Daemon):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(daemon.path))
        client.sendall(b'{"command":"later"}\n{"command":"echo","arguments":{"n":2}}\n')
        daemon.ready = True
        lines = client.makefile("rb")
        assert b'"now"' in lines.readline()
        assert b'"n":2' in lines.readline()
