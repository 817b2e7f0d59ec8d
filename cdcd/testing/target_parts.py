"""What every target must do for records that lie in several tables: a part of `TargetContract`."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from typing import Final

from cdcd.adapter import TableNeed
from cdcd.model import XREF_TABLE, Lookup, Row, TableWrite, Value, Where, WriteKind
from cdcd.testing.harness import Column, Reference, Table
from cdcd.testing.target_session import (
    CUSTOMER,
    DELETE,
    ORDER,
    UPDATE,
    UPSERT,
    TargetSession,
    create_orders,
    customers_of_orders,
)

AUTOMATIC: Final = Column("id", nullable=False, automatic=True)
POST = Table("post", (AUTOMATIC, Column("sku", "text(30)", nullable=False)), ("id",), (("sku",),))
META = Table(
    "postmeta",
    (AUTOMATIC, Column("post_id"), Column("name", "text(30)"), Column("content", "text(60)"), Column("place")),
    ("id",),
    (),
    (Reference("post_id", "post", "id"),),
)
TEMPLATE = Table("template", (AUTOMATIC, Column("title", "text(60)"), Column("unit", "text(10)")), ("id",))
VARIANT = Table(
    "variant",
    (AUTOMATIC, Column("template_id"), Column("code", "text(30)", nullable=False)),
    ("id",),
    (("code",),),
    (Reference("template_id", "template", "id"),),
)
PARTY = Table("party", (AUTOMATIC, Column("name", "text(60)")), ("id",))
CONTACT = Table(
    "contact",
    (AUTOMATIC, Column("party_id"), Column("kind", "text(10)"), Column("content", "text(60)")),
    ("id",),
    (),
    (Reference("party_id", "party", "id"),),
)
XREF = Table(
    XREF_TABLE,
    (
        Column("entity", "text(64)", nullable=False),
        Column("key", "text(700)", nullable=False),
        Column("id", "text(255)", nullable=False),
    ),
    ("entity", "key"),
)
PRICE: Final = (Where("name", ("_price",)),)
MAIL: Final = (Where("kind", ("email",)),)


class PartsContract:
    """The suite."""

    # ---- lookups -----------------------------------------------------------------------------------------------------

    def test_a_key_column_of_a_lookup_may_be_looked_up_itself(self, session: TargetSession) -> None:
        create_orders(session)
        session.harness.create_table(VARIANT_ORDER)
        by_mail = session.lookup("customer_id", CUSTOMER, "email")
        for email in ("a@x", "b@x"):
            _orders(session, by_mail, [["same " + email, email]])
        lookup = _nested(session, Lookup("order_id", "", ("customer_id", "number"), "id", nested=(by_mail,)), ORDER)
        rows: list[Row] = [[1, ["b@x", "same b@x"]], [2, ["a@x", "same a@x"]], [3, None]]
        session.apply(session.write(UPSERT, VARIANT_ORDER, ("id",), ("id", "order_id"), rows, lookups=(lookup,)))
        numbers = {row["id"]: row["number"] for row in session.rows(ORDER)}
        found = [None if row["order_id"] is None else numbers[row["order_id"]] for row in session.rows(VARIANT_ORDER)]
        assert found == ["same b@x", "same a@x", None]
        for bad in (["a@x", "same b@x"], ["nobody", "same a@x"], [None, "same a@x"]):
            error = session.refuse(
                session.write(UPSERT, VARIANT_ORDER, ("id",), ("id", "order_id"), [[9, bad]], lookups=(lookup,))
            )
            assert (error.code, error.rows) == ("reference-missing", ((0, 0),))

    def test_only_rows_that_count_are_found(self, session: TargetSession) -> None:
        create_orders(session)
        lookup = Lookup(
            "customer_id", session.harness.full_name(CUSTOMER), ("email",), "id", (Where("country", ("de", "fr")),)
        )
        _orders(session, lookup, [["n1", "a@x"]])
        assert customers_of_orders(session) == {"n1": "a@x"}
        with_note = Lookup(
            "customer_id", session.harness.full_name(ORDER), ("number",), "customer_id", (Where("note", (None,)),)
        )
        _orders(session, with_note, [["n2", "n1"]])
        assert customers_of_orders(session) == {"n1": "a@x", "n2": "a@x"}
        assert session.refuse(_order_write(session, lookup, [["n3", "b@x"]])).rows == ((0, 0),)

    def test_a_row_may_be_found_by_constants_alone(self, session: TargetSession) -> None:
        create_orders(session)
        lookup = Lookup("customer_id", session.harness.full_name(CUSTOMER), (), "id", (Where("country", ("jp",)),))
        _orders(session, lookup, [["n1", []], ["n2", []], ["n3", None]])
        assert customers_of_orders(session) == {"n1": "b@x", "n2": "b@x", "n3": None}

    def test_of_several_rows_the_first_is_found_or_else_they_are_refused(self, session: TargetSession) -> None:
        create_orders(session)
        session.insert(CUSTOMER, {"country": "de", "email": "c@x"}, {"country": "de", "email": "b2@x"})
        by_country = session.lookup("customer_id", CUSTOMER, "country")
        error = session.refuse(_order_write(session, by_country, [["n1", "jp"], ["n2", "de"]]))
        assert (error.code, error.rows) == ("reference-ambiguous", ((0, 1),))
        table = session.harness.full_name(CUSTOMER)
        orders: dict[Value, tuple[tuple[str, bool], ...]] = {
            "id": (),
            "up": (("email", False),),
            "down": (("email", True),),
        }
        for number, first_by in orders.items():
            _orders(session, Lookup("customer_id", table, ("country",), "id", first_by=first_by), [[number, "de"]])
        assert customers_of_orders(session) == {"id": "a@x", "up": "a@x", "down": "c@x"}

    def test_null_comes_last_in_whichever_order(self, session: TargetSession) -> None:
        _create_posts(session)
        post = session.rows(POST)[0]["id"]
        metas = [{"post_id": post, "name": name, "place": place} for name, place in (("x", None), ("y", 2), ("z", 10))]
        session.insert(META, *metas)
        names = {row["id"]: row["name"] for row in session.rows(META)}
        session.harness.create_table(VARIANT_ORDER)
        for number, descends in enumerate((False, True)):
            lookup = Lookup(
                "order_id", session.harness.full_name(META), ("post_id",), "id", first_by=(("place", descends),)
            )
            rows: list[Row] = [[number, post]]
            session.apply(session.write(UPSERT, VARIANT_ORDER, ("id",), ("id", "order_id"), rows, lookups=(lookup,)))
        assert [names[row["order_id"]] for row in session.rows(VARIANT_ORDER)] == ["y", "z"]

    # ---- rows that no unique key names -------------------------------------------------------------------------------

    def test_a_row_without_a_unique_key_is_made_once_and_then_changed(self, session: TargetSession) -> None:
        _create_posts(session)
        session.insert(META, {"post_id": session.rows(POST)[0]["id"], "name": "_other", "content": "left"})
        for content in ("1", "2", "2"):
            for _ in range(2):
                session.apply(_prices(session, UPSERT, [["a", content], ["b", content]]))
                assert _metas(session) == [("a", "_other", "left"), ("a", "_price", content), ("b", "_price", content)]
        assert len(session.rows(META)) == 3

    def test_many_rows_without_a_unique_key_are_made_and_changed(self, session: TargetSession) -> None:
        _create_posts(session, *(f"p{number}" for number in range(40)))
        for first in (20, 0):
            session.apply(_prices(session, UPSERT, [[f"p{number}", f"{first}"] for number in range(first, 40)]))
        assert _metas(session) == sorted((f"p{number}", "_price", "0") for number in range(40))

    def test_a_row_without_a_unique_key_is_made_for_a_parent_of_the_same_batch(self, session: TargetSession) -> None:
        _create_posts(session)
        parent = session.write(UPSERT, POST, ("sku",), ("sku",), [["new"]])
        session.apply(parent, _prices(session, UPSERT, [["new", "5"]]))
        assert _metas(session) == [("new", "_price", "5")]
        assert session.refuse(_prices(session, UPSERT, [["a", "5"], ["nobody", "5"]])).rows == ((0, 1),)

    def test_an_update_of_such_a_row_reports_what_is_missing(self, session: TargetSession) -> None:
        _create_posts(session)
        session.apply(_prices(session, UPSERT, [["b", "1"]]))
        assert session.apply(_prices(session, UPDATE, [["a", "2"], ["b", "2"]])) == ((0, 0),)
        assert _metas(session) == [("b", "_price", "2")]

    def test_duplicates_of_such_a_row_are_refused_and_named_unless_one_is_first(self, session: TargetSession) -> None:
        _create_posts(session)
        post = session.rows(POST)[1]["id"]
        session.insert(META, *({"post_id": post, "name": "_price", "content": "1", "place": n} for n in (2, 1)))
        error = session.refuse(_prices(session, UPSERT, [["a", "2"], ["b", "2"]]))
        assert (error.code, error.rows) == ("reference-ambiguous", ((0, 1),))
        session.apply(_prices(session, UPSERT, [["b", "2"]], first_by=(("place", False),)))
        assert sorted(str(row[2]) for row in _metas(session)) == ["1", "2"]
        assert [row["content"] for row in session.rows(META) if row["place"] == 1] == ["2"]

    def test_a_delete_takes_all_rows_that_count_and_no_other(self, session: TargetSession) -> None:
        _create_posts(session)
        a, b = (row["id"] for row in session.rows(POST))
        session.insert(META, *({"post_id": post, "name": name} for post in (a, b) for name in ("_price", None)))
        session.insert(META, {"post_id": a, "name": "_price"})
        parent = (session.lookup("post_id", POST, "sku"),)
        for name in ("_price", None):
            doomed = session.write(DELETE, META, ("post_id",), ("post_id",), [["a"], ["nobody"]], lookups=parent)
            doomed.where = (Where("name", (name,)),)
            session.apply(doomed)
            assert (("a", name, None) in _metas(session)) is False
        assert {row[0] for row in _metas(session)} == {"b"}

    def test_a_row_with_the_key_that_does_not_count_is_not_touched(self, session: TargetSession) -> None:
        session.harness.create_table(CUSTOMER)
        session.insert(CUSTOMER, {"country": "xx", "email": "a@x"}, {"country": "de", "email": "b@x"})
        before = session.rows(CUSTOMER)

        def german(kind: WriteKind, *emails: str) -> TableWrite:
            columns = ("email",) if kind is DELETE else ("email", "country")
            rows: list[Row] = [[*([email, "de"][: len(columns)])] for email in emails]
            write = session.write(kind, CUSTOMER, ("email",), columns, rows, insert_only=("country",))
            write.where = (Where("country", ("de", "at")),)
            return write

        session.refuse(german(UPSERT, "a@x"))
        assert session.apply(german(UPDATE, "a@x", "b@x")) == ((0, 0),)
        session.apply(german(DELETE, "a@x"))
        assert session.rows(CUSTOMER) == before
        session.apply(german(UPSERT, "b@x", "c@x"))
        session.apply(german(DELETE, "b@x"))
        assert [row["email"] for row in session.rows(CUSTOMER)] == ["a@x", "c@x"]

    # ---- rows whose key is elsewhere ---------------------------------------------------------------------------------

    def test_a_row_found_through_another_is_made_once_with_it_and_then_changed(self, session: TargetSession) -> None:
        _create_parties(session)
        for name in ("new", "newer"):
            for _ in range(2):
                session.apply(*_parties(session, ["a@x", name], ["c@x", name], ["d@x", name]))
                assert _mails(session) == {"a@x": name, "b@x": "B", "c@x": name, "d@x": name}
        assert len(session.rows(PARTY)) == len(session.rows(CONTACT)) == 4

    def test_rows_that_refer_to_one_found_through_another_find_it_in_the_same_batch(
        self, session: TargetSession
    ) -> None:
        _create_parties(session)
        session.harness.create_table(VARIANT_ORDER)
        rows: list[Row] = [[1, "new@x"], [2, "b@x"]]
        lookups = (_by_mail(session, "order_id"),)
        refers = session.write(UPSERT, VARIANT_ORDER, ("id",), ("id", "order_id"), rows, lookups=lookups)
        session.apply(*_parties(session, ["new@x", "N"]), refers)
        names = {row["id"]: row["name"] for row in session.rows(PARTY)}
        assert [names[row["order_id"]] for row in session.rows(VARIANT_ORDER)] == ["N", "B"]

    def test_an_update_of_a_row_found_through_another_reports_what_is_missing(self, session: TargetSession) -> None:
        _create_parties(session)
        assert session.apply(_party(session, UPDATE, ["nobody", "x"], ["b@x", "x"])) == ((0, 0),)
        assert _mails(session) == {"a@x": "A", "b@x": "x"}

    def test_a_row_is_deleted_after_the_one_it_is_found_through(self, session: TargetSession) -> None:
        _create_parties(session)
        contacts = session.write(
            DELETE,
            CONTACT,
            ("party_id",),
            ("party_id",),
            [["a@x"], ["nobody"]],
            lookups=(_by_mail(session, "party_id"),),
        )
        for _ in range(2):
            assert session.apply(contacts, _party(session, DELETE, ["a@x"], ["nobody"])) == ()
            assert [row["name"] for row in session.rows(PARTY)] == ["B"]
            assert _mails(session) == {"b@x": "B"}

    def test_what_a_row_was_found_through_may_change_before_all_is_written(self, session: TargetSession) -> None:
        _create_parties(session)
        session.insert(CONTACT, {"party_id": session.rows(PARTY)[0]["id"], "kind": "phone", "content": "1"})
        parent = _by_mail(session, "party_id")
        mail = Lookup("id", parent.table, ("party_id", "content"), "id", MAIL, (parent,))
        phone = Lookup("id", parent.table, ("party_id",), "id", (Where("kind", ("phone",)),), (parent,))
        new_mail: list[Row] = [[["a@x", "a@x"], "new@x"]]
        writes = [
            _party(session, UPDATE, ["a@x", "renamed"]),
            session.write(UPDATE, CONTACT, ("id",), ("id", "content"), new_mail, lookups=(mail,)),
            session.write(UPDATE, CONTACT, ("id",), ("id", "content"), [["a@x", "2"]], lookups=(phone,)),
        ]
        for write in writes:
            write.numbers_new = True
        assert session.apply(*writes) == ()
        assert _mails(session) == {"new@x": "renamed", "2": "renamed", "b@x": "B"}

    def test_a_row_found_through_two_is_refused(self, session: TargetSession) -> None:
        _create_parties(session)
        session.insert(CONTACT, {"party_id": session.rows(PARTY)[1]["id"], "kind": "email", "content": "a@x"})
        error = session.refuse(_party(session, UPSERT, ["b@x", "new"], ["a@x", "new"]))
        assert (error.code, error.rows) == ("reference-ambiguous", ((0, 1),))

    def test_a_row_that_is_referred_to_is_made_before_the_one_that_refers_to_it(self, session: TargetSession) -> None:
        for table in (TEMPLATE, VARIANT):
            session.harness.create_table(table)
        session.insert(VARIANT, {"code": "bare"})
        by_code = Lookup("id", session.harness.full_name(VARIANT), ("code",), "template_id")
        lookups = (Lookup("template_id", by_code.table, by_code.key, by_code.id),)
        for title in ("first", "second"):
            rows: list[Row] = [["new", title], ["bare", title]]
            template = session.write(UPSERT, TEMPLATE, ("id",), ("id", "title"), rows, lookups=(by_code,))
            template.numbers_new = True
            keys: list[Row] = [["new", "new"], ["bare", "bare"]]
            session.apply(
                template, session.write(UPSERT, VARIANT, ("code",), ("code", "template_id"), keys, lookups=lookups)
            )
            titles = {row["id"]: row["title"] for row in session.rows(TEMPLATE)}
            assert [(row["code"], titles[row["template_id"]]) for row in session.rows(VARIANT)] == [
                ("bare", title),
                ("new", title),
            ]
            assert len(titles) == 2

    def test_a_table_of_keys_finds_rows_that_have_none(self, session: TargetSession) -> None:
        session.harness.create_table(PARTY)
        session.target.close()
        session.target = session.harness.open_target()
        session.target.open(xref_table=session.harness.full_name(XREF))
        for name in ("first", "second"):
            session.apply(*_xref_parties(session, ["k1", name], ["k2", name]))
            ids = {row["key"]: row["id"] for row in session.rows(XREF)}
            assert {key: _name(session, number) for key, number in ids.items()} == {"k1": name, "k2": name}
        assert len(session.rows(PARTY)) == 2
        by_key = _by_key(session, "id")
        entries = session.write(DELETE, XREF, ("entity", "key"), ("entity", "key"), [["party", "k1"]])
        session.apply(session.write(DELETE, PARTY, ("id",), ("id",), [["k1"]], lookups=(by_key,)), entries)
        assert ([row["key"] for row in session.rows(XREF)], len(session.rows(PARTY))) == (["k2"], 1)
        session.target.close()
        session.target = session.harness.open_target()
        session.target.open(xref_table=session.harness.full_name(XREF))
        session.apply(*_xref_parties(session, ["k2", "third"]))
        assert [row["name"] for row in session.rows(PARTY)] == ["third"]

    def test_check_asks_nothing_of_a_table_of_keys_that_is_not_there_yet(self, session: TargetSession) -> None:
        need = TableNeed(session.harness.full_name(XREF), ("entity", "key"), written=True)
        assert [found for found in session.target.check([need]) if found.severity == "error"] == []

    def test_check_names_what_is_missing_of_a_table_that_is_only_looked_up(self, session: TargetSession) -> None:
        session.harness.create_table(CUSTOMER)
        tables = (session.harness.adapter.table_name("nowhere"), session.harness.full_name(CUSTOMER))
        needs = [TableNeed(table, (), ("no_such_column",), captured=False) for table in tables]
        found = {found.code for found in session.target.check(needs) if found.severity == "error"}
        assert found == {"table-missing", "column-missing"}

    def test_a_source_makes_the_table_of_keys_too(self, session: TargetSession) -> None:
        source = session.harness.open_source(XREF)
        source.start(None)
        source.close()
        assert session.harness.rows(XREF) == []


VARIANT_ORDER = Table("reference", (Column("id", nullable=False), Column("order_id")), ("id",))


def _nested(session: TargetSession, lookup: Lookup, table: Table) -> Lookup:
    return Lookup(lookup.column, session.harness.full_name(table), lookup.key, lookup.id, nested=lookup.nested)


def _order_write(session: TargetSession, lookup: Lookup, rows: list[list[object]]) -> TableWrite:
    return session.write(UPSERT, ORDER, ("number",), ("number", "customer_id"), rows, lookups=(lookup,))  # type: ignore[arg-type]


def _orders(session: TargetSession, lookup: Lookup, rows: list[list[object]]) -> None:
    session.apply(_order_write(session, lookup, rows))


def _create_posts(session: TargetSession, *skus: str) -> None:
    for table in (POST, META):
        session.harness.create_table(table)
    session.insert(POST, *({"sku": sku} for sku in skus or ("a", "b")))


def _prices(
    session: TargetSession, kind: WriteKind, rows: list[list[str]], first_by: tuple[tuple[str, bool], ...] | None = None
) -> TableWrite:
    """An upsert or update of the price of posts: [sku, content]."""
    parent = session.lookup("post_id", POST, "sku")
    found = Lookup("id", session.harness.full_name(META), ("post_id",), "id", PRICE, (parent,), first_by)
    full: list[Row] = [[sku, sku, "_price", content] for sku, content in rows]
    columns = ("id", "post_id", "name", "content")
    write = session.write(kind, META, ("id",), columns, full, insert_only=columns[1:3], lookups=(parent, found))
    write.numbers_new, write.locked = True, "post_id"
    return write


def _metas(session: TargetSession) -> list[tuple[Value, Value, Value]]:
    skus = {row["id"]: row["sku"] for row in session.rows(POST)}
    found = [(skus[row["post_id"]], row["name"], row["content"]) for row in session.rows(META)]
    return sorted(found, key=lambda row: (str(row[0]), str(row[1])))


def _create_parties(session: TargetSession) -> None:
    """Parties A and B with a mail address each."""
    for table in (PARTY, CONTACT):
        session.harness.create_table(table)
    session.insert(PARTY, {"name": "A"}, {"name": "B"})
    for row in session.rows(PARTY):
        session.insert(CONTACT, {"party_id": row["id"], "kind": "email", "content": f"{str(row['name']).lower()}@x"})


def _by_mail(session: TargetSession, column: str) -> Lookup:
    return Lookup(column, session.harness.full_name(CONTACT), ("content",), "party_id", MAIL)


def _party(session: TargetSession, kind: WriteKind, *rows: list[str]) -> TableWrite:
    """A write of parties: [mail address, name]."""
    columns = ("id",) if kind is DELETE else ("id", "name")
    cut: list[Row] = [list(row[: len(columns)]) for row in rows]
    write = session.write(kind, PARTY, ("id",), columns, cut, lookups=(_by_mail(session, "id"),))
    write.numbers_new = True
    return write


def _parties(session: TargetSession, *rows: list[str]) -> tuple[TableWrite, TableWrite]:
    """Upserts of parties and their mail addresses."""
    parent = _by_mail(session, "party_id")
    found = Lookup("id", parent.table, ("party_id",), "id", MAIL, (parent,))
    columns = ("id", "party_id", "kind", "content")
    full: list[Row] = [[mail, mail, "email", mail] for mail, _ in rows]
    contact = session.write(UPSERT, CONTACT, ("id",), columns, full, insert_only=columns[1:3], lookups=(parent, found))
    contact.numbers_new, contact.locked = True, "party_id"
    return _party(session, UPSERT, *rows), contact


def _by_key(session: TargetSession, column: str) -> Lookup:
    inner = Lookup("id", session.harness.full_name(XREF), ("key",), "id", (Where("entity", ("party",)),))
    return Lookup(column, session.harness.full_name(PARTY), ("id",), "id", nested=(inner,))


def _xref_parties(session: TargetSession, *rows: list[str]) -> tuple[TableWrite, TableWrite]:
    full: list[Row] = [list(row) for row in rows]
    write = session.write(UPSERT, PARTY, ("id",), ("id", "name"), full, lookups=(_by_key(session, "id"),))
    write.numbers_new = True
    keys: list[Row] = [["party", key, key] for key, _ in rows]
    columns = ("entity", "key", "id")
    entries = session.write(UPSERT, XREF, columns[:2], columns, keys, lookups=(_by_key(session, "id"),))
    return write, entries


def _name(session: TargetSession, number: Value) -> Value:
    return next(row["name"] for row in session.rows(PARTY) if str(row["id"]) == number)


def _mails(session: TargetSession) -> dict[Value, Value]:
    """The name of the party of each mail address."""
    names = {row["id"]: row["name"] for row in session.rows(PARTY)}
    return {row["content"]: names[row["party_id"]] for row in session.rows(CONTACT)}
