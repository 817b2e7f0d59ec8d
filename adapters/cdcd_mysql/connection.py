"""A connection that tells MariaDB that it knows how to give many rows to one prepared statement, and does it.

PyMySQL has no prepared statements, and offers nothing of what MariaDB added to MySQL's protocol. What is offered stands in
the last four bytes that MySQL's answer to a greeting leaves empty, and is read of clients that do not say that they are
MySQL's. Format: MariaDB's documentation of its protocol, "Connection", "COM_STMT_PREPARE", "COM_STMT_BULK_EXECUTE".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pymysql.connections import MAX_PACKET_LEN, Connection
from pymysql.constants import CLIENT, COMMAND
from pymysql.cursors import Cursor

_IS_MYSQL: Final = CLIENT.LONG_PASSWORD
"""CLIENT_MYSQL, as MariaDB calls it: a server or a client that sets it knows nothing of what MariaDB added."""
_STATEMENTS_IN_BULK: Final = 1 << 2
"""MARIADB_CLIENT_STMT_BULK_OPERATIONS, the 34th of all capabilities, is the second of MariaDB's own."""
_EMPTY: Final = slice(9, 32)
_EXTENDED: Final = slice(28, 32)
_BULK_EXECUTE: Final = 0xFA
_SENDS_TYPES: Final = 128
_STATEMENTS_MAX: Final = 200


class Parameters(msgspec.Struct, frozen=True):
    """Rows in the server's encoding (`parameters`). `types` are two bytes for each column: its type, and whether it is unsigned."""

    types: bytes
    rows: bytes


if TYPE_CHECKING:
    _Connection = Connection[Cursor]
else:
    _Connection = Connection


class BulkConnection(_Connection):
    """Knows after it is opened whether the server takes rows as parameters."""

    takes_parameters = False
    _is_greeting = False

    def _request_authentication(self) -> None:
        self._statements: dict[str, int] = {}
        untyped: Any = self
        self.takes_parameters = self._is_greeting = not untyped.server_capabilities & _IS_MYSQL
        try:
            super()._request_authentication()  # type: ignore[misc]
        finally:
            self._is_greeting = False

    def write_packet(self, payload: bytes) -> None:
        """As ever; what answers the greeting offers more."""
        if self._is_greeting and _answers_greeting(payload):
            offered = bytearray(payload)
            offered[0] &= ~_IS_MYSQL & 0xFF
            offered[_EXTENDED] = struct.pack("<I", _STATEMENTS_IN_BULK)
            payload = bytes(offered)
        super().write_packet(payload)

    def send_rows(self, sql: str, parameters: Parameters) -> None:
        """Have an INSERT, with a question mark for each parameter, done for all rows. Its answer is to be read next."""
        statement = self._statements.get(sql)
        if statement is None:
            statement = self._prepare(sql)
        head = struct.pack("<IH", statement, _SENDS_TYPES)
        self._command(_BULK_EXECUTE, b"".join((head, parameters.types, parameters.rows)))

    def _prepare(self, sql: str) -> int:
        while len(self._statements) >= _STATEMENTS_MAX:
            oldest = self._statements.pop(next(iter(self._statements)))
            self._command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", oldest))  # which has no answer
        self._command(COMMAND.COM_STMT_PREPARE, sql.encode())
        untyped: Any = self
        statement, column_count, parameter_count = struct.unpack_from("<xIHH", untyped._read_packet().get_all_data())  # noqa: SLF001
        for count in filter(None, (parameter_count, column_count)):
            for _ in range(count + 1):  # and what ends them
                untyped._read_packet()  # noqa: SLF001
        self._statements[sql] = statement
        return int(statement)

    def _command(self, command: int, payload: bytes) -> None:
        untyped: Any = self
        untyped._execute_command(command, payload)  # noqa: SLF001


def _answers_greeting(payload: bytes) -> bool:
    """Whether it is the client's answer to the greeting, or the part of it that asks for TLS first."""
    return payload[4:8] == struct.pack("<I", MAX_PACKET_LEN) and payload[_EMPTY] == bytes(23)
