"""Connections: their settings, and how they are opened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict

from cdcd.errors import CdcdError, ConfigError
from cdcd_postgres import encryption
from cdcd_postgres.errors import translated
from cdcd_postgres.options import Options

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

SETTINGS: Final = {
    "array_nulls": "on",
    "bytea_output": "hex",
    "client_min_messages": "warning",
    "datestyle": "ISO",
    "default_transaction_isolation": r"read\ committed",
    "extra_float_digits": "1",
    "idle_session_timeout": "0",  # a quiet database is no reason to lose the connection
    "intervalstyle": "postgres",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "row_security": "off",  # a policy that would hide rows is an error then, instead of a gap
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    "xmlbinary": "base64",
    "xmloption": "content",
}
"""On every connection: `types` reads the text that these give, in the stream and in chunks alike."""

_READING: Final = {"search_path": "pg_catalog"}
_WRITING: Final = {
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",  # a client that is gone without a word holds no lock for long
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
    "random_page_cost": "1.1",  # a thousand rows of a large table: by its index, not by reading it whole
    "jit": "off",  # statements are short
}
_NETWORK: Final = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


_AT_WORK: Final = """
SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event IS DISTINCT FROM 'ClientRead'
"""
_END: Final = "SELECT pg_catalog.pg_terminate_backend($1)"


class _Bounded(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose statements end: by the server's statement timeout, or later because the server does not answer.

    A stopped server's kernel still acknowledges what it is sent, so that no setting of TCP notices.
    """

    answer_seconds_max: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """See psycopg."""
        return super().wait(gen, interval, self.answer_seconds_max if timeout is None else timeout)


_AnyBounded = TypeVar("_AnyBounded", bound=_Bounded)


class _Watched(_Bounded):
    """A connection whose pipelines may take long, but not because the server has not got them, or has lost us.

    Where nothing comes for a while, it is asked on another connection what it does for this one; when that is nothing, its
    end of this one is ended: it may hold locks, and would for as long as its own kernel believes in us.
    """

    silence_seconds: float
    is_at_work: Callable[[int], bool]

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """See psycopg."""
        return super().wait(self._listening(gen), interval, timeout)

    def _listening(self, gen: PQGen[RV]) -> PQGen[RV]:
        """Does as `gen`, which is sent READY_NONE after every interval in which nothing came."""
        heard_at = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.silence_seconds:
                    self._require_work()
                    heard_at = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as done:
            result: RV = done.value
            return result

    def _require_work(self) -> None:
        try:
            at_work = self.is_at_work(self.pgconn.backend_pid)
        except CdcdError as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server does not answer: {error.cause}") from error
        if not at_work:
            self.pgconn.finish()
            raise psycopg.OperationalError(
                "the server waits for us, as we wait for it: something between us lost the connection"
            )


def connect_reading(system: str, options: Options) -> Connection:
    """An ordinary connection for catalog and chunks."""
    return _bounded(_connect(system, options, {**_timeouts(options), **_READING}, {}, _Bounded), options)


def connect_writing(system: str, options: Options) -> Connection:
    """An ordinary connection for writes. Its search path is the role's own: the target's triggers may need it."""
    connection = _connect(system, options, {**_timeouts(options), **_WRITING}, {}, _Watched)
    connection.silence_seconds = options.silence_seconds
    connection.is_at_work = lambda pid: _is_at_work(system, options, pid)
    return connection


def _is_at_work(system: str, options: Options, pid: int) -> bool:
    """Whether that server process works; if it waits for its client, it is ended."""
    asking = connect_reading(system, options)
    try:
        with translated(f"system '{system}' did not tell what it does"):
            at_work = asking.execute(_AT_WORK, [pid]).fetchone() is not None
            if not at_work:
                asking.execute(_END, [pid])
            return at_work
    finally:
        close(asking)


def connect_replication(system: str, options: Options) -> Connection:
    """A walsender connection; creating a slot waits for running transactions, so it has no statement timeout."""
    settings = {**_READING, "statement_timeout": "0"}
    return _bounded(_connect(system, options, settings, {"replication": "database"}, _Bounded), options)


def _bounded(connection: _Bounded, options: Options) -> Connection:
    connection.answer_seconds_max = options.statement_timeout_seconds + options.silence_seconds
    return connection


def close(connection: Connection | None) -> None:
    """Close a connection, whatever its state."""
    if connection is not None:
        with suppress(psycopg.Error):
            connection.close()


def _timeouts(options: Options) -> dict[str, str]:
    return {
        "statement_timeout": f"{options.statement_timeout_seconds}s",
        "lock_timeout": f"{options.lock_timeout_seconds}s",
    }


def _connect(
    system: str, options: Options, settings: dict[str, str], extra: dict[str, Any], kind: type[_AnyBounded]
) -> _AnyBounded:
    try:
        given = conninfo_to_dict(options.dsn)
    except psycopg.ProgrammingError:
        raise ConfigError(
            f"systems.{system}.dsn is not a libpq connection string",
            remedy='write it like "host=erp.internal dbname=erp user=cdcd sslmode=verify-full"',
        ) from None
    parameters = {
        "application_name": options.application_name,
        "connect_timeout": options.connect_timeout_seconds,
        **_NETWORK,
        **encryption.defaults(given, os.environ, psycopg.pq.version()),
        **given,
        "client_encoding": "UTF8",
        "options": " ".join(
            [
                str(given.get("options") or ""),
                *(f"-c {name}={value}" for name, value in {**SETTINGS, **settings}.items()),
            ]
        ).strip(),
        **extra,
    }
    if options.password is not None:
        parameters["password"] = options.password.reveal()
    with translated(f"system '{system}' cannot be reached"):
        return kind.connect(**parameters, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor)
