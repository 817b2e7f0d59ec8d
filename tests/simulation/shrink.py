"""Makes a failing seed readable: the fewest steps that still fail, in a world with nothing else in it, and what is wrong.

python tests/simulation/shrink.py SEED              print it
python tests/simulation/shrink.py SEED NAME         and keep it as tests/simulation/cases/NAME.case
"""

from __future__ import annotations

import ast
import json
import pprint
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd.model import CHECKPOINT_TABLE
from kept_connections import Bench
from play import Play, Step, meaning_of, recorded
from world import World, configuration_of

CASES: Final = Path(__file__).parent / "cases"


def failure(bench: Bench, world: World, schedule: list[Step], **kinds: Any) -> tuple[str, Play] | None:
    """What is wrong after that schedule, None when nothing is."""
    with bench.cleared() as directory:
        play = Play(world, directory, **kinds)
        try:
            play.run(schedule)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
            return f"{type(error).__name__}: {error}", play
    return None


class Shrinker:
    """Leaves out of a failing schedule and its world what it fails without as well."""

    def __init__(self, bench: Bench, world: World, schedule: list[Step], **kinds: Any) -> None:
        self.bench, self.world, self.schedule, self._kinds = bench, world, schedule, kinds
        found = failure(bench, world, schedule, **kinds)
        self._kind = None if found is None else _kind(found[0])

    def fails(self, world: World, schedule: list[Step]) -> bool:
        """Whether these fail in the same way."""
        found = failure(self.bench, world, schedule, **self._kinds)
        return found is not None and _kind(found[0]) == self._kind

    def shrink(self) -> None:
        """Do so, in place."""
        size = len(self.schedule) // 2
        while size:
            start = 0
            while start < len(self.schedule):
                if not self._try(self.world, self.schedule[:start] + self.schedule[start + size :]):
                    start += size
            size = size // 2
        for place, step in enumerate(self.schedule):
            for simpler in _simpler(step):
                if self._try(self.world, [*self.schedule[:place], simpler, *self.schedule[place + 1 :]]):
                    break
        for name in reversed(self.world.entities):
            entities = {other: entity for other, entity in self.world.entities.items() if other != name}
            if self._stands(name, entities):
                self._try(World(self.world.systems, entities, self.world.picky), self.schedule)

    def _stands(self, name: str, entities: dict[str, Any]) -> bool:
        refers = {field.refers_to for entity in entities.values() for field in entity.fields.values()}
        tables = {place.table for place in self.world.entities[name].places.values()}
        written = {change[1] for step in self.schedule if step[0] == "write" for change in step[2]}
        parents = {entity.parent for entity in entities.values()}
        return bool(entities) and name not in refers | parents and not tables & written

    def _try(self, world: World, schedule: list[Step]) -> bool:
        if not self.fails(world, schedule):
            return False
        self.world, self.schedule = world, schedule
        return True


def _kind(what: str) -> str:
    """What sort of failure it is: keys, values and names apart."""
    words = [
        word for word in what.split() if word in ("missing", "gone", "not", "parked", "moving", "quiet", "follows")
    ]
    return " ".join([what.partition(":")[0], *words])


def _simpler(step: Step) -> Iterator[Step]:
    if step[0] == "step" and step[2]:
        yield (*step[:2], 0)
    if step[0] == "write":
        for place in range(len(step[2])):
            yield (*step[:2], step[2][:place] + step[2][place + 1 :])


def story(play: Play) -> Iterator[str]:
    """What each server committed, in its own order."""
    for system, server in play.servers.items():
        for entry in server.history:
            ours = any(rows.relation.table == CHECKPOINT_TABLE for rows in entry.events)
            for rows in entry.events:
                if rows.relation.table != CHECKPOINT_TABLE:
                    for row in rows.rows:
                        named = dict(zip(rows.relation.columns, row, strict=True))
                        author = "cdcd" if ours else "application"
                        yield f"{system} {entry.number} {author}: {rows.op.name} {rows.relation.table} {named}"


def load_case(path: Path) -> tuple[World, list[Step]]:
    """A world and a schedule that were kept."""
    kept = ast.literal_eval(path.read_text("utf-8"))
    return msgspec.convert(kept["world"], World), kept["schedule"]


def keep_case(path: Path, world: World, schedule: list[Step], what: str) -> None:
    """Keep a world and a schedule for ever."""
    kept = pprint.pformat({"world": msgspec.to_builtins(world), "schedule": schedule}, width=120, sort_dicts=False)
    path.write_text(f"# {what}\n{kept}\n", "utf-8")


def main(seed: int, name: str | None = None) -> int:
    """Shrink and print one seed."""
    world, before, steps = meaning_of(seed)
    bench = Bench()
    found = failure(bench, world, before + steps)
    if found is None:
        print(f"seed {seed} is fine")
        return 0
    shrinker = Shrinker(bench, world, recorded(before + steps, found[1]))
    shrinker.shrink()
    again = failure(bench, shrinker.world, shrinker.schedule)
    assert again is not None, "what was recorded does not fail: shrink the seed by hand"
    what, play = again
    print(json.dumps(msgspec.to_builtins(configuration_of(shrinker.world).entities), indent=1, ensure_ascii=False))
    print(*shrinker.schedule, *story(play), what, sep="\n")
    if name is not None:
        keep_case(CASES / f"{name}.case", shrinker.world, shrinker.schedule, what)
    bench.close()
    return 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:3]))
