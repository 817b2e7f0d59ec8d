"""Sends statements, and reads what each of them gave.

Most statements of a small transaction give nothing but how many rows they have changed: each costs 6 µs of Python less
without PyMySQL's cursor and result. Its packets are read here; rows are left to it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pymysql
from pymysql.connections import Connection, MySQLResult
from pymysql.constants import COMMAND, CR, SERVER_STATUS
from pymysql.cursors import Cursor

_OK: Final = 0x00
_LOCAL_FILE: Final = 0xFB
_LENGTH_SIZES: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}


class Result(NamedTuple):
    """What one statement gave. `affected` counts the rows found, changed or not (CLIENT_FOUND_ROWS).

    `inserted_id` is the automatic number that an INSERT of one row has taken.
    """

    affected: int
    warnings: int
    rows: tuple[tuple[Any, ...], ...] = ()
    inserted_id: int = 0


def send(connection: Connection[Cursor], sql: str) -> None:
    """Send statements, separated by semicolons. What they give must be read before anything else is sent."""
    untyped: Any = connection
    untyped._execute_command(COMMAND.COM_QUERY, sql)  # noqa: SLF001


def receive(connection: Connection[Cursor], results: list[Result]) -> None:
    """Add to `results` what each of the statements gave that were sent.

    Raises the driver's error at the one that failed, whose number is then that of the results; later ones do not run.
    """
    untyped: Any = connection
    has_more = True
    while has_more:
        packet = untyped._read_packet()  # noqa: SLF001
        data = packet.get_all_data()
        if data[0] == _OK:
            result, has_more = _decode_ok(data)
        else:
            result, has_more = _read_rows(untyped, packet, data[0])
        results.append(result)


def _decode_ok(data: bytes) -> tuple[Result, bool]:
    """An OK packet: MySQL source, sql/protocol_classic.cc, net_send_ok."""
    affected, place = _length(data, 1)
    inserted_id, place = _length(data, place)
    status = data[place] | data[place + 1] << 8
    warnings = data[place + 2] | data[place + 3] << 8
    return Result(affected, warnings, (), inserted_id), bool(status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS)


def _length(data: bytes, place: int) -> tuple[int, int]:
    """A length-encoded integer, and where it ends."""
    first = data[place]
    if first < 0xFB:
        return first, place + 1
    end = place + 1 + _LENGTH_SIZES[first]
    return int.from_bytes(data[place + 1 : end], "little"), end


def _read_rows(connection: Any, first_packet: Any, first_byte: int) -> tuple[Result, bool]:
    if first_byte == _LOCAL_FILE:  # we never offer to send files: this is no server that we know
        connection._force_close()  # noqa: SLF001
        raise pymysql.OperationalError(CR.CR_COMMANDS_OUT_OF_SYNC, "the server asks for a file")
    result: Any = MySQLResult(connection)
    result._read_result_packet(first_packet)  # noqa: SLF001
    return Result(result.affected_rows, result.warning_count or 0, result.rows), bool(result.has_next)
