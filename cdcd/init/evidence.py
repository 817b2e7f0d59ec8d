"""What the values of two columns say of each other, where rows are known to belong to the same record. Pure.

`relate` tries the relations that a configuration can express, from the plainest on: equal, scaled by a power of ten (cents),
the same moment in a zone, one value for each value (status codes, Y and N). Two databases that nobody kept in step differ
in many rows, so what counts is not how many agree but how many more than would by chance (Cohen's kappa): half the rows
of a text are proof, nine of ten of a flag that is nearly always set are none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from cdcd.conversions import between, column_text
from cdcd.values import ValueRefused, ValueType

MEMBERS_MAX: Final = 12
"""Of a column with more different values, none is ever written to the file: they could be personal."""
SURPLUS_MIN: Final = 0.25
AGREEING_MIN: Final = 3
_SCALES: Final = (100, 1000, 10, 10_000)
_ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Europe/Helsinki",
    "Europe/Moscow",
    "Asia/Dubai",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
)
_MEMBER: Final = re.compile(r"[\w .+/-]{1,30}")
_NUMBERS: Final = frozenset({"integer", "decimal", "float"})
_MOMENTS: Final = frozenset({"datetime", "instant"})


class Relation(msgspec.Struct, frozen=True):
    """How one column's values follow from the other's. `agreeing` of `compared` rows do, with `distinct` different values.

    `surplus` is the share of agreement beyond chance: 1 is perfect, 0 is chance. `maps` has each side's value for each
    member. `zone` is the zone of the side that has none of its own.
    """

    kind: str
    compared: int
    agreeing: int
    distinct: int
    surplus: float
    scale: int = 1
    scaled_side: int = 0
    maps: tuple[dict[str, str], dict[str, str]] | None = None
    zone: str | None = None


def relate(types: tuple[ValueType, ValueType], pairs: Iterable[tuple[Any, Any]]) -> Relation | None:
    """The relation of two columns, from values of the same records; None where no relation holds beyond chance."""
    told = [(a, b) for a, b in pairs if a is not None and b is not None]
    found: Relation | None = None
    for attempt in (_equal, _scaled, _moment, _mapped):
        tried = attempt(types, told) if told else None
        enough = tried is not None and tried.surplus >= SURPLUS_MIN and tried.agreeing >= AGREEING_MIN
        if tried is not None and enough and (found is None or tried.surplus > found.surplus + 0.1):
            found = tried
    return found


def _told(kind: str, pairs: Sequence[tuple[Any, Any]], **more: Any) -> Relation:
    """The relation under which these pairs, brought to one form, are to be equal."""
    agreeing = sum(a == b for a, b in pairs)
    ones, others = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(count * others[value] for value, count in ones.items()) / len(pairs) ** 2
    surplus = (agreeing / len(pairs) - chance) / (1 - chance) if chance < 1 else 0.0
    distinct = len({a for a, b in pairs if a == b})
    return Relation(kind, len(pairs), agreeing, distinct, round(surplus, 3), **more)


def plain(value: Any, kind: ValueType) -> Any:
    """A value in a form in which equal things of different types are equal."""
    if kind.kind in _NUMBERS:
        return _number(value)
    if kind.kind == "boolean":
        return Decimal(int(value))
    if isinstance(value, str):
        return value.strip()
    return value


def _number(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value)).normalize()
    except InvalidOperation:
        return None


def converts(one: ValueType, other: ValueType) -> bool:
    """Whether values of either type can be those of the other."""
    try:
        between(one, other)
        between(other, one)
    except ValueError:
        return False
    return True


def _equal(types: tuple[ValueType, ValueType], pairs: Sequence[tuple[Any, Any]]) -> Relation | None:
    one, other = types
    if not converts(one, other) and not (one.kind in _NUMBERS and other.kind in _NUMBERS):
        return None
    if "json" in (one.kind, other.kind):
        return _told("equal", [(_content(a), _content(b)) for a, b in pairs])
    if "text" in (one.kind, other.kind) and (one.kind in _NUMBERS or other.kind in _NUMBERS):
        return _told("equal", [(_number(a), _number(b) or b) for a, b in pairs])  # what is no number equals none
    return _told("equal", [(plain(a, one), plain(b, other)) for a, b in pairs])


def _content(value: Any) -> Any:
    from cdcd.json_content import canonical_json  # noqa: PLC0415 - only where there is JSON

    try:
        return canonical_json(value)
    except ValueRefused:
        return value


def _scaled(types: tuple[ValueType, ValueType], pairs: Sequence[tuple[Any, Any]]) -> Relation | None:
    """The side with the larger numbers is the scaled one."""
    if not all(kind.kind in ("integer", "decimal") for kind in types):
        return None
    numbers = [(_number(a), _number(b)) for a, b in pairs]
    told = [(a, b) for a, b in numbers if a and b]  # a zero is any multiple of itself
    best: Relation | None = None
    for scale in _SCALES if told else ():
        for side in (0, 1):
            scaled = [(a, b * scale) if side == 0 else (a * scale, b) for a, b in told]
            found = _told("scale", scaled, scale=scale, scaled_side=side)
            best = found if best is None or found.agreeing > best.agreeing else best
    return best


def _moment(types: tuple[ValueType, ValueType], pairs: Sequence[tuple[Any, Any]]) -> Relation | None:
    if {kind.kind for kind in types} != _MOMENTS:
        return None
    flipped = types[0].kind == "datetime"
    told = [(b, a) if flipped else (a, b) for a, b in pairs]
    seconds = [(i[:19], local[:19]) for i, local in told if isinstance(i, str) and isinstance(local, str)]
    best: Relation | None = None
    for zone in _ZONES if seconds else ():
        found = _told("time-zone", [(_local(instant, zone), local) for instant, local in seconds], zone=zone)
        best = found if best is None or found.agreeing > best.agreeing else best
    return best


@lru_cache(maxsize=10_000)
def _local(instant: str, zone: str) -> str | None:
    try:
        moment = datetime.fromisoformat(instant).replace(tzinfo=UTC)
        return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return None


def _mapped(types: tuple[ValueType, ValueType], pairs: Sequence[tuple[Any, Any]]) -> Relation | None:
    """One value for each value, both ways. With a single pair of values, chance says as much."""
    if any(kind.kind in ("json", "bytes", "float", "decimal", "native", "uuid", *_MOMENTS) for kind in types):
        return None
    texts = Counter((column_text(a), column_text(b)) for a, b in pairs)
    ones, others = {a for a, _ in texts}, {b for _, b in texts}
    if not (2 <= len(ones) <= MEMBERS_MAX and 2 <= len(others) <= MEMBERS_MAX) or len(pairs) < 2 * len(ones):
        return None
    best: dict[str, str] = {}
    for (a, b), _ in texts.most_common():
        if a not in best and b not in best.values():
            best[a] = b
    if not all(is_member(text) for pair in best.items() for text in pair):
        return None
    judged = _told("map", [(best.get(a, a), b) for a, b in texts.elements()])
    named = member_names(types, best)
    maps = ({a: named[a] for a in best}, {best[a]: named[a] for a in best})
    return msgspec.structs.replace(judged, maps=maps) if judged.surplus >= 2 * SURPLUS_MIN else None


def is_member(text: str) -> bool:
    """Whether a value may be written to the file as a member: short, of plain characters."""
    return _MEMBER.fullmatch(text) is not None


def member_names(types: tuple[ValueType, ValueType], pairs: Mapping[str, str]) -> dict[str, str]:
    """A member of the field for each pair of values, by the first: the value that says what it means, as a plain word."""
    if types[1].kind == "boolean" != types[0].kind:
        return dict(pairs)
    if types[0].kind == "boolean":
        return {a: a for a in pairs}
    members = {a: b if _tells(b) or not _tells(a) else a for a, b in pairs.items()}
    named = {a: re.sub(r"\W+", "_", member).strip("_").lower() or "empty" for a, member in members.items()}
    if len(set(named.values())) < len(named):
        return {a: f"{number}_{name}" for number, (a, name) in enumerate(named.items(), 1)}
    return named


def _tells(text: str) -> bool:
    """Whether a value says what it means: a word does, a number, a letter or true does not."""
    return len(text) > 1 and not text.lstrip("-").isdigit() and text not in ("true", "false")
