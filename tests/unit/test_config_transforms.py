"""What is said at load about transforms that cannot be, have no way back, or bring values back as others."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cdcd import config, config_rules
from cdcd.errors import ConfigError

ARTICLE = """
[daemon]
name = "acme"
state-dir = "/var/lib/cdcd"
[systems.erp]
adapter = "memory"
[systems.shop]
adapter = "memory"
[entities.article]
key = ["sku"]
create = ["erp"]
[entities.article.fields]
sku = {{ type = "text(20)" }}
text = {{ type = "text(20)", owner = "erp" }}
other = {{ type = "text(20)", owner = "erp" }}
foreign = {{ type = "text(20)", owner = "shop" }}
state = {{ type = "enum(new,sold)", owner = "erp" }}
price = {{ type = "decimal(12,4)", owner = "erp" }}
count = {{ type = "integer", owner = "erp" }}
day = {{ type = "date", owner = "erp" }}
at = {{ type = "instant", owner = "erp" }}
parent = {{ type = "ref(article)", owner = "erp" }}
[entities.article.in.shop]
table = "products"
[entities.article.in.shop.columns]
{sku}
{columns}
[entities.article.in.erp]
table = "item"
columns = {{ sku = "sku" }}
"""
SPLIT = """
text = {{ column = "c", split = {{ by = " ", take = "before-last" }} }}
{} = {{ column = "c", split = {{ by = " ", take = "after-last" }} }}
"""


def complaint(columns: str, sku: str = 'sku = "sku"') -> str:
    """What is said about these columns, "" if nothing."""
    loaded = config.convert(tomllib.loads(ARTICLE.format(columns=columns, sku=sku)), config.Config, "x.toml", "")
    try:
        config_rules.check(loaded, "x.toml")
    except ConfigError as error:
        return f"{error.what}\nnext: {error.remedy}"
    return ""


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ('text = { column = "c", trim = true, case = "lower" }', "has several transforms (trim, case), which need an order"),
        ('text = { column = "c", case = "lower", steps = [{ trim = true }] }', "steps and a transform beside them"),
        ('text = { column = "c", steps = [{}] }', "columns.text.steps[0]: has no transform; known: map, "),
        ('text = { column = "c", default = "x" }', "text.default: says something about a map, and there is none"),
        ('text = { column = "c", doubled-hour = "later" }', "doubled-hour: says something about a time-zone"),
        ("text = { trim = true }", "text: says no column; add column"),
        ('text = { column = "c", constant = "x" }', "gives column and constant; give one of"),
        ('text = { constant = "x", trim = true }', "constant: is the field's value as it stands"),
        ('text = { constant = "x", unfit = "null" }', "unfit: says what stands in a column of its own; this field has none"),
        ('parent = { constant = "x" }', "the id of another row takes no transform"),
        ('count = { first = ["a", "b"], map = { 1 = "5", 2 = "5" } }', "can only be read here"),
        ('count = { constant = "x" }', "count.constant: 'x' is no integer"),
        ('text = { join = { columns = ["a", "b"] }, member = "x" }', "join: puts columns together, split and member"),
        ('text = { column = "c", steps = [{ trim = true }, { member = "x" }] }', "look into the column, so they come first"),
        ('state = { column = "c", map = { 1 = "new", 2 = "new" } }', "write = { new = '2' }"),
        ('state = { column = "c", map = { 1 = "new" }, map-null = "new" }', "NULL and a column value both mean 'new'"),
        ('state = { column = "c", map = { 1 = "new" }, default = "sold" }', "default: nothing is written for 'sold'; add"),
        ('state = { column = "c", map = { 1 = "new" }, map-null = "gone" }', "map: unknown member of the enum 'gone'"),
        ('count = { column = "c", map = { a = 1, b = -2 }, map-null = 0, nulls = [] }', ""),
        ('count = { column = "c", map = { a = 1, b = 1 } }', "two column values map to one field value, '1', so"),
        ('count = { column = "c", map = { a = true } }', "columns.count: 'true' is no integer"),
        ('text = { column = "c", map-file = "m.csv" }', ""),
        ('count = { column = "c", map = { a = "x" } }', "columns.count: 'x' is no integer"),
        ('price = { column = "c", unit = "-1" }', "unit: '-1' is no factor; give a number above 0"),
        ('price = { column = "c", unit = "1,5" }', "unit: '1,5' is no factor"),
        ('text = { column = "c", scale = 100 }', "scale: only decimal fields scale, 'text' is text(20)"),
        ('text = { column = "c", template = "x" }', 'template: needs one {} where the field\'s text is, as in "SHOP-{}"'),
        ('day = { column = "c", format = "%d.%m." }', "format: a date needs %Y, %m and %d"),
        ('day = { column = "c", format = "%y" }', "format: unknown directive '%y'; known: %Y"),
        ('day = { column = "c", format = "" }', "format: it has neither a date nor a time"),
        ('day = { column = "c", format = "%Y%m%d%Y" }', "format: a directive stands in it twice"),
        ('day = { column = "c", format = "%H%S" }', "format: a time needs all from %H to its finest part"),
        ('day = { column = "c", trim = true }', ""),
        ('count = { column = "c", format = "%Y%m%d" }', "columns.count: a date does not convert to a integer"),
        ('parent = { column = "c", nulls = ["0"] }', 'takes no transform; if the column holds its key, say reference = "key"'),
        ('parent = { column = "c", reference = "key", trim = true }', ""),
        ('price = { column = "c", steps = [{ round = { digits = 2 } }, { unit = "0.3048" }] }', "is written, but cannot be read"),
        ('price = { column = "c", steps = [{ round = { digits = 6 } }, { scale = 100 }] }', ""),
        ('text = { column = "c", steps = [{ case = "lower" }, { template = "SHOP-{}" }] }', "written, but cannot be read again"),
        ('text = { column = "c" }\nother = "c"', "column 'c' is bound to the fields text, other; use split, bind it once, or make 'shop'"),
        ('text = { column = "c", member = "a" }\nprice = { column = "c", member = "b" }', "can only be read here"),
        ('text = { column = "c", split = { by = " ", take = "before-last" } }', "column 'c' is split, so two fields take"),
        (SPLIT.format("other"), ""),
        (
            SPLIT.format("foreign"),
            "text and foreign share column 'c', so they need the same owner; they have text 'erp', foreign 'shop'",
        ),
        ('price = { column = "c", minor-units = "curency" }', "minor-units: unknown field 'curency'"),
        ('price = { column = "c", minor-units = "other" }', "'other' is not bound here; bind it to a column, or"),
        ('price = { column = "c", minor-units = "count" }\ncount = "n"', "'count' is integer, a currency is a text"),
        ('price = { column = "c", minor-units = "other", scale = 2 }\nother = "o"', "takes no other transform beside it"),
        ('day = { column = "c", minor-units = "other" }\nother = "o"', "only numbers have smallest units, 'day' is date"),
        ('price = { column = "c", minor-units = "foreign" }\nforeign = "f"', "are an amount and its currency, so they need"),
        ('price = { column = "c", minor-units = "foreign" }\nforeign = { constant = "EUR" }', ""),
        ('price = { column = "c", minor-units = "other" }\nother = "o"', ""),
    ],
)  # fmt: skip
def test_a_transform_that_cannot_be_is_named_with_its_place_and_a_way_out(columns: str, said: str):
    found = complaint(columns)
    assert said in found if said else not found


@pytest.mark.parametrize(
    ("sku", "said"),
    [
        ('sku = { column = "c", trim = true }', "columns.sku: a key must come back as it was"),
        ('sku = { column = "c", nulls = [""] }', "columns.sku: a key must come back as it was"),
        ('sku = { join = { columns = ["a", "b"] } }', "a key is in one column of its own"),
        ('sku = { constant = "x" }', "a key is in one column of its own"),
        ('sku = { column = "c", split = { by = "-", take = "before-first" } }', "a key is a column's whole content"),
        ('sku = { column = "c", template = "ERP-{}" }', ""),
        ('sku = { column = "c", map = { 1 = "a", 2 = "b" } }', ""),
    ],
)
def test_a_key_takes_only_transforms_that_lose_nothing(sku: str, said: str):
    found = complaint("", sku)
    assert said in found if said else not found


def test_a_map_that_is_not_read_backwards_needs_to_say_all_that_is_open():
    assert (
        complaint('state = { column = "c", map = { 1 = "new", 2 = "new" }, write = { new = "1" }, map-null = "sold" }')
        == ""
    )
    assert complaint('state = { column = "c", map = { 1 = "new" }, default = "sold", write-default = "9" }') == ""


def test_the_example_of_all_transforms_is_valid():
    path = Path(config.__file__).parents[1] / "config" / "examples" / "transforms.toml"
    colour = config_rules.load(path).entities["article"].bindings["erp"].columns["colour"]
    assert isinstance(colour, config.Column)
    assert colour.map == {"01": "red", "02": "green", "2": "green", "03": "blue"}
    assert colour.write == {"green": "02"}
