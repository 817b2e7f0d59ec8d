"""Seeds drive the whole line through random work, interleavings and crashes; at rest everything must be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scenario import play

SEEDS = int(os.environ.get("CDCD_SEEDS", "200"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_at_rest_every_field_equals_its_owners_last_value(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_resyncs_and_rewinds_at_any_moment_never_bring_old_values_back(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path, commands=0.1)
