"""What is sensitive in a configuration, and what people are shown in its place. One place decides for all views.

A value is shown as `MASK`, whatever it is, also NULL. A part of a record's key is shown as a token, so that records can be
told apart and named: the same for the same value as long as the state key is the same, and nothing that could be found by
trying without that key.

A field is hidden if it is marked, or refers to a record whose key is hidden, or is in the configuration no more while
others of its entity are marked: nobody knows any more what it was. A column of a table is hidden if any
hidden field has to do with it, in whatever entity, and in a plain copy if it is in the table that it is copied from or to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cdcd import state_key
from cdcd.config_columns import FromField, New, NewValue
from cdcd.config_parts import FIELD_IN_TEMPLATE
from cdcd.model import ABSENT
from cdcd.resolve.keys import encode_key
from cdcd.resolve.plan import DEAD, BindingPlan, EntityPlan, Plan, Route, place_of
from cdcd.state_key import StateKey

MASK: Final = "(sensitive)"
KEY_MARK: Final = "~"
_KEY_MARK_BYTES: Final = 6
_NONE: Final[frozenset[str]] = frozenset()


def masked(value: Any, *, hidden: bool) -> Any:
    """What people are shown of a value. That nobody knows one is told in any case."""
    return MASK if hidden and value is not ABSENT else value


def is_token(text: str) -> bool:
    """Whether a word may stand for a part of a key."""
    return len(text) == len(KEY_MARK) + 2 * _KEY_MARK_BYTES and text.startswith(KEY_MARK)


class Masks:
    """What is hidden by one compiled configuration."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        """`directory` is the state directory, whose key the tokens depend on."""
        self.plan = plan
        self._directory = directory
        self._keys: dict[str, tuple[bool, ...]] = {}
        self._slots: dict[str, frozenset[int]] = {}
        self._columns = self._all_columns()
        self.any = bool(self._columns) or any(self.slots(entity) for entity in plan.entities.values())
        """Whether anything is hidden at all."""

    # ---- records ---------------------------------------------------------------------------------------------

    def slots(self, entity: EntityPlan) -> frozenset[int]:
        """The hidden fields of an entity."""
        found = self._slots.get(entity.name)
        if found is None:
            hidden = [slot for slot in range(len(entity.fields)) if self._is_hidden(entity, slot)]
            if hidden:
                hidden += [slot for slot, field in enumerate(entity.fields) if field.type == DEAD]
            found = self._slots[entity.name] = frozenset(hidden)
        return found

    def key_parts(self, entity: str) -> tuple[bool, ...]:
        """Which parts of an entity's key are hidden, its parent's first."""
        found = self._keys.get(entity)
        if found is None:
            plan = self.plan.entities[entity]
            self._keys[entity] = ()  # should keys name one another in a circle
            above = () if plan.parent is None else self.key_parts(plan.parent)
            found = self._keys[entity] = (*above, *(self._is_hidden(plan, slot) for slot in plan.key))
        return found

    def _is_hidden(self, entity: EntityPlan, slot: int) -> bool:
        field = entity.fields[slot]
        return field.sensitive or (field.refers_to in self.plan.entities and any(self.key_parts(str(field.refers_to))))

    def value(self, entity: EntityPlan, slot: int, value: Any) -> Any:
        """What people are shown of a field's value."""
        return masked(value, hidden=slot in self.slots(entity))

    def key(self, entity: EntityPlan, parts: Sequence[Any]) -> tuple[Any, ...]:
        """A record's key as people are shown it."""
        hidden = self.key_parts(entity.name)
        if not any(hidden):
            return tuple(parts)
        return tuple(self.token(part) if hide else part for part, hide in zip(parts, hidden, strict=False))

    def token(self, part: Any) -> str:
        """What stands for a value where records must be told apart."""
        key = state_key.key_of(self._directory)
        digest = hashlib.blake2b(
            encode_key([part]), digest_size=_KEY_MARK_BYTES, key=_secret(key), person=b"cdcd token"
        ).hexdigest()
        return KEY_MARK + digest

    # ---- rows ------------------------------------------------------------------------------------------------

    def columns(self, system: str, table: str) -> frozenset[str]:
        """The hidden columns of a table, named with or without its schema."""
        return self._columns.get((system, _short(table)), _NONE)

    def copied_key(self, route: Route, columns: Sequence[str], parts: Sequence[Any]) -> tuple[Any, ...]:
        """The key of a copied row as people are shown it. Where nobody knows its columns, all of it is hidden."""
        hidden = self.columns(route.source, route.source_table)
        if not hidden or (len(columns) == len(parts) and hidden.isdisjoint(columns)):
            return tuple(parts)
        named = columns if len(columns) == len(parts) else [""] * len(parts)
        return tuple(
            self.token(part) if name in hidden or not name else part for name, part in zip(named, parts, strict=True)
        )

    def _all_columns(self) -> dict[tuple[str, str], frozenset[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for system, table, column in self._hidden_places():
            found.setdefault((system, _short(table)), set()).add(column)
        ends = [((r.source, _short(r.source_table)), (r.target, _short(r.target_table))) for r in self.plan.routes]
        for _ in ends:  # a copy of a copy is hidden, too
            for one, other in ends:
                both = found.get(one, set()) | found.get(other, set())
                if both:
                    found[one], found[other] = set(both), set(both)
        return {place: frozenset(columns) for place, columns in found.items()}

    def _hidden_places(self) -> Iterator[tuple[str, str, str]]:
        for entity in self.plan.entities.values():
            for system, binding in entity.bindings.items():
                for table, column in self._bound(entity, binding):
                    yield system, table, column
        for route in self.plan.routes:
            for column in route.sensitive:
                yield route.source, route.source_table, column

    def _bound(self, entity: EntityPlan, binding: BindingPlan) -> Iterator[tuple[str, str]]:
        """The tables and columns of a binding that hidden fields have to do with."""
        hidden = self.slots(entity)
        tables = {"": binding.table} | {part.name: part.table for part in binding.parts}
        for bound in binding.columns:
            transform = bound.transform
            if bound.slot not in hidden:
                continue
            named: Sequence[str] = bound.columns
            if transform is not None and bound.is_computed:
                named = (*transform.first, *transform.sum, *transform.minus)
            for part, column in map(place_of, named):
                yield tables.get(part, binding.table), column
        if binding.xref and any(slot in hidden for slot in entity.key):
            yield binding.xref_table, "key"
        names = {entity.fields[slot].name for slot in hidden}
        for table, new in ((binding.table, binding.new), *((part.table, part.new) for part in binding.parts)):
            for column, value in new.items():
                if not names.isdisjoint(_fields_in(value)):
                    yield table, column


def _secret(key: StateKey | None) -> bytes:
    return b"" if key is None else key.derived(b"tokens")


def _fields_in(new: New) -> Iterator[str]:
    """The fields that the value of a new row's column is made of."""
    if isinstance(new, NewValue):
        yield from (match[1] for match in FIELD_IN_TEMPLATE.finditer(new.template or ""))
        yield from (match.field for match in new.where.values() if isinstance(match, FromField))


def _short(table: str) -> str:
    return table.rpartition(".")[2]
