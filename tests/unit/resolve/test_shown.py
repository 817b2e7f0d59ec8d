"""That a system has shown a record may stand beside it: read with it everywhere, and gone when it is written anew."""

from __future__ import annotations

import copy
import random
from contextlib import suppress

import msgspec
import pytest

from cdcd.resolve import golden as golden_module
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.keys import encode_key
from cdcd.state import State

ENTITY = 3
KEYS = [encode_key([n]) for n in range(1_000, 1_060)]
pack = msgspec.msgpack.Encoder().encode


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


def records(state):
    return GoldenRecords(state, {ENTITY: 2})


def row(n):
    return [f"product {n}" * (1 + n % 3), n]


def like(present=1):
    return Record([], present, 2, True, 0, 1, 1, None, None, {1: [(7, 3)]})


def create(state, keys=KEYS):
    with state.transaction():
        golden = records(state)
        golden.preload(ENTITY, keys)
        golden.put_all(ENTITY, keys, [row(KEYS.index(key)) for key in keys], like())
        golden.flush()


def show(golden, keys, system=1):
    golden.preload(ENTITY, keys)
    assert golden.show(ENTITY, keys, [pack(row(KEYS.index(key))) for key in keys], system) == len(keys)


def stored(state, keys=KEYS, system=1):
    """After another process has stored that a system shows the records."""
    with state.transaction():
        golden = records(state)
        show(golden, keys, system)
        golden.flush()


def fail():
    raise InterruptedError


def count(state):
    return state.connection.execute("SELECT count(*) FROM shown").fetchone()[0]


def test_a_record_that_is_shown_is_not_written_anew(state):
    create(state)
    bodies = state.connection.execute("SELECT key, body FROM golden").fetchall()
    stored(state)
    assert state.connection.execute("SELECT key, body FROM golden").fetchall() == bodies
    assert count(state) == len(KEYS)


def sparse(golden):
    golden.preload(ENTITY, KEYS[::2])
    return [golden.get(ENTITY, key) for key in KEYS[::2]]


def dense(golden):
    golden.preload(ENTITY, KEYS)
    return [golden.get(ENTITY, key) for key in KEYS]


READERS = {
    "one by one": lambda golden: [golden.get(ENTITY, key) for key in KEYS],
    "a few": sparse,
    "many in a row": dense,
    "a page": lambda golden: [record for _, record in golden.page(ENTITY, b"", 100)],
    "children": lambda golden: [record for _, record in golden.with_prefix(ENTITY, KEYS[5])],
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_whoever_reads_the_record_reads_who_has_shown_it(state, read):
    create(state)
    stored(state)
    found = read(records(state))
    assert found
    assert [(record.present, record.sent, record.told) for record in found] == [(0b11, 2, {1: [(7, 3)]})] * len(found)


def test_systems_that_show_it_one_after_the_other_all_have(state):
    create(state)
    for system in (1, 4, 2):
        stored(state, system=system)
    assert [record.present for record in dense(records(state))] == [0b10111] * len(KEYS)
    assert count(state) == len(KEYS)


def test_a_record_that_is_new_in_the_same_step_is_written_once_with_all(state):
    with state.transaction():
        golden = records(state)
        golden.preload(ENTITY, KEYS)
        golden.put_all(ENTITY, KEYS, map(row, range(len(KEYS))), like())
        show(golden, KEYS)
        golden.flush()
    assert count(state) == 0
    assert [record.present for record in dense(records(state))] == [0b11] * len(KEYS)


@pytest.mark.parametrize("is_stored", [False, True], ids=["in the same step", "later"])
def test_what_is_written_of_a_record_counts_from_then_on(state, is_stored):
    create(state)
    golden = records(state)
    with state.transaction():
        show(golden, KEYS)
        if is_stored:
            golden.flush()
        record = golden.get(ENTITY, KEYS[3])
        assert record.present == 0b11
        record.present = 0b100
        golden.put(ENTITY, KEYS[3], record)
        golden.flush()
    assert [record.present for record in dense(records(state))] == [0b11] * 3 + [0b100] + [0b11] * (len(KEYS) - 4)
    assert count(state) == len(KEYS) - 1


@pytest.mark.parametrize("at_once", [False, True], ids=["one", "many"])
def test_a_record_may_be_written_that_nobody_has_read(state, at_once):
    create(state)
    stored(state)
    with state.transaction():
        golden = records(state)
        if at_once:
            golden.put_all(ENTITY, KEYS[:1], [["new", 1]], like(present=4))
        else:
            golden.put(ENTITY, KEYS[0], msgspec.structs.replace(like(present=4), values=["new", 1]))
        golden.flush()
    assert records(state).get(ENTITY, KEYS[0]).present == 4
    assert records(state).get(ENTITY, KEYS[0]).values == ["new", 1]


def test_first_copies_look_for_no_rows_beside_records_where_there_are_none(state):
    golden, statements = records(state), []
    with state.transaction():
        state.connection.set_trace_callback(statements.append)
        golden.put_all(ENTITY, KEYS, map(row, range(len(KEYS))), like())
        golden.flush()
        state.connection.set_trace_callback(None)
    assert sum("shown" in sql for sql in statements) == 1


@pytest.mark.parametrize("is_written", [False, True], ids=["not written yet", "written"])
def test_what_was_shown_in_a_step_that_failed_was_not(state, is_written):
    create(state)
    golden = records(state)
    with suppress(InterruptedError), state.transaction():
        show(golden, KEYS)
        if is_written:
            golden.flush()
        fail()
    golden.discard()
    assert [record.present for record in dense(golden)] == [1] * len(KEYS)
    with state.transaction():
        golden.flush()
    assert count(state) == 0


def test_what_is_shown_and_not_stored_counts_as_changed(state):
    create(state)
    golden = records(state)
    show(golden, KEYS[:7])
    assert golden.changed == 7


@pytest.mark.parametrize("name", ["CACHE_RECORDS", "CACHE_BYTES"])
def test_what_is_known_of_the_rows_is_bounded_with_the_records(state, monkeypatch, name):
    create(state)
    stored(state)
    monkeypatch.setattr(golden_module, name, 10)
    golden = records(state)
    golden.preload(ENTITY, KEYS)
    assert len(golden._shown._stored[ENTITY]) == len(KEYS)
    golden.flush()
    assert len(golden._shown._stored[ENTITY]) <= 10


class Model:
    """What the records are: in the transaction that is open, and as it was committed last."""

    def __init__(self, state):
        self.state = state
        self.golden = records(state)
        self.now, self.then = {}, {}

    def create(self, random):
        keys = [key for key in random.sample(KEYS, 20) if key not in self.now]
        rows = [row(KEYS.index(key)) for key in keys]
        self.golden.preload(ENTITY, keys)
        self.golden.put_all(ENTITY, keys, rows, like())
        self.now |= {
            key: msgspec.structs.replace(like(), values=values) for key, values in zip(keys, rows, strict=True)
        }

    def show(self, random):
        system, keys = random.randrange(3), random.sample(KEYS, random.choice([1, 30, 55]))
        self.golden.preload(ENTITY, keys)
        packed = [pack(row(KEYS.index(key))) for key in keys]
        at = 0
        while at < len(keys):
            shown = self.golden.show(ENTITY, keys, packed, system, at)
            for key in keys[at:shown]:
                self.now[key].present |= 1 << system
            at = shown + 1

    def change(self, random):
        for key in random.sample(KEYS, 5):
            record = self.golden.get(ENTITY, key)
            assert record == self.now.get(key)
            if record is not None:
                record.present, record.values = random.randrange(8), [random.random(), 1]
                self.golden.put(ENTITY, key, record)
                self.now[key] = copy.deepcopy(record)

    def overwrite(self, random):
        key = random.choice(KEYS)
        found = msgspec.structs.replace(like(present=4), values=row(KEYS.index(key)))
        self.golden.put(ENTITY, key, found)
        self.now[key] = copy.deepcopy(found)

    def put_away(self, _random):
        self.golden.put_away()

    def look(self, random):
        found = dict(self.golden.page(ENTITY, KEYS[random.randrange(30)], 100))
        assert all(self.now[key] == record for key, record in found.items())

    def step(self, random):
        try:
            with self.state.transaction():
                for _ in range(random.randrange(1, 6)):
                    random.choice(
                        [self.create, self.show, self.show, self.change, self.overwrite, self.put_away, self.look]
                    )(random)
                if random.random() < 0.2:
                    fail()
                self.golden.put_away()
        except InterruptedError:
            self.golden.discard()
            self.now = copy.deepcopy(self.then)
        self.then = copy.deepcopy(self.now)
        if random.random() < 0.2:
            self.golden = records(self.state)
        assert dict(records(self.state).page(ENTITY, b"", 100)) == self.then


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("cache_records", [10, 20_000])
def test_whatever_happens_in_which_order_the_records_are_what_they_were_made(state, monkeypatch, seed, cache_records):
    monkeypatch.setattr(golden_module, "CACHE_RECORDS", cache_records)
    model, chance = Model(state), random.Random(seed)
    for _ in range(25):
        model.step(chance)
    assert model.then
