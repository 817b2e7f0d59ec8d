"""What every source must say about how long its log is kept: part of `source_contract`."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from cdcd.adapter import LogKeeping
from cdcd.testing.source_session import ITEM, SourceSession, item

_CLOCK_SECONDS_MAX = 30.0


def _require_sense(found: LogKeeping) -> None:
    assert found.free_ratio is None or 0 <= found.free_ratio <= 1
    assert found.keep_seconds is None or found.keep_seconds >= 0
    assert found.purge_seconds is None or found.keep_seconds, "purged for its age, but kept at any age"
    assert found.purge_seconds is None or found.purge_seconds >= 0
    assert found.clock_offset_seconds is not None
    assert abs(found.clock_offset_seconds) < _CLOCK_SECONDS_MAX, "the server's clock is ours in tests"


class KeepingContract:
    """The part of the suite; `session` is `SourceContract`'s."""

    def test_a_source_tells_how_long_the_log_is_kept_before_it_is_read(self, session: SourceSession) -> None:
        source = session.harness.open_source(ITEM)
        try:
            _require_sense(source.log_keeping())
        finally:
            source.close()

    def test_a_source_that_reads_what_there_is_has_time_and_room_left(self, session: SourceSession) -> None:
        reader = session.start()
        session.insert(ITEM, item(1))
        session.read_all()
        found = reader.source.log_keeping()
        _require_sense(found)
        assert found.slot_state in ("", "reserved", "extended")
        assert found.free_ratio is None or found.free_ratio > 0
        assert found.purge_seconds is None or found.purge_seconds > 0
        assert reader.source.status().silent_seconds < _CLOCK_SECONDS_MAX
