"""What makes parked records due before their time: a changed table, another configuration, a new connection."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.model import ColumnShape
from cdcd.parking import cures as parked_cures
from cdcd.parking.cures import Cures
from cdcd.parking.parked import ParkedRecords
from unit.deliver_line import SHAPES, TEXT
from unit.small_line import plan_of

PRODUCT, OURS, CARRIER = (0, b"a"), (0, b"b"), (-1, b"c")


@pytest.fixture
def parked(tmp_path):
    parked = ParkedRecords(tmp_path / "deliver.db", durable=False)
    yield parked
    parked.close()


def cures(parked, text=TEXT):
    return Cures(plan_of(text), "shop", parked)


def park(parked):
    parked.park([(PRODUCT, None), (CARRIER, b"row")], 1, "check", "why")
    parked.park([(OURS, None)], 1, "value-refused", "why")


def due(parked):
    return {one.subject for one in parked.due()}


def test_a_changed_table_may_cure_what_is_written_to_it(parked):
    cures(parked).described(SHAPES)
    park(parked)
    cures(parked).described(SHAPES)
    assert due(parked) == set()
    wider = msgspec.structs.replace(SHAPES["products"], columns=(ColumnShape("sku", "text"),))
    cures(parked).described(SHAPES | {"products": wider})
    assert due(parked) == {PRODUCT, OURS}
    assert parked_cures.known_shapes(parked.note("shapes"))["products"] == wider


def test_a_table_that_appears_may_cure_what_had_none(parked):
    cures(parked).described({"products": SHAPES["products"]})
    park(parked)
    cures(parked).described(SHAPES)
    assert due(parked) == {CARRIER}


def test_another_configuration_may_cure_what_it_writes_otherwise(parked, monkeypatch):
    monkeypatch.setattr(parked_cures, "RECONNECT_SECONDS", 1e12)
    cures(parked).started()
    park(parked)
    parked.put_note("reconnected_at_us", b"1")
    other = TEXT.replace('name = "title"', 'name = { column = "title", truncate = 5 }')
    cures(parked, other).started()
    assert due(parked) == {PRODUCT, OURS}


def test_a_new_connection_may_cure_what_the_server_refused_and_not_what_we_did(parked):
    cures(parked).started()
    park(parked)
    cures(parked).started()
    assert due(parked) == {PRODUCT, CARRIER}


def test_a_connection_that_comes_and_goes_has_nothing_tried_each_time(parked):
    park(parked)
    cures(parked).started()
    parked.put_off(parked.due())
    cures(parked).started()
    assert due(parked) == set()
