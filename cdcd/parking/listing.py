"""Parked records for a person to look at: by names. Reads only the files of deliverers, whether they run or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cdcd.parking.cures import known_shapes
from cdcd.parking.parked import SCHEMA, Parked, Subject
from cdcd.parking.wishes import condition, is_open
from cdcd.record_names import SEPARATOR, key_text, named
from cdcd.resolve.keys import decode_key
from cdcd.resolve.plan import EntityPlan, Route, copies_of
from cdcd.sensitive import Masks, is_token
from cdcd.state_directory import StateDirectory
from cdcd.storage import Database


class Wanted(msgspec.Struct, frozen=True):
    """Which parked records: of an entity or of plain copies (SYSTEM:TABLE), a target, a reason (code), a record."""

    entity: str | None = None
    system: str | None = None
    code: str | None = None
    words: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """A parked record by names. `entity` is None where the configuration has it no more; then `key` is empty.

    `key` is as people are shown it.
    """

    system: str
    entity: str | None
    key: tuple[Any, ...]
    parked: Parked

    @property
    def subject(self) -> Subject:
        """Its name in the deliverer's file."""
        return self.parked.subject


class Group(msgspec.Struct, frozen=True):
    """So many records of an entity or plain copy (by number) are parked with that code, since these moments."""

    number: int
    code: str
    count: int
    oldest_us: int
    newest_us: int


class Original(msgspec.Struct, frozen=True):
    """A row of a plain copy as it was before an operator edited or discarded (`what`) it."""

    what: str
    at_us: int
    row: bytes


class ParkedFile:
    """What one deliverer keeps, read."""

    def __init__(self, directory: StateDirectory, system: str) -> None:
        self.system = system
        self._database = Database(directory.deliver(system), SCHEMA, read_only=True)
        self._connection = self._database.connection

    def parked(self, numbers: Sequence[int] | None, code: str | None, limit: int = -1) -> Iterator[Parked]:
        """Parked records, oldest first."""
        where, parameters = condition(numbers, code)
        rows = self._connection.execute(
            "SELECT subject, key, unit, code, cause, since_us, attempts, waiting, row, retry_at_us FROM parked"
            f" WHERE {where} ORDER BY since_us LIMIT ?",
            (*parameters, limit),
        )
        for subject, key, *rest in rows:
            yield Parked((subject, bytes(key)), *rest)

    def counts(self, numbers: Sequence[int] | None, code: str | None) -> list[tuple[int, str, int]]:
        """How many are parked of what, by number and code."""
        where, parameters = condition(numbers, code)
        return self._connection.execute(
            f"SELECT subject, code, count(*) FROM parked WHERE {where} GROUP BY subject, code ORDER BY 3 DESC",
            parameters,
        ).fetchall()

    def newest(self, limit: int) -> list[Parked]:
        """The records parked last, newest first, without their rows."""
        rows = self._connection.execute(
            "SELECT subject, key, unit, code, cause, since_us, attempts, waiting, NULL, retry_at_us FROM parked"
            " ORDER BY since_us DESC LIMIT ?",
            (limit,),
        )
        return [Parked((subject, bytes(key)), *rest) for subject, key, *rest in rows]

    def groups(self, limit: int) -> list[Group]:
        """What is parked by number and code, the most first."""
        rows = self._connection.execute(
            "SELECT subject, code, count(*), min(since_us), max(since_us) FROM parked GROUP BY subject, code"
            " ORDER BY 3 DESC LIMIT ?",
            (limit,),
        )
        return [Group(*row) for row in rows]

    def one(self, subject: Subject) -> Parked | None:
        """A record, if it is parked."""
        row = self._connection.execute(
            "SELECT unit, code, cause, since_us, attempts, waiting, row, retry_at_us FROM parked WHERE subject=? AND key=?",
            subject,
        ).fetchone()
        return None if row is None else Parked(subject, *row)

    def originals(self, subject: Subject) -> list[Original]:
        """What a row was before it was edited, oldest first."""
        rows = self._connection.execute(
            "SELECT what, at_us, row FROM originals WHERE subject=? AND key=? ORDER BY id", subject
        )
        return [Original(*row) for row in rows]

    def has_open_wishes(self) -> bool:
        """Whether the deliverer has not come yet to something that an operator wants."""
        return is_open(self._connection)

    def shapes(self) -> dict[str, Any]:
        """The target's tables as they were when they were last looked at."""
        row = self._connection.execute("SELECT value FROM notes WHERE name='shapes'").fetchone()
        return known_shapes(None if row is None else row[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class Names:
    """Between the numbers that a deliverer keeps and the names that people use."""

    def __init__(self, masks: Masks) -> None:
        plan = self._plan = masks.plan
        self._masks = masks
        self._entities: Mapping[int, EntityPlan] = {entity.number: entity for entity in plan.entities.values()}
        self._routes: Mapping[int, Route] = {-1 - route.number: route for route in plan.routes}

    def known(self) -> list[str]:
        """All names of entities and plain copies."""
        copies = [copies_of(route.source, route.source_table) for route in self._plan.routes]
        return [*self._plan.entities, *dict.fromkeys(copies)]

    def numbers(self, name: str, system: str) -> list[int]:
        """By which numbers the target knows an entity, or the plain copies of a table."""
        if name in self._plan.entities:
            return [self._plan.entities[name].number]
        return [number for number, route in self._routes.items() if route.target == system and _is_called(name, route)]

    def named(self, system: str, parked: Parked, key_columns: Sequence[str] = ()) -> Found:
        """A parked record by names. `key_columns` are those of its table where it is a copied row's, as far as known."""
        number = parked.subject[0]
        entity, route = self._entities.get(number), self._routes.get(number)
        key = self.key(parked)
        if entity is not None:
            return Found(system, entity.name, self._masks.key(entity, key), parked)
        if route is not None:
            shown = self._masks.copied_key(route, key_columns, key)
            return Found(system, copies_of(route.source, route.source_table), shown, parked)
        return Found(system, None, (), parked)

    def key(self, parked: Parked) -> tuple[Any, ...]:
        """The parts of a parked record's key as they are; empty where the configuration has it no more."""
        number, key = parked.subject
        entity = self._entities.get(number)
        if entity is not None:
            return tuple(decode_key(key, entity.key_width))
        return copy_key(key) if number in self._routes else ()

    def name(self, number: int) -> str:
        """An entity or plain copy, for people."""
        entity, route = self._entities.get(number), self._routes.get(number)
        if entity is not None:
            return entity.name
        return "what is configured no more" if route is None else copies_of(route.source, route.source_table)

    def route(self, number: int) -> Route:
        """The plain copy of that number."""
        return self._routes[number]

    def entity(self, number: int) -> EntityPlan:
        """The entity of that number."""
        return self._entities[number]


def _is_called(name: str, route: Route) -> bool:
    """A table may be named in full, or by its last part."""
    system, _, table = name.partition(":")
    return system == route.source and table in (route.source_table, route.source_table.rpartition(".")[2])


def copy_key(key: bytes) -> tuple[Any, ...]:
    """The parts of a copied row's key, of which nobody has said how many they are."""
    decoder = msgspec.msgpack.Decoder()
    for width in range(1, 16):
        try:
            return tuple(decoder.decode(bytes((0x90 | width,)) + key))
        except msgspec.DecodeError:
            continue
    return (key,)


def find(files: Iterable[ParkedFile], masks: Masks, wanted: Wanted, limit: int = -1) -> Iterator[Found]:
    """The records that are wanted, oldest first by target. Raises ConfigError for a key that is none.

    A record is named by its key, or by the key as people are shown it.
    """
    names, plan = Names(masks), masks.plan
    is_token_key = any(is_token(part) for word in wanted.words for part in word.split(SEPARATOR))
    for file in files:
        if wanted.system not in (None, file.system):
            continue
        numbers = None if wanted.entity is None else names.numbers(wanted.entity, file.system)
        key_columns = _key_columns(file, masks)
        if wanted.words and wanted.entity in plan.entities and not is_token_key:
            subject = (plan.entities[wanted.entity].number, named(plan, wanted.entity, wanted.words).key)
            one = file.one(subject)
            if one is not None and wanted.code in (None, one.code):
                yield names.named(file.system, one)
            continue
        text = SEPARATOR.join(wanted.words)
        for parked in file.parked(numbers, wanted.code, -1 if text else limit):
            found = names.named(file.system, parked, key_columns.get(parked.subject[0], ()))
            if not text or text in (key_text(found.key), key_text(names.key(parked))):
                yield found


def _key_columns(file: ParkedFile, masks: Masks) -> dict[int, tuple[str, ...]]:
    """By plain copy, the columns of the key of its table in a target, where it matters which they are."""
    if not masks.any or not masks.plan.routes:
        return {}
    shapes = file.shapes()
    routes = [route for route in masks.plan.routes if route.target == file.system and route.target_table in shapes]
    return {-1 - route.number: shapes[route.target_table].primary_key for route in routes}


def summary(files: Iterable[ParkedFile], masks: Masks, wanted: Wanted) -> dict[tuple[str, str, str], int]:
    """How many are parked: by target, entity or plain copy, and code."""
    names = Names(masks)
    found: Counter[tuple[str, str, str]] = Counter()
    for file in files:
        if wanted.system in (None, file.system):
            numbers = None if wanted.entity is None else names.numbers(wanted.entity, file.system)
            for number, code, count in file.counts(numbers, wanted.code):
                found[file.system, names.name(number), code] += count
    return dict(found.most_common())
