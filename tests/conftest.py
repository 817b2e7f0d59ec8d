"""Shared by all tests: servers, one of each for the whole session; each test makes a database of its own in them."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis judges by the clock how slowly values are drawn; on a loaded machine that says nothing about the code.
settings.register_profile("cdcd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cdcd")

pytest.register_assert_rewrite("cdcd.testing")

from cdcd.testing.servers import (  # noqa: E402 (after the assert rewrite)
    MySqlFamilyServer,
    MySQLServer,
    PostgresServer,
    has_mysql,
    mysql_family_server,
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The preferred PostgreSQL. Leave it running, and restart only a server of your own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MySqlFamilyServer]:
    """MariaDB, or what CDCD_MYSQL_BIN names instead. Leave it running, and restart only a server of your own."""
    with mysql_family_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_only(mariadb: MySqlFamilyServer) -> None:
    """Skips what only MariaDB has when CDCD_MYSQL_BIN names a MySQL."""
    if not mariadb.is_mariadb:
        pytest.skip("only MariaDB has this, and CDCD_MYSQL_BIN names a MySQL")


@pytest.fixture(scope="session")
def mysql_only(mariadb: MySqlFamilyServer) -> None:
    """Skips what only MySQL has unless CDCD_MYSQL_BIN names a MySQL."""
    if mariadb.is_mariadb:
        pytest.skip("only MySQL has this, and CDCD_MYSQL_BIN names none (make test-matrix brings one)")


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    """MySQL, for what it alone has. Tests skip where there is none."""
    if not has_mysql():
        pytest.skip("there is no MySQL here: CDCD_MYSQL_BIN names none (make test-matrix brings one)")
    with MySQLServer() as server:
        yield server
