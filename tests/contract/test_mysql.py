"""The MySQL adapter passes the contract: on MariaDB, and on the MySQL that CDCD_TEST_MYSQL names ("user@host:port")."""

import os
from collections.abc import Iterator

import pytest

from cdcd.config import Secret
from cdcd.testing.servers import MariaDBServer
from cdcd.testing.source_contract import SourceContract
from cdcd.testing.target_contract import TargetContract
from cdcd_mysql import Options
from contract.mysql_harness import MariaDbHarness, MySqlHarness


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server of our own: the suites restart it."""
    with MariaDBServer() as server:
        yield server


class OnMariaDb:
    @pytest.fixture
    def harness(self, server: MariaDBServer) -> Iterator[MariaDbHarness]:
        harness = MariaDbHarness(server)
        yield harness
        harness.dispose()


class OnMySql:
    """The account's password is in CDCD_TEST_MYSQL_PASSWORD. Its binary logs are purged."""

    @pytest.fixture
    def harness(self) -> Iterator[MySqlHarness]:
        place = os.environ.get("CDCD_TEST_MYSQL")
        if place is None:
            pytest.skip("CDCD_TEST_MYSQL names no MySQL server")
        user, _, address = place.partition("@")
        host, _, port = address.partition(":")
        password = Secret(env="CDCD_TEST_MYSQL_PASSWORD")
        harness = MySqlHarness(Options(host=host, port=int(port), user=user, password=password, database=""))
        yield harness
        harness.dispose()


class TestMariaDbSource(OnMariaDb, SourceContract):
    pass


class TestMariaDbTarget(OnMariaDb, TargetContract):
    pass


class TestMySqlSource(OnMySql, SourceContract):
    pass


class TestMySqlTarget(OnMySql, TargetContract):
    pass
