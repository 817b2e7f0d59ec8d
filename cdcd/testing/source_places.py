"""What every source must say about places in its log: part of `source_contract`."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

import pytest

from cdcd.model import Op
from cdcd.testing.source_session import ITEM, OTHER, SourceSession, item, summary


class PlacesContract:
    """The part of the suite; `session` is `SourceContract`'s."""

    def test_a_place_is_reached_when_all_that_was_committed_before_was_returned(self, session: SourceSession) -> None:
        reader = session.start()
        session.insert(ITEM, item(1), item(2))
        head = reader.source.status().head
        assert not reader.source.reached(head)
        session.insert(ITEM, item(3))
        reader.read_until(lambda: reader.source.reached(head))
        transactions = session.without_markers(reader.transactions)
        assert summary(transactions)[:1] == [[(Op.INSERT, 1), (Op.INSERT, 2)]]
        session.read_all()
        assert reader.source.reached(head)
        assert all(reader.source.reached(transaction.position) for transaction in reader.transactions)

    def test_an_idle_log_reaches_its_head(self, session: SourceSession) -> None:
        session.harness.create_table(OTHER)
        reader = session.start()
        session.insert(OTHER, {"id": 1, "note": "n"})
        head = reader.source.status().head
        reader.read_until(lambda: reader.source.reached(head))
        assert session.without_markers(reader.transactions) == []

    def test_a_text_that_is_no_place_is_refused(self, session: SourceSession) -> None:
        reader = session.start()
        for text in ("", "yesterday", "a.b:1", "0x7"):
            with pytest.raises(ValueError, match="a place in"):
                reader.source.reached(text)
