"""Statements that are sent together, on libpq itself, and whose plans the server keeps.

psycopg's pipeline sends every statement by itself. For a transaction of five small ones, sending them at once took a quarter
of our time and two thirds of the server's (measured: 222 and 157 microseconds with psycopg, 56 and 96 like this).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Final, NamedTuple

import psycopg
from psycopg.abc import PQGen
from psycopg.generators import fetch_many, send
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from cdcd_postgres.session import Connection

PREPARED_MAX: Final = 200
"""Of nine columns, a prepared statement takes 80 kB of the memory of the server."""
_FLUSH_CHARACTERS: Final = 64 << 10
_DONE: Final = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK})


class _Awaited(NamedTuple):
    """A command whose result is to come: that of a statement is wanted, or it tells whether `prepared` is."""

    prepared: str = ""
    wanted: bool = True


class Pipeline:
    """Statements on one connection, which must not be used for anything else between `send` and `results`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._names: dict[str, bytes] = {}
        self._numbers = count()
        self._awaited: list[_Awaited] = []
        self._unsent = 0

    def send(self, sql: str, parameters: Sequence[str] = (), *, prepare: bool = True) -> None:
        """Queue a statement; much text starts on its way at once. `prepare`: its plan may be kept, and used again.

        Raises psycopg.DataError for a text with U+0000, UnicodeEncodeError for half of a surrogate pair.
        """
        values = [text.encode() for text in parameters]
        if any(b"\0" in value for value in values):  # libpq would end the value there
            raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        if not self._awaited:
            self._libpq.enter_pipeline_mode()
        if prepare:
            self._libpq.send_query_prepared(self._prepared(sql), values)
        else:
            self._libpq.send_query_params(sql.encode(), values)
        self._awaited.append(_Awaited())
        self._unsent += sum(map(len, values))
        if self._unsent > _FLUSH_CHARACTERS:
            self._libpq.flush()
            self._unsent = 0

    def _prepared(self, sql: str) -> bytes:
        """The name of a statement, which is prepared with the first that needs it."""
        name = self._names.pop(sql, None)
        if name is None:
            if len(self._names) >= PREPARED_MAX:
                self._forget(next(iter(self._names)))
            name = b"cdcd_%d" % next(self._numbers)
            self._libpq.send_prepare(name, sql.encode())
            self._awaited.append(_Awaited(prepared=sql, wanted=False))
        self._names[sql] = name
        return name

    def _forget(self, sql: str) -> None:
        self._libpq.send_query_params(b"DEALLOCATE " + self._names.pop(sql), [])
        self._awaited.append(_Awaited(wanted=False))

    def results(self) -> list[PGresult]:
        """Send what waits, and the results of all statements. Raises the error of the first that failed."""
        if not self._awaited:
            return []
        awaited, self._awaited, self._unsent = self._awaited, [], 0
        try:
            self._libpq.pipeline_sync()
            found = self._connection.wait(self._exchange(len(awaited)))
        finally:
            self._leave()
        results: list[PGresult] = []
        failed: PGresult | None = None
        for one, result in zip(awaited, found, strict=False):
            if result.status not in _DONE:
                failed = failed or result
                self._names.pop(one.prepared, None)
            elif one.wanted:
                results.append(result)
        if failed is not None:
            raise psycopg.errors.error_from_result(failed)
        if len(found) < len(awaited):
            raise psycopg.OperationalError("the connection was lost")
        return results

    def rows(self, sql: str, parameters: Sequence[str], *, prepare: bool) -> list[tuple[str | None, ...]]:
        """The rows that a query returns, as texts."""
        self.send(sql, parameters, prepare=prepare)
        return texts(self.results()[-1])

    def abandon(self) -> None:
        """Forget what waits, and leave the connection as it was; errors are those of somebody who gives up."""
        with suppress(psycopg.Error):
            self.results()

    def _exchange(self, count: int) -> PQGen[list[PGresult]]:
        """One result for each of `count` commands; fewer when the server said why before it closed the connection."""
        yield from send(self._libpq)
        found: list[PGresult] = []
        try:
            while len(found) < count and (results := (yield from fetch_many(self._libpq))):
                found += results
            yield from fetch_many(self._libpq)  # of the synchronisation
        except psycopg.OperationalError:
            if all(result.status in _DONE for result in found):
                raise
        return found

    def _leave(self) -> None:
        if self._libpq.status == ConnStatus.BAD:
            return
        self._libpq.exit_pipeline_mode()


def texts(result: PGresult) -> list[tuple[str | None, ...]]:
    """The rows of a result."""
    columns = range(result.nfields)
    return [
        tuple(None if (value := result.get_value(row, column)) is None else value.decode() for column in columns)
        for row in range(result.ntuples)
    ]
