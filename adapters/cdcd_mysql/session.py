"""Connections to a server, and what there is to know about it before anything else.

Every session speaks utf8mb4 and UTC and has a strict SQL mode of ours, whatever the server's defaults.
"""

from __future__ import annotations

import contextlib
import re
import select
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT
from pymysql.converters import encoders
from pymysql.cursors import Cursor

from cdcd.errors import NotReady
from cdcd_mysql import passwords
from cdcd_mysql.connection import BulkConnection, Parameters
from cdcd_mysql.errors import translated
from cdcd_mysql.options import Options
from cdcd_mysql.results import Result, receive, send

SQL_MODE: Final = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
"""Refuses what would be changed in storing; a 0 stays a 0; backslash escapes are on, double quotes are strings.

A zero date, or a day that no calendar has, is a value like others here: another such server's log may hold it.
"""
_WAIT_TIMEOUT_SECONDS: Final = 86_400
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Session:
    """A connection. All methods raise the core's errors; `doing` says what was tried."""

    def __init__(
        self,
        options: Options,
        *,
        raw: bool = False,
        settings: Mapping[str, str] | None = None,
        kind: type[Connection[Cursor]] = Connection,
    ) -> None:
        """With `raw`, values come as bytes, as the server sent them. `settings` are session variables, as SQL."""
        with translated(f"connect to {options}"):
            self.connection = connect(options, raw=raw, kind=kind)
            self.takes_parameters = isinstance(self.connection, BulkConnection) and self.connection.takes_parameters
            """Whether rows may be sent as parameters."""
            self._is_awaiting = False
            self._set({"time_zone": "'+00:00'", "sql_mode": f"'{SQL_MODE}'", **(settings or {})})

    def _set(self, settings: Mapping[str, str]) -> None:
        values = {"wait_timeout": str(_WAIT_TIMEOUT_SECONDS), "sql_quote_show_create": "1", **settings}
        with self.connection.cursor() as cursor:
            cursor.execute("SET " + ", ".join(f"SESSION {name} = {value}" for name, value in values.items()))

    def rows(self, sql: str, doing: str) -> Sequence[tuple[Any, ...]]:
        """The rows of a query."""
        with translated(doing):
            return self.run(sql).rows

    def named_rows(self, sql: str, doing: str) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries, the column names in lower case."""
        with translated(doing), self.connection.cursor() as cursor:
            cursor.execute(sql)
            names = [column[0].lower() for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def run(self, sql: str) -> Result:
        """Run one statement. Raises the driver's errors."""
        return self.run_all([sql])[0]

    def run_all(self, statements: Sequence[str]) -> list[Result]:
        """Run statements in one round trip; return what each gave.

        Raises the driver's error at the one that failed; later ones do not run.
        """
        results: list[Result] = []
        self.send(statements)
        self.receive(results)
        return results

    def send(self, statements: Sequence[str]) -> None:
        """Send statements, which the server then runs while we do something else; `receive` is what comes next."""
        assert not self._is_awaiting, "results of other statements are still to come"
        send(self.connection, ";".join(statements))
        self._is_awaiting = True

    def send_rows(self, sql: str, parameters: Parameters) -> None:
        """Send rows for an INSERT with a question mark for each parameter, as `send`; only if it `takes_parameters`."""
        assert not self._is_awaiting, "results of other statements are still to come"
        assert isinstance(self.connection, BulkConnection)
        self.connection.send_rows(sql, parameters)
        self._is_awaiting = True

    def receive(self, results: list[Result]) -> None:
        """Wait for what was sent; add what each statement gave to `results`, as many as there are when this raises as `run_all`."""
        self._is_awaiting = False
        receive(self.connection, results)

    def is_answered(self) -> bool:
        """Whether `receive` would not wait for the server to begin."""
        opened = self.connection._sock  # type: ignore[attr-defined]  # noqa: SLF001 - PyMySQL has no other name for it
        if opened is None or (isinstance(opened, ssl.SSLSocket) and opened.pending()):
            return True
        poll = select.poll()
        poll.register(opened, select.POLLIN)
        return bool(poll.poll(0))

    def pass_over(self) -> None:
        """Wait for what was sent, if anything was, whatever it gives: it is about to be undone."""
        if self._is_awaiting:
            with contextlib.suppress(pymysql.Error, OSError):  # a lost connection shows with the next statement
                self.receive([])

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        with contextlib.suppress(pymysql.Error, OSError):
            self.connection.close()


def read_only_session(options: Options, server: Server) -> Session:
    """A session that can write nothing, in which no query takes longer than `timeout`, and which gives values as bytes."""
    seconds = options.timeout_seconds
    limit = ("max_statement_time", seconds) if server.is_mariadb else ("max_execution_time", 1000 * seconds)
    session = Session(options, raw=True, settings={"character_set_results": "NULL", limit[0]: str(limit[1])})
    with translated("open a read-only session"):
        session.run("SET SESSION TRANSACTION READ ONLY")
    return session


def connect(options: Options, *, raw: bool = False, kind: type[Connection[Cursor]] = Connection) -> Connection[Cursor]:
    """Open a connection with autocommit. Raises the driver's errors, and NotReady when a library is missing."""
    arguments: dict[str, Any] = {"conv": encoders, "use_unicode": False} if raw else {}
    if (context := options.tls_context()) is not None:
        arguments["ssl"] = context
    elif options.tls == "off" or options.unix_socket is not None:
        arguments["ssl_disabled"] = True
    if options.unix_socket is not None:
        arguments["unix_socket"] = options.unix_socket
    try:
        return kind(
            host=options.host,
            port=options.port,
            user=options.user,
            password=options.password.reveal() if options.password else "",
            database=options.database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            connect_timeout=options.connect_timeout_seconds,
            read_timeout=options.timeout_seconds,
            write_timeout=options.timeout_seconds,
            program_name="cdcd",
            auth_plugin_map=passwords.plugins(options),
            **arguments,
        )
    except RuntimeError as error:  # PyMySQL's way to say that a password cannot be sent without TLS
        raise NotReady(
            f"could not connect to {options}",
            cause="the user's password plugin needs encryption",
            remedy='set tls = "require", or pip install cryptography',
            code="tls",
        ) from error


class Server(msgspec.Struct, frozen=True):
    """Facts of a server. `identity` is server_uuid (MySQL) or server_id (MariaDB)."""

    is_mariadb: bool
    version: tuple[int, int, int]
    identity: str
    has_gtids: bool
    ignores_case: bool
    packet_size_max: int

    @property
    def log_status_sql(self) -> str:
        """The statement that shows the log's end."""
        return "SHOW BINARY LOG STATUS" if not self.is_mariadb and self.version >= (8, 2, 0) else "SHOW MASTER STATUS"

    @property
    def replicas_sql(self) -> str:
        """The statement that lists connected replicas."""
        return "SHOW SLAVE HOSTS" if self.is_mariadb or self.version < (8, 0, 22) else "SHOW REPLICAS"


def inspect(session: Session) -> Server:
    """Ask a server who it is. `session` is not raw."""
    doing = "read the server's version"
    variables = dict(
        session.rows(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_id', 'server_uuid', 'gtid_mode',"
            " 'lower_case_table_names', 'max_allowed_packet')",
            doing,
        )
    )
    text = variables["version"]
    match = _VERSION.match(text)
    if match is None:
        raise NotReady(f"the server's version {text!r} is not understood", remedy="use MySQL 8.0+ or MariaDB 10.5+")
    is_mariadb = "mariadb" in text.lower() or int(match[1]) >= 10
    return Server(
        is_mariadb,
        (int(match[1]), int(match[2]), int(match[3])),
        variables["server_id"] if is_mariadb else variables["server_uuid"],
        is_mariadb or variables.get("gtid_mode") == "ON",
        variables["lower_case_table_names"] != "0",
        int(variables["max_allowed_packet"]),
    )
