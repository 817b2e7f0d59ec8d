"""Positions as text, GTID sets, server ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.adapter import Identity
from cdcd.errors import PositionLost
from cdcd_mysql.positions import LogPosition, MariaDbGtids, MySqlGtids, parse_position, place_of, server_id_of

UUID = "dbc899b9-e5f7-11f1-80a2-02fc00000001"


@given(
    offset=st.integers(4, 2**40),
    created=st.integers(0, 2**32),
    mark=st.tuples(st.integers(1, 2**20), st.integers(0, 2**32 - 1)) | st.just((0, 0)),
    gtids=st.sampled_from(["", "0-1-5", "0-1-5,1-2-9", f"{UUID}:1-5:8", f"{UUID}:1-5,{UUID}:tag:3"]),
)
def test_a_position_survives_its_text(offset, created, mark, gtids):
    position = LogPosition("mysql-bin.000007", offset, UUID, created, *mark, gtids)
    assert parse_position(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "0/16B3748", "binlog.000001:x server=1", "binlog.000001:4", "binlog.1:4 created=z server=1"]
)
def test_what_is_no_position_is_lost_with_a_remedy(text):
    with pytest.raises(PositionLost) as caught:
        parse_position(text)
    assert caught.value.remedy


def test_places_follow_the_log():
    assert place_of("b.000009", 500) < place_of("b.000010", 4) < place_of("b.000010", 5) < place_of("b.1000000", 4)


def test_mariadb_keeps_the_last_gtid_of_every_domain():
    gtids = MariaDbGtids("0-1-5, 2-1-7")
    gtids.add(0, 3, 6)
    gtids.add(9, 1, 1)
    assert str(gtids) == "0-3-6,2-1-7,9-1-1"
    assert str(MariaDbGtids("")) == ""


def test_mysql_keeps_a_set():
    gtids = MySqlGtids(f"{UUID}:1-5:8,\n{UUID}:blue:1-3")
    for number in (6, 9, 7):
        gtids.add(UUID, number)
    gtids.add(UUID, 3)
    gtids.add("other", 1)
    assert str(gtids) == f"{UUID}:1-9:blue:1-3,other:1"


@given(st.lists(st.integers(1, 30)))
def test_a_set_of_any_order_holds_exactly_what_was_added(numbers):
    gtids = MySqlGtids("")
    for number in numbers:
        gtids.add("s", number)
    held = set()
    for interval in str(gtids).partition(":")[2].split(":"):
        if interval:
            first, _, last = interval.partition("-")
            held |= set(range(int(first), int(last or first) + 1))
    assert held == set(numbers)


def test_server_ids_differ_by_daemon_and_system():
    ids = {server_id_of(Identity(daemon, system, "x")) for daemon in ("a", "b") for system in ("c", "d")}
    assert len(ids) == 4
    assert all(1 << 20 <= number < 1 << 31 for number in ids)
