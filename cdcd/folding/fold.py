"""From outbox units to table writes: fold each record to one write, group by shape, order by dependency. Pure.

Within a batch a record is written once, with what its last change left. Rows that refer to others come after them;
deletes come last and in reverse, or first where a refused batch is tried the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from cdcd.folding.adding import Adding
from cdcd.folding.copies import CopyFolder
from cdcd.folding.folded import Folded, Grouped
from cdcd.folding.records import RecordFolder
from cdcd.model import Relation, TableShape
from cdcd.outbox import Unit
from cdcd.parking.parked import ParkedRecords, Subject
from cdcd.resolve.plan import Plan


class Folder:
    """Folds outbox units for one target."""

    def __init__(
        self, plan: Plan, system: str, shapes: Mapping[str, TableShape], relation: Callable[[int], Relation]
    ) -> None:
        """`relation(number)` gives the shape of a plain copy's rows, the same object each time."""
        self.relation = relation
        self.records = {
            entity.number: RecordFolder(plan, entity, entity.bindings[system], shapes)
            for entity in plan.entities.values()
            if system in entity.bindings
        }
        self.copies = {
            -1 - route.number: CopyFolder(route, shapes.get(route.target_table))
            for route in plan.routes
            if route.target == system
        }

    def fold(self, units: Iterable[Unit], parked: ParkedRecords | None) -> tuple[Folded, list[Subject]]:
        """Fold units into writes. A change of a parked record waits behind it unless it tells the whole record.

        Returns the writes and the parked subjects that a change was left out for.
        """
        adding = Adding(self.records, self.copies, self.relation, parked)
        for unit in units:
            adding.add(unit)
        adding.finish()
        folded = Folded()
        for number, copy in self.copies.items():
            if number in adding.copied:  # there may be a thousand others
                copy.take(folded, parked)
        for record in self.records.values():
            record.take(folded)
        return folded, adding.waiting

    def retried(self, subject: Subject, kept: bytes) -> list[Grouped]:
        """The writes of a parked row of a plain copy; none when the copy is configured no more.

        Raises ValueRefused or Refused when it still does not fit.
        """
        copy = self.copies.get(subject[0])
        return [] if copy is None else copy.retried(subject, kept)
