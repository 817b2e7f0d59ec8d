"""Positions as text, GTID sets, server ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.adapter import Identity
from cdcd.errors import PositionLost
from cdcd_mysql.positions import LogPosition, MariaDbGtids, MySqlGtids, includes, parse_position, place_of, server_id_of

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


@pytest.mark.parametrize(
    ("place", "is_included"),
    [
        ("binlog.000007:1500", True),
        ("binlog.000007:1501", False),
        ("binlog.000006:9999", True),
        ("binlog.000008:4", False),
        ("binlog.000007:1500 created=1 server=1 mark=3-4", True),
        (f"{UUID}:1-5", True),
        (f"{UUID.upper()}:2-3:5", True),
        (f"{UUID}:1-6", False),
        (f"{UUID}:8", True),
        (f"{UUID}:1,\n{UUID[:-1]}3:1", False),
    ],
)
def test_whether_a_place_lies_before_what_was_read(place: str, is_included: bool):
    read = LogPosition("binlog.000007", 1500, "1", gtids=f"{UUID}:1-3:4-5:8")
    assert includes(read, place) == is_included


def test_mariadb_gtids_are_compared_by_domain():
    read = LogPosition("binlog.000007", 1500, "1", gtids="0-1-5,2-1-7")
    assert includes(read, "0-9-5")
    assert includes(read, "0-1-4, 2-1-7")
    assert not includes(read, "2-1-8")
    assert not includes(read, "1-1-1")


@pytest.mark.parametrize("text", ["", "now", "binlog:5", "0-1", "binlog.000007"])
def test_what_is_no_place_is_refused(text: str):
    with pytest.raises(ValueError, match="a place in this log"):
        includes(LogPosition("binlog.000007", 1500, "1"), text)
