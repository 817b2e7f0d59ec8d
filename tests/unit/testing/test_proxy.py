"""The proxy that misbehaves: each way of failing, as client and server see it."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cdcd.testing.proxy import TcpProxy


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[TcpProxy]:
    with TcpProxy(listener.getsockname()[1]) as proxy:
        yield proxy


def connect(proxy: TcpProxy, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """The client's end and the server's."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    server, _ = listener.accept()
    server.settimeout(10)
    return client, server


def is_reset(proxy: TcpProxy) -> bool:
    """Whether a new connection is: to connect or to read may be what notices."""
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            return client.recv(1) == b"never"
    except ConnectionResetError:
        return True


def is_silent(end: socket.socket) -> bool:
    end.settimeout(0.2)
    try:
        return end.recv(1) == b"never"
    except TimeoutError:
        return True
    finally:
        end.settimeout(10)


def test_bytes_pass_both_ways_whatever_their_number_and_so_does_the_end(proxy, listener):
    client, server = connect(proxy, listener)
    with client, server:
        content = bytes(range(256)) * 20_000
        client.settimeout(None)
        sent = 0
        received = bytearray()
        client.setblocking(False)
        while len(received) < len(content):
            with suppress(BlockingIOError):
                sent += client.send(content[sent:])
            server.settimeout(0.05)
            with suppress(TimeoutError):
                received += server.recv(1 << 20)
        assert bytes(received) == content
        client.settimeout(10)
        server.sendall(b"answer")
        assert client.recv(10) == b"answer"
        client.shutdown(socket.SHUT_WR)
        server.settimeout(10)
        assert server.recv(1) == b""
        server.sendall(b"after the end")
        assert client.recv(20) == b"after the end"


def test_a_cut_resets_both_ends_and_new_connections_pass(proxy, listener):
    client, server = connect(proxy, listener)
    with client, server:
        assert proxy.cut() == 1
        for end in (client, server):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    client, server = connect(proxy, listener)
    with client, server:
        client.sendall(b"x")
        assert server.recv(1) == b"x"


def test_refused_connections_are_reset_until_healed(proxy, listener):
    proxy.refuse()
    assert is_reset(proxy)
    proxy.heal()
    client, server = connect(proxy, listener)
    with client, server:
        client.sendall(b"x")
        assert server.recv(1) == b"x"


def test_a_black_hole_holds_everything_back_and_gives_it_up_when_healed(proxy, listener):
    client, server = connect(proxy, listener)
    with client, server:
        proxy.black_hole()
        client.sendall(b"x")
        assert is_silent(server)
        proxy.heal()
        assert server.recv(1) == b"x"


@pytest.mark.parametrize("lost_by", ["client", "server"])
def test_of_a_half_open_connection_one_end_is_reset_and_the_other_hears_nothing(proxy, listener, lost_by):
    client, server = connect(proxy, listener)
    with client, server:
        assert proxy.half_open(lost_by=lost_by) == 1
        lost, left = (client, server) if lost_by == "client" else (server, client)
        with pytest.raises(ConnectionResetError):
            lost.recv(1)
        left.sendall(b"is anybody there?")
        assert is_silent(left)
        proxy.heal()
        assert is_silent(left)
        proxy.forget_half_open()
        with pytest.raises(ConnectionResetError):
            left.recv(1)


def test_a_slow_line_takes_its_time(proxy, listener):
    client, server = connect(proxy, listener)
    with client, server:
        proxy.slow(delay_seconds=0.2, bytes_per_second=1e6)
        begun = time.monotonic()
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        assert time.monotonic() - begun >= 0.2


def test_a_server_that_is_down_resets_its_clients(listener):
    with TcpProxy(listener.getsockname()[1]) as proxy:
        listener.close()
        assert is_reset(proxy)
        assert proxy.count == 0
