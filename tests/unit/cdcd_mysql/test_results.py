"""What statements gave, from the packets of a server."""

import pymysql
import pytest
from pymysql.constants import COMMAND
from pymysql.protocol import MysqlPacket

from cdcd_mysql.results import Result, receive, send

MORE = 0x0008


class Server:
    """Takes a query, and answers with the packets it was given."""

    def __init__(self, *packets: bytes) -> None:
        self.packets = list(packets)
        self.sent: list[str] = []
        self.is_closed = False

    def _execute_command(self, command: int, sql: str) -> None:
        assert command == COMMAND.COM_QUERY
        self.sent.append(sql)

    def _read_packet(self) -> MysqlPacket:
        packet = MysqlPacket(self.packets.pop(0), "utf8mb4")
        if packet.is_error_packet():
            packet.raise_for_error()
        return packet

    def _force_close(self) -> None:
        self.is_closed = True


def execute(server, sql: str, results: list[Result]) -> None:
    send(server, sql)
    receive(server, results)


def ok(affected: bytes, inserted_id: bytes = b"\0", status: int = 2, warnings: int = 0) -> bytes:
    return b"\0" + affected + inserted_id + status.to_bytes(2, "little") + warnings.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("encoded", "number"),
    [
        (b"\x00", 0),
        (b"\xfa", 250),
        (b"\xfc\xfb\x00", 251),
        (b"\xfd\x01\x00\x01", 65537),
        (b"\xfe" + (2**40).to_bytes(8, "little"), 2**40),
    ],
)
def test_counts_of_every_length_are_read(encoded, number):
    results: list[Result] = []
    execute(Server(ok(encoded, encoded, warnings=300)), "UPDATE t", results)
    assert results == [Result(number, 300, (), number)]


def test_each_statement_has_its_result_and_the_error_ends_them():
    error = b"\xff" + (1062).to_bytes(2, "little") + b"#23000Duplicate entry"
    server = Server(ok(b"\1", status=2 | MORE), ok(b"\2", status=2 | MORE, warnings=1), error)
    results: list[Result] = []
    with pytest.raises(pymysql.IntegrityError):
        execute(server, "a;b;c;d", results)
    assert results == [Result(1, 0), Result(2, 1)]
    assert server.sent == ["a;b;c;d"]


def test_a_server_that_asks_for_a_file_gets_none_and_is_left():
    server = Server(b"\xfb/etc/passwd")
    with pytest.raises(pymysql.OperationalError):
        execute(server, "UPDATE t", [])
    assert server.is_closed
