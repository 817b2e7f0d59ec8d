"""Rows as parameters: what the greeting's answer offers, and which statements are prepared for them and kept."""

import struct

import pytest
from pymysql.constants import CLIENT, COMMAND
from pymysql.protocol import MysqlPacket

from cdcd_mysql import connection
from cdcd_mysql.connection import BulkConnection, Parameters

MARIADB = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION
MYSQL = MARIADB | CLIENT.LONG_PASSWORD
OK = b"\0\0\0\2\0\0\0"
ROWS = Parameters(b"\x08\0", b"\0" + bytes(8))


class Scripted(BulkConnection):
    """Notes what it would send; gives the packets it was given."""

    def __init__(self, capabilities: int, *packets: bytes) -> None:
        super().__init__(user="u", password="p", defer_connect=True, ssl_disabled=True)
        self.packets = [*packets]
        self.written: list[bytes] = []
        self.commands: list[tuple[int, bytes]] = []
        self.server_version, self.server_capabilities, self.salt = "10.11", capabilities, bytes(20)
        self._auth_plugin_name, self._next_seq_id = "mysql_native_password", 1

    def _write_bytes(self, data: bytes) -> None:
        self.written.append(data[4:])

    def _read_packet(self, packet_type: type = MysqlPacket) -> MysqlPacket:
        return packet_type(self.packets.pop(0), "utf8mb4")

    def _execute_command(self, command: int, sql: bytes) -> None:
        self.commands.append((command, sql))


def greeted(capabilities: int, *packets: bytes) -> Scripted:
    made = Scripted(capabilities, OK, *packets)
    made._request_authentication()
    return made


def prepared(number: int, parameters: int = 1) -> list[bytes]:
    """The answer to COM_STMT_PREPARE: its head, the parameters, and what ends them."""
    head = struct.pack("<BIHHBH", 0, number, 0, parameters, 0, 0)
    return [head, *[b"\3def"] * parameters, b"\xfe\0\0\2\0"]


def test_mariadb_is_told_that_many_rows_may_come_for_one_statement():
    made = greeted(MARIADB)
    flags, _, _, empty, own = struct.unpack_from("<IIB19sI", made.written[0])
    assert made.takes_parameters
    assert not flags & CLIENT.LONG_PASSWORD
    assert (empty, own) == (bytes(19), 4)
    assert made.written[0][32:].startswith(b"u\0")


def test_mysql_is_answered_as_ever():
    made = greeted(MYSQL)
    flags, _, _, empty = struct.unpack_from("<IIB23s", made.written[0])
    assert not made.takes_parameters
    assert flags & CLIENT.LONG_PASSWORD
    assert empty == bytes(23)


def test_what_looks_like_an_answer_to_a_greeting_later_is_sent_as_it_is():
    made = greeted(MARIADB)
    made.write_packet(looks_alike := struct.pack("<IIB23s", 0xFFFF, 0xFFFFFF, 45, b"") + b"a part of a long text")
    assert made.written[-1] == looks_alike


def test_a_statement_is_prepared_once():
    made = greeted(MARIADB, *prepared(7))
    for _ in range(2):
        made.send_rows("INSERT é (?)", ROWS)
    rows = struct.pack("<IH", 7, 128) + ROWS.types + ROWS.rows
    assert made.commands == [(COMMAND.COM_STMT_PREPARE, "INSERT é (?)".encode()), (0xFA, rows), (0xFA, rows)]
    assert made.packets == [], "all of the answer was read"


def test_no_more_statements_are_kept_than_a_server_takes_from_many_of_us(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "_STATEMENTS_MAX", 2)
    made = greeted(MARIADB, *prepared(1), *prepared(2, 3), *prepared(3), *prepared(4))
    for sql in ("a", "b", "c", "a", "a"):
        made.send_rows(sql, ROWS)
    closed = [struct.unpack("<I", payload)[0] for command, payload in made.commands if command == 0x19]
    used = [struct.unpack_from("<I", payload)[0] for command, payload in made.commands if command == 0xFA]
    assert (closed, used) == ([1, 2], [1, 2, 3, 4, 4])
