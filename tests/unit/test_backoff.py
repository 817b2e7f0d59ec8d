"""Waits that grow, spread, and end."""

from cdcd.backoff import Backoff


def test_waits_double_with_jitter_up_to_the_longest():
    backoff = Backoff(first_seconds=1.0, longest_seconds=8.0)
    for full in (1, 2, 4, 8, 8, 8):
        assert full / 2 <= backoff.next_seconds() <= full


def test_success_starts_over():
    backoff = Backoff(first_seconds=1.0, longest_seconds=8.0)
    for _ in range(5):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.next_seconds() <= 1.0


def test_a_thousand_attempts_do_not_overflow():
    backoff = Backoff()
    backoff.attempts = 100_000
    assert backoff.next_seconds() <= 30.0
