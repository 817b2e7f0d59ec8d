"""How the statements of a batch reach the server, and what becomes of their results.

Statements gather, and are sent together in one round trip; while the server works at many, the next ones are made. Some
presume something ("this row exists"): if it is not so, all that was done since is worth nothing, and whoever presumed it
begins anew without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import pymysql

from cdcd.errors import Refused, Unavailable
from cdcd_mysql.connection import Parameters
from cdcd_mysql.errors import core_error, error_number, failed_row, refused_row, translated
from cdcd_mysql.results import Result
from cdcd_mysql.session import Server, Session

_PACKET_SIZE: Final = 1 << 20
"""Characters of SQL sent at once."""
_MUCH_SIZE: Final = 1 << 16
"""Characters of SQL for which the server takes as long as we take to make more."""
_BLOCK_SIZE_MAX: Final = 1 << 16
_BLOCK_STEPS_MAX: Final = 32
"""Of what is sent as one block with its COMMIT: beyond it, a round trip more is nothing, and one that fails costs more."""
_CHANGED_VALUE: Final = frozenset({1264, 1265, 1292, 1300, 1366, 1406, 1411, 1441, 1977})
"""Warnings that say that a value was stored as another one."""
_NO_PARAMETERS: Final = frozenset({1047, 1210, 1243, 1295, 1461, 1615})
"""The server, or a proxy before it, does not take rows as parameters, or has too many prepared statements."""
_SIGNAL: Final = "THEN SIGNAL SQLSTATE '45000'; END IF;"


class PresumedError(Exception):
    """Something that was presumed is not so. The transaction is to be rolled back, and begun anew without presuming."""


class Step(msgspec.Struct, frozen=True):
    """A statement to send, the rows of a write that it is for, and what to do with its result."""

    sql: str
    table: str = ""
    write: int = -1
    places: Sequence[int] = ()
    check: Callable[[Result], None] | None = None
    counts_rows: bool = True
    """Whether "at row 3" in the server's message is the third of `places`: not in joins, nor where a trigger writes."""
    presumed: int = -1
    """How many rows it is presumed to find, where that is presumed."""
    fits_block: bool = True
    """Whether it gives no rows, and done once more it changes nothing."""
    parameters: Parameters | None = None
    """Rows for the question marks of `sql`: then it is a message of its own."""


class Sender:
    """Statements that are on their way. `looks_closely` means that a warning is looked at, instead of refusing its write."""

    def __init__(self, session: Session, server: Server) -> None:
        self.looks_closely = False
        self.size_max: Final = min(server.packet_size_max // 4, _PACKET_SIZE)
        self._session = session
        self._server = server
        self._steps: list[Step] = []
        self._unsent: list[Step] = []
        """Of what failed, the statements of the transaction itself that the server has not seen."""
        self._sent: list[Step] = []
        """What the server works at: its results are still to come."""
        self._size = 0

    def add(self, step: Step) -> None:
        """Have it sent with what is pending, which is now if there is no room for it. Rows as parameters go at once, after that."""
        is_message = step.parameters is not None
        if self._steps and (is_message or self._size + len(step.sql) > self.size_max):
            self.send()
        self._steps.append(step)
        if is_message:
            self.send()
            return
        self._size += len(step.sql) + 1

    def flush(self) -> None:
        """Send what is pending, in one round trip, and look at every result. Raises PresumedError, Refused and others."""
        self.send()
        self._receive()

    def send_much(self, *, waits: bool = True) -> None:
        """Send what is pending if the server takes a while for it, and look at the results later. Raises as `flush`.

        Unless it `waits`, only once the server has done what was sent before: till then more may be made and sent with it.
        """
        if self._size >= _MUCH_SIZE and (waits or not self._sent or self._session.is_answered()):
            self.send()

    def send(self) -> None:
        """Send what is pending, once what was sent before is done; its results are looked at later. Raises as `flush`."""
        self._receive()
        steps, self._steps, self._size = self._steps, [], 0
        if not steps:
            return
        try:
            if steps[0].parameters is not None:
                self._session.send_rows(steps[0].sql, steps[0].parameters)
            else:
                self._session.send(self._checked_size(steps))
        except (pymysql.Error, OSError) as error:
            raise self._failed(self._refusal(error, steps[0]), steps) from None
        except UnicodeEncodeError:
            cause = "a text holds half of a surrogate pair, which is not a character"
            raise self._failed(refused(_unencodable(steps), "bad-text", cause), steps) from None
        self._sent = steps

    def _receive(self) -> None:
        """Look at the results of what was sent."""
        steps, self._sent = self._sent, []
        if not steps:
            return
        results: list[Result] = []
        failure: Exception | None = None
        try:
            self._session.receive(results)
        except (pymysql.Error, OSError) as error:
            failure = self._refusal(error, steps[len(results)])
        for step, result in zip(steps, results, strict=False):
            if step.check is not None:
                step.check(result)
            if step.presumed >= 0 and result.affected != step.presumed:
                raise PresumedError
            if result.warnings and step.write >= 0:
                self._look_at_warnings(step)
        if failure is not None:
            raise self._failed(failure, [*steps[len(results) :], *self._steps]) from None

    def _failed(self, failure: Exception, undone: Sequence[Step]) -> Exception:
        self._unsent = [step for step in undone if step.write < 0]
        return failure

    def _forget_sent(self) -> None:
        """It is about to be undone."""
        self._session.pass_over()
        self._sent = []

    # ---- the transaction ---------------------------------------------------------------------------------------------------

    def begin_again(self, first: Step) -> None:
        """Undo the transaction; the next begins with `first`."""
        self._steps, self._unsent, self._size = [], [], 0
        self._forget_sent()
        with translated("undo the transaction"):
            self._session.run("ROLLBACK")
        self.add(first)

    def go_back(self, savepoint: str) -> None:
        """Undo what was done since the savepoint."""
        self._steps, self._unsent, self._size = self._unsent, [], 0
        self._forget_sent()
        self.flush()
        with translated("undo a part of the transaction"):
            self._session.run(f"ROLLBACK TO SAVEPOINT {savepoint}")

    def commit(self) -> None:
        """Send what is pending, then commit."""
        self.flush()
        with translated("commit"):
            self._session.run("COMMIT")

    def can_commit_at_once(self) -> bool:
        """Whether what is pending and COMMIT can be one statement."""
        return (
            self._server.is_mariadb
            and not self._sent
            and 0 < len(self._steps) <= _BLOCK_STEPS_MAX
            and self._size <= min(_BLOCK_SIZE_MAX, self.size_max)
            and all(step.fits_block and (step.check is None or step.presumed >= 0) for step in self._steps)
        )

    def commit_at_once(self) -> None:
        """Do what is pending and commit by one compound statement, which the server ends where anything is not as presumed.

        One answer instead of one for each statement: of two orders, sending and reading takes the client 40 µs instead of 120, and
        the server 20 more. But it does not tell what was wrong: raises PresumedError for whatever the server refuses.
        """
        steps, self._steps, self._size = self._steps, [], 0
        try:
            self._session.run(_block(steps))
        except (pymysql.Error, OSError) as error:
            known = core_error(error, "write and commit")
            raise known if isinstance(known, Unavailable) else PresumedError from None
        except UnicodeEncodeError:
            raise PresumedError from None

    # ---- what is wrong -----------------------------------------------------------------------------------------------------

    def _checked_size(self, steps: Sequence[Step]) -> list[str]:
        sql = [step.sql for step in steps]
        if (
            sum(map(len, sql)) > self.size_max
            and sum(len(text.encode()) for text in sql) >= self._server.packet_size_max
        ):
            raise refused(steps[-1], "too-large", "the row is larger than the server's max_allowed_packet")
        return sql

    def _refusal(self, error: pymysql.Error | OSError, step: Step) -> Exception:
        if step.parameters is not None and error_number(error) in _NO_PARAMETERS:
            self._session.takes_parameters = False  # which was presumed, and is not again before the next connection
            return PresumedError()
        doing = f"write to table {step.table}" if step.table else "begin the transaction"
        translated = refused_row(error, doing, step.table) if step.write >= 0 else None
        if translated is None:
            return core_error(error, doing)
        place = failed_row(error) if step.counts_rows and isinstance(error, pymysql.Error) else None
        places = step.places if place is None or len(step.places) == 1 else step.places[place : place + 1]
        rows = ((step.write, places[0]),) if len(places) == 1 else ()
        return Refused(
            translated.what, cause=translated.cause, remedy=translated.remedy, code=translated.code, rows=rows
        )

    def _look_at_warnings(self, step: Step) -> None:
        """In bulk, a warning is a reason to look again row by row; there, most are harmless."""
        if not self.looks_closely:
            raise refused(msgspec.structs.replace(step, places=()), "value-changed", "the server warned")
        for _, number, _ in self._session.run("SHOW WARNINGS").rows:
            if int(number) in _CHANGED_VALUE:
                raise refused(step, "value-changed", f"the server would store another value (warning {int(number)})")


def _block(steps: Iterable[Step]) -> str:
    """A compound statement of MariaDB. Its conditions look at the statement before them."""
    parts = ["BEGIN NOT ATOMIC"]
    for step in steps:
        counted = "" if step.presumed < 0 else f"ROW_COUNT() <> {step.presumed} OR "
        parts.append(f"{step.sql}; IF {counted}@@warning_count > 0 {_SIGNAL}")
    return " ".join([*parts, "COMMIT; END"])


def _unencodable(steps: Sequence[Step]) -> Step:
    """The first whose text cannot be sent."""
    for step in steps:
        try:
            step.sql.encode()
        except UnicodeEncodeError:
            return step
    raise AssertionError("a text that could not be encoded now can")


def refused(step: Step, code: str, cause: str) -> Refused:
    """The error for the rows of a statement; it names the row if there is but one."""
    rows = ((step.write, step.places[0]),) if len(step.places) == 1 else ()
    return Refused(f"could not write to table {step.table}", cause=cause, code=code, rows=rows)
