"""Golden records and the crosswalk: cached for a step, written with it, forgotten when it fails."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.model import ABSENT
from cdcd.resolve import golden as golden_module
from cdcd.resolve.golden import Crosswalk, GoldenRecords, Record
from cdcd.resolve.keys import encode_key
from cdcd.resolve.ownership import NOBODY
from cdcd.state import State

pack = msgspec.msgpack.Encoder().encode


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


def record(*values, **more):
    return Record([*values], 1, 0, True, 0, 1, 1, **more)


def records(state, width=2, number=3):
    return GoldenRecords(state, {number: width})


def stored(state, *pairs, width=2):
    with state.transaction():
        golden = records(state, width)
        for key, found in pairs:
            golden.put(3, encode_key(key), found)
        golden.flush()


def test_a_record_reads_back_as_it_was_put(state):
    first = record("a", ABSENT, origins=[0, 1], shadows={1: ["a", None]})
    stored(state, (["A"], first))
    found = records(state).get(3, encode_key(["A"]))
    assert found == first
    assert found.values[1] is ABSENT
    assert records(state).get(3, encode_key(["B"])) is None


def test_what_is_not_flushed_is_not_stored_and_what_is_discarded_is_forgotten(state):
    golden = records(state)
    golden.put(3, b"A", record("a", 1))
    assert golden.get(3, b"A").values == ["a", 1]
    golden.discard()
    assert golden.get(3, b"A") is None


def test_new_records_may_share_what_they_are_made_of(state):
    golden, told = records(state), {1: [(7, 3)]}
    golden.put_all(3, [b"A", b"B"], [[1, 2], [3, 4]], record(told=told))
    golden.get(3, b"A").told[2] = []
    assert golden.get(3, b"B") == record(3, 4, told={1: [(7, 3)]})


@pytest.mark.parametrize("is_stored", [False, True], ids=["in memory", "stored"])
def test_a_system_that_shows_just_what_a_record_holds_is_noted_without_reading_it(state, is_stored):
    golden = records(state)
    golden.put_all(3, [b"A"], [["a", 1]], record())
    if is_stored:
        with state.transaction():
            golden.flush()
        golden.discard()
    assert golden.show(3, [b"A"], [pack(["a", 1])], 2) == 1
    with state.transaction():
        golden.put_away()
    golden.discard()
    assert golden.get(3, b"A") == Record(["a", 1], 0b101, 0, True, 0, 1, 1)


@pytest.mark.parametrize(
    ("found", "shown", "system"),
    [
        (record("a", 1), ["a", 2], 2),
        (record("a", 1), ["a"], 2),
        (record("a"), ["a", ABSENT], 2),
        (Record(["a", 1], 1, 0, False, 0, 1, 1), ["a", 1], 2),
        (record("a", 1), ["a", 1], 7),
        (Record(["a", 1], 0x80, 0, True, 0, 1, 1), ["a", 1], 2),
        (Record(["a", 1], 1, 0x80, True, 0, 1, 1), ["a", 1], 2),
    ],
    ids=["another value", "fewer fields", "a field is new", "deleted", "many systems", "held by many", "told to many"],
)
def test_a_record_that_must_be_read_for_that_is_not_touched(state, found, shown, system):
    golden = records(state)
    golden.put_all(3, [b"A"], [found.values], found)
    assert not golden.show(3, [b"A"], [pack(shown)], system)
    assert not golden.show(3, [b"B"], [pack(shown)], system)
    assert golden.get(3, b"A").present == found.present


def test_a_record_that_was_put_away_is_read_anew_by_whom_changes_it(state):
    golden, held = records(state), record("a", 1)
    golden.put(3, b"A", held)
    with state.transaction():
        golden.put_away()
        golden.get(3, b"A").values[0] = "b"
        assert held.values[0] == "a"
        assert golden.get(3, b"A").values[0] == "b"
        assert [found.values[0] for _, found in golden.page(3, b"", 5)] == ["b"]


def test_many_records_are_read_with_few_statements(state, monkeypatch):
    stored(state, *[([n], record(n, n)) for n in range(50)])
    monkeypatch.setattr(golden_module, "_LOOKUP_KEYS", 20)
    golden = records(state)
    statements = []
    state.connection.set_trace_callback(statements.append)
    golden.preload(3, [encode_key([n]) for n in range(60)])
    assert len(statements) == 3
    assert [golden.get(3, encode_key([n])) is not None for n in range(60)] == [True] * 50 + [False] * 10
    assert len(statements) == 3, "also that a record is not there is known by now"
    state.connection.set_trace_callback(None)


def test_pages_go_through_all_records_in_key_order_with_their_newest_version(state):
    stored(state, *[([n], record(n, n)) for n in range(7)])
    golden = records(state)
    with state.transaction():
        golden.put(3, encode_key([2]), record(2, "new"))
        seen, after = [], b""
        while page := golden.page(3, after, 3):
            seen += [found.values[1] for _, found in page]
            after = page[-1][0]
    assert seen == [0, 1, "new", 3, 4, 5, 6]


def test_children_are_found_by_their_parents_key(state):
    stored(
        state,
        (["O1", 1], record(1, 1)),
        (["O1", 2], record(2, 2)),
        (["O12", 1], record(3, 3)),
        (["O", 1], record(4, 4)),
    )
    with state.transaction():
        found = [child.values[0] for _, child in records(state).with_prefix(3, encode_key(["O1"]))]
    assert found == [1, 2]


def test_the_oldest_half_leaves_the_cache_when_it_is_large(state, monkeypatch):
    monkeypatch.setattr(golden_module, "CACHE_RECORDS", 10)
    golden, crosswalk = records(state), Crosswalk(state)
    with state.transaction():
        for n in range(50):
            golden.put(3, encode_key([n]), record(n, n))
            crosswalk.learn(1, encode_key([n]), b"x")
        golden.flush()
        crosswalk.flush()
    assert [*golden._cache[3]] == [encode_key([n]) for n in range(45, 50)]
    assert not crosswalk._cache
    assert golden.get(3, encode_key([49])).values == [49, 49]
    assert crosswalk.key_of(1, encode_key([49])) == b"x"


def test_the_cache_is_emptied_when_its_records_are_long(state, monkeypatch):
    monkeypatch.setattr(golden_module, "CACHE_BYTES", 100)
    golden = records(state)
    with state.transaction():
        golden.put(3, encode_key([1]), record("x" * 60, 1))
        golden.flush()
        assert len(golden._cache[3]) == 1
        golden.put(3, encode_key([2]), record("x" * 60, 2))
        golden.flush()
    assert len(golden._cache[3]) == 0


def test_a_page_of_long_records_is_short_and_none_is_left_out(state, monkeypatch):
    monkeypatch.setattr(golden_module, "PAGE_BYTES", 100)
    golden = records(state)
    with state.transaction():
        for n in range(5):
            golden.put(3, encode_key([n]), record("x" * 60, n))
        found, after, sizes = [], b"", []
        while page := golden.page(3, after, 1000):
            found += [key for key, _ in page]
            sizes.append(len(page))
            after = page[-1][0]
    assert found == [encode_key([n]) for n in range(5)]
    assert sizes == [2, 2, 1]


def test_records_from_before_a_field_was_added_have_it_untold(state):
    stored(state, (["A"], record("a", 1, origins=[0, 0], shadows={1: ["a", 1]})))
    for read in (
        lambda golden: golden.get(3, encode_key(["A"])),
        lambda golden: golden.page(3, b"", 5)[0][1],
        lambda golden: (golden.preload(3, [encode_key(["A"])]), golden.get(3, encode_key(["A"])))[1],
    ):
        found = read(records(state, width=4))
        assert found.values == ["a", 1, ABSENT, ABSENT]
        assert found.origins == [0, 0, NOBODY, NOBODY]
        assert found.shadows == {1: ["a", 1, ABSENT, ABSENT]}


def test_the_crosswalk_knows_what_it_learned_last_also_of_rows_that_are_gone(state):
    crosswalk = Crosswalk(state)
    with state.transaction():
        crosswalk.learn(1, b"7", b"A")
        crosswalk.learn(1, b"7", b"B")
        crosswalk.flush()
    other = Crosswalk(state)
    other.preload(1, [b"7", b"8"])
    assert (other.key_of(1, b"7"), other.key_of(1, b"8"), other.key_of(2, b"7")) == (b"B", None, None)
    other.learn(1, b"8", b"C")
    other.discard()
    assert other.key_of(1, b"8") is None


def test_records_of_numbers_in_a_row_are_read_and_written_together(state):
    keys = [encode_key([n]) for n in range(1_000, 1_120)]
    golden, statements = records(state), []
    with state.transaction():
        for n, key in enumerate(keys):
            golden.put(3, key, record(n, n))
        state.connection.set_trace_callback(statements.append)
        golden.flush()
        assert len(statements) == 2 + 20
    other = records(state)
    statements.clear()
    other.preload(3, keys)
    state.connection.set_trace_callback(None)
    assert len(statements) == 1
    assert [other.get(3, key).values for key in keys] == [[n, n] for n in range(120)]


def test_what_lies_between_the_keys_that_are_read_together_stays_as_it_is_known(state):
    keys = [encode_key([n]) for n in range(1_000, 1_100)]
    stored(state, *[([n], record(n, "stored")) for n in range(1_000, 1_100)])
    golden = records(state)
    golden.put(3, keys[50], record(1_050, "newer"))
    golden.preload(3, [*keys[:50], *keys[51:]])
    assert golden.get(3, keys[50]).values[1] == "newer"
    assert golden.get(3, keys[51]).values[1] == "stored"


def test_longer_keys_between_those_that_are_read_together_hide_none(state):
    stored(state, *[([1_000, n], record(0, n)) for n in range(300)], *[([n], record(n, n)) for n in (1_001, 1_099)])
    golden = records(state)
    golden.preload(3, [encode_key([n]) for n in range(1_000, 1_100)])
    assert [n for n in range(1_000, 1_100) if golden.get(3, encode_key([n]))] == [1_001, 1_099]


@pytest.mark.parametrize(
    ("parts", "dense"),
    [
        (range(1_000, 1_050), True),
        (range(1_000, 1_049), False),
        (range(100, 200), False),
        (range(1_000, 1_200, 4), False),
        ([f"P{n:04}" for n in range(60)], False),
        ([1_000] * 50, True),
    ],
    ids=["in a row", "few", "of two lengths", "with gaps", "texts", "the same"],
)
def test_keys_are_dense_where_hardly_any_lie_between_them(parts, dense):
    assert golden_module.are_dense([encode_key([part]) for part in parts]) == dense


def test_packed_records_are_counted_and_stay_changed(state):
    golden = records(state)
    golden.put(3, b"A", record("a" * 100, 1))
    assert golden.pack() > 100
    assert golden.changed == 1
    assert golden.get(3, b"A").values == ["a" * 100, 1]
    with state.transaction():
        golden.put_away()
    assert golden.changed == 0
