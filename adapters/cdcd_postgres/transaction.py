"""One transaction of a target: its statements go through one pipeline, as far as nothing has to be known in between.

Statements are sent as soon as they are made: the server works on one while we encode the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

import psycopg

from cdcd.model import Row
from cdcd_postgres import statements
from cdcd_postgres.copying import is_refusal
from cdcd_postgres.encoding import array_literal, copy_text, transpose
from cdcd_postgres.pipelining import Pipeline, texts
from cdcd_postgres.session import Connection
from cdcd_postgres.writes import WritePlan

STATEMENT_ROWS_MAX: Final = 1000
STATEMENT_CHARACTERS_MAX: Final = 4 << 20
PIPELINE_CHARACTERS_MAX: Final = 4 << 20
"""Bounds of what is encoded at once; one row may exceed them. libpq holds it too, so memory is three times that."""
COPY_PIECE_ROWS: Final = 256
WRITERS_SECONDS: Final = 0.5
_WRITERS_LOOK_SECONDS: Final = 0.002


class _Sent(NamedTuple):
    """A statement that was sent, and what is to be learnt from its result.

    `places`: the write and the rows whose places it reports as missing. `deletes`: how many rows it is to delete, and what
    repeats it, with the same parameters.
    """

    parameters: Sequence[str]
    places: tuple[int, Sequence[int]] | None = None
    deletes: tuple[int, str] | None = None


class Transaction:
    """Begins with `with`, and must be committed in it; else it is for the caller to roll back.

    `missing` has write and place of rows that do not exist.
    """

    def __init__(self, connection: Connection, pipeline: Pipeline) -> None:
        self.missing: list[tuple[int, int]] = []
        self._connection = connection
        self._pipeline = pipeline
        self._sent: list[_Sent] = []
        self._character_count = 0
        self._has_deleted = False
        self._unseen: list[_Sent] = []

    def __enter__(self) -> Self:
        self.add("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipeline.abandon()

    def add(self, sql: str, parameters: Sequence[str] = ()) -> None:
        """Send a statement, at the latest with the next flush."""
        self._send(sql, _Sent(parameters))

    def _send(self, sql: str, statement: _Sent, *, prepare: bool = True) -> None:
        self._pipeline.send(sql, statement.parameters, prepare=prepare)
        self._sent.append(statement)
        self._character_count += sum(map(len, statement.parameters))
        if self._character_count > PIPELINE_CHARACTERS_MAX:
            self.flush()

    def write(self, number: int, plan: WritePlan, rows: Sequence[Row], places: Sequence[int]) -> None:
        """Send the statements that write `rows`, which are at `places` in write `number`."""
        size = 1 if plan.singly else STATEMENT_ROWS_MAX
        for first in range(0, len(rows), size):
            self._write(number, plan, rows[first : first + size], places[first : first + size])

    def _write(self, number: int, plan: WritePlan, rows: Sequence[Row], places: Sequence[int]) -> None:
        parameters = [array_literal(column) for column in transpose(rows, plan.picked)]
        if len(rows) > 1 and sum(map(len, parameters)) > STATEMENT_CHARACTERS_MAX:
            half = len(rows) // 2
            self._write(number, plan, rows[:half], places[:half])
            self._write(number, plan, rows[half:], places[half:])
            return
        parameters += plan.constants
        reported = (number, places) if plan.reports else None
        deletes = (len(rows), plan.again) if plan.again else None
        self._has_deleted = self._has_deleted or deletes is not None
        for sql in plan.statements:
            self._send(sql, _Sent(parameters, reported, deletes), prepare=plan.prepares)

    def copy(self, plan: WritePlan, rows: Sequence[Row], meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Insert rows by COPY; False when the server will not have that, and nothing is changed.

        `meanwhile` is called when it has all rows, and is still at work on them.

        Rows that are copied carry the number of a subtransaction: what is still to be deleted once more (see
        `_delete_unseen`) would take them for somebody else's.
        """
        self.add(statements.SAVEPOINT)
        self.flush()
        if self._unseen:
            self.add(statements.RELEASE_SAVEPOINT)
            return False
        try:
            with self._connection.cursor().copy(plan.copy) as copying:
                for first in range(0, len(rows), COPY_PIECE_ROWS):
                    copying.write(copy_text(transpose(rows[first : first + COPY_PIECE_ROWS], plan.picked)))
                meanwhile()
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            self.add(statements.ROLL_BACK_TO_SAVEPOINT)
            self.add(statements.RELEASE_SAVEPOINT)
            return False
        self.add(statements.RELEASE_SAVEPOINT)
        return True

    def flush(self) -> None:
        """Have done what was sent, and look at the results. Raises the error of the first statement that failed."""
        sent, self._sent, self._character_count = self._sent, [], 0
        for one, result in zip(sent, self._pipeline.results(), strict=True):
            if one.places is not None:
                number, places = one.places
                self.missing += [(number, places[int(place or 0)]) for (place,) in texts(result)]
            if one.deletes is not None and (result.command_tuples or 0) < one.deletes[0]:
                self._unseen.append(one)

    def commit(self) -> None:
        """Commit, and look at all results."""
        self._delete_unseen()
        self.add("COMMIT")
        self.flush()

    def _delete_unseen(self) -> None:
        """Delete once more where fewer rows were found than given, when who writes just now is through.

        The log tells a commit a moment before others see it. A row that somebody has made without the right to may be
        deleted so early that it is not to be seen yet. Waiting has an end: somebody may write for hours.
        """
        if not self._has_deleted:
            return
        self.flush()
        if not self._unseen:
            return
        until = time.monotonic() + WRITERS_SECONDS
        writers = self._writers()
        while writers and time.monotonic() < until:
            time.sleep(_WRITERS_LOOK_SECONDS)
            writers &= self._writers()
        for one in self._unseen:
            assert one.deletes is not None
            self._send(one.deletes[1], _Sent(one.parameters), prepare=False)

    def _writers(self) -> set[str]:
        """Transactions of others that have written to a table of this database and are not over for us."""
        rows = self._connection.execute(statements.OTHER_WRITERS).fetchall()
        return {transaction for (transaction,) in rows}
