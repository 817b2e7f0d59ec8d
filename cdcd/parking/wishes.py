"""What operators want with parked records: written down by a verb, carried out by the deliverer.

A wish lies in the file of the deliverer that it is about, in a table of its own, until it is carried out in one
transaction with its removal. So it survives any crash, works while no daemon runs, and the deliverer stays the only one
who changes what is parked. A wish is about what was parked when it was asked for: what is parked later was not meant.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdcd.parking.parked import PAST_MAX, SCHEMA, ParkedRecords, Subject
from cdcd.storage import Database

DISCARDED: Final = "discarded by an operator"
"""In the place of a code, in the history of a record that is parked no more."""
Verb: TypeAlias = Literal["retry", "discard", "edit"]
_PART_KEYS: Final = 500
_encode: Final = msgspec.msgpack.Encoder().encode


class Chosen(msgspec.Struct, frozen=True, array_like=True):
    """Which parked records: these `subjects`; or (None) all, of these entities and copies by number, with this code."""

    subjects: list[Subject] | None = None
    numbers: list[int] | None = None
    code: str | None = None


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """Something to be done with parked records that were parked by `asked_at_us`.

    "edit" is about one row of a plain copy: `row` takes the place of `seen`, if that is still what is parked.
    """

    verb: Verb
    asked_at_us: int
    chosen: Chosen
    row: bytes | None = None
    seen: bytes | None = None


_decode: Final = msgspec.msgpack.Decoder(Wish).decode


def put(path: Path, wish: Wish) -> None:
    """Write down a wish for the deliverer that keeps the file at `path`."""
    database = Database(path, SCHEMA)
    try:
        with database.transaction() as connection:
            connection.execute("INSERT INTO wishes (body) VALUES (?)", (_encode(wish),))
    finally:
        database.close()


def is_open(connection: Any) -> bool:
    """Whether any wish waits to be carried out."""
    return connection.execute("SELECT 1 FROM wishes LIMIT 1").fetchone() is not None


def carry_out(parked: ParkedRecords, through_unit: int) -> int:
    """Carry out what was asked for; return how many wishes that were.

    `through_unit` is the last unit that the target has: what units through it told of a discarded record is not there.
    """
    connection = parked.database.connection
    wishes = connection.execute("SELECT id, body FROM wishes ORDER BY id").fetchall()
    for number, body in wishes:
        wish = _decode(body)
        with parked.database.transaction() as open_connection:
            for where, parameters in _conditions(wish):
                _DOING[wish.verb](open_connection, wish, where, parameters, through_unit)
            open_connection.execute("DELETE FROM wishes WHERE id=?", (number,))
    if wishes:
        parked.reload()
    return len(wishes)


def _conditions(wish: Wish) -> Iterable[tuple[str, tuple[Any, ...]]]:
    """Conditions on rows of `parked`, each with its parameters, which together choose what the wish is about."""
    chosen = wish.chosen
    where, parameters = condition(chosen.numbers, chosen.code)
    # Parked later than now means parked before the clock was put back.
    now_us = time.time_ns() // 1000
    where, parameters = f"(since_us <= ? OR since_us > ?) AND {where}", (wish.asked_at_us, now_us, *parameters)
    if chosen.subjects is None:
        yield where, parameters
        return
    for start in range(0, len(chosen.subjects), _PART_KEYS):
        part = chosen.subjects[start : start + _PART_KEYS]
        named = ",".join(["(?,?)"] * len(part))
        yield f"{where} AND (subject, key) IN (VALUES {named})", (*parameters, *(x for one in part for x in one))


def condition(numbers: Sequence[int] | None, code: str | None) -> tuple[str, tuple[Any, ...]]:
    """The condition on rows of `parked` that chooses entities and copies by number, and a code."""
    where: list[str] = ["1"]
    parameters: list[Any] = []
    if numbers is not None:
        where.append(f"subject IN ({','.join('?' * len(numbers))})")
        parameters += numbers
    if code is not None:
        where.append("code = ?")
        parameters.append(code)
    return " AND ".join(where), tuple(parameters)


def _retry(connection: Any, _wish: Wish, where: str, parameters: tuple[Any, ...], _through: int) -> None:
    connection.execute(f"UPDATE parked SET retry_at_us = 0 WHERE {where}", parameters)


def _discard(connection: Any, _wish: Wish, where: str, parameters: tuple[Any, ...], through_unit: int) -> None:
    connection.execute(
        "INSERT INTO past (subject, key, first_unit, last_unit, code, cause, since_us) SELECT subject, key, first_unit,"
        f" max(first_unit, ?), ?, code || ': ' || cause, since_us FROM parked WHERE {where} AND subject >= 0",
        (through_unit, DISCARDED, *parameters),
    )
    _keep_originals(connection, "discarded", where, parameters)
    connection.execute(f"DELETE FROM parked WHERE {where}", parameters)
    connection.execute("DELETE FROM past WHERE id <= (SELECT max(id) FROM past) - ?", (PAST_MAX,))


def _edit(connection: Any, wish: Wish, where: str, parameters: tuple[Any, ...], _through: int) -> None:
    where, parameters = f"{where} AND row = ?", (*parameters, wish.seen)
    _keep_originals(connection, "edited", where, parameters)
    connection.execute(f"UPDATE parked SET row = ?, retry_at_us = 0 WHERE {where}", (wish.row, *parameters))


def _keep_originals(connection: Any, what: str, where: str, parameters: tuple[Any, ...]) -> None:
    connection.execute(
        f"INSERT INTO originals (subject, key, row, what, at_us) SELECT subject, key, row, ?, ? FROM parked WHERE {where}"
        " AND row IS NOT NULL",
        (what, time.time_ns() // 1000, *parameters),
    )
    connection.execute("DELETE FROM originals WHERE id <= (SELECT max(id) FROM originals) - ?", (PAST_MAX,))


_DOING: Final = {"retry": _retry, "discard": _discard, "edit": _edit}
