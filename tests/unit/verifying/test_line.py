"""How a comparison waits for the running line, and when it does not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdcd.verifying import line as lines
from cdcd.verifying.comparing import NotComparable
from cdcd.verifying.line import RunningLine
from cdcd.verifying.reference import Settled
from unit import statuses


def daemon_status(capture: str) -> Any:
    return msgspec.to_builtins(statuses.daemon(statuses.worker(capture)))


class Known:
    """What the state directory tells: the target has `applied` of the units that resolve has made."""

    def __init__(self) -> None:
        self.units, self.done, self.paused, self.step = 7, 7, False, 0

    def resolved(self) -> Settled:
        return Settled(100, self.units)

    def applied(self, _system: str) -> int:
        self.done = min(self.units, self.done + self.step)
        return self.done

    def lacks(self, _system: str, unit: int) -> bool:
        return self.done < unit

    def is_paused(self, _system: str) -> bool:
        return self.paused


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    clock = [0.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(lines.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    return Known()


def running(known: Known, *, is_source: bool = False) -> RunningLine:
    return RunningLine(known, Path("socket"), "erp", is_source=is_source, is_target=True, look=lambda: None)  # type: ignore[arg-type]


def test_what_was_decided_must_have_arrived(known: Known):
    assert running(known).settle() == Settled(100, 7)
    known.done, known.step = 2, 1
    assert running(known).settle() == Settled(100, 7)
    assert known.done == 7


@pytest.mark.parametrize("paused", [True, False])
def test_a_target_that_takes_nothing_is_not_waited_for(known: Known, paused: bool):
    known.done, known.paused = 3, paused
    assert running(known).settle() == Settled(100, 3, is_all=False)


def test_what_the_system_has_committed_must_be_resolved(known: Known, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, Any]] = []
    answers = [{"passed": False, "missing": [{"system": "shop", "what": "is behind"}]}, {"passed": True, "missing": []}]

    def ask(_path: Path, verb: str, arguments: Any = None) -> Any:
        asked.append((verb, arguments))
        return answers.pop(0) if verb == "wait" else daemon_status("running")

    monkeypatch.setattr(lines.control, "ask", ask)
    assert running(known, is_source=True).settle() == Settled(100, 7)
    assert [verb for verb, _ in asked] == ["wait", "status", "wait"]
    assert asked[0][1]["resolved_only"] is True


def test_a_log_that_is_not_read_any_more_is_not_waited_for(known: Known, monkeypatch: pytest.MonkeyPatch):
    behind = {"passed": False, "missing": [{"system": "shop", "what": "is behind"}]}
    monkeypatch.setattr(
        lines.control,
        "ask",
        lambda _path, verb, _arguments=None: behind if verb == "wait" else daemon_status("stopped"),
    )
    with pytest.raises(NotComparable, match="the log of erp is not read any more: shop: is behind"):
        running(known, is_source=True).settle()
