"""Shared by all tests: servers, one of each for the whole session; each test makes a database of its own in them."""

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("cdcd.testing")

from cdcd.testing.servers import MariaDBServer, PostgresServer  # noqa: E402 (after the assert rewrite)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The preferred PostgreSQL. Leave it running, and restart only a server of your own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """MariaDB. Leave it running, and restart only a server of your own."""
    with MariaDBServer() as server:
        yield server
