"""The simulator must notice when an invariant is broken: each of these lines is broken on purpose, and seeds fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdcd.capture import Capture
from cdcd.deliver import Deliverer
from cdcd.model import Batch
from cdcd.resolve.resolver import Resolver
from scenario import play

SEEDS = 40


class ConfirmsBeforeItIsDurable(Capture):
    """Invariant 1 broken: the source may forget what the journal does not have yet."""

    def _store(self, drafts: list[Any], position: str | None, chunk: Any) -> bool:
        if position is not None:
            self._source.confirm(position)
        return super()._store(drafts, position, chunk)


class CommitsPositionOnItsOwn(Resolver):
    """Invariant 3 broken: the position is committed before the outputs that belong to it."""

    def step(self) -> bool:
        entries = self._journal.read(self._position)
        if entries:
            with self._state.transaction():
                self._state.put("position", entries[-1].seq)
        return super().step()


class MovesCheckpointOnItsOwn(Deliverer):
    """Invariant 4 broken: the checkpoint moves in a transaction before the rows'."""

    def apply(self, groups: Any, batch: Batch, first: int = 0, last: int | None = None) -> None:
        self._target.apply([], batch)
        super().apply(groups, batch, first, last)


def failures(tmp_path: Path, **broken: Any) -> int:
    count = 0
    for seed in range(SEEDS):
        directory = tmp_path / str(seed)
        directory.mkdir()
        try:
            play(seed, directory, crash_probability=0.05, **broken)
        except Exception:  # noqa: BLE001 - whatever the damage shows as, it is shown
            count += 1
    return count


@pytest.mark.parametrize(
    "broken",
    [
        {"capture": ConfirmsBeforeItIsDurable},
        {"resolver": CommitsPositionOnItsOwn},
        {"deliverer": MovesCheckpointOnItsOwn},
    ],
    ids=["invariant 1", "invariant 3", "invariant 4"],
)
def test_a_broken_invariant_makes_seeds_fail(broken: dict[str, Any], tmp_path: Path) -> None:
    assert failures(tmp_path, **broken) >= SEEDS // 10


def test_the_same_seeds_pass_when_nothing_is_broken(tmp_path: Path) -> None:
    assert failures(tmp_path) == 0
