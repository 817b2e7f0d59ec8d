"""Statements on their way: which may be committed together with their COMMIT, and what is sent then."""

import pymysql
import pytest

from cdcd.errors import Unavailable
from cdcd_mysql.connection import Parameters
from cdcd_mysql.results import Result
from cdcd_mysql.sending import PresumedError, Sender, Step
from cdcd_mysql.session import Server

MARIADB = Server(True, (10, 11, 19), "1", True, False, 1 << 24)
MYSQL = Server(False, (9, 7, 0), "uuid", True, False, 1 << 24)


class Session:
    """Notes what it is told; each statement finds as many rows as the next of `affected` says."""

    def __init__(self, *affected: int | None, error: pymysql.Error | None = None) -> None:
        self.sent: list[str] = []
        self.passed_over: list[str] = []
        self._awaited: list[str] = []
        self._affected = list(affected)
        self._error = error
        self.answered = True
        self.takes_parameters = True

    def is_answered(self):
        return self.answered

    def run(self, sql: str) -> Result:
        self.sent.append(sql)
        if self._error is not None:
            raise self._error
        return Result(0, 0)

    def send(self, statements):
        assert not self._awaited, "results are still to come"
        self._awaited = statements
        self.sent.append(";".join(statements))

    def send_rows(self, sql, parameters):
        if self._error is not None:
            raise self._error
        self.send([f"{sql} {parameters.rows.decode()}"])

    def receive(self, results):
        statements, self._awaited = self._awaited, []
        for _ in statements:
            affected = self._affected.pop(0)
            if affected is None:
                raise pymysql.OperationalError(1205, "lock wait timeout")
            results.append(Result(affected, 0))

    def pass_over(self):
        self.passed_over += self._awaited
        self._awaited = []


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


# ---- while the server works ----------------------------------------------------------------------------------------------

MUCH = "x" * 65_536


def counted(into):
    return lambda result: into.append(result.affected)


def test_much_is_sent_at_once_and_its_results_are_looked_at_before_more_is_sent():
    session, found = Session(1, 2), []
    some = sender(session, Step("little", check=counted(found)))
    some.send_much()
    assert session.sent == []
    some.add(Step(MUCH, check=counted(found)))
    some.send_much()
    assert (len(session.sent), found) == (1, [])
    some.send()
    assert (len(session.sent), found) == (1, [1, 2])


def test_while_the_server_works_more_is_made_for_it_unless_it_is_to_be_waited_for():
    session, found = Session(1, 2, 3, 4), []
    session.answered = False
    some = sender(session, Step(MUCH, check=counted(found)))
    some.send_much(waits=False)
    for text in ("b", "c"):
        some.add(Step(text * len(MUCH), check=counted(found)))
        some.send_much(waits=False)
    assert (len(session.sent), found) == (1, [])
    some.send_much()
    assert ([sent[0] for sent in session.sent], found) == (["x", "b"], [1])
    session.answered = True
    some.add(Step(MUCH))
    some.send_much(waits=False)
    assert (len(session.sent), found) == (3, [1, 2, 3])


def test_what_has_no_room_is_sent_while_the_next_statements_are_made():
    session, found = Session(1, 2), []
    some = Sender(session, MARIADB)
    for text in ("a" * some.size_max, "b" * some.size_max):
        some.add(Step(text, check=counted(found)))
    assert ([sent[0] for sent in session.sent], found) == (["a"], [])
    some.flush()
    assert ([sent[0] for sent in session.sent], found) == (["a", "b"], [1, 2])


def test_a_failure_shows_with_what_is_sent_next_which_then_is_not_sent_but_for_the_transactions_own():
    session = Session(1, None, 1)
    some = sender(session, Step(MUCH, write=0), Step("second", "item", 0))
    some.send_much()
    for step in (Step("SAVEPOINT"), Step("third", "item", 1)):
        some.add(step)
    with pytest.raises(Unavailable):
        some.flush()
    some.go_back("cdcd_recent")
    assert [sent[0] for sent in session.sent[1:]] == ["S", "R"]


def test_what_is_undone_is_waited_for_and_not_looked_at():
    session, found = Session(), []
    some = sender(session, Step(MUCH, check=counted(found)))
    some.send_much()
    some.begin_again(Step("first"))
    assert (session.passed_over, session.sent[1:], found) == ([MUCH], ["ROLLBACK"], [])


def test_nothing_is_committed_at_once_before_everything_is_known_to_be_done():
    session = Session(1)
    some = sender(session, Step(MUCH))
    some.send_much()
    some.add(Step("last"))
    assert not some.can_commit_at_once()


# ---- rows as parameters -------------------------------------------------------------------------------------------------------

ROWS = Parameters(b"", b"rows")


def test_rows_as_parameters_are_a_message_of_their_own_in_order():
    session, found = Session(1, 2, 3), []
    some = sender(session, Step("a", check=counted(found)), Step("INSERT (?)", parameters=ROWS, check=counted(found)))
    some.add(Step("b", check=counted(found)))
    some.flush()
    assert (session.sent, found) == (["a", "INSERT (?) rows", "b"], [1, 2, 3])


@pytest.mark.parametrize("number", [1047, 1210, 1243, 1295, 1461, 1615])
def test_a_server_that_takes_no_parameters_is_given_none_again(number):
    session = Session(error=pymysql.OperationalError(number, "message"))
    with pytest.raises(PresumedError):
        sender(session, Step("INSERT (?)", "item", 0, parameters=ROWS))
    assert not session.takes_parameters


def test_a_server_that_goes_away_while_it_is_given_parameters_may_be_given_them_again():
    session = Session(error=pymysql.OperationalError(2013, "message"))
    with pytest.raises(Unavailable):
        sender(session, Step("INSERT (?)", "item", 0, parameters=ROWS))
    assert session.takes_parameters
