"""From what a person types to a record's key, and, where there is no such record, to what is near."""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cdcd.conversions import column_text, typed
from cdcd.errors import ConfigError
from cdcd.model import ABSENT, Relation
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.plan import EntityPlan, Plan
from cdcd.sensitive import Masks, is_token
from cdcd.state import State
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.blueprint import Blueprint

SEPARATOR: Final = "/"
NEAR_MAX: Final = 5
LOOK_THROUGH: Final = 200_000
"""So many keys of an entity are compared with one that is not there, in about a tenth of a second."""
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
_decode_relation: Final = msgspec.msgpack.Decoder(Relation).decode


class Named(msgspec.Struct, frozen=True):
    """What the command line names: an entity, a key's parts, perhaps a field."""

    entity: EntityPlan
    parts: tuple[Any, ...]
    field: str | None

    @property
    def key(self) -> bytes:
        """The key as records have it."""
        return encode_key(self.parts)


class Near(msgspec.Struct, frozen=True):
    """Something that may have been meant. `what` says how it differs, or why it is no record yet."""

    entity: str
    key: tuple[Any, ...]
    what: str


def untokened(state: State, masks: Masks, entity: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words with what stands for hidden parts of keys (`Masks.token`) replaced by what it stands for.

    Looks through the keys of all records of the entity, where there is such a word. What stands for no key stays.
    """
    plan = masks.plan.entities.get(entity)
    wanted = {part for word in words for part in (word, *word.split(SEPARATOR)) if is_token(part)}
    if plan is None or not wanted or not any(masks.key_parts(entity)):
        return tuple(words)
    found: dict[str, str] = {}
    for (key,) in state.connection.execute("SELECT key FROM golden WHERE entity=?", (plan.number,)):
        parts = decode_key(key, plan.key_width)
        for part, hidden in zip(parts, masks.key_parts(entity), strict=True):
            if hidden and (token := masks.token(part)) in wanted:
                found[token] = column_text(part)
        if len(found) == len(wanted):
            break
    return tuple(SEPARATOR.join(found.get(part, part) for part in word.split(SEPARATOR)) for word in words)


def without_tokens(drawn: Blueprint, entity: str, words: Sequence[str]) -> tuple[str, ...]:
    """`untokened`, of a daemon's configuration: its state is opened where there is anything to look up."""
    directory = StateDirectory(Path(drawn.config.daemon.state_dir))
    if not any(is_token(part) for word in words for part in word.split(SEPARATOR)) or not directory.state.exists():
        return tuple(words)
    with closing(State(directory.state, read_only=True)) as state:
        known = msgspec.structs.replace(drawn, vocabulary=state.get("vocabulary") or b"")
        return untokened(state, Masks(known.plan(), directory.path), entity, words)


def named(plan: Plan, entity: str, words: Sequence[str]) -> Named:
    """Understand ENTITY KEY... [FIELD]. A key of several parts is A/B in one word, or a word for each part.

    Raises ConfigError when there is no such entity or field, or the words are no key of it.
    """
    found = _entity(plan, entity)
    texts, rest = _split(found, list(words))
    if texts is None or len(rest) > 1:
        shape = " ".join(part.upper() for part in key_names(plan, found))
        joined = f", or {SEPARATOR.join(key_names(plan, found)).upper()}" if found.key_width > 1 else ""
        raise ConfigError(
            f"{entity}: {' '.join(words)!r} is no key of it",
            code="argument",
            cause=f"its key has {found.key_width} part{'s' if found.key_width > 1 else ''}",
            remedy=f"write {shape}{joined}, and then perhaps a field",
        )
    kinds = plan.key_types(entity)
    parts = tuple(_part(entity, text, kind) for text, kind in zip(texts, kinds, strict=True))
    return Named(found, parts, _field(found, rest[0]) if rest else None)


def _entity(plan: Plan, name: str) -> EntityPlan:
    if name in plan.entities:
        return plan.entities[name]
    raise ConfigError(
        f"there is no entity {name!r} in the configuration", code="argument", remedy=_did_you_mean(name, plan.entities)
    )


def _did_you_mean(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def _split(entity: EntityPlan, words: list[str]) -> tuple[list[str] | None, list[str]]:
    """The texts of the key's parts (None: they do not fit), and the words that are left."""
    width = entity.key_width
    if width == 1:
        return words[:1] or None, words[1:]
    joined = words[0].split(SEPARATOR) if words else []
    fields = {field.name for field in entity.fields}
    if len(joined) == width and (len(words) == 1 or (len(words) == 2 and words[1] in fields)):
        return joined, words[1:]
    return (words[:width] if len(words) >= width else None), words[width:]


def _part(entity: str, text: str, kind: Any) -> Any:
    try:
        return json.loads(text) if kind.kind == "ref" else typed(text, kind)
    except ValueError as error:
        raise ConfigError(
            f"{entity}: {text!r} is no key of it",
            code="argument",
            cause=str(error),
            remedy="write it as the ERP shows it",
        ) from error


def _field(entity: EntityPlan, name: str) -> str:
    fields = [entity.fields[slot].name for slot in entity.live_slots]
    if name in fields:
        return name
    raise ConfigError(f"{entity.name} has no field {name!r}", code="argument", remedy=_did_you_mean(name, fields))


def key_names(plan: Plan, entity: EntityPlan) -> list[str]:
    """The names of a key's parts, the parent's first."""
    parent = [] if entity.parent is None else key_names(plan, plan.entities[entity.parent])
    return parent + [entity.fields[slot].name for slot in entity.key]


def key_text(parts: Sequence[Any]) -> str:
    """A key as it is typed in one word."""
    return SEPARATOR.join(column_text(part) for part in parts)


# ---- what is near ----------------------------------------------------------------------------------------------


def near(state: State, masks: Masks, missing: Named) -> list[Near]:
    """What may have been meant by a key that no record has, the likeliest first."""
    plan = masks.plan
    found = [*_waiting(state, plan, missing), *_written_otherwise(state, missing)]
    found += [*_of_other_entities(state, plan, missing), *_held(state, missing)]
    return [_as_shown(masks, one) for one in list(dict.fromkeys(found))[:NEAR_MAX]]


def _as_shown(masks: Masks, one: Near) -> Near:
    """With its key as people are shown it; a child's key may lack its parent's."""
    if not one.key:
        return one
    entity = masks.plan.entities[one.entity]
    lacking = [None] * (entity.key_width - len(one.key))
    return msgspec.structs.replace(one, key=masks.key(entity, [*lacking, *one.key])[len(lacking) :])


def _written_otherwise(state: State, missing: Named) -> Iterator[Near]:
    """Records whose key differs in case, in spaces, in leading zeros, or by a letter or two."""
    entity, wanted = missing.entity, [_folded(part) for part in missing.parts]
    rows = state.connection.execute("SELECT key FROM golden WHERE entity=? LIMIT ?", (entity.number, LOOK_THROUGH))
    others: dict[str, tuple[Any, ...]] = {}
    for (key,) in rows:
        parts = decode_key(key, entity.key_width)
        if [_folded(part) for part in parts] == wanted:
            yield Near(entity.name, tuple(parts), "written otherwise")
        elif parts[0] == missing.parts[0] or len(others) < LOOK_THROUGH // 100:
            others[key_text(parts)] = tuple(parts)
    for text in difflib.get_close_matches(key_text(missing.parts), others, n=3, cutoff=0.75):
        yield Near(entity.name, others[text], "similar")


def _folded(part: Any) -> str:
    text = unicodedata.normalize("NFKC", column_text(part)).casefold()
    return "".join(text.split()).lstrip("0")


def _waiting(state: State, plan: Plan, missing: Named) -> Iterator[Near]:
    """Rows with such a key that wait for a row they refer to."""
    entity = missing.entity
    numbers = {other.number: other.name for other in plan.entities.values()}
    rows = state.connection.execute(
        "SELECT binding, for_binding, seq, relation, body FROM waiting WHERE binding >> 8 = ? ORDER BY seq",
        (entity.number,),
    )
    for binding, for_binding, seq, relation, body in rows:
        system = plan.vocabulary.systems[binding & 0xFF]
        bound = entity.bindings.get(system)
        if bound is None:
            continue
        names = _decode_relation(relation).columns
        row = dict(zip(names, _decode(body)[1], strict=True))
        own = [row.get(bound.column_of(slot)) for slot in entity.key]
        if [_folded(part) for part in own] == [_folded(part) for part in missing.parts[-len(own) :]]:
            other = numbers.get(for_binding >> 8, "something")
            yield Near(entity.name, tuple(own), f"a row of {system} waits for its {other}, since journal entry {seq}")


def _held(state: State, missing: Named) -> Iterator[Near]:
    """Rows of the entity that could not be understood: nobody knows their key, so only that there are some is said."""
    for count, code in state.connection.execute(
        "SELECT count(*), code FROM held WHERE entity=? GROUP BY code ORDER BY 1 DESC", (missing.entity.number,)
    ):
        rows = "a row is" if count == 1 else f"{count:,} rows are"
        yield Near(missing.entity.name, (), f"{rows} held, not understood [{code}]")


def _of_other_entities(state: State, plan: Plan, missing: Named) -> Iterator[Near]:
    for other in plan.entities.values():
        if other.number == missing.entity.number or other.key_width != missing.entity.key_width:
            continue
        found = state.connection.execute("SELECT 1 FROM golden WHERE entity=? AND key=?", (other.number, missing.key))
        if found.fetchone() is not None:
            yield Near(other.name, missing.parts, "there is one of another entity")
