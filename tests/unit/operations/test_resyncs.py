"""Resyncs as commands in the journal."""

import pytest

from cdcd.journal import Command, decode_command
from unit.operations.conftest import Bench


def test_resync_is_a_command_in_the_journal_and_wakes_the_captures(bench: Bench):
    answer = bench.do("resync", entity="product")
    (entry,) = bench.journal.read(0)
    assert entry.note is not None
    assert decode_command(entry.note) == Command("resync", {"entity": "product"})
    assert answer.result["seq"] == entry.seq
    assert [b.table for b in bench.journal.backfills("feed")] == ["product"]
    assert bench.crew.rung == {"resolve", "capture:erp", "capture:feed"}


@pytest.mark.parametrize("spelled", ["erp:move", "erp:main.move"])
def test_a_resync_of_plain_copies_names_the_table_as_the_configuration_or_in_full(bench: Bench, spelled: str):
    assert bench.do("resync", entity=spelled).result["tables"] == [["erp", "main.move"]]
    assert [b.table for b in bench.journal.backfills("erp")] == ["main.move"]
