"""How long a binlog is kept for what was not read."""

import pytest

from cdcd_mysql.keeping import Limits, Reading, bytes_after, keeping, limits
from cdcd_mysql.positions import LogPosition

NOW = 1_000_000
FILES = [("binlog.000007", 400), ("binlog.000008", 300), ("binlog.000009", 100)]


def read(file: str, offset: int = 4, *, written_at: int = 0, created: int = 0) -> Reading:
    return Reading(LogPosition(file, offset, "1", created), written_at)


def kept(reading: Reading | None, *, keep_seconds: int = 0, size_bytes_max: int = 0):
    return keeping(Limits(keep_seconds, size_bytes_max), FILES, reading, NOW, 0.5)


def test_the_newest_file_is_not_purged_however_old_it_is():
    found = kept(read("binlog.000009", written_at=NOW - 10_000), keep_seconds=1000)
    assert (found.keep_seconds, found.purge_seconds, found.free_ratio) == (1000, 1000, None)


def test_an_older_file_is_purged_so_long_after_it_was_last_written_to():
    assert kept(read("binlog.000008", written_at=NOW - 600), keep_seconds=1000).purge_seconds == 400
    assert kept(read("binlog.000008", written_at=NOW - 6000), keep_seconds=1000).purge_seconds == 0


def test_before_anything_was_read_the_beginning_of_the_file_is_known():
    assert kept(read("binlog.000008", created=NOW - 700), keep_seconds=1000).purge_seconds == 300


def test_nothing_is_said_of_a_file_of_which_no_time_is_known():
    found = kept(read("binlog.000008"), keep_seconds=1000)
    assert (found.keep_seconds, found.purge_seconds) == (1000, None)


def test_a_server_that_purges_nothing_says_so():
    found = kept(read("binlog.000008", written_at=NOW - 600))
    assert (found.keep_seconds, found.purge_seconds, found.free_ratio) == (0, None, None)


def test_a_limit_by_size_counts_our_file_and_all_later_ones():
    assert kept(read("binlog.000009"), size_bytes_max=1000).free_ratio == pytest.approx(0.9)
    assert kept(read("binlog.000008", 299), size_bytes_max=1000).free_ratio == pytest.approx(0.6)
    assert kept(read("binlog.000007"), size_bytes_max=500).free_ratio == 0


def test_of_a_file_that_is_gone_nothing_is_left():
    found = kept(read("binlog.000006", written_at=NOW), keep_seconds=1000, size_bytes_max=10_000)
    assert (found.purge_seconds, found.free_ratio) == (0, 0)


def test_without_a_place_the_clock_and_the_limit_are_known():
    found = kept(None, keep_seconds=1000, size_bytes_max=500)
    assert (found.keep_seconds, found.purge_seconds, found.free_ratio, found.clock_offset_seconds) == (
        1000,
        None,
        None,
        0.5,
    )


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"binlog_expire_logs_seconds": "2592000"}, Limits(2_592_000)),
        ({"binlog_expire_logs_seconds": "0", "expire_logs_days": "10"}, Limits(864_000)),
        ({"expire_logs_days": "0.5"}, Limits(43_200)),
        ({"binlog_expire_logs_seconds": "60", "binlog_expire_logs_auto_purge": "OFF"}, Limits(0)),
        ({"max_binlog_total_size": "1073741824", "binlog_expire_logs_seconds": "0"}, Limits(0, 1 << 30)),
        ({}, Limits()),
    ],
)
def test_limits_are_read_from_what_each_server_calls_them(settings, found):
    assert limits(settings) == found


def test_bytes_after_a_place_are_those_of_its_file_and_of_later_ones():
    assert bytes_after(FILES, LogPosition("binlog.000008", 250, "1")) == 150
    assert bytes_after(FILES, LogPosition("binlog.000009", 100, "1")) == 0
