"""Logs of real servers, replayed: in the end the tables are as the server had them."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdcd.errors import CdcdError, DecodeError
from cdcd.model import ABSENT, Commit, Idle, Op, Rows
from cdcd_mysql.positions import parse_position
from cdcd_mysql.prepared import forget_places
from unit.cdcd_mysql.captured_events import mutate
from unit.cdcd_mysql.golden import NAMES, Golden, beginning_at


@pytest.fixture(params=NAMES)
def golden(request):
    return Golden(request.param)


def replay(events, tables=None):
    """Apply rows as a target would, by key."""
    tables = {"t": {}, "u": {}} if tables is None else tables
    for event in events:
        if not isinstance(event, Rows):
            continue
        table = tables[event.relation.table]
        if event.op not in (Op.INSERT, Op.UPDATE, Op.DELETE):
            table.clear()
        for row, old in zip(event.rows, event.olds or [None] * len(event.rows), strict=True):
            key = (old or row)[0]
            before = table.pop(key, None) if event.op is not Op.INSERT else None
            if event.op is not Op.DELETE:
                table[row[0]] = [value if value is not ABSENT else before[n] for n, value in enumerate(row)]
    return tables


def held(tables):
    return {
        name: [[json.loads(v) if n == 2 and v else v for n, v in enumerate(rows[key])] for key in sorted(rows)]
        for name, rows in tables.items()
    }


def expected(golden):
    tables = {name: {row[0]: row for row in golden.held.get(name, [])} for name in ("t", "u")}
    return held(tables)


def test_a_recorded_log_leads_to_the_tables_that_its_server_had(golden):
    assert held(replay(golden.read(golden.assembler()))) == expected(golden)


def test_a_recorded_log_can_be_resumed_at_each_of_its_positions(golden):
    """Also while prepared transactions are open, and with nothing but the position to go on from."""
    events = golden.events
    whole = golden.read(golden.assembler())
    commits = [event for event in whole if isinstance(event, Commit | Idle)]
    for number, commit in enumerate(commits):
        position = parse_position(commit.position)
        if position.file != golden.file:
            continue
        made = golden.read(golden.assembler(position=position), beginning_at(events, position.offset), source=events)
        assert [event for event in made if isinstance(event, Commit)] == [
            event for event in commits[number + 1 :] if isinstance(event, Commit)
        ]


def test_prepared_transactions_are_committed_where_they_are_decided():
    for name in NAMES:
        if not name.startswith(("xa.", "everything.")):
            continue
        golden = Golden(name)
        made = golden.read(golden.assembler())
        inserted = [row[0] for event in made if isinstance(event, Rows) and event.op is Op.INSERT for row in event.rows]
        assert inserted == [1, 2, 3, 5, 4, 7], name
        positions = [parse_position(event.position) for event in made if isinstance(event, Commit)]
        between = next(position for position in positions if position.prepared)
        assert between.prepared.count(",") == 0
        assert positions[-1].prepared == ""


@given(seed=st.integers(0, 2**32), count=st.integers(1, 6), name=st.sampled_from(NAMES))
@settings(max_examples=150)
def test_damaged_recorded_logs_raise_nothing_but_our_errors(seed, count, name):
    golden = Golden(name)
    with contextlib.suppress(CdcdError):
        golden.read(golden.assembler(), mutate(golden.events, seed, count), source=golden.events)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("xa.")])
def test_the_commit_of_what_was_never_seen_prepared_stops_the_source(name):
    golden = Golden(name)
    commits = [event for event in golden.read(golden.assembler()) if isinstance(event, Commit | Idle)]
    between = next(position for event in commits if (position := parse_position(event.position)).prepared)
    forgotten = msgspec.structs.replace(between, prepared="")
    events = beginning_at(golden.events, between.offset)
    with pytest.raises(DecodeError) as caught:
        golden.read(golden.assembler(position=forgotten), events)
    assert caught.value.code == "xa-unknown"
    moved = golden.assembler(position=msgspec.structs.replace(between, prepared=forget_places(between.prepared)))
    with pytest.raises(DecodeError):
        golden.read(moved, events)
    tolerant = golden.assembler(position=forgotten)
    tolerant.tolerates_unknown = True
    assert 4 not in replay(golden.read(tolerant, events, source=golden.events))["t"]


def test_at_the_place_of_a_prepared_transaction_must_be_that_transaction():
    golden = Golden("xa.mysql-9.7")
    with pytest.raises(DecodeError) as caught:
        golden.read(golden.assembler(recalls="X'00',X'',1"))
    assert caught.value.code == "xa-other"


def test_tags_are_part_of_the_gtid_set():
    golden = Golden("tagged.mysql-9.7")
    assembler = golden.assembler()
    commits = [event for event in golden.read(assembler) if isinstance(event, Commit)]
    assert ":tag_1:1" in parse_position(commits[-1].position).gtids
    assert commits[0].committed_at_us > 1_000_000_000_000_000


def test_what_statements_take_away_is_noticed():
    for name in (name for name in NAMES if name.startswith("ddl.")):
        golden = Golden(name)
        tables = ("t", "u", "w", "t_old")
        made = golden.read(golden.assembler(*tables))
        seen = [(event.op, event.relation.table) for event in made if isinstance(event, Rows) and not event.rows]
        assert seen == [
            (Op.TABLE_GONE, "t"),
            (Op.TABLE_GONE, "u"),
            (Op.TABLE_GONE, "w"),
            (Op.TABLE_GONE, "t_old"),
            (Op.TABLE_GONE, "t_old"),
            (Op.TRUNCATE, "u"),
            (Op.TABLE_GONE, "u"),
            (Op.TABLE_GONE, "w"),
        ], name
