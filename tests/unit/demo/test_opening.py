"""The opening state: reproducible, different on both sides, and merged by ownership."""

from random import Random

from demo.opening import BARRIER, Opening, is_kept_open, merge, total
from demo.records import KINDS, OWNERS, empty_books, owner


def test_a_seed_repeats_the_same_state():
    one, other, third = Opening(Random(1), 40), Opening(Random(1), 40), Opening(Random(2), 40)
    assert (one.erp, one.shop) == (other.erp, other.shop)
    assert one.erp != third.erp


def test_every_kind_is_on_both_sides_and_differs_and_some_records_are_alone():
    state = Opening(Random(3), 400)
    for kind in KINDS:
        both = state.erp[kind].keys() & state.shop[kind].keys()
        assert any(state.erp[kind][key] != state.shop[kind][key] for key in both)
    assert state.erp["product"].keys() > state.shop["product"].keys()
    assert state.shop["order"].keys() > state.erp["order"].keys()
    assert state.erp["customer"].keys() - state.shop["customer"].keys()
    assert state.shop["customer"].keys() - state.erp["customer"].keys()


def test_every_reference_leads_to_a_record_on_the_same_side():
    state = Opening(Random(4), 400)
    for books in (state.erp, state.shop):
        assert all(record["customer"] in books["customer"] for record in books["contact"].values())
        assert all(record["customer"] in books["customer"] for record in books["order"].values())
        assert all(record["product"] in books["product"] for record in books["order_line"].values())
        assert all(key[0] in books["order"] for key in books["order_line"])
    assert BARRIER in state.erp["product"].keys() & state.shop["product"].keys()


def test_merging_takes_each_field_from_its_owner():
    state = Opening(Random(5), 400)
    truth = state.truth()
    for kind in ("product", "customer", "contact"):
        for key in state.erp[kind].keys() & state.shop[kind].keys():
            for field in OWNERS[kind]:
                side = state.erp if owner(kind, field) == "erp" else state.shop
                assert truth[kind][key][field] == side[kind][key][field]


def test_merging_takes_an_order_from_the_side_that_its_status_names():
    state = Opening(Random(6), 400)
    truth = state.truth()
    for key in state.erp["order"]:
        mine = state.shop if truth["order"][key]["status"] in ("new", "paid") else state.erp
        assert truth["order"][key]["total"] == mine["order"][key]["total"]
        assert truth["order"][key]["tracking"] == state.erp["order"][key]["tracking"]
        assert truth["order_line"][key, 1]["price"] == mine["order_line"][key, 1]["price"]


def test_a_record_that_its_owner_does_not_have_keeps_what_its_creator_wrote():
    erp, shop = empty_books(), empty_books()
    erp["product"]["A"] = {field: f"erp {field}" for field in OWNERS["product"]}
    assert merge(erp, shop)["product"]["A"] == erp["product"]["A"]


def test_an_orders_total_is_what_its_lines_come_to():
    state = Opening(Random(8), 100)
    for key, record in state.shop["order"].items():
        lines = [line for (number, _), line in state.shop["order_line"].items() if number == key]
        assert record["total"] == total(lines)


def test_some_orders_are_kept_open():
    numbers = Opening(Random(9), 400).shop["order"]
    assert 0 < sum(is_kept_open(str(number)) for number in numbers) < len(numbers) / 5
