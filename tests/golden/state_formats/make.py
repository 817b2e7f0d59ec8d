"""Writes the state that the code of the present checkout leaves, with something of everything in it, as a golden file.

    PYTHONPATH=CHECKOUT:CHECKOUT/adapters python tests/golden/state_formats/make.py FORMAT

where CHECKOUT is a checkout of the version that wrote the format. The line is stopped in the middle: a transaction half
captured, entries not resolved, units not delivered, a copy half read. Run it when a format is left behind: the test
opens every one of these files with the present code.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from line import SYSTEMS, new_servers, simulation, store

from cdcd import capture
from cdcd.journal import Command
from cdcd.testing.simulator import impatient_retries


def insert(table, **row):
    return ("insert", table, row)


def change(table, key, **changes):
    return ("update", table, {"id": key}, changes)


def begin(erp, shop):
    """What both systems hold before the first copy."""
    for number in range(1, 701):
        row = {"name": f"product {number}", "price": f"{number}.50"}
        erp.transaction([insert("item", code=f"P{number:03}", stock=None, **row)])
    shop.transaction([insert("products", sku="P001", title="theirs", price="1.00", stock=7)])
    for number in range(1, 6):
        shop.transaction([insert("customers", number=f"C{number}", name=f"customer {number}")])
        erp.transaction([insert("carrier", name=f"carrier {number}")])
        erp.transaction([insert("hint", code=f"H{number}", body="mind the gap")])
        shop.transaction(
            [
                insert("orders", number=f"O{number}", customer_id=number, status="new", total=f"{number}0.00"),
                insert("order_items", order_id=number, position=1, quantity=number),
            ]
        )


def go_on(erp, shop):
    """One of everything that a line can be in the middle of, but for copies."""
    shop.transaction([change("products", 2, price="0.01")])  # not the shop's: held as a conflict
    shop.transaction([insert("products", sku="X9", title="not theirs to make", price="1.00", stock=1)])
    shop.transaction([change("orders", 2, status="unheard of")])  # no such status: held
    shop.transaction(
        [insert("orders", number="O8", customer_id=99, status="new", total="8.00")]
    )  # waits for its customer
    erp.transaction([change("item", 3, name="a name that is too long for the shop")])  # parked
    shop.transaction([change("orders", 3, status="picking"), change("order_items", 3, quantity=33)])  # handed over
    erp.transaction([("delete", "item", {"id": 700})])
    erp.transaction([("delete", "carrier", {"id": 5})])
    with shop.begin() as transaction:
        transaction.truncate("hints")  # suspended


def leave_in_the_middle(line, erp, shop):
    """Units that wait, entries that wait, a copy half read, a transaction half captured."""
    erp.transaction([change("item", number, price=f"{number}.75") for number in range(10, 60)])
    line.command(Command("resync", {"entity": "product"}), line.entity_tables("product"))
    capture.STAGE_ROWS = 20
    capture.CHUNK_ROWS = 40
    for name in [*["capture:erp", "capture:shop"] * 4, *["resolve"] * 3]:
        line.step_of(name)
    erp.transaction([change("item", number, name=f"renamed {number}") for number in range(60, 100)])
    shop.transaction([change("products", number, stock=number) for number in range(60, 100)])
    for name in ("capture:erp", "capture:shop", "capture:shop"):
        line.step_of(name)
    erp.transaction([change("item", number, name=f"last {number}") for number in [*range(100, 700)] * 2])
    line.step_of("capture:erp")
    line.step_of("capture:erp")


def main(number: str) -> None:
    servers = new_servers()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        line = simulation(servers, directory)
        begin(**servers)
        with impatient_retries():
            line.settle()
        go_on(**servers)
        line.settle()
        line.close()
        leave_in_the_middle(line, **servers)
        line.close()
        target = Path(__file__).parent / f"format-{number}.tar.xz"
        with tarfile.open(target, "w:xz") as archive:
            for path in sorted(directory.iterdir()):
                if not path.name.endswith((".lock", "-wal", "-shm")):
                    archive.add(path, f"state/{path.name}")
            for system in SYSTEMS:
                body = store(servers[system])
                member = tarfile.TarInfo(f"servers/{system}.msgpack")
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
        print(target.name, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
