"""A MySQL or MariaDB source under test, as fixtures: a module imports `server`, `harness` and `opened` to have them."""

import contextlib

import msgspec
import pytest

from cdcd.adapter import TableNeed
from cdcd.errors import CdcdError
from cdcd.testing.servers import mysql_family_server
from cdcd.testing.stream import StreamReader
from contract.mysql_harness import PrivateHarness

NUMBERS = "CREATE TABLE t (id int PRIMARY KEY, v varchar(100), n int)"


@pytest.fixture(scope="module")
def server():
    """A server that tests may restart, kill and reconfigure, if they put it back."""
    with mysql_family_server(settings={"max-allowed-packet": "256M"}) as server:
        yield server


@pytest.fixture
def harness(server):
    harness = PrivateHarness(server)
    yield harness
    harness.dispose()


@pytest.fixture
def opened():
    """Opens sources, and closes them at the end."""
    with contextlib.ExitStack() as stack:

        def open_source(harness, after=None, tables=("t",), needs=None, **options):
            chosen = msgspec.structs.replace(harness.options, **options)
            needs = needs or [TableNeed(table) for table in tables]
            source = harness.adapter.open_source(harness.identity, chosen, needs)
            stack.callback(source.close)
            return StreamReader(source, after)

        yield open_source


def read_changes(reader, count):
    reader.read_until(lambda: sum(len(entry.changes) for entry in reader.transactions) >= count)
    return [(change.op, change.row) for entry in reader.transactions for change in entry.changes]


def read_error(reader):
    with pytest.raises(CdcdError) as caught:
        reader.read_until(lambda: False)
    return caught.value
