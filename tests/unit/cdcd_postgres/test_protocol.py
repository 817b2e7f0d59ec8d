"""Messages without rows, made by hand; `tests/golden` has those of real servers."""

import struct

import pytest

from cdcd.errors import DecodeError
from cdcd_postgres import protocol
from unit.cdcd_postgres import messages as m

BODY = 26
NOT_UNDERSTOOD = (DecodeError, ValueError, IndexError, struct.error)


def test_times_count_from_the_unix_epoch_and_read_back_the_same():
    begin = protocol.parse_begin(m.begin(1090, 7)[BODY:])
    assert begin == protocol.BeginMessage(1090, protocol.POSTGRES_EPOCH_US, 7)
    commit = protocol.parse_commit(m.commit(1100, 5)[BODY:])
    assert commit == protocol.CommitMessage(1092, 1100, protocol.POSTGRES_EPOCH_US + 5)
    assert protocol.begin_body(begin) == m.begin(1090, 7)[BODY - 1 :]
    assert protocol.commit_body(commit) == m.commit(1100, 5)[BODY - 1 :]


def test_a_type_and_an_origin_are_read_to_their_end():
    assert protocol.parse_type(struct.pack(">I", 9) + m.string("") + m.string("mood")) == (9, "pg_catalog", "mood")
    assert protocol.parse_origin(struct.pack(">Q", 9) + m.string("node")) == "node"


def test_a_relation_in_the_system_schema_has_an_empty_schema_in_the_message():
    stream = protocol.parse_relation(m.relation(5, "pg_thing", schema="")[BODY:])
    assert (stream.schema, stream.name, stream.columns) == ("pg_catalog", "pg_thing", ())


def test_an_aborted_stream_is_told_with_or_without_its_place():
    assert protocol.parse_stream_abort(struct.pack(">II", 7, 8)) == (7, 8)
    assert protocol.parse_stream_abort(struct.pack(">IIQq", 7, 8, 1, 1)) == (7, 8)


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (protocol.parse_begin, m.begin(100)[BODY:-1]),
        (protocol.parse_commit, b"\1" + m.commit(100)[BODY + 1 :]),
        (protocol.parse_origin, struct.pack(">Q", 9) + m.string("node") + b"x"),
        (protocol.parse_origin, struct.pack(">Q", 9) + b"node"),
        (protocol.parse_type, struct.pack(">I", 9) + m.string("public")),
        (protocol.parse_truncate, struct.pack(">IBI", 1, 4, 99)),
        (protocol.parse_truncate, struct.pack(">IBI", 2, 0, 99)),
        (protocol.parse_message, m.message("cdcd", "x")[BODY:] + b"x"),
        (protocol.parse_message, b"\2" + m.message("cdcd", "x")[BODY + 1 :]),
        (protocol.parse_relation, m.relation(5, "item", replica="z")[BODY:]),
        (protocol.parse_relation, m.relation(5, "item", ("id", 23, -1, True))[BODY:] + b"\0"),
        (protocol.parse_relation, m.relation(5, "item", ("id", 23, -1, 2))[BODY:]),  # type: ignore[arg-type]
        (protocol.parse_stream_start, struct.pack(">IBB", 1, 1, 1)),
        (protocol.parse_stream_abort, struct.pack(">IIQ", 1, 1, 1)),
        (protocol.parse_prepared, b"\1" + struct.pack(">QQqI", 1, 1, 1, 1) + m.string("gid")),
        (protocol.parse_begin_prepare, struct.pack(">QQqI", 1, 1, 1, 1) + b"gid"),
        (protocol.parse_rollback_prepared, struct.pack(">BQQqqI", 0, 1, 1, 1, 1, 1) + m.string("gid") + b"x"),
    ],
)
def test_what_does_not_follow_the_format_is_refused(parse, body):
    with pytest.raises(NOT_UNDERSTOOD):
        parse(body)
