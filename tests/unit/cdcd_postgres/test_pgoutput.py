"""The decoder of the stream, fed with hand-made bytes."""

import struct
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdcd.errors import DecodeError, PositionLost
from cdcd.model import ABSENT, Commit, Idle, Op, PrintedRows, Relation, Rows
from cdcd.printed import rows_of
from cdcd_postgres.pgoutput import Begin, Decoder, Marker, Shape
from cdcd_postgres.position import Log, Moment, Position, Replay
from cdcd_postgres.protocol import StreamRelation
from cdcd_postgres.types import Types
from unit.cdcd_postgres import messages as m
from unit.counting import python_calls

LOG, START = Log(7, 1), 1000
AT_1100 = "7:1:0/44C:0:946684800000000"
"""The position of a commit that ends at 1100 and was made at the beginning of PostgreSQL's time."""
ITEM = 16385
OTHER = 16400
TYPES = Types(lambda *_: None)
ITEM_MESSAGE = m.relation(ITEM, "item", ("id", 23, -1, True), ("name", 25, -1, False), ("price", 1700, -1, False))


def shape(stream: StreamRelation, identity: tuple[int, ...] | None = None) -> Shape:
    found = [TYPES.column(column.type_oid, column.modifier) for column in stream.columns]
    flagged = tuple(number for number, column in enumerate(stream.columns) if column.in_identity)
    names = tuple(column.name for column in stream.columns)
    relation = Relation(stream.name, names, tuple(found), identity or flagged)
    return Shape(relation)


def resolve(stream: StreamRelation) -> Shape | None:
    return shape(stream) if stream.name == "item" else None


def decode(*messages: bytes, decoder: Decoder | None = None):
    return looked_at((decoder or Decoder(LOG, START, resolve)).feed(messages))


def looked_at(events):
    return [rows_of(event) if isinstance(event, PrintedRows) else event for event in events]


def in_transaction(*messages: bytes, end_lsn: int = 1100) -> tuple[bytes, ...]:
    return (m.begin(end_lsn - 10), ITEM_MESSAGE, *messages, m.commit(end_lsn))


# ---- transactions ----------------------------------------------------------------------------------------------------


def test_rows_of_one_kind_are_one_event_and_the_commit_follows():
    rows, commit = decode(*in_transaction(m.insert(ITEM, 1, "a", "1.50"), m.insert(ITEM, 2, None, "2")))
    assert isinstance(rows, Rows)
    assert (rows.op, rows.rows, rows.olds) == (Op.INSERT, [[1, "a", "1.5"], [2, None, "2"]], None)
    assert rows.relation == Relation(
        "item", ("id", "name", "price"), ("integer(-2147483648,2147483647)", "text", "decimal"), (0,)
    )
    assert commit == Commit(AT_1100, 946_684_800_000_000)


def test_a_row_like_the_one_before_costs_no_call():
    few, many = (in_transaction(*[m.insert(ITEM, 1, "a", "1")] * count) for count in (2, 202))
    calls = python_calls(lambda: decode(*many)) - python_calls(lambda: decode(*few))
    assert calls.total() < 20  # so many rows are still unpacked together; the garbage collector makes some


def test_a_commit_time_counts_from_the_unix_epoch():
    *_, commit = decode(m.begin(1090), ITEM_MESSAGE, m.insert(ITEM, 1, "a", "1"), m.commit(1100, 5))
    assert commit.committed_at_us == 946_684_800_000_005


def test_other_kinds_and_relations_begin_new_events_in_the_order_of_the_log():
    events = decode(
        *in_transaction(
            m.insert(ITEM, 1, "a", "1"),
            m.update(ITEM, 1, "b", "1"),
            m.insert(ITEM, 2, "a", "1"),
            m.delete(ITEM, key=(1, None, None)),
            m.delete(ITEM, key=(2, None, None)),
        )
    )
    assert [(event.op, len(event.rows)) for event in events[:-1]] == [
        (Op.INSERT, 1),
        (Op.UPDATE, 1),
        (Op.INSERT, 1),
        (Op.DELETE, 2),
    ]


def test_a_long_run_of_rows_is_cut_into_bounded_events():
    events = decode(*in_transaction(*(m.insert(ITEM, number, "a", "1") for number in range(2500))))
    assert [len(event.rows) for event in events[:-1]] == [1000, 1000, 500]
    assert [row[0] for event in events[:-1] for row in event.rows] == list(range(2500))


def test_a_transaction_may_go_on_in_the_next_call():
    decoder = Decoder(LOG, START, resolve)
    first = decode(m.begin(1090), ITEM_MESSAGE, m.insert(ITEM, 1, "a", "1"), decoder=decoder)
    second = decode(m.insert(ITEM, 2, "a", "1"), m.commit(1100), decoder=decoder)
    assert [event.rows for event in first] == [[[1, "a", "1"]]]
    assert [type(event) for event in second] == [Rows, Commit]


def test_a_transaction_that_ends_at_the_start_or_before_it_is_passed_over():
    decoder = Decoder(LOG, START, resolve)
    assert decode(*in_transaction(m.insert(ITEM, 1, "a", "1"), end_lsn=1000), decoder=decoder) == []
    assert decode(*in_transaction(m.truncate(ITEM), end_lsn=900), decoder=decoder) == []
    later = decode(m.begin(1001), m.insert(ITEM, 2, "a", "1"), m.commit(1020), decoder=decoder)
    assert [type(event) for event in later] == [Rows, Commit]


def test_a_transaction_without_rows_of_ours_is_idle():
    other = m.relation(OTHER, "other", ("id", 23, -1, True))
    assert decode(m.begin(1090), other, m.insert(OTHER, 1), m.delete(OTHER, key=(1,)), m.commit(1100)) == [
        Idle(AT_1100)
    ]
    assert decode(m.begin(1090), m.commit(1100)) == [Idle(AT_1100)]


# ---- keepalives ------------------------------------------------------------------------------------------------------


def test_the_newest_keepalive_is_one_idle_event():
    assert decode(m.keepalive(1010), m.keepalive(1030), m.keepalive(1020)) == [Idle("7:1:0/406")]


def test_a_keepalive_that_tells_nothing_new_is_no_event():
    decoder = Decoder(LOG, START, resolve)
    assert decode(m.keepalive(1000), m.keepalive(900), decoder=decoder) == []
    assert len(decode(*in_transaction(m.insert(ITEM, 1, "a", "1")), m.keepalive(1100), decoder=decoder)) == 2
    assert decode(m.keepalive(1100), decoder=decoder) == []


def test_a_keepalive_inside_a_transaction_is_not_idle():
    decoder = Decoder(LOG, START, resolve)
    events = decode(m.begin(1090), ITEM_MESSAGE, m.keepalive(1050), m.insert(ITEM, 1, "a", "1"), decoder=decoder)
    assert [type(event) for event in events] == [Rows]
    assert decoder.received_lsn == 1050


def test_a_keepalive_that_asks_for_a_reply_is_noted():
    decoder = Decoder(LOG, START, resolve)
    decode(m.keepalive(1010), decoder=decoder)
    assert not decoder.reply_requested
    decode(m.keepalive(1010, reply=True), m.keepalive(1010), decoder=decoder)
    assert decoder.reply_requested


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_an_unchanged_toast_value_is_absent():
    rows, _ = decode(*in_transaction(m.update(ITEM, 1, m.ABSENT_TEXT, "1")))
    assert rows.rows[0][1] is ABSENT


def test_an_update_of_the_key_carries_the_old_key_and_nothing_else_of_the_old_row():
    rows, _ = decode(
        *in_transaction(
            m.update(ITEM, 2, "a", "1", key=(1, None, None)), m.update(ITEM, 3, "b", "1", key=(2, None, None))
        )
    )
    assert rows.rows == [[2, "a", "1"], [3, "b", "1"]]
    assert rows.olds == [[1, ABSENT, ABSENT], [2, ABSENT, ABSENT]]


def test_an_old_key_that_is_the_same_is_no_old_row():
    rows, _ = decode(*in_transaction(m.update(ITEM, 2, "a", "1", key=(2, None, None))))
    assert (rows.rows, rows.olds) == ([[2, "a", "1"]], None)


def test_a_deleted_row_has_its_key_and_absent_values():
    rows, _ = decode(*in_transaction(m.delete(ITEM, key=(1, None, None))))
    assert rows.rows == [[1, ABSENT, ABSENT]]


def test_a_full_old_row_fills_what_the_new_one_leaves_out():
    rows, _ = decode(*in_transaction(m.update(ITEM, 1, m.ABSENT_TEXT, "2", old=(1, "long", "1"))))
    assert (rows.rows, rows.olds) == ([[1, "long", "2"]], None)


def test_a_full_old_row_is_reported_where_the_identity_changed():
    rows, _ = decode(
        *in_transaction(
            m.update(ITEM, 1, "a", "2", old=(1, "a", "1")), m.update(ITEM, 5, "a", None, old=(2, "a", None))
        )
    )
    assert rows.olds == [None, [2, "a", None]]


def test_a_deleted_row_is_whole_where_the_log_has_it():
    rows, _ = decode(*in_transaction(m.delete(ITEM, old=(1, "a", None))))
    assert rows.rows == [[1, "a", None]]


def test_a_truncate_names_every_table_that_is_ours():
    other = m.relation(OTHER, "other", ("id", 23, -1, True))
    events = decode(*in_transaction(other, m.truncate(OTHER, ITEM), m.insert(ITEM, 1, "a", "1")))
    assert [(event.op, event.relation.table, event.rows) for event in events[:-1]] == [
        (Op.TRUNCATE, "item", []),
        (Op.INSERT, "item", [[1, "a", "1"]]),
    ]


def test_a_relation_that_is_described_anew_changes_the_rows_after_it():
    wider = m.relation(
        ITEM, "item", ("id", 20, -1, True), ("name", 25, -1, False), ("price", 1700, -1, False), ("new", 16, -1, False)
    )
    first, second, _ = decode(*in_transaction(m.insert(ITEM, 1, "a", "1"), wider, m.insert(ITEM, 2, "a", "1", "t")))
    assert first.rows == [[1, "a", "1"]]
    assert second.rows == [[2, "a", "1", True]]
    assert second.relation.types[0] == f"integer({-(2**63)},{2**63 - 1})"


def test_types_and_origins_are_passed_over():
    kind = m.wal(b"Y" + struct.pack(">I", 99) + m.string("public") + m.string("mood"))
    origin = m.wal(b"O" + struct.pack(">Q", 5) + m.string("node"))
    events = decode(m.begin(1090), origin, kind, ITEM_MESSAGE, m.insert(ITEM, 1, "a", "1"), m.commit(1100))
    assert [type(event) for event in events] == [Rows, Commit]


# ---- partitions, names, notices --------------------------------------------------------------------------------------


def test_an_old_row_that_may_not_be_whole_is_its_key_alone():
    decoder = Decoder(LOG, START, lambda stream: msgspec.structs.replace(shape(stream), whole_olds=False))
    rows, deleted, _ = decode(
        *in_transaction(
            m.update(ITEM, 2, m.ABSENT_TEXT, "1", old=(1, None, None)), m.delete(ITEM, old=(2, None, None))
        ),
        decoder=decoder,
    )
    assert (rows.rows, rows.olds) == ([[2, ABSENT, "1"]], [[1, ABSENT, ABSENT]])
    assert deleted.rows == [[2, ABSENT, ABSENT]]


@pytest.mark.parametrize("broken", [m.delete(ITEM, key=(None, 1, None)), m.update(ITEM, 1, "a", "1", key=(None, 1, 1))])
def test_an_old_key_that_is_null_stops_before_it(broken):
    with pytest.raises(DecodeError, match="replica identity"):
        decode(m.begin(1090), ITEM_MESSAGE, broken)


def test_a_relation_that_has_another_name_now_is_gone():
    renamed = m.relation(ITEM, "other", ("id", 23, -1, True))
    events = decode(*in_transaction(m.insert(ITEM, 1, "a", "1"), renamed, m.insert(ITEM, 2)))
    assert [(event.op, event.relation.table) for event in events[:-1]] == [
        (Op.INSERT, "item"),
        (Op.TABLE_GONE, "item"),
    ]


def test_another_relation_under_the_name_has_not_the_rows_that_were_there():
    swapped = (m.relation(OTHER, "item", ("id", 23, -1, True)), m.insert(OTHER, 9))
    renamed = m.relation(ITEM, "item_old", ("id", 23, -1, True))
    events = decode(*in_transaction(*swapped, renamed, m.insert(ITEM, 2)))
    assert [(event.op, event.rows) for event in events[:-1]] == [(Op.ROWS_LOST, []), (Op.INSERT, [[9]])]


def test_a_notice_is_told_where_it_stands_and_once():
    decoder = Decoder(
        LOG, START, resolve, read_notice={"lost item": (Op.ROWS_LOST, "item"), "lost new": (Op.TABLE_GONE, "new")}.get
    )
    events = decode(
        *in_transaction(m.message("cdcd", "lost item"), m.message("cdcd", "lost new"), m.message("other", "lost item")),
        m.begin(1190),
        m.relation(OTHER, "item", ("id", 23, -1, True)),
        m.insert(OTHER, 9),
        m.commit(1200),
        decoder=decoder,
    )
    assert [
        (event.op, event.relation.table, len(event.relation.columns)) for event in events if isinstance(event, Rows)
    ] == [
        (Op.ROWS_LOST, "item", 3),
        (Op.TABLE_GONE, "new", 0),
        (Op.INSERT, "item", 1),
    ]


def test_truncated_tables_are_collected():
    decoder = Decoder(LOG, START, resolve)
    decode(*in_transaction(m.truncate(ITEM, OTHER)), decoder=decoder)
    assert decoder.truncated == {"item"}


# ---- what is sent again ----------------------------------------------------------------------------------------------


def replaying(*messages: bytes, expected: Moment, decoder_start: int = 1100):
    replay = Replay(1000, Position(7, 1, decoder_start, expected), PositionLost)
    decoder = Decoder(LOG, decoder_start, resolve, replay=replay)
    return decoder, looked_at(decoder.feed(messages))


EPOCH = Moment(1100, 946_684_800_000_000)


def test_what_is_sent_again_is_compared_and_not_told():
    move = m.update(ITEM, 2, m.ABSENT_TEXT, "1", key=(1, None, None))
    decoder, events = replaying(*in_transaction(move, m.insert(ITEM, 1, "a", "1")), m.keepalive(1150), expected=EPOCH)
    assert events == [Idle("7:1:0/47E:50:946684800000000")]
    assert [(event.rows, event.olds) for event in decoder.replayed] == [([[2, ABSENT, "1"]], [[1, ABSENT, ABSENT]])]


@pytest.mark.parametrize("last", [m.keepalive(1150), m.begin(1140)])
def test_another_log_is_found_out_before_anything_of_it_is_told(last):
    for expected in (Moment(1100, 5), Moment(1090, 946_684_800_000_000)):
        with pytest.raises(PositionLost, match="set back"):
            replaying(*in_transaction(m.insert(ITEM, 1, "a", "1")), last, expected=expected)


# ---- for chunks ------------------------------------------------------------------------------------------------------


def test_transaction_ids_are_collected_as_soon_as_a_transaction_begins():
    decoder = Decoder(LOG, START, resolve)
    decode(m.begin(1090, 41), m.commit(1100), m.begin(1190, 42), decoder=decoder)
    assert decoder.streamed == {41, 42}


def test_begins_and_our_messages_are_reported_only_on_demand():
    stream = (m.begin(1090, 41), m.message("cdcd", "here"), m.commit(1100))
    decoder = Decoder(LOG, START, resolve)
    assert decode(*stream, decoder=decoder) == [Idle(AT_1100)]
    decoder = Decoder(LOG, START, resolve)
    decoder.tracing = True
    assert decode(*stream, decoder=decoder) == [Begin(41), Marker("here"), Idle(AT_1100)]


def test_a_marker_stands_behind_the_commit_of_its_transaction():
    decoder = Decoder(LOG, START, resolve)
    decoder.tracing = True
    events = decode(*in_transaction(m.message("cdcd", "x"), m.insert(ITEM, 1, "a", "1")), decoder=decoder)
    assert [type(event) for event in events] == [Begin, Rows, Commit, Marker]


def test_messages_of_others_and_outside_transactions_are_passed_over():
    decoder = Decoder(LOG, START, resolve)
    decoder.tracing = True
    assert decode(m.message("cdcd", "x", transactional=False), m.keepalive(1010), decoder=decoder) == [
        Idle("7:1:0/3F2")
    ]
    assert decode(m.begin(1090), m.message("theirs", "x"), m.commit(1100), decoder=decoder) == [
        Begin(7),
        Idle(AT_1100),
    ]


# ---- what is not understood ------------------------------------------------------------------------------------------

BROKEN = {
    "unknown message": m.wal(b"?"),
    "unknown frame": b"z",
    "empty": b"",
    "short keepalive": m.keepalive(1)[:-1],
    "stream of a later protocol": m.wal(b"S" + struct.pack(">IB", 1, 1)),
    "row of an unknown relation": m.insert(99, 1),
    "too few columns": m.insert(ITEM, 1, "a"),
    "cut row": m.insert(ITEM, 1, "a", "12345")[:-2],
    "bytes behind a row": m.insert(ITEM, 1, "a", "1") + b"t",
    "old key of another width": m.update(ITEM, 1, "a", "1", key=(1, None)),
    "old key without a new row": m.wal(b"U" + struct.pack(">I", ITEM) + b"K" + m.tuple_data(1, None, None)),
    "commit in half": m.commit(1100)[:-3],
    "begin inside a transaction": m.begin(1100),
    "truncate of the wrong length": m.truncate(ITEM) + b"\0",
    "message of the wrong length": m.message("cdcd", "x") + b"x",
    "truncate of an unknown kind": m.wal(b"T" + struct.pack(">IBI", 1, 8, ITEM)),
    "origin without an end": m.wal(b"O" + struct.pack(">Q", 5) + b"node"),
    "type without a name": m.wal(b"Y" + struct.pack(">I", 99) + m.string("public")),
    "relation of the wrong length": ITEM_MESSAGE + b"\0",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_not_understood_is_an_error_and_nothing_after_it_is_returned(broken):
    decoder = Decoder(LOG, START, resolve)
    before = decode(
        m.begin(1090),
        ITEM_MESSAGE,
        m.insert(ITEM, 1, "a", "1"),
        broken,
        m.insert(ITEM, 2, "a", "1"),
        m.commit(1100),
        decoder=decoder,
    )
    assert [(type(event), event.rows) for event in before] == [(Rows, [[1, "a", "1"]])]
    for _ in range(2):
        with pytest.raises(DecodeError):
            decoder.feed([m.commit(1100)])


BROKEN_VALUES = {
    "unknown kind of column": m.insert(ITEM, 1, "a", None)[:-1] + b"b",
    "integer that is none": m.insert(ITEM, "s3cret", "a", "1"),
    "text that is not UTF-8": m.insert(ITEM, 1, b"s3cret\xff", "1"),
}


@pytest.mark.parametrize("broken", BROKEN_VALUES.values(), ids=BROKEN_VALUES)
def test_a_value_that_is_none_is_an_error_for_who_looks_at_it_and_tells_no_value(broken):
    events = Decoder(LOG, START, resolve).feed(in_transaction(broken))
    assert [type(event) for event in events] == [PrintedRows, Commit]
    with pytest.raises(DecodeError) as caught:
        rows_of(events[0])
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("broken", BROKEN_VALUES.values(), ids=BROKEN_VALUES)
def test_where_any_text_may_come_the_values_are_looked_at_here(broken):
    decoder = Decoder(LOG, START, resolve, is_utf8=False)
    before = decoder.feed([m.begin(1090), ITEM_MESSAGE, m.insert(ITEM, 1, "a", "1"), broken])
    assert before == [Rows(before[0].relation, Op.INSERT, [[1, "a", "1"]])]
    with pytest.raises(DecodeError) as caught:
        decoder.feed([])
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_long_row_among_others_stands_in_its_place():
    long = "x" * 70_000
    names = ["a", "b", long, long, "c", long, "d"]
    transaction = in_transaction(*(m.insert(ITEM, number, name, "1") for number, name in enumerate(names)))
    *events, _ = Decoder(LOG, START, resolve).feed(transaction)
    assert [(type(event), event.count) for event in events] == [
        (PrintedRows, 2),
        (Rows, 2),
        (PrintedRows, 1),
        (Rows, 1),
        (PrintedRows, 1),
    ]
    assert [row for event in looked_at(events) for row in event.rows] == [
        [n, name, "1"] for n, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    "outside", [m.insert(ITEM, 1, "a", "1"), m.truncate(ITEM), m.commit(1100)], ids=["row", "truncate", "commit"]
)
def test_what_belongs_into_a_transaction_is_an_error_outside(outside):
    with pytest.raises(DecodeError):
        decode(ITEM_MESSAGE, outside)


VALID = (
    *in_transaction(m.insert(ITEM, 1, "a", "1"), m.update(ITEM, 2, "b", "1", key=(1, None, None))),
    *in_transaction(m.delete(ITEM, old=(1, "a", "1")), m.message("cdcd", "x"), m.truncate(ITEM), end_lsn=1200),
    m.keepalive(1300),
)


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 200), st.binary(max_size=6)), max_size=4))
def test_mutated_streams_raise_only_decode_errors(mutations):
    stream = list(VALID)
    for number, place, data in mutations:
        at = place % (len(stream[number]) + 1)
        stream[number] = stream[number][:at] + data + stream[number][at + len(data) // 2 :]
    decoder = Decoder(LOG, START, lambda relation: shape(relation, (0,)) if relation.columns else None)
    decoder.tracing = True
    with suppress(DecodeError):
        looked_at(decoder.feed(stream))
        decoder.feed([])


@given(st.lists(st.binary(max_size=80).map(m.wal), max_size=5))
def test_arbitrary_bytes_raise_only_decode_errors(stream):
    with suppress(DecodeError):
        looked_at(Decoder(LOG, START, resolve).feed(stream))
