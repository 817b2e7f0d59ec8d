"""Transactions from events that real servers sent, whole, cut, damaged and mutated."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd.errors import CdcdError, DecodeError, PositionLost, Unavailable
from cdcd.model import CHECKPOINT_TABLE, Commit, Idle, Op, Rows
from cdcd_mysql.assembler import Assembler
from cdcd_mysql.binlog import EventType
from cdcd_mysql.positions import LogPosition, parse_position
from unit.cdcd_mysql.captured_events import (
    SERVERS,
    captured_tables,
    feed,
    make_assembler,
    mutate,
    read_events,
    with_checksum,
)

FIRST_ROW = [
    1,
    "été",
    "日本😀",
    "-12.3400",
    "2026-11-21 23:59:59.5",
    "2026-11-21 01:02:03.25Z",
    "-00:00:01.5",
    "2024-02-29",
    "päid",
    "a,c",
    -5,
    513,
    b"\x00\xff\x27",
    0.1,
    "body",
    1999,
]
EMPTY = [None] * 16
KINDS = [
    "integer",
    "text",
    "text",
    "decimal",
    "datetime",
    "instant",
    "time",
    "date",
    "enum",
    "text",
    "integer",
    "integer",
    "bytes",
    "float",
    "text",
    "integer",
]


@pytest.fixture(params=SERVERS)
def server(request):
    return request.param


def kind_of(event):
    return event[4]


def sparse(identifier, price, state):
    row = list(EMPTY)
    row[0], row[3], row[8] = identifier, price, state
    return row


def plain(rows):
    return [row[:16] for row in rows]


def test_a_log_becomes_transactions_in_order(server):
    events = feed(make_assembler(server), read_events(server))
    rows = [event for event in events if isinstance(event, Rows)]
    assert [(event.op, len(event.rows)) for event in rows] == [
        (Op.INSERT, 2),
        (Op.UPDATE, 2),
        (Op.DELETE, 1),
        (Op.TRUNCATE, 0),
        (Op.INSERT, 1),
        (Op.INSERT, 1),
    ]
    assert plain(rows[0].rows) == [FIRST_ROW, sparse(4294967295, "0.0000", "new")]
    moved = [2, "moved", *FIRST_ROW[2:]]
    changed = [*moved[:10], 7, *moved[11:]]
    assert plain(rows[1].rows) == [moved, changed]
    assert [old and old[:16] for old in rows[1].olds] == [FIRST_ROW, None]
    assert plain(rows[2].rows) == [changed]
    assert plain(rows[4].rows) == [sparse(3, "1.0000", "new")]
    assert sum(isinstance(event, Commit) for event in events) == 5


def test_the_relation_is_as_the_log_describes_it(server):
    relation = next(
        event for event in feed(make_assembler(server), read_events(server)) if isinstance(event, Rows)
    ).relation
    assert relation.table == "t"
    assert relation.columns[:4] == ("id", "name", "title", "price")
    assert [spec.partition("(")[0] for spec in relation.types[:16]] == KINDS
    assert (relation.types[0], relation.types[3]) == ("integer(0,4294967295)", "decimal(12,4)")
    assert relation.identity == (0,)


def test_binary_json_is_text(server):
    rows = next(event for event in feed(make_assembler(server), read_events(server)) if isinstance(event, Rows))
    assert [row[16:] for row in rows.rows] == (
        [[], []] if server == "mariadb" else [['{"a": [1, null, "x"], "b": 1.5}'], [None]]
    )


def test_one_event_at_a_time_gives_the_same_as_all_at_once(server):
    events = read_events(server)
    whole = feed(make_assembler(server), events)
    assembler = make_assembler(server)
    single = [made for event in events for made in feed(assembler, [event])]
    commits = [event for event in single if isinstance(event, Commit)]
    assert commits == [event for event in whole if isinstance(event, Commit)]
    assert sum(len(event.rows) for event in single if isinstance(event, Rows)) == 7


def test_idle_is_never_inside_a_transaction_and_only_the_newest(server):
    assembler = make_assembler(server)
    inside = False
    for event in read_events(server):
        for made in feed(assembler, [event]):
            assert not (inside and isinstance(made, Idle))
            inside = isinstance(made, Rows)
    quiet = feed(make_assembler(server, "nothing"), read_events(server))
    assert [type(event) for event in quiet] == [Idle]


def test_every_position_can_be_resumed_from_with_its_mark(server):
    events = read_events(server)
    whole = feed(make_assembler(server), events)
    commits = [event for event in whole if isinstance(event, Commit)]
    for number, commit in enumerate(commits):
        position = parse_position(commit.position)
        assert position.mark_size
        place = offset_index(events, position)
        again = make_assembler(server, position=position, verify=True)
        resumed = feed(again, [*beginning(events, position), *events[place:]])
        assert again.started
        assert [event for event in resumed if isinstance(event, Commit)] == commits[number + 1 :]


def beginning(events, position):
    """What the server sends before the place that was asked for: its own ROTATE and the file's description."""
    start = max(
        n
        for n, event in enumerate(events)
        if kind_of(event) == EventType.ROTATE and n <= offset_index(events, position)
    )
    description = bytearray(events[start + 1])
    description[13:17] = bytes(4)
    return [events[start], bytes(description)]


def offset_index(events, position):
    """The index of the event that ends at a position."""
    file = "binlog.000000"
    for number, event in enumerate(events):
        if kind_of(event) == EventType.ROTATE:
            file = event[27:-4].decode()
        if file == position.file and int.from_bytes(event[13:17], "little") == position.offset:
            return number
    raise AssertionError(position)


def test_another_event_at_the_marked_place_is_another_log(server):
    events = read_events(server)
    commit = next(event for event in feed(make_assembler(server), events) if isinstance(event, Commit))
    position = parse_position(commit.position)
    place = offset_index(events, position)
    changed = bytearray(events[place])
    changed[0] ^= 1
    assembler = make_assembler(server, position=position, verify=True)
    with pytest.raises(PositionLost):
        feed(assembler, [*beginning(events, position), with_checksum(changed)])
    assert not assembler.started


def test_a_file_begun_at_another_time_is_another_log(server):
    events = read_events(server)
    file = events[0][27:-4].decode()
    position = LogPosition(file, 4, "1", created=1)
    with pytest.raises(PositionLost):
        feed(make_assembler(server, position=position, verify=True), events[:2])


def test_the_commit_text_is_the_position_text(server):
    assembler = make_assembler(server)
    for event in read_events(server):
        for made in feed(assembler, [event]):
            if isinstance(made, Commit):
                assert made.position == str(assembler.position)
                assert str(parse_position(made.position)) == made.position


def test_mysql_commits_have_microseconds():
    commits = [event for event in feed(make_assembler("mysql"), read_events("mysql")) if isinstance(event, Commit)]
    assert any(commit.committed_at_us % 1_000_000 for commit in commits)


def test_gtids_are_added_to_what_was_known(server):
    assembler = make_assembler(server)
    feed(assembler, read_events(server))
    gtids = assembler.position.gtids
    assert gtids.startswith("0-1-" if server == "mariadb" else "dbc899b9-e5f7-11f1-80a2-02fc00000001:1-9:")


def test_rows_of_the_checkpoint_table_are_reported_under_its_name(server):
    events = read_events(server)
    tables = captured_tables("t", server=server)
    assembler = make_assembler(server)
    assert tables.spelled(next(iter(tables._spelled))) == CHECKPOINT_TABLE
    assert feed(assembler, events)


def test_rows_without_their_table_map_are_fatal(server):
    events = [event for event in read_events(server) if kind_of(event) != EventType.TABLE_MAP]
    with pytest.raises(DecodeError):
        feed(make_assembler(server), events)


def test_an_unknown_event_is_fatal_unless_it_says_that_it_may_be_left_out(server):
    events = read_events(server)
    inside = next(number for number, event in enumerate(events) if kind_of(event) == EventType.TABLE_MAP)
    strange = bytearray(events[inside])
    strange[4] = 99
    strange = bytearray(with_checksum(strange))
    with pytest.raises(DecodeError) as caught:
        feed(make_assembler(server), [*events[:inside], bytes(strange)])
    assert caught.value.code == "event-unknown"
    ignorable = bytearray(strange)
    ignorable[17] |= 0x80
    feed(make_assembler(server), [*events[:inside], with_checksum(ignorable), *events[inside:]])
    strange[13:17] = bytes(4)
    with pytest.raises(DecodeError):
        feed(make_assembler(server), [*events[:2], with_checksum(strange)])


def test_offsets_beyond_four_gibibytes_are_unwrapped(server):
    events = read_events(server)
    start = LogPosition("binlog.000001", (1 << 32) - 100, "1")
    assembler = make_assembler(server, position=start)
    commit = next(event for event in events if kind_of(event) == EventType.XID)
    begin = [event for event in events if kind_of(event) in (EventType.GTID, EventType.MARIADB_GTID)][1]
    assembler.consume(begin, 0, len(begin))
    assembler.consume(commit, 0, len(commit))
    assert assembler.position.offset == (1 << 32) + int.from_bytes(commit[13:17], "little")


def test_changes_that_the_server_lost_stop_with_a_remedy(server):
    events = read_events(server)
    strange = bytearray(events[2])
    strange[4] = EventType.INCIDENT
    with pytest.raises(DecodeError) as caught:
        feed(make_assembler(server), [*events[:2], with_checksum(strange)])
    assert caught.value.remedy


def torn(events):
    """The log of a server that died while it wrote the first transaction of two tables: the rest is in the next file."""
    update = next(
        n for n, event in enumerate(events) if kind_of(event) in (EventType.UPDATE_ROWS, EventType.UPDATE_ROWS_V1)
    )
    rotates = [n for n, event in enumerate(events) if kind_of(event) == EventType.ROTATE]
    return events[: update + 1], events[rotates[-1] :]


def test_a_transaction_that_a_dead_server_left_unfinished_is_dropped(server):
    before, after = torn(read_events(server))
    events = feed(make_assembler(server), [*before, *after])
    rows = [event for event in events if isinstance(event, Rows)]
    assert [(event.op, event.rows[0][0]) for event in rows] == [(Op.INSERT, 1), (Op.INSERT, 4)]
    assert sum(isinstance(event, Commit) for event in events) == 2


def test_an_unfinished_transaction_that_was_given_out_in_part_starts_again(server):
    before, after = torn(read_events(server))
    assembler = make_assembler(server)
    assert isinstance(feed(assembler, before)[-1], Rows)
    with pytest.raises(Unavailable):
        feed(assembler, after)


def test_a_start_by_gtids_gives_out_no_position_before_its_place_is_known(server):
    events = read_events(server)
    assembler = make_assembler(server, "nothing", position=LogPosition("", 0, "9", gtids=""))
    begin = next(
        number for number, event in enumerate(events) if kind_of(event) in (EventType.GTID, EventType.MARIADB_GTID)
    )
    assert feed(assembler, events[:begin]) == []
    (idle,) = feed(assembler, events[begin : begin + 2])
    position = parse_position(idle.position)
    assert (position.server, position.file) == ("9", events[0][27:-4].decode())
    assert position.offset == int.from_bytes(events[begin + 1][13:17], "little")


def test_a_wrong_checksum_stops_before_the_event(server):
    events = read_events(server)
    place = next(number for number, event in enumerate(events) if kind_of(event) == EventType.XID)
    damaged = bytearray(events[place - 1])
    damaged[-9] ^= 1
    with pytest.raises(DecodeError) as caught:
        feed(make_assembler(server), [*events[: place - 1], bytes(damaged)])
    assert caught.value.code == "event-checksum"


@given(seed=st.integers(0, 2**32), count=st.integers(1, 6), server=st.sampled_from(SERVERS))
@settings(max_examples=300)
def test_damaged_events_raise_nothing_but_our_errors(seed, count, server):
    assembler = make_assembler(server)
    with contextlib.suppress(CdcdError):
        for event in mutate(read_events(server), seed, count):
            assembler.consume(event, 0, len(event))
    assembler.take()


@given(data=st.binary(min_size=0, max_size=80), kind=st.sampled_from(list(EventType)), server=st.sampled_from(SERVERS))
@settings(max_examples=500)
def test_random_bodies_of_every_event_raise_nothing_but_our_errors(data, kind, server):
    events = read_events(server)
    assembler = make_assembler(server)
    feed(assembler, events[:2])
    body = bytearray(events[2][:19]) + data
    body[4] = kind
    event = with_checksum(body + bytes(4))
    with contextlib.suppress(CdcdError):
        assembler.consume(event, 0, len(event))


def test_an_assembler_says_where_it_began(server):
    assembler = make_assembler(server)
    assert isinstance(assembler, Assembler)
    feed(assembler, read_events(server)[:2])
    assert assembler.begun_at.created > 0
    assert assembler.begun_at.offset == 4
