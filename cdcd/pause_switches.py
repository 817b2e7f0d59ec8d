"""The switches that stop delivery, as the journal keeps them over restarts: of a whole system, or of an entity there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cdcd.resolve.plan import root_of

BY_OPERATOR: Final = "an operator"
"""The reason of a pause that somebody asked for."""
_PREFIX: Final = "pause:"


def of_system(system: str) -> str:
    """The control that stops delivery to a system."""
    return f"{_PREFIX}{system}"


def of_entity(system: str, entity: str) -> str:
    """The control that holds back an entity, and its child collections, from a system. Its value says why."""
    return f"{_PREFIX}{system}/{entity}"


def paused_entities(controls: Mapping[str, str], system: str, entities: Iterable[str]) -> dict[str, str]:
    """Those of `entities` that are held back from a system, children with their parents, with the reason given."""
    found = {}
    for entity in entities:
        reason = controls.get(of_entity(system, root_of(entity)))
        if reason is not None:
            found[entity] = reason
    return found
