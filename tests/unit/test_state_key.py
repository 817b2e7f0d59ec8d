"""The key of a state directory: found by who opens files, refused where it does not fit, shown by nobody."""

import base64
import contextlib
import stat
from pathlib import Path

import pytest

from cdcd import state_key
from cdcd.errors import ConfigError, NeedsOperator
from cdcd.folding.spill import Spill
from cdcd.state_key import Mark, StateKey
from cdcd.storage import Database, Schema

SCHEMA = Schema("CREATE TABLE IF NOT EXISTS t (a TEXT, b BLOB);")
KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
CANARY = "Erika Mustermann"


def with_key(directory: Path, key: bytes | None) -> None:
    state_key.keep(directory, None if key is None else key.hex)


def filled(path: Path) -> Database:
    database = Database(path, SCHEMA)
    with database.transaction() as connection:
        connection.executemany("INSERT INTO t VALUES (?, randomblob(2000))", [(CANARY,)] * 500)
    return database


def files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


def refusal(path: Path) -> str:
    with pytest.raises(NeedsOperator) as caught:
        Database(path, SCHEMA)
    assert caught.value.remedy
    assert KEY.hex() not in str(caught.value)
    return caught.value.code


@pytest.fixture
def directory(tmp_path: Path):
    with_key(tmp_path, KEY)
    yield tmp_path
    with_key(tmp_path, None)


def test_with_a_key_nothing_on_disk_can_be_read_neither_in_the_file_nor_in_its_log(directory: Path):
    database = filled(directory / "state.db")
    assert CANARY.encode() not in files(directory)
    assert state_key.mark_of(directory) == Mark(StateKey(KEY).fingerprint)
    assert stat.S_IMODE((directory / state_key.MARK_FILE).stat().st_mode) == 0o600
    reader = Database(directory / "state.db", SCHEMA, read_only=True)
    assert reader.connection.execute("SELECT max(a) FROM t").fetchone() == (CANARY,)
    assert database.size_bytes() > 500 * 2000
    reader.close()
    database.close()
    assert CANARY.encode() not in files(directory)
    assert state_key.is_plain(directory / "state.db") is False


def test_without_a_key_files_are_those_of_any_sqlite(tmp_path: Path):
    import sqlite3  # noqa: PLC0415 - another SQLite on purpose

    filled(tmp_path / "state.db").close()
    connection = sqlite3.connect(tmp_path / "state.db")
    assert connection.execute("SELECT max(a), count(*) FROM t").fetchone() == (CANARY, 500)
    assert connection.execute("PRAGMA page_size").fetchone() == (8192,)
    connection.close()
    assert not (tmp_path / state_key.MARK_FILE).exists()


def test_a_missing_another_and_a_superfluous_key_are_named_and_nothing_is_touched(directory: Path):
    filled(directory / "state.db").close()
    before = (directory / "state.db").read_bytes()
    with_key(directory, None)
    assert refusal(directory / "state.db") == "state-key-missing"
    assert refusal(directory / "deliver-new.db") == "state-key-missing"
    with_key(directory, OTHER)
    assert refusal(directory / "state.db") == "state-key-wrong"
    assert (directory / "state.db").read_bytes() == before
    plain = directory / "plain"
    plain.mkdir()
    filled(plain / "state.db").close()
    with_key(plain, KEY)
    assert refusal(plain / "state.db") == "state-key-plain"
    assert refusal(plain / "deliver-new.db") == "state-key-plain"
    state_key.set_mark(directory, Mark("", unfinished=True))
    assert refusal(directory / "state.db") == "rekey-unfinished"


def test_an_encrypted_file_whose_mark_is_lost_opens_and_gets_it_again(directory: Path):
    filled(directory / "state.db").close()
    (directory / state_key.MARK_FILE).unlink()
    Database(directory / "state.db", SCHEMA).close()
    assert state_key.mark_of(directory) == Mark(StateKey(KEY).fingerprint)
    (directory / state_key.MARK_FILE).unlink()
    with_key(directory, OTHER)
    assert refusal(directory / "state.db") == "storage-damaged"


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper() + "\n", base64.b64encode(KEY).decode()])
def test_a_key_is_written_as_hexadecimal_or_base64(text: str):
    assert state_key.parse(text) == StateKey(KEY)


@pytest.mark.parametrize("text", ["", "a passphrase", KEY.hex()[:-2], "zz" * 32, base64.b64encode(KEY + KEY).decode()])
def test_what_is_no_key_is_refused_without_being_shown(text: str):
    with pytest.raises(ConfigError) as caught:
        state_key.parse(text)
    assert caught.value.code == "state-key-form"
    assert "openssl rand -hex 32" in caught.value.remedy
    assert not text or text not in str(caught.value)


def test_a_key_prints_as_nothing_of_it():
    assert KEY.hex() not in f"{StateKey(KEY)!r} {StateKey(KEY)}"


def open_files(name: str) -> list[Path]:
    """Our descriptors of a file, which may be removed already."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            if name in str(descriptor.readlink()):
                found.append(descriptor)
    return found


def test_what_is_put_aside_is_encrypted_too(directory: Path):
    spill = Spill(directory / "echo-shop.spill")
    spill.add((1, b"%06d" % number, number, CANARY.encode() * 100) for number in range(20_000))
    (file,) = open_files("echo-shop.spill")
    content = file.read_bytes()
    assert len(content) > 2**20
    assert CANARY.encode() not in content
    assert spill.of_key(1, b"000007") == [CANARY.encode() * 100]
    spill.close()


def test_a_damaged_page_of_an_encrypted_file_hides_no_other_page(directory: Path):
    filled(directory / "state.db").close()
    content = bytearray((directory / "state.db").read_bytes())
    content[8192 * 60 + 100] ^= 1
    (directory / "state.db").write_bytes(content)
    database = Database(directory / "state.db", SCHEMA, read_only=True)
    readable = 0
    for number in range(1, 501):
        try:
            readable += database.connection.execute("SELECT 1 FROM t WHERE rowid=?", (number,)).fetchone()[0]
            database.connection.execute("SELECT b FROM t WHERE rowid=?", (number,)).fetchone()
        except database.connection.DatabaseError:
            database.read_on()
    assert 480 < readable < 500
    database.close()


def test_a_directory_gets_the_key_of_another_whose_copies_it_takes(directory: Path):
    other = directory / "copies"
    other.mkdir()
    state_key.share(other, directory)
    filled(other / "state.db").close()
    assert CANARY.encode() not in files(other)
    with_key(other, None)
