"""A server that is none, and asks for the password in every way there is: it never gets it, and no key of its own is used."""

import os
import socket
import struct
import threading

import pymysql
import pytest

from cdcd.config import Secret
from cdcd.errors import NotReady
from cdcd_mysql import Options
from cdcd_mysql.passwords import plugins
from cdcd_mysql.session import connect

PASSWORD = "canary-p4ssword"
SALT = bytes(range(1, 21))
CAPABILITIES = 0x0200 | 0x8000 | 0x0008_0000 | 0x0008  # protocol 41, secure connection, plug-ins, a database


def packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def greeting(plugin: bytes) -> bytes:
    low, high = struct.pack("<H", CAPABILITIES & 0xFFFF), struct.pack("<H", CAPABILITIES >> 16)
    return (
        b"\x0a8.0.36\0" + struct.pack("<I", 1) + SALT[:8] + b"\0" + low + b"\xff" + b"\x02\0" + high
        + bytes([21]) + b"\0" * 10 + SALT[8:] + b"\0" + plugin + b"\0"
    )  # fmt: skip


class Impostor:
    """Speaks first, then sends `answers` one after the other, and keeps everything that it is told."""

    def __init__(self, plugin: bytes, answers: list[bytes]) -> None:
        self.told = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._greeting, self._answers = greeting(plugin), answers
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        channel, _ = self._listener.accept()
        with channel:
            channel.settimeout(10)
            channel.sendall(packet(0, self._greeting))
            for number, answer in enumerate([*self._answers, b""]):
                try:
                    piece = channel.recv(65536)
                except OSError:
                    return
                self.told += piece
                if not piece or not answer:
                    return
                channel.sendall(packet(2 * number + 2, answer))

    def close(self) -> None:
        self._listener.close()
        self._thread.join()


def switch(plugin: bytes) -> bytes:
    """An AuthSwitchRequest."""
    return b"\xfe" + plugin + b"\0" + SALT + b"\0"


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("IMPOSTOR_PASSWORD", PASSWORD)
    return Secret(env="IMPOSTOR_PASSWORD")


@pytest.mark.parametrize(
    ("offered", "answers"),
    [
        (b"mysql_native_password", [switch(b"mysql_clear_password")]),
        (b"mysql_native_password", [b"\xfedialog\0\x05Password: "]),
        (b"mysql_native_password", [switch(b"mysql_old_password")]),
        (b"mysql_native_password", [switch(b"sha256_password"), b"\x01 a key"]),
        (b"sha256_password", [b"\x01 a key"]),
        (b"caching_sha2_password", [b"\x01\x04", b"\x01 a key"]),
        (b"mysql_native_password", [switch(b"caching_sha2_password"), b"\x01\x04", b"\x01 a key"]),
    ],
    ids=["clear", "dialog", "old", "sha256 switched to", "sha256", "caching sha2", "caching sha2 switched to"],
)
@pytest.mark.parametrize("tls", ["off", "prefer"])
def test_the_password_stays_here_whatever_the_server_asks_for(
    password: Secret, offered: bytes, answers: list[bytes], tls: str
):
    impostor = Impostor(offered, answers)
    options = Options(
        database="shop", user="cdcd", host="127.0.0.1", port=impostor.port, password=password, tls=tls,
        connect_timeout_seconds=5, timeout_seconds=5,
    )  # fmt: skip
    with pytest.raises(NotReady) as caught:
        connect(options)
    impostor.close()
    assert caught.value.code == "password-exposed"
    assert PASSWORD not in str(caught.value)
    assert PASSWORD.encode() not in impostor.told
    assert len(impostor.told) < 400, "nothing was encrypted with a key that came over the same line"


def test_a_server_that_does_not_offer_tls_gets_nothing_where_tls_is_asked_for(password: Secret):
    impostor = Impostor(b"mysql_native_password", [])
    options = Options(
        database="shop", user="cdcd", host="127.0.0.1", port=impostor.port, password=password, tls="verify-full",
    )  # fmt: skip
    with pytest.raises(pymysql.OperationalError, match="SSL is required"):
        connect(options)
    impostor.close()
    assert impostor.told == b""


def test_a_password_as_text_leaves_only_by_a_verified_line_or_a_socket_of_this_machine():
    def accepted(**options: str) -> bool:
        return "mysql_clear_password" not in plugins(Options(database="d", user="u", **options))

    assert accepted(tls="verify-full")
    assert accepted(tls="verify-ca")
    assert accepted(unix_socket="/run/mysqld/mysqld.sock")
    assert not accepted(tls="require")
    assert not accepted()


def test_the_environment_has_no_password_of_a_test():
    assert "IMPOSTOR_PASSWORD" not in os.environ
