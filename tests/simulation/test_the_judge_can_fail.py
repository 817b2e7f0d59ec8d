"""A judge that has never said no proves nothing: the line is broken in many ways, and seeds must find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cdcd.capture import Capture
from cdcd.deliver import Deliverer
from cdcd.model import Batch
from cdcd.outbox import OutboxWriter, RecordWrite
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.echoes import Echoes
from cdcd.resolve.golden import Crosswalk
from cdcd.resolve.ownership import Ownership
from cdcd.resolve.rights import Rights
from cdcd.resolve.seeding import Settler
from cdcd.resolve.telling import RecordTeller
from kept_connections import Bench
from play import play_seed

SEEDS = 150
FINDERS = {"a_late_delete_takes_a_new_row": (630,)}
"""Seeds that find what few do; those that make nothing of it any more cost nothing but time."""
Breaks = Callable[[pytest.MonkeyPatch], None]


def anybody_may_change_fields(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ownership, "may_change", lambda *_: True)


def anybody_may_create(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rights, "may_create", lambda *_: True)


def anybody_may_delete(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rights, "may_delete", lambda *_: True)


def a_transaction_is_judged_by_the_state_it_leaves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rights, "handed_over", lambda *_: None)


def reverting_is_only_counted(patch: pytest.MonkeyPatch) -> None:
    decide = EntityDecider._decision

    def decision(*arguments: Any) -> str:
        found = decide(*arguments)
        return "ignore" if found == "revert" else found

    patch.setattr(EntityDecider, "_decision", decision)


def ignoring_reverts(patch: pytest.MonkeyPatch) -> None:
    made = EntityDecider.__init__

    def make(self: EntityDecider, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        self.rights.on_create = "revert"

    patch.setattr(EntityDecider, "__init__", make)


def the_last_system_is_told_nothing(patch: pytest.MonkeyPatch) -> None:
    tell = RecordTeller.tell

    def tell_some(self: RecordTeller, moment: Any, target: int, key: bytes, kind: RecordWrite, *rest: Any) -> None:
        if not (kind == RecordWrite.UPDATE and target == len(self.systems) - 1):
            tell(self, moment, target, key, kind, *rest)

    patch.setattr(RecordTeller, "tell", tell_some)


def a_target_is_told_what_it_owns(patch: pytest.MonkeyPatch) -> None:
    whole = RecordTeller._whole

    def everything(self: RecordTeller, target: int, state_owner: int) -> tuple[int, int]:
        told, own = whole(self, target, state_owner)
        return told | own, 0

    patch.setattr(RecordTeller, "_whole", everything)


def children_outlive_their_parent(patch: pytest.MonkeyPatch) -> None:
    remove = EntityDecider.remove

    def remove_alone(self: EntityDecider, *arguments: Any, **named: Any) -> None:
        children, self.children = self.children, []
        remove(self, *arguments, **named)
        self.children = children

    patch.setattr(EntityDecider, "remove", remove_alone)


def the_first_copy_believes_anybody(patch: pytest.MonkeyPatch) -> None:
    believe = Settler._believe

    def believe_last(self: Settler, key: bytes, held: dict[int, list[Any]]) -> tuple[list[Any], int]:
        _, believed = believe(self, key, held)
        return list(held[max(held)]), believed

    patch.setattr(Settler, "_believe", believe_last)


def late_writes_are_not_corrected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Echoes, "_judge", lambda *_: None)


def a_late_delete_takes_a_new_row(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Echoes, "delete", lambda *_: None)


def own_writes_are_taken_for_changes(patch: pytest.MonkeyPatch) -> None:
    def row(self: Echoes, moment: Any, system: int, key: bytes, values: list[Any], _written: Any) -> None:
        self._decider.changed(moment, system, key, values, 2)  # type: ignore[arg-type]

    patch.setattr(Echoes, "row", row)


def deletes_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    add = OutboxWriter.add

    def add_some(self: OutboxWriter, system: str, item: list[Any], *rest: Any) -> int:
        return add(self, system, item, *rest) if item[1] != RecordWrite.DELETE else self.units

    patch.setattr(OutboxWriter, "add", add_some)


def rows_are_known_by_their_first_number(patch: pytest.MonkeyPatch) -> None:
    learn = Crosswalk.learn
    patch.setattr(Crosswalk, "learn", lambda self, binding, row_id, key: learn(self, binding, row_id[:1], key))


def the_source_may_forget_too_early(patch: pytest.MonkeyPatch) -> None:
    store = Capture._store

    def confirm_first(self: Capture, drafts: list[Any], position: str | None, chunk: Any) -> bool:
        if position is not None:
            self._source.confirm(position)
        return store(self, drafts, position, chunk)

    patch.setattr(Capture, "_store", confirm_first)


def the_checkpoint_goes_ahead(patch: pytest.MonkeyPatch) -> None:
    apply = Deliverer.apply

    def checkpoint_first(self: Deliverer, groups: Any, batch: Batch, *rest: Any) -> None:
        self._target.apply([], batch)
        apply(self, groups, batch, *rest)

    patch.setattr(Deliverer, "apply", checkpoint_first)


BROKEN: list[Breaks] = [
    anybody_may_change_fields,
    anybody_may_create,
    anybody_may_delete,
    a_transaction_is_judged_by_the_state_it_leaves,
    reverting_is_only_counted,
    ignoring_reverts,
    the_last_system_is_told_nothing,
    a_target_is_told_what_it_owns,
    children_outlive_their_parent,
    the_first_copy_believes_anybody,
    late_writes_are_not_corrected,
    a_late_delete_takes_a_new_row,
    own_writes_are_taken_for_changes,
    deletes_are_forgotten,
    rows_are_known_by_their_first_number,
    the_source_may_forget_too_early,
    the_checkpoint_goes_ahead,
]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    kept = Bench()
    yield kept
    kept.close()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_line_is_found_out(broken: Breaks, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    seeds = [*FINDERS.get(broken.__name__, ()), *range(SEEDS)]
    assert any(_fails(seed, bench) for seed in seeds), f"{len(seeds)} seeds did not notice"


def _fails(seed: int, bench: Bench) -> bool:
    try:
        play_seed(seed, bench)
    except Exception:  # noqa: BLE001 - whatever the damage shows as, it is shown
        return True
    return False
