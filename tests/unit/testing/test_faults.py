"""Faults happen once, at their point, in the order of the plan."""

from contextlib import suppress
from random import Random

import pytest

from cdcd.errors import Refused, Unavailable
from cdcd.testing.faults import POINTS, Crash, Die, Disconnect, FailAfterWrite, FaultPlan, RandomFaults, Reject


def test_a_fault_happens_once_at_its_point():
    plan = FaultPlan([Disconnect("poll")])
    plan("start")
    with pytest.raises(Unavailable):
        plan("poll")
    plan("poll")
    assert plan.passed == {"start": 1, "poll": 2}
    assert plan.waiting == []


def test_faults_of_one_point_happen_in_the_order_of_the_plan():
    plan = FaultPlan([Reject(rows=((0, 1),))])
    plan.add(Disconnect("apply:before-commit"))
    with pytest.raises(Refused) as caught:
        plan("apply:before-commit")
    assert caught.value.rows == ((0, 1),)
    with pytest.raises(Unavailable):
        plan("apply:before-commit")


def test_a_lost_answer_comes_after_the_commit():
    with pytest.raises(Unavailable):
        FaultPlan([FailAfterWrite()])("apply:after-commit")


def test_a_crash_is_caught_by_no_handler_of_exceptions():
    assert not issubclass(Crash, Exception)
    with pytest.raises(Crash):
        FaultPlan([Die("start")])("start")


def test_a_fault_at_an_unknown_point_is_a_mistake():
    with pytest.raises(AssertionError, match="apply:after-commit"):
        FaultPlan([Die("apply:somewhere")])


def test_random_faults_are_the_same_for_the_same_seed():
    def happened(seed):
        faults = RandomFaults(Random(seed), 0.5)
        for point in POINTS * 20:
            with suppress(Crash, Unavailable):
                faults(point)
        return faults.happened

    assert happened(1) == happened(1)
    assert happened(1) != happened(2)


def test_random_faults_never_happen_with_probability_zero():
    faults = RandomFaults(Random(1), 0.0)
    for point in POINTS * 20:
        faults(point)
    assert faults.happened == []
