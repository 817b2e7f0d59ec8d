"""Forgetting a record: what is over leaves no trace but that it was forgotten; what is not is refused, and stays whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdcd import failpoints, state_key
from cdcd.forgetting import job as jobs
from cdcd.forgetting.finishing import Finisher
from cdcd.forgetting.job import Job, Tombstone
from cdcd.journal import Journal, decode_command
from cdcd.journal_care.check import Checker
from cdcd.model import PrintedRows, Rows
from cdcd.outbox import AppliedMark
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.keys import encode_key
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.storage import Database
from cdcd.testing.printing import printed_if_possible
from cdcd.verifying import results
from unit.resolve.conftest import ORDER, ORDER_TABLES
from unit.small_line import SmallLine, delete, insert, update

CANARIES = ("Mustermann", "TRACK-ME", "O-4711", "4-OLD")


def line_in(directory: Path, more: str = "") -> SmallLine:
    """A line in which order O-4711 lived, lost a change against its owner, got another key, and was deleted everywhere."""
    line = SmallLine(directory, ORDER + more, ORDER_TABLES)
    line._marks |= {system: AppliedMark(directory, system) for system in line.systems}
    shop, erp = line.apps["shop"], line.apps["erp"]
    shop.write(insert("customers", id=5, number="K1", name="Kim"))
    arrive(line, "erp", insert("partner", id=50, no="K1", name="Kim"))
    shop.write(insert("orders", id=7, number="4-OLD", customer_id=5, status="new", total="9.50"))
    shop.write(insert("order_items", id=8, order_id=7, position=1, quantity=4711))
    shop.write(insert("orders", id=9, number="O-other", customer_id=5, status="new", total="1.00"))
    at_erp = {"partner_id": 50, "state": "new", "amount": "9.50"}
    arrive(
        line,
        "erp",
        insert("sales_order", id=70, no="4-OLD", **at_erp),
        insert("sales_line", id=80, order_id=70, line_no=1, qty=4711),
        insert("sales_order", id=90, no="O-other", partner_id=50, state="new", amount="1.00"),
    )
    erp.write(update("sales_order", 70, tracking="TRACK-ME"))
    arrive(line, "shop", update("orders", 7, tracking="TRACK-ME"))
    shop.write(update("orders", 7, number="O-4711"))
    arrive(line, "erp", update("sales_order", 70, no="O-4711"))
    shop.write(update("orders", 7, tracking="Mustermann"))
    arrive(line, "shop", update("orders", 7, tracking="TRACK-ME"))
    line.command("retry", system="erp", records=[[order(line), encode_key(["O-4711"])]])
    arrive(line, "erp", update("sales_order", 70, no="O-4711"))
    return line


def arrive(line: SmallLine, system: str, *changes: Any) -> None:
    """What the system was told has come there, and is read back."""
    line.resolve()
    line.apps[system].echo(*changes)
    line._marks[system].write(line.newest_unit(system))
    line.resolve()


def gone(line: SmallLine) -> None:
    """The shop deletes the order, the ERP follows."""
    line.apps["shop"].write(delete("order_items", 8), delete("orders", 7))
    arrive(line, "erp", delete("sales_line", 80), delete("sales_order", 70))


def order(line: SmallLine) -> int:
    return line.plan.entities["order"].number


def asked(line: SmallLine, key: str = "O-4711") -> int:
    request = jobs.request(order(line), encode_key([key]), "erika")
    return line.command(jobs.FORGET, **msgspec.structs.asdict(request))


def finisher(line: SmallLine) -> Finisher:
    def note(tombstone: Tombstone) -> None:
        line.command(jobs.FORGOTTEN, tombstone=msgspec.to_builtins(tombstone, builtin_types=(bytes,)))
        line.resolve()

    return Finisher(StateDirectory(line.directory), line.plan, note, lambda _seq: None)


def forgotten(line: SmallLine) -> Tombstone:
    seq = asked(line)
    line.resolve()
    job = jobs.job_of(line.state, seq)
    assert job is not None
    assert job.refused is None
    finisher(line).finish(seq)
    (tombstone,) = jobs.tombstones(line.state)
    return tombstone


def raw(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def canaries_in(directory: Path) -> list[str]:
    found = raw(directory)
    return [canary for canary in CANARIES if canary.encode() in found]


def rows_of(journal: Journal) -> list[Any]:
    """All rows of the journal that are not of the order, as they are."""
    found = []
    for entry in journal.read(0, 1000):
        for run in journal.rows(entry):
            found += [
                (entry.seq, run.relation.table, run.op, row)
                for row in run.rows
                if (run.relation.table, row[0])
                not in [("orders", 7), ("order_items", 8), ("sales_order", 70), ("sales_line", 80)]
            ]
    return found


@pytest.fixture(autouse=True, params=["with values", "as they were printed"])
def rows_are_journalled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Journal.encode

    def encode_printed(journal: Journal, source: str, runs: Iterable[Rows | PrintedRows]) -> bytes:
        return encode(
            journal, source, [run if isinstance(run, PrintedRows) else printed_if_possible(run) for run in runs]
        )

    if request.param == "as they were printed":
        monkeypatch.setattr(Journal, "encode", encode_printed)


@pytest.fixture
def line(tmp_path: Path):
    made = line_in(tmp_path)
    yield made
    made.close()


def test_what_is_forgotten_is_in_no_file_and_everything_else_is_as_it_was(line: SmallLine):
    parked = ParkedRecords(line.directory / "deliver-erp.db")
    parked.park([((order(line), encode_key(["O-4711"])), None)], 3, "refused", "too long")
    parked.release([(order(line), encode_key(["O-4711"]))], 4)
    parked.database.close()
    gone(line)
    with line.state.transaction() as connection:
        connection.execute(
            "INSERT INTO conflicts (entity, key, system, kind, seq, at_us, value) VALUES (?,?,0,'older',3,3,?)",
            (order(line), encode_key(["O-4711"]), msgspec.msgpack.encode("Mustermann")),
        )
    before, other = rows_of(line.journal), line.record("order", "O-other")
    assert canaries_in(line.directory) == list(CANARIES)
    tombstone = forgotten(line)
    assert rows_of(line.journal) == before
    assert line.record("order", "O-other") == other
    assert line.record("order", "O-4711") is None
    assert len(before) + tombstone.counts["journal"] > len(before)
    assert tombstone.counts["parked"] == 1
    assert {"golden", "crosswalk", "history", "conflicts", "renames", "journal", "outbox"} <= tombstone.counts.keys()
    directory = line.directory
    finisher(line).compact()
    line.close()
    assert canaries_in(directory) == []
    assert Checker(directory / "journal.db", 0).check().is_sound


def test_a_verification_that_found_it_has_forgotten_it_too(line: SmallLine):
    key, path = encode_key(["O-4711"]), results.path_in(line.directory)
    database = Database(path, results.SCHEMA)
    encode = msgspec.msgpack.encode
    with database.transaction() as connection:
        asked = results.Asked(("order",), keys=(key, b"other"))
        connection.execute(
            "INSERT INTO runs (id, asked, asked_at_us, state) VALUES (1, ?, 1, 'done')", (encode(asked),)
        )
        connection.execute("INSERT INTO comparisons VALUES (1, 0, ?)", (encode(results.Comparison("order", "erp")),))
        for number, of in enumerate((key, encode_key(["O-other"]))):
            body = encode(results.Difference("missing", of, b""))
            connection.execute("INSERT INTO differences VALUES (1, 0, ?, ?)", (number, body))
    gone(line)
    assert forgotten(line).counts["verified"] == 1
    assert database.connection.execute("SELECT number FROM differences").fetchall() == [(1,)]
    (left,) = database.connection.execute("SELECT asked FROM runs").fetchone()
    assert msgspec.msgpack.decode(left, type=results.Asked).keys == (b"other",)
    database.close()


def test_a_tombstone_says_that_it_was_done_and_only_who_knows_the_key_can_tell_of_whom(line: SmallLine):
    gone(line)
    tombstone = forgotten(line)
    assert (tombstone.entity, tombstone.by) == (order(line), "erika")
    assert tombstone.digest == jobs.digest_of(order(line), encode_key(["O-4711"]), tombstone.salt)
    assert b"O-4711" not in msgspec.msgpack.encode(tombstone)
    assert jobs.unfinished(line.journal, line.state) == [tombstone.seq]
    finisher(line).compact()
    assert jobs.unfinished(line.journal, line.state) == []


def test_resolve_goes_on_after_it_also_from_the_files_and_the_same_key_is_a_new_record(line: SmallLine):
    gone(line)
    forgotten(line)
    for again in (False, True):
        if again:
            line.start()
        line.apps["shop"].write(
            insert("orders", id=11 + again, number="O-4711", customer_id=5, status="new", total="2.00")
        )
        line.resolve()
        assert line.values("order", "O-4711")["total"] == "2.00"
        line.apps["shop"].write(delete("orders", 11 + again))
        line.resolve()


def refused(line: SmallLine, key: str = "O-4711") -> str:
    before = [line.dump(table) for table in ("golden", "trail", "crosswalk")]
    seq = asked(line, key)
    line.resolve()
    job = jobs.job_of(line.state, seq)
    assert job is not None
    assert job.refused is not None
    assert [line.dump(table) for table in ("golden", "trail", "crosswalk")] == before
    return job.refused[0]


def test_a_record_that_exists_or_whose_end_is_not_shown_everywhere_is_refused_and_nothing_is_erased(line: SmallLine):
    assert refused(line) == "forget-alive"
    line.apps["shop"].write(delete("order_items", 8), delete("orders", 7))
    line.resolve()
    assert refused(line) == "forget-on-its-way"
    assert len(list(jobs._jobs(line.state))) == 1, "only the newest refusal is kept"


def test_a_copy_of_its_rows_that_was_not_delivered_yet_is_waited_for_and_then_erased(tmp_path: Path):
    copy = '[[replicate]]\nfrom = "shop"\nto = "erp"\ntables = ["orders"]\nrename = { orders = "copied" }\n'
    line = line_in(tmp_path, copy)
    line.apps["shop"].write(delete("order_items", 8), delete("orders", 7))
    line.resolve()
    line.apps["erp"].echo(delete("sales_line", 80), delete("sales_order", 70))
    line.resolve()
    assert refused(line) == "forget-on-its-way", "the mark says that the ERP has not taken it"
    line._marks["erp"].write(line.newest_unit("erp"))
    forgotten(line)
    finisher(line).compact()
    line.close()
    assert canaries_in(tmp_path) == []


def test_commands_that_named_it_name_it_no_more(line: SmallLine):
    gone(line)
    forgotten(line)
    names = [decode_command(entry.note).name for entry in line.journal.read(0, 1000) if entry.source == "operator"]
    assert names.count(jobs.ERASED) == 2, "the retry, and what asked for it to be forgotten"
    assert "retry" not in names


@pytest.mark.parametrize("place", ["forget.before-journal", "forget.after-journal", "forget.before-note"])
def test_killed_in_the_middle_it_is_finished_by_the_next_call(line: SmallLine, place: str, tmp_path: Path):
    gone(line)
    before = rows_of(line.journal)
    seq = asked(line)
    line.resolve()
    armed = tmp_path / "armed"
    armed.mkdir()
    (armed / place).touch()
    script = (
        "import sys; sys.path.insert(0, 'tests'); from pathlib import Path;"
        "from cdcd.forgetting.finishing import Finisher; from cdcd.state_directory import StateDirectory;"
        "from cdcd.state import State; from unit.resolve.conftest import ORDER; from unit.small_line import plan_of;"
        f"directory = Path({str(line.directory)!r}); known = State(directory / 'state.db').vocabulary;"
        "plan = plan_of(ORDER, ('erp', 'shop'), known);"
        f"Finisher(StateDirectory(directory), plan, print, print).finish({seq})"
    )
    environment = {**os.environ, failpoints.VARIABLE: str(armed)}
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False, cwd=root, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert jobs.unfinished(line.journal, line.state) == [seq]
    finisher(line).finish(seq)
    assert rows_of(line.journal) == before
    finisher(line).compact()
    directory = line.directory
    line.close()
    assert canaries_in(directory) == []
    assert Checker(directory / "journal.db", 0).check().is_sound


def test_rows_of_a_large_transaction_are_erased_part_by_part(line: SmallLine):
    """Parts lie apart, and say nothing of each other."""
    shop = line.apps["shop"]
    relation = shop.relations["order_items"]
    runs = [
        [(relation, [[8, 7, 1, 4711]]), (relation, [[100, 9, 1, 1]])],
        [(relation, [[8, 7, 1, 4712]])],
    ]
    from cdcd.journal import Draft, Kind  # noqa: PLC0415
    from cdcd.model import Op, Rows  # noqa: PLC0415

    stage = None
    for number, part in enumerate(runs):
        body = line.journal.encode("shop", [Rows(relation, Op.UPDATE, rows, [None]) for relation, rows in part])
        stage = line.journal.stage("shop", stage, number, body)
    line.journal.append("shop", [Draft(Kind.LOG, "", 5, 3, stage=stage)], None)
    arrive(line, "erp", update("sales_line", 80, qty=4712))
    gone(line)
    forgotten(line)
    left = [
        row
        for entry in line.journal.read(0, 1000)
        if entry.stage
        for run in line.journal.rows(entry)
        for row in run.rows
    ]
    assert left == [[100, 9, 1, 1]]
    assert Checker(line.directory / "journal.db", 0).check().is_sound


def test_an_encrypted_directory_is_written_anew_without_damage(tmp_path: Path):
    state_key.keep(tmp_path, lambda: "11" * 32)
    line = line_in(tmp_path)
    with line.state.transaction() as connection:  # enough to go by way of a file
        for number in range(3000):
            connection.execute("INSERT INTO meta VALUES (?, zeroblob(2000))", (f"filler {number}",))
    gone(line)
    forgotten(line)
    finisher(line).compact()
    line.close()
    state = State(tmp_path / "state.db")
    assert state.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert state.connection.execute("SELECT count(*) FROM meta WHERE name LIKE 'filler%'").fetchone() == (3000,)
    state.close()
    assert Checker(tmp_path / "journal.db", 0).check().is_sound
    state_key.keep(tmp_path, None)


def test_the_job_survives_its_encoding(line: SmallLine):
    job = Job(3, 1, "erika", b"s", b"d", (b"k",), {1: (("7",),)}, {"golden": 1})
    with line.state.transaction():
        jobs.put_job(line.state, job)
    assert jobs.job_of(line.state, 3) == job
