"""A large first copy is settled over several commits: targets are told of the first records while the last ones are settled."""

from __future__ import annotations

import pytest

from cdcd.resolve import copying, seeding
from cdcd.resolve.runs import RunDecider
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES, MakeLine
from unit.small_line import SmallLine, Told, update

STATE = ("golden", "trail", "trail_keys", "seeds", "phases", "conflicts")
ROW = {"name": "one", "state": "active", "stock": 5, "note": "n", "web": "erp's"}


def hold(line: SmallLine, count: int) -> None:
    """So many products that only the ERP has, or nearly so, from before cdcd."""
    for number in range(count):
        code = f"P{number:02}"
        line.apps["erp"].rows["item"][number] = {"id": number, "code": code, **ROW}
        if number % 5 == 4:
            shown = {"sku": code, "title": "shop's", "status": "active", "stock": 5, "note": "n", "body": "shop's"}
            line.apps["shop"].rows["products"][number] = {"id": number, **shown}


def told(line: SmallLine) -> list[list[Told]]:
    return [line.told(system) for system in ("erp", "shop")]


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "PAGE_RECORDS", 2)
    monkeypatch.setattr(copying, "SETTLE_PAGES", 2)


@pytest.fixture
def copied(make_line: MakeLine, small_commits: None) -> SmallLine:
    """A line that has read everything, has settled the first records and not the others."""
    line = make_line(PRODUCT, PRODUCT_TABLES, live=False)
    hold(line, 10)
    for app in line.apps.values():
        for table in app.relations:
            app.copy(table)
    line.apps["erp"].write(update("item", id=3, code="P03", **ROW | {"stock": 6}))
    assert line.resolver.step()
    return line


def test_the_first_records_are_told_before_the_last_ones_are_settled(copied):
    assert len(copied.told("shop")) == 4
    assert copied.phase("product") == "seeding"
    assert copied.resolver.step()
    assert len(copied.told("shop")) == 4
    copied.resolve()
    assert [t.key for t in copied.told("shop")] == [("P08",), ("P09",), ("P03",)]
    assert copied.phase("product") == "live"


def test_until_all_is_settled_the_entry_that_completed_the_copies_is_not_resolved(copied):
    last = copied.journal.last_seq()
    positions = [copied.resolver.position]
    while copied.resolver.step():
        positions.append(copied.resolver.position)
        assert copied.state.position == copied.resolver.position
    assert positions == [last - 2, last - 2, last - 1, last]


def test_it_goes_on_where_it_was_after_a_restart(copied):
    before = told(copied)
    copied.start()
    copied.resolve()
    assert [len(one) for one in before + told(copied)] == [0, 4, 2, 7]
    assert copied.phase("product") == "live"


def test_a_commit_that_fails_on_the_way_changes_nothing_and_is_done_again(copied, monkeypatch):
    before = [copied.dump(table) for table in STATE]
    with monkeypatch.context() as patch:
        patch.setattr(RunDecider, "settle_run", lambda *_arguments, **_named: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            copied.resolver.step()
    assert [copied.dump(table) for table in STATE] == before
    copied.resolve()
    assert len(copied.told("shop")) == 11
    assert copied.values("product", "P03")["stock"] == 6


def test_an_entity_that_the_configuration_has_no_more_keeps_nobody_waiting(copied):
    copied.start(PRODUCT.replace("product", "article"))
    copied.resolve()
    assert copied.resolver.position == copied.journal.last_seq()


@pytest.mark.parametrize(("text", "tables"), [(PRODUCT, PRODUCT_TABLES), (ORDER, ORDER_TABLES)])
def test_what_comes_of_many_commits_is_what_comes_of_one(make_line, text, tables, monkeypatch):
    lines = []
    for commits in ("one", "many"):
        if commits == "many":
            monkeypatch.setattr(copying, "SETTLE_PAGES", 1)
        monkeypatch.setattr(seeding, "PAGE_RECORDS", 2)
        line = make_line(text, tables, live=False)
        if text == PRODUCT:
            hold(line, 10)
        else:
            hold_orders(line)
        line.go_live()
        lines.append(line)
    assert [lines[0].dump(table) for table in STATE] == [lines[1].dump(table) for table in STATE]
    assert told(lines[0]) == told(lines[1])
    assert lines[0].dump("golden")


def hold_orders(line: SmallLine) -> None:
    """Orders with their lines, which are settled after their customers and their orders."""
    erp, shop = line.apps["erp"].rows, line.apps["shop"].rows
    for number in range(7):
        erp["partner"][number] = {"id": number, "no": f"C{number}", "name": "n"}
        shop["customers"][number] = {"id": number, "number": f"C{number}", "name": "m"}
        order = {"id": number, "number": f"O{number}", "customer_id": number, "status": "new", "total": "1.00"}
        shop["orders"][number] = order | {"tracking": None}
        shop["order_items"][number] = {"id": number, "order_id": number, "position": 1, "quantity": 2}
