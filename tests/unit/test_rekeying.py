"""Another key for a state directory: all files or, after a crash, each of them whole with one of the two keys."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cdcd import failpoints, state_key
from cdcd.errors import NeedsOperator
from cdcd.journal import SCHEMA, Command, Journal
from cdcd.parking.parked import ParkedRecords
from cdcd.rekeying import rekey
from cdcd.state import State
from cdcd.state_key import Mark, StateKey

ONE, TWO = StateKey(bytes(32)), StateKey(bytes([7]) * 32)
CANARY = "erika@example.org"


def use(directory: Path, key: StateKey | None) -> None:
    state_key.keep(directory, None if key is None else lambda: key.literal[2:-1])


@pytest.fixture
def directory(tmp_path: Path):
    """A plain state directory with something in each of its files."""
    journal = Journal(tmp_path / "journal.db")
    for number in range(3):
        journal.command(Command("noted", {"text": CANARY, "number": number}))
    journal.close()
    state = State(tmp_path / "state.db")
    with state.transaction():
        state.put("text", CANARY.encode())
    state.close()
    parked = ParkedRecords(tmp_path / "deliver-shop.db")
    parked.park([((1, b"key"), CANARY.encode())], 4, "refused", "too long")
    parked.database.close()
    yield tmp_path
    use(tmp_path, None)


def contents(directory: Path) -> list[object]:
    """What is in the files, read with the key that was said."""
    journal, state = Journal(directory / "journal.db"), State(directory / "state.db")
    parked = ParkedRecords(directory / "deliver-shop.db")
    connection = journal.database.connection
    try:
        return [
            journal.commands_after(0),
            journal.last_seq(),
            state.lineage,
            state.get("text"),
            parked.database.connection.execute("SELECT row FROM parked").fetchall(),
            connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall(),
            connection.execute("PRAGMA user_version").fetchone(),
            connection.execute("PRAGMA page_size").fetchone()[0] in (8192, "8192", SCHEMA.page_bytes),
        ]
    finally:
        journal.close()
        state.close()
        parked.database.close()


def raw(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_a_plain_directory_is_encrypted_given_another_key_and_made_plain_again_with_all_it_holds(directory: Path):
    before = contents(directory)
    assert CANARY.encode() in raw(directory)
    assert [path.name for path in rekey(directory, ONE, [])] == ["deliver-shop.db", "journal.db", "state.db"]
    use(directory, ONE)
    assert contents(directory) == before
    assert CANARY.encode() not in raw(directory)
    assert rekey(directory, ONE, []) == []
    with pytest.raises(NeedsOperator) as caught:
        rekey(directory, TWO, [])
    assert caught.value.code == "rekey-key"
    assert state_key.mark_of(directory) == Mark(ONE.fingerprint)
    rekey(directory, TWO, [ONE])
    use(directory, TWO)
    assert contents(directory) == before
    rekey(directory, None, [TWO])
    use(directory, None)
    assert contents(directory) == before
    assert not (directory / state_key.MARK_FILE).exists()
    connection = sqlite3.connect(directory / "journal.db")
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (3,)
    connection.close()


def test_the_plain_file_that_was_replaced_is_written_over(directory: Path):
    with (directory / "state.db").open("rb") as before:
        assert CANARY.encode() in before.read()
        rekey(directory, ONE, [])
        before.seek(0)
        assert not any(before.read())


def test_what_a_killed_daemon_left_in_the_log_is_taken_along(directory: Path):
    """A copy of the files while they are open is what a crash leaves."""
    state = State(directory / "state.db")
    with state.transaction():
        state.put("text", b"the last word")
    copy = directory / "copy"
    copy.mkdir()
    for name in ("state.db", "state.db-wal"):
        (copy / name).write_bytes((directory / name).read_bytes())
    state.close()
    rekey(copy, ONE, [])
    use(copy, ONE)
    state = State(copy / "state.db")
    assert state.get("text") == b"the last word"
    state.close()
    use(copy, None)


@pytest.mark.parametrize("place", ["rekey.before-rename", "rekey.after-rename", "rekey.before-end"])
def test_a_crash_leaves_files_of_both_keys_which_nothing_opens_until_it_is_finished(directory: Path, place: str):
    before = contents(directory)
    armed = directory / "armed"
    armed.mkdir()
    (armed / place).touch()
    script = (
        "from pathlib import Path; from cdcd.rekeying import rekey; from cdcd.state_key import StateKey;"
        f"rekey(Path({str(directory)!r}), StateKey(bytes(32)), [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, failpoints.VARIABLE: str(armed)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    for key in (None, ONE):
        use(directory, key)
        for name in ("state.db", "deliver-shop.db"):
            with pytest.raises(NeedsOperator) as caught:
                State(directory / name)
            assert caught.value.code == "rekey-unfinished"
    rekey(directory, ONE, [])
    assert contents(directory) == before
    assert CANARY.encode() not in raw(directory)
    assert not list(directory.glob("*.rekeyed*"))
