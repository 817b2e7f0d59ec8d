"""The MySQL adapter passes the contract on MariaDB or what CDCD_MYSQL_BIN names, and on the server of CDCD_TEST_MYSQL."""

import os
from collections.abc import Iterator

import pytest

from cdcd.testing.servers import MySqlFamilyServer, mysql_family_server
from cdcd.testing.source_contract import SourceContract
from cdcd.testing.target_contract import TargetContract
from contract.mysql_harness import OnMySql, OnPrivateServer

needs_named_server = pytest.mark.skipif("CDCD_TEST_MYSQL" not in os.environ, reason="CDCD_TEST_MYSQL names no server")


@pytest.fixture(scope="module")
def server() -> Iterator[MySqlFamilyServer]:
    """A server of our own: the suites restart it."""
    with mysql_family_server() as server:
        yield server


class TestPrivateSource(OnPrivateServer, SourceContract):
    pass


class TestPrivateTarget(OnPrivateServer, TargetContract):
    pass


@needs_named_server
class TestMySqlSource(OnMySql, SourceContract):
    pass


@needs_named_server
class TestMySqlTarget(OnMySql, TargetContract):
    pass
