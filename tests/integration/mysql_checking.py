"""Checks of MySQL and MariaDB under test, as fixtures and functions: a module imports `server` and `harness` to have them."""

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.testing.servers import mysql_family_server
from contract.mysql_harness import PrivateHarness


@pytest.fixture(scope="module")
def server():
    """A server without findings; tests may change its global settings, if they put them back."""
    with mysql_family_server(durable=True, settings={"binlog-expire-logs-seconds": "0"}) as server:
        yield server


@pytest.fixture
def harness(server):
    harness = PrivateHarness(server)
    yield harness
    harness.dispose()


def check_source(harness, *tables):
    needs = [TableNeed(table) if isinstance(table, str) else table for table in tables]
    source = harness.adapter.open_source(harness.identity, harness.options, needs)
    try:
        return list(source.check(needs))
    finally:
        source.close()


def check_target(harness, *needs):
    target = harness.open_target()
    try:
        return list(target.check([msgspec.structs.replace(need, captured=False, written=True) for need in needs]))
    finally:
        target.close()


def codes(findings):
    return {(finding.severity, finding.code) for finding in findings}
