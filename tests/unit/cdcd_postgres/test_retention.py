"""How long a server keeps the log for a slot, against a configured outage."""

import msgspec
import pytest

from cdcd_postgres.retention import Kept, Retention, log_keeping, retention_problems
from cdcd_postgres.slots import Slot

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


# ---- what is left for a slot -----------------------------------------------------------------------------------------

MIB = 1 << 20
SLOT = Slot("pgoutput", "erp", 7, "reserved", "0/1", "0/1", None, None, None)


def kept(slot: Slot | None = SLOT, *, keep: int = -1, always: int = 0, idle: float = 0.0):
    return log_keeping(Kept(keep, always, 16 * MIB, idle, 0.25, slot))


def slot(**changes) -> Slot:
    return msgspec.structs.replace(SLOT, **changes)


def test_a_slot_without_a_limit_has_no_headroom_to_tell_of():
    found = kept()
    assert (found.slot_state, found.free_ratio, found.keep_seconds, found.purge_seconds) == ("reserved", None, 0, None)
    assert found.clock_offset_seconds == 0.25


@pytest.mark.parametrize(
    ("safe", "keep", "always", "ratio"),
    [
        (48 * MIB, 64 * MIB, 0, 0.75),
        (70 * MIB, 64 * MIB, 0, 1.0),
        (48 * MIB, 64 * MIB, 96 * MIB, 0.5),
        (-5 * MIB, 64 * MIB, 0, 0.0),
        (8 * MIB, 0, 0, 0.5),
    ],
)
def test_headroom_is_what_is_safe_to_write_of_what_is_kept(safe, keep, always, ratio):
    assert kept(slot(safe_wal_size=safe, wal_status="extended"), keep=keep, always=always).free_ratio == ratio


@pytest.mark.parametrize("lost", [{"wal_status": "lost"}, {"wal_status": "unreserved", "invalidation": "idle_timeout"}])
def test_a_slot_that_was_given_up_has_nothing_left(lost):
    found = kept(slot(**lost), keep=64 * MIB)
    assert (found.slot_state, found.free_ratio) == ("lost", 0.0)


def test_a_slot_that_is_not_there_is_told_from_one_that_is_lost():
    found = kept(None, keep=64 * MIB)
    assert (found.slot_state, found.free_ratio) == ("none", None)


def test_a_slot_that_may_idle_for_so_long_only_has_that_long():
    found = kept(idle=3600.0)
    assert (found.keep_seconds, found.purge_seconds) == (3600, 3600)
