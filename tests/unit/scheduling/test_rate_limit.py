"""The budget of rows: what is written never exceeds a burst and the rate since."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd import outbox
from cdcd.outbox import Unit
from cdcd.scheduling import rate_limit
from cdcd.scheduling.rate_limit import Budget, RateLimit


def test_a_system_without_the_key_has_no_limit():
    assert rate_limit.of_system({"adapter": "postgres"}) is None


def test_a_second_s_worth_is_the_burst_unless_it_says_otherwise():
    assert rate_limit.of_system({"rows-per-second": 500}) == RateLimit(500, 500)
    assert rate_limit.of_system({"rows-per-second": 500, "burst-rows": 20}) == RateLimit(500, 20)


def test_what_a_large_transaction_took_too_much_is_waited_for():
    budget = Budget(RateLimit(100, 50), 0.0)
    assert budget.available(10.0) == 50
    budget.spend(250)
    assert budget.available(11.0) == 0
    assert budget.wait_seconds() == pytest.approx(1.25)
    assert budget.available(12.25) == 25


def test_a_process_that_is_started_anew_brings_no_new_burst():
    assert Budget(RateLimit(100, 50), 7.0).available(7.0) == 0


def test_a_handful_of_rows_is_not_worth_a_transaction():
    budget = Budget(RateLimit(100, 50), 0.0)
    assert budget.available(0.1) == 0
    assert budget.available(0.25) == 25


def test_one_row_a_minute_is_possible():
    budget = Budget(RateLimit(1, 1), 0.0)
    budget.spend(59)
    assert budget.available(59.0) == 0
    assert budget.available(60.0) == 1


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1)), max_size=50),
)
def test_rows_never_exceed_the_burst_and_the_rate_since(rate, burst, steps):
    now, written = 0.0, 0
    budget = Budget(RateLimit(rate, burst), now)
    for seconds, share in steps:
        now += seconds
        rows = int(budget.available(now) * share)
        budget.spend(rows)
        written += rows
        assert written <= burst + rate * now + 1e-6


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(0, 10_000))
def test_who_waits_as_long_as_told_is_given_something(rate, burst, spent):
    budget = Budget(RateLimit(rate, burst), 0.0)
    budget.spend(spent)
    budget.available(0.0)
    assert budget.available(budget.wait_seconds() + 1e-6) >= 1


def units(*sizes: int) -> list[Unit]:
    return [Unit(n, 0, [[0, 1, b"", 0, [], 0, []]] * size) for n, size in enumerate(sizes, 1)]


@pytest.mark.parametrize(
    ("sizes", "rows_max", "taken"), [((3, 3, 3), 6, 2), ((3, 3, 3), 8, 2), ((9, 1), 5, 1), ((1, 9), 5, 1), ((2,), 1, 1)]
)
def test_a_batch_is_cut_between_units_only(sizes: tuple[int, ...], rows_max: int, taken: int):
    assert len(outbox.within(units(*sizes), rows_max)) == taken


def test_without_a_limit_nothing_is_cut_and_rows_of_copies_count_one_by_one():
    assert len(outbox.within(units(5, 5), None)) == 2
    copies = [Unit(n, 0, [[-1, 1, 1, [["a"], ["b"], ["c"]], None]]) for n in (1, 2)]
    assert len(outbox.within(copies, 5)) == 1
