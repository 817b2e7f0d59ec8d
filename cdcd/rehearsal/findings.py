"""What a rehearsal found: for programs as it is, for people by `cdcd.cli.plan`."""

from __future__ import annotations

from typing import Any

import msgspec

SAMPLES_MAX = 5


class FieldCount(msgspec.Struct):
    """How many records would get another value in a field of a target, with examples: key, before, after."""

    count: int = 0
    samples: list[tuple[list[Any], Any, Any]] = []


class Change(msgspec.Struct):
    """What would happen to one entity (or plain copy) in one target. Samples are keys."""

    target: str
    entity: str
    creates: int = 0
    updates: int = 0
    deletes: int = 0
    created: list[list[Any]] = []
    deleted: list[list[Any]] = []
    fields: dict[str, FieldCount] = {}

    @property
    def total(self) -> int:
        """All records concerned."""
        return self.creates + self.updates + self.deletes


class Refusal(msgspec.Struct):
    """Records that a target would not take: they would be parked."""

    target: str
    entity: str
    code: str
    cause: str
    count: int = 0
    samples: list[list[Any]] = []


class Tally(msgspec.Struct):
    """Something counted by system and entity: conflicts, rows that were held or wait."""

    system: str
    entity: str
    kind: str
    count: int


class TableRead(msgspec.Struct):
    """A live table that was read in place of a copy. `complete`: all of its rows."""

    system: str
    table: str
    rows: int
    complete: bool


class Misfit(msgspec.Struct):
    """What the configuration asks of a table that does not fit."""

    severity: str
    system: str
    subject: str
    message: str


class Rehearsal(msgspec.Struct):
    """The whole answer.

    `replayed` journalled entries after seq `after` were resolved on the records as they are; `copied_anew` names what would
    be read anew and why; `limits` say what this answer does not know.
    """

    is_new: bool
    replayed: int
    after: int
    copied_anew: dict[str, list[str]] = {}
    read: list[TableRead] = []
    changes: list[Change] = []
    refusals: list[Refusal] = []
    conflicts: list[Tally] = []
    unread: list[Tally] = []
    suspended: list[Tally] = []
    warnings: list[Misfit] = []
    limits: list[str] = []

    @property
    def would_change(self) -> bool:
        """Whether any target would be written."""
        return any(change.total for change in self.changes) or bool(self.refusals)
