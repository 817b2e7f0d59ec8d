"""Statements on their way: which may be committed together with their COMMIT, and what is sent then."""

import pymysql
import pytest

from cdcd.errors import Unavailable
from cdcd_mysql.results import Result
from cdcd_mysql.sending import PresumedError, Sender, Step
from cdcd_mysql.session import Server

MARIADB = Server(True, (10, 11, 19), "1", True, False, 1 << 24)
MYSQL = Server(False, (9, 7, 0), "uuid", True, False, 1 << 24)


class Session:
    """Notes what it is told; each statement finds as many rows as the next of `affected` says."""

    def __init__(self, *affected: int, error: pymysql.Error | None = None) -> None:
        self.sent: list[str] = []
        self._affected = list(affected)
        self._error = error

    def run(self, sql: str) -> Result:
        self.sent.append(sql)
        if self._error is not None:
            raise self._error
        return Result(0, 0)

    def run_all(self, statements, results):
        self.sent.append(";".join(statements))
        results += [Result(self._affected.pop(0), 0) for _ in statements]
        return results


def sender(session, *steps, server=MARIADB):
    found = Sender(session, server)
    for step in steps:
        found.add(step)
    return found


def test_a_block_ends_where_a_statement_finds_other_than_presumed_or_warns():
    session = Session()
    sender(session, Step("UPDATE a", presumed=1), Step("INSERT b")).commit_at_once()
    signal = "THEN SIGNAL SQLSTATE '45000'; END IF;"
    first = f"UPDATE a; IF ROW_COUNT() <> 1 OR @@warning_count > 0 {signal}"
    assert session.sent == [f"BEGIN NOT ATOMIC {first} INSERT b; IF @@warning_count > 0 {signal} COMMIT; END"]


@pytest.mark.parametrize(
    ("steps", "server", "can"),
    [
        ([Step("a", check=print, presumed=1), Step("b")], MARIADB, True),
        ([Step("a")], MYSQL, False),
        ([], MARIADB, False),
        ([Step("a", check=print)], MARIADB, False),
        ([Step("a"), Step("SELECT b", fits_block=False)], MARIADB, False),
        ([Step("a")] * 33, MARIADB, False),
        ([Step("a" * 65_536)], MARIADB, False),
    ],
    ids=["yes", "MySQL", "nothing", "a result is wanted", "rows", "many statements", "much"],
)
def test_what_nobody_has_to_look_at_can_be_committed_at_once(steps, server, can):
    assert sender(Session(), *steps, server=server).can_commit_at_once() is can


@pytest.mark.parametrize(
    ("number", "raised"), [(1644, PresumedError), (1054, PresumedError), (1213, Unavailable), (2013, Unavailable)]
)
def test_a_block_is_done_otherwise_if_it_was_refused_and_not_if_the_server_could_not(number, raised):
    session = Session(error=pymysql.OperationalError(number, "message"))
    with pytest.raises(raised):
        sender(session, Step("UPDATE a")).commit_at_once()


def test_a_presumption_that_is_wrong_is_told_when_its_result_is_seen():
    waiting = sender(Session(1, 0), Step("a", presumed=1), Step("b", presumed=1))
    with pytest.raises(PresumedError):
        waiting.flush()


def test_a_transaction_that_is_begun_again_has_nothing_pending_but_its_first_statement():
    session = Session(1)
    again = sender(session, Step("a"), Step("b"))
    again.begin_again(Step("first"))
    again.flush()
    assert session.sent == ["ROLLBACK", "first"]
