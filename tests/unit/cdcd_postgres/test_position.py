"""Position tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.errors import PositionLost
from cdcd_postgres.position import (
    Log,
    Moment,
    Position,
    Replay,
    format_lsn,
    parse_history,
    parse_lsn,
    parse_place,
    parse_position,
)

HISTORY = "1\t0/3000000\tno recovery target specified\n\n2\t1/A000\tbefore 2026-11-21 10:00:00+00\n"
PROMOTED = Log(7, 3, parse_history(HISTORY))


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**31), st.integers(0, 2**64 - 1))
def test_a_position_reads_back_as_itself(system, timeline, lsn):
    assert parse_position(Log(system, timeline).token(lsn)) == Position(system, timeline, lsn)


def test_an_lsn_is_written_as_postgresql_does():
    assert format_lsn(0x16B3748) == "0/16B3748"
    assert parse_lsn("1/0") == 2**32


def test_a_place_has_the_timeline_on_which_it_was_written():
    places = [0x2FFFFFF, 0x3000000, 0x3000001, 0x10000A000, 0x10000A001]
    assert [parse_position(PROMOTED.token(lsn)).timeline for lsn in places] == [1, 1, 2, 2, 3]


def test_a_log_knows_where_it_left_its_forebears():
    assert (PROMOTED.branches_off(1), PROMOTED.branches_off(2)) == (0x3000000, 0x10000A000)
    assert PROMOTED.branches_off(4) is None
    assert Log(7, 1).branches_off(1) is None


@pytest.mark.parametrize("token", ["", "0-1-2", "binlog.000001:4", "1:1:0/G", "1:1:0/1 "])
def test_a_position_of_another_adapter_is_lost(token):
    with pytest.raises(PositionLost) as caught:
        parse_position(token)
    assert caught.value.remedy


# ---- what is sent again ----------------------------------------------------------------------------------------------


def test_a_token_carries_the_last_commit():
    log = Log(7, 1)
    assert log.token(1100, Moment(1100, 5)) == "7:1:0/44C:0:5"
    assert parse_position(log.token(1100, Moment(1000, -5))) == Position(7, 1, 1100, Moment(1000, -5))
    assert parse_position(log.token(1100)).commit is None


SEEN = Moment(1100, 5)


def replayed(confirmed_lsn: int, *moments: Moment, lsn: int = 1100, expected: Moment | None = SEEN) -> None:
    replay = Replay(confirmed_lsn, Position(7, 1, lsn, expected), PositionLost)
    for moment in moments:
        replay.commit(moment)
    replay.judge()


def test_what_is_sent_again_must_end_with_the_commit_that_was_seen_last():
    replayed(1000, Moment(1050, 1), SEEN)
    replayed(1000, Moment(1050, 1), SEEN, lsn=1200)
    for other in ([], [Moment(1100, 6)], [SEEN, Moment(1150, 6)], [Moment(1096, 5)]):
        with pytest.raises(PositionLost, match="set back"):
            replayed(1000, *other, lsn=1200)


def test_nothing_is_sent_again_when_the_last_commit_was_confirmed():
    replayed(1100, lsn=1200)
    with pytest.raises(PositionLost, match="set back"):
        replayed(1100, Moment(1150, 6), lsn=1200)


def test_a_commit_cannot_reach_beyond_the_position():
    with pytest.raises(PositionLost, match="inside"):
        replayed(1000, Moment(1104, 5))


def test_a_position_that_knows_no_commit_is_believed():
    replayed(1000, Moment(1050, 1), expected=None)


def test_a_place_is_a_position_or_what_postgresql_prints():
    assert parse_place("0/16B3748") == parse_place("0/16b3748") == 0x16B3748
    assert parse_place(Log(7, 1).token(0x16B3748, Moment(0x16B3700, 5))) == 0x16B3748
    for text in ("", "now", "0x16", "16B3748", "0/"):
        with pytest.raises(ValueError, match="a place in"):
            parse_place(text)
