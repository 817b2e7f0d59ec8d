"""Resyncs and new positions as commands in the journal."""

from typing import Any

import pytest
from msgspec import structs

from cdcd.adapter import RowFilter, TableNeed
from cdcd.blueprint import Role
from cdcd.journal import Command, decode_command
from cdcd.model import CHECKPOINT_TABLE
from cdcd.operations import RequestError
from unit.operations.conftest import Bench

KEYED: dict[str, Any] = {
    "entity": "product",
    "chosen": [{"system": "erp", "table": "item", "filter": {"columns": ["code"], "keys": [["A"]]}}],
    "keys": ["a141"],
}


def last_command(bench: Bench) -> Command:
    entry = bench.journal.read(0)[-1]
    assert entry.note is not None
    return decode_command(entry.note)


def copied(bench: Bench, system: str) -> list[str]:
    return [b.table for b in bench.journal.backfills(system) if not b.done]


def refusal(bench: Bench, command: str, **arguments: object) -> str:
    before = bench.journal.last_seq()
    with pytest.raises(RequestError) as caught:
        bench.do(command, **arguments)
    assert bench.journal.last_seq() == before
    return caught.value.code


def test_resync_is_a_command_in_the_journal_and_wakes_the_captures(bench: Bench):
    answer = bench.do("resync", entity="product")
    assert last_command(bench) == Command("resync", {"entity": "product"})
    assert answer.result["seq"] == bench.journal.last_seq()
    assert copied(bench, "feed") == ["product"]
    assert bench.crew.rung == {"resolve", "capture:erp", "capture:feed"}


@pytest.mark.parametrize("spelled", ["erp:move", "erp:main.move"])
def test_a_resync_of_plain_copies_names_the_table_as_the_configuration_or_in_full(bench: Bench, spelled: str):
    assert bench.do("resync", entity=spelled).result["tables"] == [["erp", "main.move"]]
    assert copied(bench, "erp") == ["main.move"]


def test_a_dry_run_leaves_no_trace(bench: Bench):
    assert bench.do("resync", entity="product", dry_run=True).result["seq"] is None
    assert (bench.journal.last_seq(), copied(bench, "erp"), bench.crew.rung) == (0, [], set())


def test_a_resync_of_one_system_reads_only_its_tables(bench: Bench):
    bench.do("resync", entity="product", systems=["erp"])
    assert last_command(bench).arguments == {"entity": "product", "systems": ["erp"]}
    assert (copied(bench, "erp"), copied(bench, "feed")) == (["item"], [])


def test_named_records_are_told_to_resolve_and_their_rows_to_the_capture(bench: Bench):
    bench.do("resync", **KEYED)
    wanted = {"entity": "product", "systems": ["erp"], "filtered": True, "keys": [b"\xa1A"]}
    assert last_command(bench).arguments == wanted
    (backfill,) = bench.journal.backfills("erp")
    assert (backfill.filter, backfill.estimate) == (RowFilter(columns=("code",), keys=(("A",),)), 1)


def test_some_rows_are_not_read_while_the_table_is(bench: Bench):
    bench.do("resync", entity="product")
    assert refusal(bench, "resync", **KEYED) == "resync-under-way"


def test_a_second_resync_of_everything_begins_anew_and_says_so(bench: Bench):
    assert bench.do("resync", entity="product").result["begun_anew"] == []
    assert bench.do("resync", entity="product").result["begun_anew"] == [["erp", "item"], ["feed", "product"]]


def test_during_the_first_copy_some_rows_are_not_asked_for(bench: Bench):
    with bench.state.transaction() as connection:
        connection.execute("INSERT INTO phases VALUES ('product', 'seeding', 0)")
    assert refusal(bench, "resync", **KEYED) == "resync-first-copy"


@pytest.mark.parametrize(
    "arguments",
    [
        {"systems": ["shop"]},
        {"chosen": [{"system": "erp", "table": "nix", "filter": {}}]},
        {"chosen": "all"},
    ],
)
def test_what_is_not_read_for_the_entity_is_refused(bench: Bench, arguments: dict[str, Any]):
    assert refusal(bench, "resync", entity="product", **arguments) == "control-argument"


def test_a_resync_is_listed_paused_and_resumed(bench: Bench):
    bench.do("resync", entity="product")
    bench.do("resync-pause", entity="product", on=True)
    assert {c["state"] for c in bench.do("resyncs").result["copies"]} == {"paused"}
    bench.crew.rung.clear()
    bench.do("resync-pause", entity="product", on=False)
    assert {c["state"] for c in bench.do("resyncs", entity="product").result["copies"]} == {"reading"}
    assert bench.crew.rung == {"capture:erp", "capture:feed"}


def test_a_resync_is_cancelled_for_resolve_and_the_captures_alike(bench: Bench):
    bench.do("resync", entity="product")
    bench.do("resync-cancel", entity="product")
    assert last_command(bench) == Command("cancel-resync", {"entity": "product"})
    assert {c["state"] for c in bench.do("resyncs").result["copies"]} == {"cancelled"}
    assert refusal(bench, "resync-cancel", entity="product") == "resync-none"


def test_copies_that_are_needed_cannot_be_cancelled(bench: Bench):
    bench.journal.ensure_backfills("erp", ["item"])
    assert refusal(bench, "resync-cancel", entity="product") == "resync-needed"
    bench.do("resync", entity="erp:move")
    assert refusal(bench, "resync-cancel", entity="erp:move") == "resync-needed"


# ---- new positions ---------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(bench: Bench) -> Bench:
    """The ERP has a place in its log, and stands."""
    erp = structs.replace(
        bench.desk.blueprint.systems["erp"], tables=(TableNeed("item"), TableNeed("x", captured=False))
    )
    blueprint = structs.replace(bench.desk.blueprint, systems={**bench.desk.blueprint.systems, "erp": erp})
    bench.desk = structs.replace(bench.desk, blueprint=blueprint)
    bench.journal.append("erp", [], "p1")
    bench.crew.states[Role("capture", "erp")] = "stopped"
    return bench


def test_a_new_position_is_one_commit_with_all_that_is_compared(stopped: Bench):
    assert stopped.do("reposition-plan", system="erp").result["tables"] == ["item"]
    assert stopped.journal.position("erp") == "p1"
    stopped.do("reposition", system="erp")
    assert stopped.journal.position("erp") is None
    assert copied(stopped, "erp") == [CHECKPOINT_TABLE, "item"]
    assert last_command(stopped) == Command("repositioned", {"system": "erp"})
    assert stopped.crew.restarts == [Role("capture", "erp")]


def test_who_is_read_well_gets_no_new_position(stopped: Bench):
    stopped.crew.states[Role("capture", "erp")] = "running"
    assert refusal(stopped, "reposition", system="erp") == "reposition-not-needed"
    assert stopped.journal.position("erp") == "p1"
