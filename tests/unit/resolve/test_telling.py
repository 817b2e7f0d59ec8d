"""What a target is told of a record: also what it has no column for, where a row cannot be written without."""

from __future__ import annotations

from pathlib import Path

from unit.small_line import SmallLine, Told, insert, update

PRODUCT = """
[entities.product]
key = ["sku"]
create = ["erp"]
[entities.product.fields]
sku = { type = "text(20)" }
name = { type = "text(40)", owner = "erp" }
symbol = { type = "text(10)", owner = "erp" }
factor = { type = "integer", owner = "erp" }
slogan = { type = "text(40)", owner = "erp" }
[entities.product.in.erp]
table = "product"
columns = { sku = "code", name = "name", symbol = "symbol", factor = "factor", slogan = "slogan" }
[entities.product.in.shop]
table = "post"
new = { slug = { template = "{slogan:slug}-{sku}" } }
columns = { sku = "sku", name = "title", symbol = "unit.symbol", factor = "unit.factor" }
parts.unit = { table = "unit", at = "unit" }
"""
TABLES = {
    "erp": {
        "product": {
            "id": "integer",
            "code": "text",
            "name": "text",
            "symbol": "text",
            "factor": "integer",
            "slogan": "text",
        }
    },
    "shop": {
        "post": {"id": "integer", "sku": "text", "title": "text", "slug": "text", "unit": "integer"},
        "unit": {"id": "integer", "symbol": "text", "factor": "integer"},
    },
}


def test_a_row_is_told_with_all_that_it_is_made_of(tmp_path: Path):
    line = SmallLine(tmp_path, PRODUCT, TABLES)
    erp = line.apps["erp"]
    erp.write(insert("product", id=1, code="A", name="n", symbol="kg", factor=1, slogan="So good"))
    line.resolve()
    made = {"sku": "A", "name": "n", "symbol": "kg", "factor": 1, "slogan": "So good"}
    assert line.told("shop") == [Told("product", "FULL", ("A",), made)]
    erp.write(update("product", 1, factor=1000))
    erp.write(update("product", 1, name="m"))
    erp.write(update("product", 1, slogan="only for new rows"))
    line.resolve()
    assert line.told("shop") == [
        Told("product", "UPDATE", ("A",), {"symbol": "kg", "factor": 1000}),
        Told("product", "UPDATE", ("A",), {"name": "m"}),
    ]
    line.close()
