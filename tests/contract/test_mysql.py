"""The MySQL adapter passes the contract: on MariaDB, and on the MySQL that CDCD_TEST_MYSQL names ("user@host:port")."""

from collections.abc import Iterator

import pytest

from cdcd.testing.servers import MariaDBServer
from cdcd.testing.source_contract import SourceContract
from cdcd.testing.target_contract import TargetContract
from contract.mysql_harness import OnMariaDb, OnMySql


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server of our own: the suites restart it."""
    with MariaDBServer() as server:
        yield server


class TestMariaDbSource(OnMariaDb, SourceContract):
    pass


class TestMariaDbTarget(OnMariaDb, TargetContract):
    pass


class TestMySqlSource(OnMySql, SourceContract):
    pass


class TestMySqlTarget(OnMySql, TargetContract):
    pass
