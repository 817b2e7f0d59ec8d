"""State directories that earlier versions have left: opened by the present code, gone on with, and in step at the end."""

from __future__ import annotations

import hashlib
import sqlite3
import tarfile
from pathlib import Path

import pytest

from cdcd import journal, state
from cdcd.journal import Command
from cdcd.parking import parked
from cdcd.storage import Database
from cdcd.testing.simulator import impatient_retries
from golden.state_formats.line import SYSTEMS, load, simulation

HERE = Path(__file__).parent
STORED = sorted(HERE.glob("format-*.tar.xz"))
SCHEMAS = {"journal.db": journal.SCHEMA, "state.db": state.SCHEMA, "deliver-shop.db": parked.SCHEMA}
DIGESTS = {
    "journal.db": "4:eaf425057f6bfecc",
    "state.db": "4:3d916de5a1b1c864",
    "deliver-shop.db": "1:377366db4d1c76f2",
}
"""Of the tables as they are now, with the number of their format."""


@pytest.fixture(params=STORED, ids=lambda path: path.name.partition(".")[0])
def stored(request, tmp_path):
    """A directory with the state and the servers of one format."""
    with tarfile.open(request.param) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    return tmp_path


def counts(directory):
    """How many rows every table has."""
    found = {}
    for path in directory.glob("*.db"):
        connection = sqlite3.connect(path)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        found |= {
            f"{path.stem}:{name}": connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names
        }
        connection.close()
    return found


def rows(server, table, *columns):
    stored = server.tables[table]
    return sorted(tuple(row[stored.index[name]] for name in columns) for row in stored.rows.values())


def test_a_stored_state_has_something_of_everything(stored):
    found = counts(stored / "state")
    wanted = ["golden", "crosswalk", "outbox", "conflicts", "held", "waiting", "suspended", "seen", "trail"]
    wanted = [f"state:{name}" for name in wanted] + ["deliver-shop:parked", "journal:stages", "journal:backfills"]
    assert [name for name in wanted if not found[name]] == []


def test_the_present_code_goes_on_with_it_and_ends_in_step(stored):
    servers = {name: load(name, (stored / "servers" / f"{name}.msgpack").read_bytes()) for name in SYSTEMS}
    erp, shop = servers["erp"], servers["shop"]
    line = simulation(servers, stored / "state")
    line.settle()
    assert line.parked() == 1
    cure(line, erp, shop)
    with impatient_retries():
        line.retry_all()
        line.settle()
    assert line.parked() == 0
    line.close()
    products = rows(erp, "item", "code", "name", "price", "stock")
    assert len(products) == 699
    held = {"P002": "0.01"}  # waits for a person, as it did
    assert [(sku, name, held.get(sku, price), stock) for sku, name, price, stock in products] == rows(
        shop, "products", "sku", "title", "price", "stock"
    )
    assert rows(erp, "partner", "no", "name") == rows(shop, "customers", "number", "name")
    assert rows(erp, "carrier", "id", "name") == rows(shop, "carrier", "id", "name")
    assert rows(erp, "hint", "code", "body") == rows(shop, "hints", "code", "body")
    assert orders(erp, "sales_order", "no", "partner", "no", "state", "partner_id", "sales_line") == orders(
        shop, "orders", "number", "customers", "number", "status", "customer_id", "order_items"
    )
    left = counts(stored / "state")
    assert [name for name in ("held", "waiting", "suspended", "seen", "seeds") if left[f"state:{name}"]] == []


def cure(line, erp, shop):
    """People put right what was wrong when the line was left."""
    erp.transaction([("update", "item", {"id": 3}, {"name": "a shorter name"})])
    shop.transaction([("insert", "customers", {"id": 99, "number": "C99", "name": "late"})])
    shop.transaction([("update", "orders", {"id": 2}, {"status": "paid"})])
    shop.transaction([("insert", "hints", {"code": f"H{n}", "body": "mind the gap"}) for n in range(1, 6)])
    line.command(Command("resync", {"entity": "hint"}), line.entity_tables("hint"))


def orders(server, table, number, customers, customer_number, status, customer, lines):
    numbers = {row[0]: row[1] for row in rows(server, customers, "id", customer_number)}
    items = rows(server, lines, "order_id", "position", "quantity")
    return sorted(
        (no, numbers[who], state_of, total, [item[1:] for item in items if item[0] == key])
        for key, no, who, state_of, total in rows(server, table, "id", number, customer, status, "total")
    )


# ---- the rule --------------------------------------------------------------------------------------------------------


def shapes(path):
    """Of every table its columns, and its indexes."""
    connection = sqlite3.connect(path)
    found = {}
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
        columns = [
            tuple(row[1:]) for row in connection.execute(f"SELECT * FROM pragma_table_info('{name}') ORDER BY name")
        ]
        found[name] = [(column, kind, required, part) for column, kind, required, _, part in columns]
    found["indexes"] = sorted(connection.execute("SELECT name FROM sqlite_master WHERE type='index'").fetchall())
    connection.close()
    return found


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items(), ids=SCHEMAS)
def test_a_file_that_was_brought_up_to_date_has_the_tables_of_a_new_one(stored, tmp_path, name, schema):
    for path in [tmp_path / "new.db", stored / "state" / name]:
        Database(path, schema).close()
    upgraded, new = shapes(stored / "state" / name), shapes(tmp_path / "new.db")
    assert upgraded == new, "a table that was released has changed: add an upgrade to its Schema (see cdcd.storage)"


@pytest.mark.parametrize("name", SCHEMAS)
def test_who_changes_tables_has_thought_of_the_files_that_have_them_already(name):
    schema = SCHEMAS[name]
    digest = hashlib.blake2b(" ".join(schema.tables.split()).encode(), digest_size=8).hexdigest()
    assert f"{schema.format}:{digest}" == DIGESTS[name], (
        "the tables have changed. A column in a table that there is already needs an upgrade in the file's Schema, and with it"
        " a new number; a new table alone needs none. Then note this here"
    )
