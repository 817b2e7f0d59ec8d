"""Lag: zero at the head, honest when nothing is heard."""

import pytest

from cdcd.report import CaptureFigures
from cdcd.status import WorkerStatus, capture_lag_seconds

NOW = 1_000_000_000_000
SECOND = 1_000_000


def lag(
    state: str = "running",
    *,
    lag_bytes: int = 0,
    heard: float = 1,
    captured: float = 100,
    caught_up: float | None = None,
) -> float:
    """Lag for moments given in seconds ago."""
    figures = CaptureFigures(
        lag_bytes=lag_bytes,
        received_at_us=int(NOW - heard * SECOND),
        caught_up_at_us=int(NOW - caught_up * SECOND) if caught_up is not None else 0,
    )
    return capture_lag_seconds(WorkerStatus(state=state), figures, int(NOW - captured * SECOND), NOW)  # type: ignore[arg-type]


def test_at_the_head_there_is_no_lag_however_old_the_last_transaction_is():
    assert lag(captured=86_400) == 0


def test_behind_the_head_lag_is_the_age_of_what_was_captured_last():
    assert lag(lag_bytes=5, captured=100) == pytest.approx(100)


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
