"""Lag: zero at the head, honest when nothing is heard."""

import pytest

from cdcd.adapter import LogKeeping
from cdcd.report import CaptureFigures
from cdcd.status import SourceLogStatus, WorkerStatus, capture_lag_seconds, source_log_status

NOW = 1_000_000_000_000
SECOND = 1_000_000


def lag(
    state: str = "running",
    *,
    lag_bytes: int = 0,
    heard: float = 1,
    captured: float = 100,
    caught_up: float | None = None,
    keeps_up: bool = False,
) -> float:
    """Lag for moments given in seconds ago."""
    figures = CaptureFigures(
        lag_bytes=lag_bytes,
        received_at_us=int(NOW - heard * SECOND),
        caught_up_at_us=int(NOW - caught_up * SECOND) if caught_up is not None else 0,
        keeps_up=keeps_up,
    )
    return capture_lag_seconds(WorkerStatus(state=state), figures, int(NOW - captured * SECOND), NOW)  # type: ignore[arg-type]


def test_at_the_head_there_is_no_lag_however_old_the_last_transaction_is():
    assert lag(captured=86_400) == 0


def test_behind_the_head_lag_is_the_age_of_what_was_captured_last():
    assert lag(lag_bytes=5, captured=100) == pytest.approx(100)


def test_a_log_that_is_read_as_fast_as_others_write_to_it_is_no_lag():
    assert lag(lag_bytes=5, captured=100, keeps_up=True) == 0
    assert lag("retrying", lag_bytes=5, captured=100, keeps_up=True) == pytest.approx(100)


def test_after_idling_at_the_head_lag_starts_from_there():
    assert lag(lag_bytes=5, captured=86_400, caught_up=2) == pytest.approx(2)


def test_a_source_that_is_not_read_lags_even_if_nothing_was_ahead():
    assert lag("retrying", captured=30) == pytest.approx(30)


def test_what_the_server_said_long_ago_does_not_count():
    assert lag(heard=120, captured=130) == pytest.approx(130)


def test_a_clock_ahead_of_ours_gives_no_negative_lag():
    assert lag(lag_bytes=5, captured=-50) == 0


def test_nothing_captured_yet_is_no_lag_since_1970():
    assert capture_lag_seconds(WorkerStatus(state="retrying"), CaptureFigures(), 0, NOW) == 0


# ---- the log as its server keeps it ----------------------------------------------------------------------------------


def log(keeping: LogKeeping, *, asked: float = 0, heard: float = 5) -> SourceLogStatus:
    """What is shown of an answer, for moments given in seconds ago."""
    figures = CaptureFigures(
        keeping=keeping, kept_at_us=int(NOW - asked * SECOND), heard_at_us=int(NOW - heard * SECOND)
    )
    return source_log_status(figures, 1, NOW)


def test_the_time_to_the_purge_runs_out_while_nobody_asks():
    found = log(LogKeeping(keep_seconds=1000, purge_seconds=900), asked=400)
    assert (found.purge_seconds, found.headroom_ratio, found.never_purged) == (500, 0.5, False)
    found = log(LogKeeping(keep_seconds=1000, purge_seconds=900), asked=5000)
    assert (found.purge_seconds, found.headroom_ratio) == (0, 0)


def test_headroom_is_the_less_of_what_time_and_size_leave():
    assert log(LogKeeping(free_ratio=0.2, keep_seconds=100, purge_seconds=50)).headroom_ratio == 0.2
    assert log(LogKeeping(free_ratio=0.8, keep_seconds=100, purge_seconds=50)).headroom_ratio == 0.5
    assert log(LogKeeping(free_ratio=0.8, keep_seconds=0)).headroom_ratio == 0.8


def test_a_log_without_limits_is_never_purged_and_has_no_headroom():
    found = log(LogKeeping("reserved", keep_seconds=0))
    assert (found.slot_state, found.never_purged, found.purge_seconds, found.headroom_ratio) == (
        "reserved",
        True,
        None,
        None,
    )


def test_before_the_server_was_asked_nothing_is_known_but_the_journal():
    found = source_log_status(CaptureFigures(), 77, NOW)
    assert found == SourceLogStatus(heard_at_us=77)
