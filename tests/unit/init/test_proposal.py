"""From two small databases to a configuration that loads: what is found, what is said of it, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdcd import config_rules
from cdcd.config import Config
from cdcd.config_columns import Column
from cdcd.init import writing
from cdcd.init.pairing import table_pairs
from cdcd.init.picture import SystemPicture, TablePicture
from cdcd.init.proposal import EntityProposal, Proposal, propose
from unit.init.pictures import INTEGER, system, table

SKUS = [f"SKU-{n:03}" for n in range(20)]
NAMES = [f"Article number {n}" for n in range(20)]


def item(**more):
    rows = [[n + 1, sku, NAMES[n], f"{n}.50"] for n, sku in enumerate(SKUS)]
    columns = {"id": INTEGER, "code": "text!", "name": "text", "list_price": "decimal(12,2)"}
    return table("public.item", columns, rows, unique=[("code",)], **more)


def products(**more):
    rows = [[700 - n, sku, NAMES[n], 100 * n + 50] for n, sku in enumerate(SKUS) if n % 4]
    columns = {"id": INTEGER, "sku": "text(64)!", "title": "text(200)", "price_cents": "integer"}
    return table("products", columns, rows, unique=[("sku",)], **more)


def proposed(erp: SystemPicture, shop: SystemPicture) -> dict[str, EntityProposal]:
    return {entity.name: entity for entity in propose(erp, shop).entities}


def loaded(proposal: Proposal, directory: Path) -> Config:
    """The proposal written and read as the daemon would."""
    options = {
        "erp": {"adapter": "postgres", "dsn": "dbname=erp"},
        "shop": {"adapter": "mysql", "database": "s", "user": "u"},
    }
    file = directory / "cdcd.toml"
    file.write_text(writing.text(proposal, options, name="cdcd", state_dir="/var/lib/cdcd"))
    return config_rules.load(file)


def test_tables_are_paired_by_values_of_their_keys_and_columns_by_values_of_the_same_records(tmp_path: Path):
    config = loaded(propose(system("erp", item()), system("shop", products())), tmp_path)
    product = config.entities["product"]
    assert product.key == ["sku"]
    assert {name: field.type for name, field in product.fields.items()} == {
        "sku": "text",
        "name": "text",
        "price": "decimal(12,2)",
    }
    assert product.bindings["erp"].columns == {"sku": "code", "name": "name", "price": "list_price"}
    assert product.bindings["shop"].columns["price"] == Column(column="price_cents", scale=100)
    assert "5 of 20 exist on one side only (5 here, 0 there)" in (tmp_path / "cdcd.toml").read_text()


def test_no_value_of_a_row_is_in_the_file(tmp_path: Path):
    loaded(propose(system("erp", item()), system("shop", products())), tmp_path)
    text = (tmp_path / "cdcd.toml").read_text()
    assert not any(value in text for value in [*SKUS, *NAMES, "1.50", "150"])


def test_a_table_whose_sample_misses_the_other_is_asked_for_its_keys():
    stored = [[900 + n, sku, NAMES[n], 0] for n, sku in enumerate(SKUS)]
    partial = table(
        "products",
        {"id": INTEGER, "sku": "text(64)", "title": "text", "price_cents": "integer"},
        [[n, f"OLD-{n}", "x", 1] for n in range(10)],
        unique=[("sku",)],
        complete=False,
    )
    pairs = table_pairs(system("erp", item()), system("shop", partial, stored={"products": stored}))
    assert [pair.key and (pair.key.columns, pair.key.both) for pair in pairs] == [(("code", "sku"), 20)]


def test_numbers_that_a_server_gives_are_no_keys():
    one = table("public.thing", {"id": INTEGER, "note": "text"}, [[n, None] for n in range(20)])
    other = table("gadget", {"id": INTEGER, "note": "text"}, [[n, None] for n in range(20)])
    assert table_pairs(system("erp", one), system("shop", other)) == []


def test_foreign_keys_become_references_and_lines_become_a_collection(tmp_path: Path):
    erp_orders = table(
        "public.sale",
        {"id": INTEGER, "number": "text", "item_id": INTEGER},
        [[n, f"O-{n}", n % 20 + 1] for n in range(12)],
        unique=[("number",)],
        refers={"item_id": ("public.item", "id")},
    )
    erp_lines = table(
        "public.sale_line",
        {"id": INTEGER, "sale_id": INTEGER, "line_no": INTEGER, "qty": "decimal(12,3)"},
        [[n * 3 + k, n, k, f"{n * 7 + k}.000"] for n in range(12) for k in range(3)],
        unique=[("sale_id", "line_no")],
        refers={"sale_id": ("public.sale", "id")},
    )
    shop_orders = table(
        "orders",
        {"id": INTEGER, "number": "text(32)", "product_id": INTEGER},
        [[50 + n, f"O-{n}", 700 - n % 20] for n in range(12)],
        unique=[("number",)],
        refers={"product_id": ("products", "id")},
    )
    shop_lines = table(
        "order_items",
        {"id": INTEGER, "order_id": INTEGER, "position": INTEGER, "quantity": "decimal(12,3)"},
        [[n * 3 + k, 50 + n, k, f"{n * 7 + k}.000"] for n in range(12) for k in range(3)],
        unique=[("order_id", "position")],
        refers={"order_id": ("orders", "id")},
    )
    proposal = propose(
        system("erp", item(), erp_orders, erp_lines), system("shop", products(), shop_orders, shop_lines)
    )
    order = loaded(proposal, tmp_path).entities["order"]
    assert order.fields["product"].type == "ref(product)"
    assert order.children["lines"].key == ["position"]
    assert order.bindings["shop"].children["lines"].columns == {"position": "position", "quantity": "quantity"}
    assert order.bindings["erp"].children["lines"].parent == "sale_id"


def test_a_row_that_is_referred_to_and_one_that_hangs_on_it_are_parts(tmp_path: Path):
    variants = table(
        "public.product_product",
        {"id": INTEGER, "code": "text", "template": INTEGER},
        [[n + 1, sku, 100 + n] for n, sku in enumerate(SKUS)],
        unique=[("code",)],
        refers={"template": ("public.product_template", "id")},
    )
    templates = table(
        "public.product_template", {"id": INTEGER, "name": "text"}, [[100 + n, name] for n, name in enumerate(NAMES)]
    )
    prices = table(
        "public.product_list_price",
        {"id": INTEGER, "template": INTEGER, "list_price": "decimal"},
        [[n, 100 + n, f"{n}.5"] for n in range(20)],
        refers={"template": ("public.product_template", "id")},
    )
    proposal = propose(system("erp", variants, templates, prices), system("shop", products()))
    binding = loaded(proposal, tmp_path).entities["product"].bindings["erp"]
    assert binding.columns["name"] == "template.name"
    assert binding.columns["price"] == "list_price.list_price"
    assert (binding.parts["template"].at, binding.parts["list_price"].of) == ("template", "template")


def test_attributes_in_rows_of_their_own_are_parts_with_a_condition(tmp_path: Path):
    posts = table("wp_posts", {"ID": INTEGER, "post_title": "text"}, [[n + 1, name] for n, name in enumerate(NAMES)])
    meta = table(
        "wp_postmeta",
        {"meta_id": INTEGER, "post_id": INTEGER, "meta_key": "text(255)", "meta_value": "text"},
        [
            [4 * n + k, n + 1, key, value]
            for n in range(20)
            for k, (key, value) in enumerate(
                [("_sku", SKUS[n]), ("_price", f"{n}.50"), ("_stock", "1"), ("_visible", "yes"), ("_x", "1")]
            )
        ],
        refers={"post_id": ("wp_posts", "ID")},
    )
    named = table("wp_users", {"ID": INTEGER, "login": "text"}, [])
    erp_items = table(
        "public.item",
        {"id": INTEGER, "name": "text", "list_price": "decimal(12,2)"},
        [[n + 1, name, f"{n}.50"] for n, name in enumerate(NAMES)],
        unique=[("name",)],
    )
    config = loaded(propose(system("erp", erp_items), system("shop", posts, meta, named)), tmp_path)
    (entity,) = config.entities.values()
    part = entity.bindings["shop"].parts["price"]
    assert (part.table, part.parent, part.where) == ("wp_postmeta", "post_id", {"meta_key": "_price"})
    assert entity.bindings["shop"].columns["price"] == "price.meta_value"


def test_a_key_may_stand_in_a_table_of_its_own(tmp_path: Path):
    parties = table("public.party", {"id": INTEGER, "name": "text"}, [[n, f"Party {n}"] for n in range(1, 13)])
    contacts = table(
        "public.party_contact",
        {"id": INTEGER, "party": INTEGER, "type": "text", "value": "text"},
        [
            [2 * n + k, n, kind, value]
            for n in range(1, 13)
            for k, (kind, value) in enumerate([("email", f"{n}@x"), ("phone", str(n))])
        ],
        refers={"party": ("public.party", "id")},
    )
    users = table(
        "auth_user", {"id": INTEGER, "email": "text(254)"}, [[n, f"{n}@x"] for n in range(1, 13)], unique=[("email",)]
    )
    entity = loaded(propose(system("erp", parties, contacts), system("shop", users)), tmp_path).entities["customer"]
    assert entity.key == ["email"]
    assert entity.bindings["erp"].columns["email"] == "email.value"
    assert entity.bindings["erp"].parts["email"].where == {"type": "email"}


def test_rows_of_the_same_parents_that_never_meet_are_no_collection():
    def with_children(name: str, parent: str, texts: list[str]) -> TablePicture:
        return table(
            name,
            {"id": INTEGER, "parent": INTEGER, "postcode": "text"},
            [[n, n + 1, text] for n, text in enumerate(texts)],
            refers={"parent": (parent, "id")},
            unique=[("parent", "postcode")],
        )

    one = with_children("public.item_address", "public.item", ["a"] * 20)
    other = with_children("product_address", "products", ["b"] * 20)
    products_there = products()
    for row in other.rows:
        row[1] = 700 - row[1]
    proposal = propose(system("erp", item(), one), system("shop", products_there, other))
    assert proposal.entities[0].children == ()
    assert proposal.alone == (("public.item_address",), ("product_address",))


def test_what_new_rows_need_and_what_lacks_an_index_is_said():
    columns = {"id": INTEGER, "sku": "text", "title": "text", "slug": "text!", "views": "integer!"}
    shop = table("products", columns, [[n, sku, NAMES[n], "s", 0] for n, sku in enumerate(SKUS)])
    side = proposed(system("erp", item()), system("shop", shop))["product"].sides[1]
    assert side.required == ("slug", "views")
    assert "no unique index" in side.remarks[0]


def test_empty_tables_are_paired_by_name_and_said_to_be(tmp_path: Path):
    one = table("public.carrier", {"id": INTEGER, "code": "text(20)", "name": "text"}, unique=[("code",)])
    other = table("carriers", {"id": INTEGER, "code": "text(9)", "name": "text"}, unique=[("code",)])
    proposal = propose(system("erp", one), system("shop", other))
    assert loaded(proposal, tmp_path).entities["carrier"].fields["name"].type == "text"
    assert "paired by names alone" in (tmp_path / "cdcd.toml").read_text()


def test_a_column_called_like_a_tables_id_refers_to_it_where_no_foreign_key_is_declared():
    customers = table("customers", {"id": INTEGER, "email": "text"}, [[n, f"{n}@x"] for n in range(1, 9)])
    orders = table("orders", {"id": INTEGER, "customer_id": INTEGER}, [[n, n] for n in range(1, 9)])
    strangers = table("visits", {"id": INTEGER, "customer_id": INTEGER}, [[n, 900 + n] for n in range(1, 9)])
    found = system("shop", customers, orders, strangers)
    assert [key.table for key in found.tables["orders"].foreign_keys] == ["customers"]
    assert found.tables["visits"].foreign_keys == []


@pytest.mark.parametrize("text", ['quote " and \\', "ünïcode", "line\nbreak", "bell\x07"])
def test_any_text_is_written_as_toml_that_reads_back(text: str, tmp_path: Path):
    import tomllib  # noqa: PLC0415

    written = writing.text(Proposal(("erp", "shop"), (), ((), ())), {"erp": {"dsn": text}}, name="n", state_dir="/x")
    assert tomllib.loads(written)["systems"]["erp"]["dsn"] == text
