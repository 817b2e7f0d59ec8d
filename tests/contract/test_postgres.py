"""PostgreSQL passes the contract. CDCD_PG_BIN names another version's programs."""

from collections.abc import Iterator

import pytest

from cdcd.testing.servers import PostgresServer
from cdcd.testing.source_contract import SourceContract
from cdcd.testing.target_contract import TargetContract
from contract.postgres_harness import PostgresHarness


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of our own: the suites restart it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def harness(server: PostgresServer) -> Iterator[PostgresHarness]:
    harness = PostgresHarness(server)
    yield harness
    harness.dispose()


class TestPostgresSource(SourceContract):
    pass


class TestPostgresTarget(TargetContract):
    pass
