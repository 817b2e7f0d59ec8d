"""Records in several tables: which writes one becomes, and how its rows are found."""

from __future__ import annotations

import pytest

from cdcd.folding.fold import Folder
from cdcd.model import ColumnShape, Lookup, TableShape, Where, WriteKind
from cdcd.outbox import RecordWrite, Unit
from cdcd.resolve.keys import encode_key
from cdcd.resolve.masks import mask_of
from unit.small_line import plan_of

FULL, UPDATE, DELETE = RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE
UPSERT = WriteKind.UPSERT


def shape(table, *columns, key=("id",), unique=()):
    """`columns` are names, or (name, type). An id is given by the server."""
    made = [ColumnShape(*((c, "text") if isinstance(c, str) else c)) for c in columns]
    ids = [ColumnShape(name, "integer", nullable=False, has_default=True) for name in key]
    return TableShape(table, (*ids, *made), key, (key, *unique))


class Line:
    """A folder of a configuration whose target is shop, and items by field name."""

    def __init__(self, text, *shapes):
        self.plan = plan_of(text)
        self.folder = Folder(self.plan, "shop", {found.table: found for found in shapes}, lambda _number: None)

    def item(self, entity, kind, key, initial=None, **fields):
        plan = self.plan.entities[entity]
        slots = {field.name: slot for slot, field in enumerate(plan.fields)}
        packed = [self.packed({slots[name]: value for name, value in some.items()}) for some in (fields, initial or {})]
        return [plan.number, int(kind), encode_key(key), *packed[0], *packed[1]]

    @staticmethod
    def packed(values):
        return mask_of(values), [values[slot] for slot in sorted(values)]

    def fold(self, *items, at_us=0):
        folded, _ = self.folder.fold([Unit(1, at_us, list(items))], None)
        assert folded.unwritable == []
        groups = [*folded.ordered(deletes_first=False).between(0)]
        return [write for group in groups for write in group.writes()]

    def refusals(self, *items):
        folded, _ = self.folder.fold([Unit(1, 0, list(items))], None)
        assert [*folded.ordered(deletes_first=False).between(0)] == []
        return [found.refused.code for found in folded.unwritable]

    def misfit(self, entity="product"):
        return self.folder.records[self.plan.entities[entity].number].misfit


def head(fields, parts, columns, more=""):
    return f"""
[entities.product]
key = ["sku"]
create = ["erp"]
[entities.product.fields]
sku = {{ type = "text", owner = "erp" }}
{fields}
[entities.product.in.erp]
table = "item"
columns = {{ sku = "sku", name = "name", price = "price", unit = "unit" }}
[entities.product.in.shop]
table = "post"
{more}
columns = {{ {columns} }}
{parts}
"""


FIELDS = """
name = { type = "text", owner = "erp" }
price = { type = "decimal(12,2)", owner = "erp" }
unit = { type = "text", owner = "erp" }
"""
EAV = head(
    FIELDS,
    """
[entities.product.in.shop.parts.price]
table = "meta"
parent = "post_id"
where = { name = "_price" }
new = { place = 7 }
""",
    'sku = "sku", name = "title", price = "price.content"',
    "where = { kind = 'product' }\nnew = { state = 'publish', born = { commit-time = 'Europe/Berlin' }, slug = { template = '{name:slug}-{sku}' } }",
)
POST = shape("post", "sku", "title", "kind", "state", ("born", "datetime(0)"), "slug", unique=(("sku",),))
META = shape("meta", ("post_id", "integer"), "name", "content", ("place", "integer"))
BY_SKU = Lookup("", "post", ("sku",), "id", (Where("kind", ("product",)),))


def of(lookup, column, **changes):
    return Lookup(column, **{name: getattr(lookup, name) for name in lookup.__struct_fields__[1:]} | changes)


def test_a_full_record_becomes_its_main_row_and_the_rows_that_hang_on_it():
    line = Line(EAV, POST, META)
    main, price = line.fold(
        line.item("product", FULL, ["A"], name="Ünit Ä", price="1.50", unit=None), at_us=1_790_000_000_123_456
    )
    assert (main.table, main.kind, main.key, main.where) == ("post", UPSERT, ("sku",), (Where("kind", ("product",)),))
    row = dict(zip(main.columns, main.rows[0], strict=True))
    assert row == {
        "sku": "A",
        "title": "Ünit Ä",
        "kind": "product",
        "state": "publish",
        "born": "2026-09-21 16:13:20",
        "slug": "unit-a-A",
    }
    assert main.insert_only == ("kind", "state", "born", "slug")
    parent = of(BY_SKU, "post_id")
    found = Lookup("id", "meta", ("post_id",), "id", (Where("name", ("_price",)),), (parent,))
    assert (price.table, price.kind, price.key, price.numbers_new, price.locked) == (
        "meta",
        UPSERT,
        ("id",),
        True,
        "post_id",
    )
    assert price.lookups == (found, parent)
    assert price.columns == ("id", "content", "post_id", "name", "place")
    assert price.rows == [["A", "1.50", "A", "_price", 7]]
    assert price.insert_only == ("post_id", "name", "place")


def test_a_field_that_changes_alone_is_written_where_it_lies():
    line = Line(EAV, POST, META)
    main, price = line.fold(line.item("product", UPDATE, ["A"], price="2.00"))
    assert (main.kind, main.columns, main.rows) == (WriteKind.UPDATE, ("sku",), [["A"]])
    assert (price.kind, price.rows) == (UPSERT, [["A", "2.00", "A", "_price", 7]])
    assert [write.table for write in line.fold(line.item("product", UPDATE, ["A"], name="n"))] == ["post"]


def test_a_name_and_value_row_is_deleted_where_the_value_is_null():
    line = Line(EAV, POST, META)
    items = [line.item("product", UPDATE, [key], price=price) for key, price in (("A", "1"), ("B", None), ("C", "3"))]
    main, some, none = line.fold(*items)
    assert [row[0] for row in main.rows] == ["A", "B", "C"]
    assert [row[0] for row in some.rows] == ["A", "C"]
    assert (none.kind, none.key, none.rows) == (WriteKind.DELETE, ("post_id",), [["B"]])
    assert none.where == (Where("name", ("_price",)),)


def test_a_row_that_the_target_owns_is_made_and_never_deleted():
    line = Line(EAV, POST, META)
    assert len(line.fold(line.item("product", FULL, ["A"], {"price": None}, name="n"))) == 1
    _, price = line.fold(line.item("product", FULL, ["A"], {"price": "1"}, name="n"))
    assert price.insert_only == ("content", "post_id", "name", "place")


def test_a_part_that_keeps_rows_without_values_sets_null():
    line = Line(EAV.replace("new = { place", 'null = "set"\nnew = { place'), POST, META)
    _, price = line.fold(line.item("product", UPDATE, ["A"], price=None))
    assert (price.kind, price.rows[0][1]) == (UPSERT, None)


def test_a_record_is_deleted_after_the_rows_that_hang_on_it():
    line = Line(EAV, POST, META)
    price, main = line.fold(line.item("product", DELETE, ["A"]))
    assert (price.table, price.kind, price.rows, price.where) == (
        "meta",
        WriteKind.DELETE,
        [["A"]],
        (Where("name", ("_price",)),),
    )
    assert (main.table, main.kind, main.key, main.rows) == ("post", WriteKind.DELETE, ("sku",), [["A"]])


def test_a_part_with_a_unique_key_is_written_by_it():
    meta = shape("meta", ("post_id", "integer"), "name", "content", ("place", "integer"), unique=(("post_id", "name"),))
    line = Line(EAV, POST, meta)
    _, price = line.fold(line.item("product", UPDATE, ["A"], price="2.00"))
    assert (price.key, price.columns[:2], price.numbers_new) == (("post_id", "name"), ("post_id", "name"), False)
    assert price.rows == [["A", "_price", "2.00", 7]]


def test_the_rows_of_a_record_stay_together_when_it_is_isolated():
    line = Line(EAV, POST, META)
    items = [line.item("product", UPDATE, [key], price=price) for key, price in (("A", "1"), ("B", None), ("C", "3"))]
    folded, _ = line.folder.fold([Unit(1, 0, items)], None)
    (group,) = folded.ordered(deletes_first=False).between(0)
    assert [group.number_of(*at) for at in ((0, 1), (1, 1), (2, 0))] == [1, 2, 1]
    one = group.only([1])
    assert [(write.table, write.kind, len(write.rows)) for write in one.writes()] == [
        ("post", WriteKind.UPDATE, 1),
        ("meta", WriteKind.DELETE, 1),
    ]
    assert one.number_of(1, 0) == 0
    rest = group.only([0, 2])
    assert [row[0] for row in rest.writes()[1].rows] == ["A", "C"]
    assert rest.number_of(1, 1) == 1


REFER = head(
    FIELDS,
    """
[entities.product.in.shop.parts.unit]
table = "units"
at = "unit_id"
where = { active = true }
""",
    'sku = "sku", name = "title", unit = "unit.symbol"',
)
UNITS = shape("units", "symbol", ("active", "boolean"))


def test_a_field_chooses_which_row_is_referred_to():
    post = shape("post", "sku", "title", ("unit_id", "integer"), unique=(("sku",),))
    line = Line(REFER, post, UNITS)
    chosen = Lookup("unit_id", "units", ("symbol",), "id", (Where("active", (True,)),))
    for item in (
        line.item("product", FULL, ["A"], name="n", unit="kg"),
        line.item("product", UPDATE, ["A"], unit="kg"),
    ):
        (main,) = line.fold(item)
        assert main.lookups == (chosen,)
        assert main.rows[0][main.columns.index("unit_id")] == "kg"
    (main,) = line.fold(line.item("product", UPDATE, ["A"], unit=None))
    assert main.rows == [["A", None]]


TEMPLATE = head(
    FIELDS,
    """
[entities.product.in.shop.parts.template]
table = "template"
at = "template_id"
write = "row"
new = { type = "goods" }
[entities.product.in.shop.parts.price]
table = "list_price"
of = "template"
parent = "template_id"
where = { product = { null = true } }
first-by = ["-sequence"]
[entities.product.in.shop.parts.unit]
table = "units"
of = "template"
at = "unit_id"
""",
    'sku = "sku", name = "template.title", price = "price.amount", unit = "unit.symbol"',
)
TEMPLATE_SHAPES = (
    shape("post", "sku", ("template_id", "integer"), unique=(("sku",),)),
    shape("template", "title", "type", ("unit_id", "integer")),
    shape(
        "list_price",
        ("template_id", "integer"),
        ("product", "integer"),
        ("amount", "decimal(12,2)"),
        ("sequence", "integer"),
    ),
    UNITS,
)


def test_a_row_that_is_referred_to_is_made_first_and_what_hangs_on_it_follows():
    line = Line(TEMPLATE, *TEMPLATE_SHAPES)
    template, price, main = line.fold(line.item("product", FULL, ["A"], name="n", price="1.00", unit="kg"))
    found = Lookup("id", "post", ("sku",), "template_id")
    assert (template.table, template.key, template.numbers_new) == ("template", ("id",), True)
    assert template.lookups == (found, Lookup("unit_id", "units", ("symbol",), "id"))
    assert template.columns == ("id", "title", "unit_id", "type")
    assert template.rows == [["A", "n", "kg", "goods"]]
    assert main.columns == ("sku", "template_id")
    assert main.lookups == (of(found, "template_id"),)
    assert main.rows == [["A", "A"]]
    assert price.lookups[0] == Lookup(
        "id",
        "list_price",
        ("template_id",),
        "id",
        (Where("product", (None,)),),
        (of(found, "template_id"),),
        (("sequence", True),),
    )
    assert price.rows == [["A", "1.00", "A", None]]


def test_of_an_update_only_the_rows_that_change_are_written():
    line = Line(TEMPLATE, *TEMPLATE_SHAPES)
    template, main = line.fold(line.item("product", UPDATE, ["A"], name="n"))
    assert (template.kind, template.columns, template.rows) == (WriteKind.UPDATE, ("id", "title"), [["A", "n"]])
    assert (main.kind, main.columns) == (WriteKind.UPDATE, ("sku",))


def test_a_row_that_is_referred_to_stays_when_the_record_is_deleted():
    line = Line(TEMPLATE, *TEMPLATE_SHAPES)
    assert [write.table for write in line.fold(line.item("product", DELETE, ["A"]))] == ["post"]


CUSTOMERS = """
[entities.customer]
key = ["email"]
create = ["erp"]
[entities.customer.fields]
email = { type = "text", owner = "erp" }
name = { type = "text", owner = "erp" }
[entities.customer.in.erp]
table = "customers"
columns = { email = "email", name = "name" }
[entities.customer.in.shop]
table = "party"
KEPT
[entities.order]
key = ["number"]
create = ["erp"]
[entities.order.fields]
number = { type = "text", owner = "erp" }
customer = { type = "ref(customer)", owner = "erp" }
[entities.order.in.erp]
table = "orders"
columns = { number = "number", customer = "customer_id" }
[entities.order.in.shop]
table = "sale"
new = { address = { id-of = "address", where = { party = { field = "customer" }, active = true }, first-by = ["sequence"] } }
columns = { number = "number", customer = "party_id" }
"""
THROUGH = CUSTOMERS.replace(
    "KEPT",
    """
columns = { name = "name", email = "mail.content" }
[entities.customer.in.shop.parts.mail]
table = "contact"
parent = "party_id"
where = { kind = "email" }
""",
)
XREF = CUSTOMERS.replace("KEPT", 'xref = true\ncolumns = { name = "name" }')
PARTY = shape("party", "name")
SALE = shape("sale", "number", ("party_id", "integer"), ("address", "integer"), unique=(("number",),))
ADDRESS = shape("address", ("party", "integer"), ("active", "boolean"), ("sequence", "integer"))
CONTACT = shape("contact", ("party_id", "integer"), "kind", "content")
XREF_TABLE = TableShape(
    "cdcd_xref", tuple(ColumnShape(n, "text") for n in ("entity", "key", "id")), ("entity", "key"), ()
)
BY_MAIL = Lookup("id", "contact", ("content",), "party_id", (Where("kind", ("email",)),))


def test_a_record_is_found_through_the_part_that_has_its_key():
    line = Line(THROUGH, PARTY, CONTACT, SALE, ADDRESS)
    party, mail = line.fold(line.item("customer", FULL, ["a@x"], name="A"))
    assert (party.table, party.key, party.numbers_new, party.lookups) == ("party", ("id",), True, (BY_MAIL,))
    assert (party.columns, party.rows) == (("id", "name"), [["a@x", "A"]])
    of_party = of(BY_MAIL, "party_id")
    assert mail.lookups == (
        Lookup("id", "contact", ("party_id", "content"), "id", BY_MAIL.where, (of_party,)),
        of_party,
    )
    assert (mail.columns, mail.rows) == (
        ("id", "party_id", "content", "kind"),
        [[["a@x", "a@x"], "a@x", "a@x", "email"]],
    )
    assert [write.table for write in line.fold(line.item("customer", UPDATE, ["a@x"], name="A"))] == ["party"]
    assert [write.table for write in line.fold(line.item("customer", DELETE, ["a@x"]))] == ["contact", "party"]


def test_other_records_refer_to_it_in_the_same_way():
    line = Line(THROUGH, PARTY, CONTACT, SALE, ADDRESS)
    (sale,) = line.fold(line.item("order", FULL, ["N1"], customer="a@x"))
    address = Lookup(
        "address",
        "address",
        ("party",),
        "id",
        (Where("active", (True,)),),
        (of(BY_MAIL, "party"),),
        (("sequence", False),),
    )
    assert sale.lookups == (of(BY_MAIL, "party_id"), address)
    assert (sale.rows, sale.insert_only) == ([["N1", "a@x", "a@x"]], ("address",))


def test_a_table_of_keys_finds_records_that_have_none():
    line = Line(XREF, PARTY, SALE, ADDRESS, XREF_TABLE)
    party, entry = line.fold(line.item("customer", FULL, ["a@x"], name="A"))
    inner = Lookup("id", "cdcd_xref", ("key",), "id", (Where("entity", ("customer",)),))
    assert party.lookups == (Lookup("id", "party", ("id",), "id", nested=(inner,)),)
    assert (entry.table, entry.key, entry.columns) == ("cdcd_xref", ("entity", "key"), ("entity", "key", "id"))
    assert (entry.lookups, entry.rows) == (party.lookups, [["customer", "a@x", "a@x"]])
    assert [write.table for write in line.fold(line.item("customer", DELETE, ["a@x"]))] == ["party", "cdcd_xref"]


CHILDREN = THROUGH.replace(
    "[entities.customer.in.erp]",
    """
[entities.customer.children.places]
key = ["name"]
fields = { name = { type = "text", owner = "erp" }, country = { type = "text", owner = "erp" } }
[entities.customer.in.erp.children.places]
table = "places"
parent = "customer_id"
columns = { name = "name", country = "country" }
[entities.customer.in.erp]""",
).replace(
    "[entities.order]",
    """
[entities.customer.in.shop.children.places]
table = "address"
parent = "party"
where = { active = true }
new = { sequence = 5 }
columns = { name = "label", country = "country.code" }
parts.country = { table = "country", at = "country_id" }
[entities.order]""",
)


def test_a_child_in_several_tables_hangs_on_a_parent_that_is_found_through_another_row():
    address = shape(
        "address",
        ("party", "integer"),
        "label",
        ("active", "boolean"),
        ("sequence", "integer"),
        ("country_id", "integer"),
    )
    line = Line(CHILDREN, PARTY, CONTACT, SALE, address, shape("country", "code"))
    assert line.misfit("customer.places") is None
    (place,) = line.fold(line.item("customer.places", FULL, ["a@x", "home"], country="de"))
    of_party = of(BY_MAIL, "party")
    found = Lookup("id", "address", ("party", "label"), "id", (Where("active", (True,)),), (of_party,))
    country = Lookup("country_id", "country", ("code",), "id")
    assert (place.key, place.numbers_new, place.locked) == (("id",), True, "party")
    assert place.lookups == (found, country, of_party)
    assert place.columns == ("id", "country_id", "party", "label", "active", "sequence")
    assert place.rows == [[["a@x", "home"], "de", "a@x", "home", True, 5]]
    (gone,) = line.fold(line.item("customer.places", DELETE, ["a@x", "home"]))
    assert (gone.kind, gone.lookups, gone.rows) == (WriteKind.DELETE, (found,), [[["a@x", "home"]]])


def renamed(line, old, new):
    """The writes of a customer that gets another key."""
    number = line.plan.entities["customer"].number
    return line.fold([number, int(RecordWrite.REKEY), encode_key([new]), 0, [old], 0, []])


def test_a_record_gets_another_key_where_its_key_lies():
    (mail,) = renamed(Line(THROUGH, PARTY, CONTACT, SALE, ADDRESS), "a@x", "b@x")
    assert (mail.table, mail.kind, mail.columns) == ("contact", WriteKind.UPDATE, ("id", "content"))
    assert (mail.numbers_new, mail.rows) == (True, [[["a@x", "a@x"], "b@x"]])


def test_the_table_of_keys_gets_another_key():
    (entry,) = renamed(Line(XREF, PARTY, SALE, ADDRESS, XREF_TABLE), "a@x", "b@x")
    assert (entry.table, entry.kind, entry.key, entry.columns) == (
        "cdcd_xref",
        WriteKind.REKEY,
        ("entity", "key"),
        ("entity", "key"),
    )
    assert entry.rows == [["customer", "a@x", "customer", "b@x"]]


def test_a_change_that_tells_too_little_waits_for_the_whole_record():
    text = REFER.replace('unit = "unit.symbol"', 'unit = "unit.symbol", price = "unit.factor"')
    units = shape("units", "symbol", ("active", "boolean"), ("factor", "decimal(12,2)"))
    line = Line(text, shape("post", "sku", "title", ("unit_id", "integer"), unique=(("sku",),)), units)
    assert line.refusals(line.item("product", UPDATE, ["A"], unit="kg")) == ["target-field-untold"]
    (main,) = line.fold(line.item("product", UPDATE, ["A"], unit="kg", price="1.00"))
    assert main.rows == [["A", ["kg", "1.00"]]]


@pytest.mark.parametrize(
    ("shapes", "code"),
    [
        ((POST,), "target-table-missing"),
        ((POST, shape("meta", ("post_id", "integer"), "name")), "target-column-missing"),
        ((POST, shape("meta", ("post_id", "integer"), "name", ("content", "date"), "place")), "target-type-mismatch"),
        ((POST, shape("meta", ("post_id", "integer"), "name", "content", ("place", "date"))), "target-type-mismatch"),
        (
            (POST, TableShape("meta", (ColumnShape("id", "integer"), *META.columns[1:]), ("id",), (("id",),))),
            "target-id-given",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_told(shapes, code):
    misfit = Line(EAV, *shapes).misfit()
    assert misfit is not None
    assert misfit.code == code
