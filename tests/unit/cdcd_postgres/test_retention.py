"""How long a server keeps the log for a slot, against a configured outage."""

import msgspec
import pytest

from cdcd_postgres.retention import Retention, retention_problems

DAY = 86_400
UNBOUNDED = Retention(None, None, 60_000, 10 << 30, DAY)
"""A server that writes ten GiB a day."""


def problems(outage_seconds: float = DAY, **changes) -> list[tuple[str, str]]:
    found = msgspec.structs.replace(UNBOUNDED, **changes)
    return [(problem.severity, problem.code) for problem in retention_problems(found, outage_seconds)]


def test_a_server_without_limits_keeps_everything():
    assert problems(1000 * DAY) == []
    assert problems(sender_timeout_ms=0) == []


@pytest.mark.parametrize(("keep_bytes", "found"), [(11 << 30, []), (9 << 30, [("error", "slot-retention")])])
def test_a_limit_by_size_is_judged_by_what_the_server_has_written(keep_bytes, found):
    assert problems(keep_bytes=keep_bytes) == found


def test_a_limit_by_size_cannot_be_judged_on_a_server_that_has_just_begun():
    assert problems(keep_bytes=1 << 20, observed_seconds=60) == [("warning", "slot-retention")]


def test_a_remedy_gives_room_for_more_than_the_outage():
    found = msgspec.structs.replace(UNBOUNDED, keep_bytes=1 << 30)
    (problem,) = retention_problems(found, 2 * DAY)
    assert "'30720MB'" in problem.remedy


def test_a_slot_that_is_given_up_when_idle_must_be_given_the_outage():
    assert problems(idle_seconds=3600) == [("error", "slot-idle-timeout")]
    assert problems(idle_seconds=3600, outage_seconds=60) == []


def test_a_server_that_gives_up_readers_at_once_is_a_warning():
    assert problems(sender_timeout_ms=1000) == [("warning", "sender-timeout")]
