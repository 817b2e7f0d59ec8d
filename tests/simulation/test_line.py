"""Seeds drive the whole line through random work, interleavings and crashes; at rest everything must be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdcd import backlog, outbox
from cdcd.folding import in_place, spill
from cdcd.resolve import own_writes
from scenario import play

SEEDS = int(os.environ.get("CDCD_SEEDS", "200"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_at_rest_every_field_equals_its_owners_last_value(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_resyncs_and_rewinds_at_any_moment_never_bring_old_values_back(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path, commands=0.1)


@pytest.mark.parametrize("seed", range(SEEDS // 10))
def test_it_is_the_same_where_each_batch_is_folded_while_the_one_before_is_written(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    play(seed, tmp_path)


@pytest.mark.parametrize("seed", range(SEEDS // 10))
def test_it_is_the_same_for_units_that_are_too_large_for_memory(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PART_WRITES", 1)
    monkeypatch.setattr(backlog, "LARGE_WRITES", 1)
    monkeypatch.setattr(in_place, "KEYS_MAX", seed % 2 * in_place.KEYS_MAX)  # by way of the disk, or in place
    monkeypatch.setattr(spill, "PAGE_ITEMS", 1)
    monkeypatch.setattr(own_writes, "IN_MEMORY_WRITES", 1)
    play(seed, tmp_path)
