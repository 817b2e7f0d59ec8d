"""What is to be forgotten, how far that has come, and what is noted afterwards.

meta "forget:<seq>"      in the state: the `Job`, which resolve makes of the command in journal entry <seq>; it names
                         the record and its rows, and goes when all of them are erased
meta "forgotten:<seq>"   in the state: the `Tombstone`, which stays
control "forget:<seq>"   in the journal, from before its first row is erased until no byte is left in any file: by what
                         its rows are known (`encode_rows`); "" when they and the job are gone
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from cdcd.journal import Journal, Kind, decode_command
from cdcd.state import State

FORGET: Final = "forget"
FORGOTTEN: Final = "forgotten"
ERASED: Final = "erased"
"""The command in the place of one that named a forgotten record; resolve passes over it."""
CONTROL: Final = "forget:"
_encode: Final = msgspec.msgpack.Encoder().encode


class Request(msgspec.Struct, frozen=True):
    """The arguments of the command `forget`: a record, who asked, and what the tombstone will know it by."""

    entity: int
    key: bytes
    by: str
    salt: bytes
    digest: bytes


class Job(msgspec.Struct, frozen=True):
    """What resolve has made of the command: `refused` says why nothing was erased, as code and sentence.

    `keys` are all keys that the record has had. `ids` are, by binding, the local ids of its rows and of its children's,
    as texts. `counts` says what was erased from the state.
    """

    seq: int
    entity: int
    by: str
    salt: bytes
    digest: bytes
    keys: tuple[bytes, ...] = ()
    ids: dict[int, tuple[tuple[str, ...], ...]] = {}
    counts: dict[str, int] = {}
    refused: tuple[str, str] | None = None


class Tombstone(msgspec.Struct, frozen=True):
    """That a record was forgotten: of which entity (its number), when, by whom, and what was erased.

    `digest` is that of its key with `salt`: whoever knows the key can tell that it was this one, nobody else which.
    """

    seq: int
    entity: int
    at_us: int
    by: str
    salt: bytes
    digest: bytes
    counts: dict[str, int]


def digest_of(entity: int, key: bytes, salt: bytes) -> bytes:
    """What a tombstone keeps of a key."""
    return hashlib.blake2b(entity.to_bytes(4, "big") + key, salt=salt, digest_size=16, person=b"cdcd forget").digest()


def request(entity: int, key: bytes, by: str) -> Request:
    """A new one, with a salt of its own."""
    salt = secrets.token_bytes(hashlib.blake2b.SALT_SIZE)
    return Request(entity, key, by, salt, digest_of(entity, key, salt))


# ---- where they are kept ---------------------------------------------------------------------------------------


def job_of(state: State, seq: int) -> Job | None:
    """What resolve has made of the command in that entry; None while it has not come to it, and after the end."""
    stored = state.get(f"forget:{seq}")
    return None if stored is None else msgspec.msgpack.decode(stored, type=Job)


def put_job(state: State, job: Job) -> None:
    """Keep it, within the state's transaction. What was only refused is kept for whoever asked: of those the newest."""
    if job.refused is not None:
        for old in [other for other in _jobs(state) if other.refused is not None]:
            remove_job(state, old.seq)
    state.put(f"forget:{job.seq}", _encode(job))


def remove_job(state: State, seq: int) -> None:
    """It is done. Within the state's transaction."""
    state.connection.execute("DELETE FROM meta WHERE name=?", (f"forget:{seq}",))


def _jobs(state: State) -> Iterator[Job]:
    rows = state.connection.execute("SELECT value FROM meta WHERE name >= 'forget:' AND name < 'forget;'").fetchall()
    return (msgspec.msgpack.decode(value, type=Job) for (value,) in rows)


def tombstones(state: State) -> list[Tombstone]:
    """All that were ever forgotten, oldest first."""
    rows = state.connection.execute("SELECT value FROM meta WHERE name >= 'forgotten:' AND name < 'forgotten;'")
    return sorted([msgspec.msgpack.decode(value, type=Tombstone) for (value,) in rows], key=lambda one: one.seq)


def put_tombstone(state: State, tombstone: Tombstone) -> None:
    """Keep it, within the state's transaction."""
    state.put(f"forgotten:{tombstone.seq}", _encode(tombstone))


def is_begun(journal: Journal) -> bool:
    """Whether erasing from the journal was begun and is not finished: for status."""
    return any(name.startswith(CONTROL) for name in journal.controls())


def unfinished(journal: Journal, state: State) -> list[int]:
    """The seqs of what was begun and is not finished."""
    begun = [int(name.removeprefix(CONTROL)) for name in journal.controls() if name.startswith(CONTROL)]
    return sorted({*begun, *(job.seq for job in _jobs(state) if job.refused is None)})


def asked_after(journal: Journal, seq: int) -> int:
    """The newest entry beyond `seq` that asks for something to be forgotten, 0 when none does."""
    rows = journal.database.connection.execute(
        "SELECT seq, note FROM entries WHERE seq > ? AND kind = ? ORDER BY seq DESC", (seq, Kind.COMMAND)
    )
    return next((int(found) for found, note in rows if decode_command(note).name == FORGET), 0)


def encode_rows(found: Any) -> str:
    """The text of a control's value."""
    return base64.b64encode(_encode(found)).decode()


def decode_rows(text: str, kind: Any) -> Any:
    """The opposite of `encode_rows`."""
    return msgspec.msgpack.decode(base64.b64decode(text), type=kind)
