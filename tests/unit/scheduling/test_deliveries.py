"""Deliveries as they are configured and as they stand."""

from cdcd import pause_switches
from cdcd.config import Deliver
from cdcd.scheduling import deliveries, schedule
from cdcd.scheduling.deliveries import Delivery, Owed
from cdcd.scheduling.owed import Owing
from cdcd.scheduling.schedule import Run
from unit.small_line import load

TEXT = """
[entities.order]
key = ["number"]
create = ["shop"]
fields = { number = { type = "text" }, customer = { type = "ref(customer)", owner = "shop" } }
children.lines = { key = ["no"], fields = { no = { type = "integer" }, product = { type = "ref(product)", owner = "shop" } } }
[entities.order.in.erp]
table = "sale"
columns = { number = "number", customer = "customer_id" }
children.lines = { table = "sale_line", parent = "sale_id", columns = { no = "no", product = "item_id" } }
[entities.order.in.shop]
table = "orders"
columns = { number = "number", customer = "customer_id" }
children.lines = { table = "order_lines", parent = "order_id", columns = { no = "no", product = "product_id" } }
[entities.customer]
key = ["number"]
fields = { number = { type = "text", owner = "erp" }, group = { type = "ref(group)", owner = "erp" } }
in.erp = { table = "partner", columns = { number = "no", group = "group_id" } }
in.shop = { table = "customers", columns = { number = "no", group = "group_id" }, deliver = { schedule = "every 5m" } }
[entities.group]
key = ["name"]
fields = { name = { type = "text", owner = "erp" }, best = { type = "ref(customer)", owner = "erp" } }
in.erp = { table = "grp", columns = { name = "name", best = "best_id" } }
in.shop = { table = "grps", columns = { name = "name", best = "best_id" } }
[entities.product]
key = ["sku"]
fields = { sku = { type = "text", owner = "erp" } }
in.erp = { table = "item", columns = { sku = "code" } }
in.shop = { table = "products", columns = { sku = "sku" } }
"""
NOW = 20_000 * schedule.DAY_US
NIGHTLY = Deliver("0 2 * * *")


def test_what_is_referred_to_comes_first_also_by_children_and_by_way_of_others():
    listed = deliveries.of_config(load(TEXT))
    after = {delivery.entity: delivery.after for delivery in listed}
    assert after["order"] == {"customer", "group", "product"}
    assert after["product"] == frozenset()
    names = list(after)
    assert all(names.index(other) < names.index(name) for name in names for other in after[name])


def test_entities_that_refer_to_one_another_do_not_wait_for_one_another():
    after = {delivery.entity: delivery.after for delivery in deliveries.of_config(load(TEXT))}
    assert not ("customer" in after["group"] and "group" in after["customer"])


def test_every_binding_has_its_own_schedule():
    texts = {(d.system, d.entity): d.text for d in deliveries.of_config(load(TEXT))}
    assert texts["shop", "customer"] == "every 5m"
    assert texts["erp", "customer"] == "realtime"
    at_once = deliveries.of_config(deliveries.at_once(load(TEXT)))
    assert {d.text for d in at_once} == {"realtime"}


def test_children_are_counted_with_their_parent():
    owing = [
        Owing("shop", "order", 0, 5, held=False),
        Owing("shop", "order.lines", 3, 20, held=False),
        Owing("shop", "product", 2, 30, held=False),
        Owing("shop", "product", 4, 10, held=True),
    ]
    owed = deliveries.owed_by_family(owing)
    assert owed["shop", "order"] == Owed(3, 20, held=False)
    assert owed["shop", "product"] == Owed(6, 10, held=True)


def delivery(deliver: Deliver) -> Delivery:
    return Delivery("shop", "product", deliver.schedule, schedule.compiled(deliver))


def test_a_delivery_stands_still_until_its_time_and_says_when_that_is():
    stands = deliveries.standing(delivery(NIGHTLY), Owed(5, NOW - 9), {}, NOW)
    assert (stands.records, stands.since_us, stands.open, stands.held) == (5, NOW - 9, False, False)
    assert stands.next_run_us == NOW + 2 * 3_600_000_000


def test_a_run_is_open_unless_it_is_paused():
    nightly = delivery(NIGHTLY)
    controls = {deliveries.control_of(nightly): deliveries.stored(Run(NOW, NOW, 5, requested=True))}
    stands = deliveries.standing(nightly, Owed(7, NOW), controls, NOW)
    assert (stands.open, stands.left, stands.begun_us, stands.requested) == (True, 5, NOW, True)
    paused = controls | {pause_switches.of_system("shop"): "1"}
    assert not deliveries.standing(nightly, Owed(7, NOW), paused, NOW).open


def test_what_is_owed_after_a_run_was_not_owed_before_it():
    nightly = delivery(NIGHTLY)
    for left, since_us in ((0, NOW - 50), (3, NOW - 100)):
        controls = {deliveries.control_of(nightly): deliveries.stored(Run(NOW - 50, NOW - 50, left))}
        assert deliveries.standing(nightly, Owed(3, NOW - 100), controls, NOW).since_us == since_us


def test_only_what_is_told_later_is_shown():
    listed = [delivery(Deliver()), delivery(NIGHTLY)]
    shown = deliveries.standings(listed, "shop", {}, {}, NOW)
    assert [(stands.schedule, stands.since_us) for stands in shown] == [("0 2 * * *", 0)]
    held = {pause_switches.of_entity("shop", "product"): "an operator"}
    assert len(deliveries.standings(listed, "shop", {}, held, NOW)) == 2
    assert len(deliveries.standings(listed, "shop", {("shop", "product"): Owed(1, NOW)}, {}, NOW)) == 2
    assert deliveries.standings(listed, "erp", {}, held, NOW) == ()
