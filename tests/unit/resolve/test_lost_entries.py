"""An entry of the journal that nobody can read again: resolve goes on, misses nobody for it, and the resync mends the rest."""

from pathlib import Path

from cdcd.journal_care.repair import replace
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import SmallLine, delete, insert, update

ROW = {"name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}


def small_line(directory: Path, *, live: bool = True) -> SmallLine:
    return SmallLine(directory, PRODUCT, PRODUCT_TABLES, live=live)


def lose(line: SmallLine, system: str) -> int:
    """The newest entry is damaged and given up, with the resync that goes with it; return the run of its copies."""
    seq = line.journal.last_seq()
    run = line.command("resync", entity="product")
    replace(line.journal, seq, seq, system, ["product"])
    return run


def copy_anew(line: SmallLine, run: int) -> None:
    for system, table in line.plan.entities_tables("product"):
        line.apps[system].copy(table, run=run)
    line.resolve()


def test_what_a_lost_transaction_changed_created_and_deleted_is_found_by_the_resync(tmp_path):
    line = small_line(tmp_path)
    erp = line.apps["erp"]
    erp.write(insert("item", id=1, code="A", **ROW), insert("item", id=2, code="B", **ROW))
    line.resolve()
    line.told("shop")
    erp.write(update("item", 1, name="two"), delete("item", 2), insert("item", id=3, code="C", **ROW))
    run = lose(line, "erp")
    line.resolve()
    assert line.told("shop") == []
    line.apps["shop"].echo()
    copy_anew(line, run)
    assert line.values("product", "A")["name"] == "two"
    assert line.values("product", "B") is None
    assert line.values("product", "C")["name"] == "one"
    line.journal.close()
    line.state.close()


def test_nobody_is_missed_by_a_copy_of_which_a_chunk_was_lost(tmp_path):
    line = small_line(tmp_path)
    erp = line.apps["erp"]
    erp.write(insert("item", id=1, code="A", **ROW), insert("item", id=2, code="B", **ROW))
    line.resolve()
    line.told("shop")
    old = line.command("resync", entity="product")
    erp.copy("item", done=False, run=old)
    run = lose(line, "erp")
    erp.rows["item"].clear()
    erp.copy("item", run=old)  # the copy's last chunk shows neither: they were in the lost one
    line.resolve()
    assert line.values("product", "A") is not None
    assert line.values("product", "B") is not None
    assert line.told("shop") == []
    copy_anew(line, run)
    assert line.values("product", "A") is None, "by now they are gone indeed"
    line.journal.close()
    line.state.close()


def test_a_first_copy_of_which_a_chunk_was_lost_is_not_settled_before_it_was_read_anew(tmp_path):
    line = small_line(tmp_path, live=False)
    erp, shop = line.apps["erp"], line.apps["shop"]
    erp.rows["item"] = {1: {"id": 1, "code": "A", **ROW}}
    erp.copy("item", done=False)
    run = lose(line, "erp")
    for system, table in line.plan.entities_tables("product"):
        rows = line.apps[system].rows[table]
        kept, line.apps[system].rows[table] = rows, {}
        line.apps[system].copy(table)
        line.apps[system].rows[table] = kept
    line.resolve()
    assert line.resolver._copying.seeding >= {"product"}
    shop.rows["products"] = {}
    copy_anew(line, run)
    assert line.values("product", "A") is not None
    assert "product" not in line.resolver._copying.seeding
    line.journal.close()
    line.state.close()
