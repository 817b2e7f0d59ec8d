"""Which rows belong to a record: by its key, its local ids, what hangs on it; not what it only refers to."""

from __future__ import annotations

from cdcd.forgetting.rows import RowFinder
from cdcd.model import ABSENT, Op, Relation, Rows
from cdcd.resolve.keys import encode_key
from unit.small_line import plan_of

PERSON = """
[entities.person]
key = ["email"]
create = ["shop"]
[entities.person.fields]
email = { type = "text" }
name = { type = "text", owner = "shop" }
street = { type = "text", owner = "shop" }
phone = { type = "text", owner = "shop" }
kind = { type = "text", owner = "shop" }
[entities.person.in.erp]
table = "party"
id = "id"
xref = true
[entities.person.in.erp.parts]
user = { table = "account", at = "account_id", write = "row" }
address = { table = "address", parent = "party_id" }
kind = { table = "kind", at = "kind_id", write = "refer" }
[entities.person.in.erp.columns]
name = "name"
street = "address.street"
phone = "user.phone"
kind = "kind.code"
[entities.person.in.shop]
table = "people"
columns = { email = "mail", name = "name" }
"""
PARTY = Relation("party", ("id", "name", "account_id", "kind_id"), ("integer", "text", "integer", "integer"), (0,))
ACCOUNT = Relation("account", ("id", "phone"), ("integer", "text"), (0,))
ADDRESS = Relation("address", ("id", "party_id", "street"), ("text", "text", "text"), (0,))
KIND = Relation("kind", ("id", "code"), ("integer", "text"), (0,))
XREF = Relation("cdcd_xref", ("entity", "key", "id"), ("text", "text", "text"), (0, 1))
PEOPLE = Relation("people", ("number", "mail", "name"), ("integer", "text", "text"), (0,))


def finder(known: dict[str, set[tuple[str, ...]]] | None = None) -> RowFinder:
    plan = plan_of(PERSON)
    person = plan.entities["person"]
    ids = {person.number << 8 | plan.vocabulary.systems.index(system): found for system, found in (known or {}).items()}
    return RowFinder(plan, person.number, [encode_key(["erika@example.org"])], ids)


def test_rows_of_parts_are_found_by_what_they_hang_on_in_whatever_order_they_come():
    found = finder({"erp": {("7",)}})
    rows = [(ACCOUNT, [3, "555"]), (ADDRESS, ["a", "7", "High St"]), (PARTY, [7, "Erika", 3, 9]), (KIND, [9, "vip"])]
    others = [(ACCOUNT, [4, "556"]), (ADDRESS, ["b", "8", "Low St"]), (PARTY, [8, "Kim", 4, 9])]
    first = [found.matches("erp", relation, row) for relation, row in rows]
    assert first == [False, True, True, False], "the account is known by the party that comes behind it"
    assert [found.matches("erp", relation, row) for relation, row in rows] == [True, True, True, False]
    assert not any(found.matches("erp", relation, row) for relation, row in others)
    assert found.matches("erp", ADDRESS, ["a", ABSENT, ABSENT]), "a delete that names only the row"


def test_a_kept_business_key_leads_to_the_row():
    found = finder()
    assert not found.matches("erp", PARTY, [7, "Erika", 3, 9])
    assert found.matches("erp", XREF, ["person", "erika@example.org", "7"])
    assert found.matches("erp", PARTY, [7, "Erika", 3, 9])


def test_a_row_is_known_by_its_key_as_it_is_read_and_from_then_on_by_its_id():
    found = finder()
    assert found.matches("shop", PEOPLE, [5, "erika@example.org", "Erika"])
    assert found.matches("shop", PEOPLE, [5, ABSENT, ABSENT])
    assert not found.matches("shop", PEOPLE, [6, "kim@example.org", "Kim"])
    assert not found.matches("erp", PEOPLE, [5, "erika@example.org", "Erika"]), "another system's table"


def test_a_run_is_left_without_its_rows_old_ones_counting_too():
    found = finder()
    run = Rows(
        PEOPLE,
        Op.UPDATE,
        [[1, "kim@example.org", "K"], [5, "new@example.org", "E"], [6, "x@example.org", "X"]],
        [None, [4, "erika@example.org", "E"], None],
    )
    left = found.without("shop", run)
    assert left is not None
    assert ([row[0] for row in left.rows], left.olds) == ([1, 6], [None, None])
    assert found.without("shop", left) is None
    assert found.without("shop", Rows(KIND, Op.INSERT, [[1, "x"]])) is None
