"""The MySQL adapter passes the contract, on MariaDB."""

from collections.abc import Iterator

import pytest

from cdcd.testing.servers import MariaDBServer
from cdcd.testing.source_contract import SourceContract
from cdcd.testing.target_contract import TargetContract
from contract.mysql_harness import MySqlHarness


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server of our own: the suites restart it."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def harness(server: MariaDBServer) -> Iterator[MySqlHarness]:
    harness = MySqlHarness(server)
    yield harness
    harness.dispose()


class TestMariaDbSource(SourceContract):
    pass


class TestMariaDbTarget(TargetContract):
    pass
