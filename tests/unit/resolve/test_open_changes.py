"""Records that change often are written once a step, and whatever changes, what is open stays bounded."""

from __future__ import annotations

import pytest

from cdcd.resolve import open_changes, reading
from cdcd.resolve import resolver as resolver_module
from cdcd.resolve.suspension import CannotRead
from unit.resolve.test_resolver import ROW
from unit.small_line import SmallLine, insert, update


@pytest.fixture
def hot(products: SmallLine) -> SmallLine:
    """Three products, and forty transactions that change them."""
    products.apps["erp"].write(*[insert("item", id=n, **ROW | {"code": f"P{n}"}) for n in range(3)])
    products.resolve()
    for n in range(40):
        products.apps["erp"].write(*[update("item", i, stock=100 + n) for i in range(3)])
    return products


def written(line: SmallLine) -> tuple[int, int]:
    """How many golden records a step writes, and how many commits it makes."""
    found: list[str] = []
    line.state.connection.set_trace_callback(found.append)
    try:
        assert line.resolver.step()
    finally:
        line.state.connection.set_trace_callback(None)
    return sum("INTO golden" in sql for sql in found), found.count("COMMIT")


def stocks(line: SmallLine) -> list[int]:
    return [line.values("product", f"P{n}")["stock"] for n in range(3)]


def test_records_that_change_often_are_written_once_a_step(hot):
    assert written(hot) == (3, 1)
    assert stocks(hot) == [139] * 3


def test_a_step_about_the_same_few_records_goes_on_beyond_what_is_read_at_once(hot, monkeypatch):
    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 5)
    assert written(hot) == (3, 1)
    assert hot.state.position == hot.journal.last_seq()


def test_such_a_step_has_an_end(hot, monkeypatch):
    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 5)
    monkeypatch.setattr(resolver_module, "STEP_ROWS", 20)
    assert written(hot) == (3, 1)
    assert hot.state.position == hot.journal.last_seq() - 30


def test_a_step_about_ever_other_records_does_not_go_on(products, monkeypatch):
    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 5)
    for n in range(20):
        products.apps["erp"].write(insert("item", id=n, **ROW | {"code": f"P{n}"}))
    assert written(products) == (5, 1)


def test_records_that_change_often_leave_the_memory_when_they_are_long(hot, monkeypatch):
    monkeypatch.setattr(open_changes, "OPEN_BYTES", 2_500)
    for n in range(10):
        hot.apps["erp"].write(*[update("item", i, note=f"{n}" * 1_000) for i in range(3)])
    found, _ = written(hot)
    assert 20 < found <= 30
    assert stocks(hot) == [139] * 3


def test_what_cannot_be_read_ends_a_step_that_goes_on_before_it(hot, monkeypatch):
    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 5)
    begun = hot.state.position
    read = reading.RowReader.read

    def refuses(self, source, run, written):
        if self.moment.seq > begun + 17:
            raise CannotRead("product", "for a test")
        read(self, source, run, written)

    monkeypatch.setattr(reading.RowReader, "read", refuses)
    hot.resolver.step()
    assert hot.state.position == begun + 17
    assert stocks(hot) == [116] * 3
