"""Records for the page, from the files of a state directory."""

from contextlib import closing
from pathlib import Path

import pytest

from cdcd.resolve.keys import encode_key
from cdcd.state import State
from cdcd.web import records as r
from cdcd.web.records import Counting, RecordReader
from web.showcase import HOSTILE, Showcase, put_trouble


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory):
    made = Showcase(tmp_path_factory.mktemp("records"))
    put_trouble(made)
    yield made
    made.site.close()


def test_what_is_parked_is_grouped_by_reason_and_the_newest_are_named(told: Showcase):
    found = RecordReader().read(told.blueprint, told.directory)
    assert [(g.entity, g.system, g.code, g.count) for g in found.parked_groups] == [
        ("product", "shop", "too-long", 34),
        ("customer", "shop", "row-missing", 3),
    ]
    assert len(found.parked) == r.ROWS_MAX
    assert {bool(one.key) for one in found.parked if one.entity == "product"} == {True}
    assert {one.key for one in found.parked if one.entity == "customer"} == {""}


def test_conflicts_are_named_without_their_values(told: Showcase):
    found = RecordReader().read(told.blueprint, told.directory)
    assert [(g.entity, g.system, g.kind, g.count) for g in found.conflict_groups] == [("product", "shop", "held", 4)]
    assert [(one.entity, one.field, one.key) for one in found.conflicts[:1]] == [("product", "name", "A-3")]
    assert found.conflicts[-1].key == HOSTILE[:80] + "…"


def test_a_look_is_kept_for_a_moment(told: Showcase):
    reader = RecordReader()
    assert reader.read(told.blueprint, told.directory) is reader.read(told.blueprint, told.directory)


def test_what_takes_long_is_kept_longer(told: Showcase, monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 1.0, 19.0, 21.5, 22.0])
    reader = RecordReader()
    reads: list[int] = []
    monkeypatch.setattr(reader, "_read", lambda *_: reads.append(1))
    monkeypatch.setattr(r.time, "monotonic", lambda: next(clock))
    for _ in range(3):  # it took a second: the next one may come after twenty more
        reader.read(told.blueprint, told.directory)
    assert len(reads) == 2


def test_records_are_counted_a_piece_at_a_time_and_never_as_a_whole(told: Showcase, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Counting, "LOOK_SECONDS", -1.0)
    counting, plan = Counting(), told.blueprint.plan()
    with closing(State(told.directory.state, read_only=True)) as state:
        looks = [counting.go_on(state, plan).get("product") for _ in range(4)]
    assert looks == [(2_000, False), (4_000, False), (5_000, True), (5_000, True)]


def test_what_was_counted_long_ago_is_counted_anew_and_known_meanwhile(told: Showcase, monkeypatch: pytest.MonkeyPatch):
    counting, plan = Counting(), told.blueprint.plan()
    with closing(State(told.directory.state)) as state:
        assert counting.go_on(state, plan)["product"] == (5_000, True)
        number = plan.entities["product"].number
        with state.database.transaction() as connection:
            connection.execute("INSERT INTO golden VALUES (?,?,?)", (number, encode_key(("zzz",)), b""))
        assert counting.go_on(state, plan)["product"] == (5_000, True)
        monkeypatch.setattr(Counting, "AGAIN_SECONDS_MAX", 0.0)
        monkeypatch.setattr(Counting, "LOOK_SECONDS", -1.0)
        assert [counting.go_on(state, plan)["product"] for _ in range(3)] == [
            (5_000, True),
            (5_000, True),
            (5_001, True),
        ]


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path: Path):
    told = Showcase(tmp_path)
    try:
        told.directory.deliver("shop").write_bytes(b"no database at all, but quite long enough to be looked at" * 9)
        answer = told.get("/")
        assert answer.code == 200
        assert "Not shown below:" in answer.body
        assert "All is well" in answer.body
    finally:
        told.site.close()
