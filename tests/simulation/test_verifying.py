"""A verification finds no drift in worlds that are in step, whatever happens while it reads; and each that is planted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest

from cdcd.resolve.keys import decode_key
from cdcd.testing.simulator import NotQuiet, impatient_retries, patient_retries
from cdcd.verifying import candidates, live_records, reference
from cdcd.verifying.comparing import Comparing
from cdcd.verifying.judging import NOT_HEARD
from cdcd.verifying.live_records import Tables
from cdcd.verifying.reference import Reference, Settled
from cdcd.verifying.results import Comparison, Difference
from cdcd.verifying.timetable import parts
from cdcd_memory import MemoryOptions
from play import Play, meaning_of
from world import Entity

SEEDS = int(os.environ.get("CDCD_VERIFY_SEEDS", "20"))


class Line:
    """Comes to rest when a comparison wants to know where it stands."""

    def __init__(self, play: Play, known: Reference) -> None:
        self._play = play
        self._known = known

    def settle(self) -> Settled:
        with impatient_retries(), suppress(NotQuiet):
            self._play.simulation.settle(12)
        with patient_retries():
            self._play.simulation.settle(150)
        return self._known.resolved()


def verified(play: Play, meanwhile: Callable[[], None] = lambda: None) -> dict[tuple[str, str], list[Difference]]:
    """What is not in step, by entity and system. `meanwhile` happens after every page that is read."""
    found = {}
    plan = play.simulation.plan()
    for entity, system in parts(plan, play.simulation.config.entities):
        with (
            reference.opened(plan, play.directory) as known,
            candidates.opened(play.directory / "candidates.db") as left,
        ):
            adapter, options = play.simulation.adapters[system]
            assert isinstance(options, MemoryOptions)
            with closing(adapter.open_reader(None, options)) as reader:
                rows = play.directory / "rows.db"
                records = live_records.of_entity(plan, entity, system, Tables(reader), known, lambda _rows: None, rows)
                comparing = Comparing(
                    known, records, left, Line(play, known), Comparison(entity, system), lambda _so_far: meanwhile()
                )
                assert comparing.whole().state == "done"
        # What nobody hears of is not put right: applications there may write what they like.
        drifted = [one for one in comparing.differences if one.cause != NOT_HEARD]
        if drifted:
            found[entity, system] = drifted
    return found


class VerifiedPlay(Play):
    """At rest everything is verified, too; and while applications go on, if it is busy."""

    is_busy = False

    def _rest_and_judge(self) -> None:
        super()._rest_and_judge()
        assert verified(self) == {}
        if self.is_busy:
            random = Random(0)
            assert verified(self, lambda: self._go_on(random)) == {}
            super()._rest_and_judge()

    def _go_on(self, random: Random) -> None:
        for _ in range(random.randint(0, 3)):
            self._do("act", random.choice(self.world.systems), random.randrange(2**32))
            for stage in random.choices(
                ["resolve", *(f"{k}:{s}" for k in ("capture", "deliver") for s in self.world.systems)], k=6
            ):
                self._do("step", stage, 0)


@pytest.mark.parametrize("busy", [False, True], ids=["at rest", "busy"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_in_step_is_found_so(seed: int, busy: bool) -> None:
    world, before, steps = meaning_of(seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        play = VerifiedPlay(world, Path(directory))
        play.is_busy = busy
        play.run(before + steps)


class PlantedPlay(Play):
    """At rest a row of some system is taken away, or made anew under another id, and no log tells it."""

    planted = 0

    def _rest_and_judge(self) -> None:
        super()._rest_and_judge()
        assert verified(self) == {}
        plan = self.simulation.plan()
        with reference.opened(plan, self.directory) as known:
            rows = [at for at in self._records(known) if not at[3].parent]
        for entity, system, key, found, row_id in rows[:2]:
            table = self.servers[system].tables[found.places[system].table]
            row = table.rows.pop((row_id,))
            missing = {(one.kind, one.key) for one in verified(self).get((entity, system), ())}
            assert missing == {("missing", key)}, (entity, system, key)
            table.rows[(row_id,)] = row
            self.planted += 1

    def _records(self, known: Reference) -> Iterator[tuple[str, str, bytes, Entity, int]]:
        """Rows of records that no child row refers to, by what cdcd knows of them."""
        heard = parts(known.plan, self.simulation.config.entities)
        for entity, system in [at for at in heard if at[1] in known.plan.entities[at[0]].publish]:
            number = known.plan.entities[entity].number
            found = self.world.entities[entity]
            adapter, options = self.simulation.adapters[system]
            with closing(adapter.open_reader(None, options)) as reader:
                rows = self.directory / "rows.db"
                records = live_records.of_entity(
                    known.plan, entity, system, Tables(reader), known, lambda _rows: None, rows
                )
                for page in records.pages():
                    with known.moment():
                        for one in records.shown(page):
                            record = None if one.key is None else known.golden.get(number, one.key)
                            bit = 1 << known.systems.index(system)
                            if record is not None and one.key is not None and record.alive and record.present & bit:
                                yield entity, system, one.key, found, decode_key(one.row_id, 1)[0]


def test_what_no_log_tells_is_found() -> None:
    planted = 0
    for seed in range(SEEDS // 3):
        world, before, steps = meaning_of(seed)
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            play = PlantedPlay(world, Path(directory))
            play.run(before + steps)
            planted += play.planted
    assert planted > SEEDS // 3
