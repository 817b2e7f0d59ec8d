"""References to records that may be written later in the same batch: a category's parent, two records that name each other.

Such a column is left out where the row is written, and set once all rows are there. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdcd.model import TableShape
from cdcd.outbox import Item, RecordWrite
from cdcd.resolve.masks import mask_of, slots_of
from cdcd.resolve.plan import BindingPlan, EntityPlan, Plan


def late_slots(plan: Plan, entity: EntityPlan, binding: BindingPlan, shapes: Mapping[str, TableShape]) -> int:
    """The slots that are set later, as bits: they refer by id to what is not written before, and may be NULL until then."""
    shape = shapes.get(binding.table)
    order = list(plan.entities)
    place = order.index(entity.name)
    late = []
    for bound in binding.columns:
        other = entity.fields[bound.slot].refers_to
        if other is None or bound.holds_key or bound.slot in entity.key or order.index(other) < place:
            continue
        column = None if shape is None else shape.column(bound.column)
        if column is not None and column.nullable:
            late.append(bound.slot)
    return mask_of(late)


def split(item: Item, late: int) -> tuple[Item | None, Item]:
    """What is written at once (None: nothing), and what is set when all rows are there."""
    number, kind, key, mask, values, initial, initial_values = item
    held = dict(zip(slots_of(mask), values, strict=True))
    now, later = mask & ~late, mask & late
    first = [number, kind, key, now, [held[slot] for slot in slots_of(now)], initial, initial_values]
    then = [number, RecordWrite.UPDATE, key, later, [held[slot] for slot in slots_of(later)], 0, []]
    return (None if kind == RecordWrite.UPDATE and not now else first), then
