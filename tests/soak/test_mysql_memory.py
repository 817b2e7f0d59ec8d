"""A transaction of a million rows goes through capture in bounded memory, also compressed."""

import resource

import pytest

from cdcd.model import Commit, Rows
from contract.mysql_harness import OnMySql
from integration.mysql_reading import NUMBERS, harness, opened, server  # noqa: F401 (fixtures)

ROWS = 1 << 20
DOUBLING = "INSERT INTO t SELECT id + (SELECT count(*) FROM t), v, n FROM t"
GROWTH_MAX_KIB = 100 << 10
TIMEOUT_POLLS = 100_000


def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fill(harness):
    harness.sql(NUMBERS, "INSERT INTO t VALUES (0, repeat('v', 60), 0)", *[DOUBLING] * 20)


def read_through(reader, rows):
    """Poll without keeping anything; return rows read, and the most in one poll."""
    count = largest = 0
    for _ in range(TIMEOUT_POLLS):
        events = reader.source.poll()
        size = sum(len(event.rows) for event in events if isinstance(event, Rows))
        count, largest = count + size, max(largest, size)
        if any(isinstance(event, Commit) for event in events) and count >= rows:
            return count, largest
        if not events:
            reader.wait(1)
    raise AssertionError(f"{count} rows")


def check(harness, opened, *session):
    fill(harness)
    reader = opened(harness)
    harness.sql(*session, "UPDATE t SET n = n + 1")
    before = peak_kib()
    count, largest = read_through(reader, ROWS)
    assert count == ROWS
    assert largest < 100_000
    assert peak_kib() - before < GROWTH_MAX_KIB, f"from {before} KiB by {peak_kib() - before}"
    print(f"{count} rows, at most {largest} in a poll, {before} KiB before and {peak_kib()} KiB after")


def test_a_million_rows_in_one_transaction(harness, opened):
    check(harness, opened)


def test_a_million_prepared_rows(harness, opened):
    fill(harness)
    reader = opened(harness)
    harness.prepare("x", "UPDATE t SET n = n + 1")
    harness.sql("XA COMMIT 'x'")
    before = peak_kib()
    assert read_through(reader, ROWS)[0] == ROWS
    assert peak_kib() - before < GROWTH_MAX_KIB


class TestMySql(OnMySql):
    @pytest.mark.parametrize("compression", ["ON", "OFF"])
    def test_a_million_rows_in_one_transaction_of_mysql(self, harness, opened, compression):
        check(harness, opened, f"SET SESSION binlog_transaction_compression = {compression}")
