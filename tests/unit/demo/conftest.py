"""What a daemon answers when it is asked how it is."""

from collections.abc import Callable

import msgspec
import pytest

from cdcd import report, status


def _answer(**changes):
    """What a daemon at rest answers; `changes` go to the shop's deliver."""
    worker = status.WorkerStatus(state="running")
    copies = (status.CopyStatus("t", 10, True),)
    capture = status.CaptureStatus(worker, "0/1", 0.0, 0, 0, 0, copies)
    deliver = status.DeliverStatus(worker, False, 7, 0.0, 0, 0, 0, 0.0)
    resolve = status.ResolveStatus(worker, 9, 0.0, 0, {"product": "live"}, 0, 0)
    systems = {
        "erp": status.SystemStatus("postgres", capture, deliver),
        "shop": status.SystemStatus("mysql", capture, msgspec.structs.replace(deliver, **changes)),
    }
    journal = status.JournalStatus(9, 1000, 2000)
    counters = (
        report.Counter("captured_changes", ("erp",), 5),
        report.Counter("resolved_changes", ("shop", "product", "revert"), 2),
        report.Counter("resolved_changes", ("shop", "order", "revert"), 1),
        report.Counter("resolved_changes", ("shop", "order", "written"), 4),
    )
    whole = status.DaemonStatus("demo", "0", True, 1, 0, 1, systems, resolve, journal, counters)
    return msgspec.to_builtins(whole)


@pytest.fixture
def answer() -> Callable[..., dict]:
    """Makes an answer of a daemon at rest."""
    return _answer
