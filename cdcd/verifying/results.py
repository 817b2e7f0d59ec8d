"""What was asked to be verified, how far that is, and what was found: `verify.db` in the state directory.

The verbs write down runs, and what people want with them; the verifying process takes them up and keeps its progress and
findings here; status, metrics and the command line read. Of a difference only names are kept, never values.

    runs         what was asked for, and what became of it
    comparisons  the parts of a run: an entity in a system, or a plain copy
    differences  the first records of a comparison that are not in step
    standings    of each entity and system, the last comparison of all its records
    notes        up to when the moments of schedules are accounted for
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from cdcd.report import now_us
from cdcd.storage import Database, Schema
from cdcd.verifying.pace import Wish

DIFFERENCES_MAX: Final = 1_000
"""So many of each comparison are listed; all are counted."""
RUNS_KEPT: Final = 20
TABLES: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, asked BLOB NOT NULL, asked_at_us INTEGER NOT NULL, state TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0, ended_at_us INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS comparisons (
    run INTEGER NOT NULL, place INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run, place)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS differences (
    run INTEGER NOT NULL, place INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (run, place, number)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS standings (
    subject TEXT NOT NULL, system TEXT NOT NULL, success_at_us INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (subject, system)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
SCHEMA: Final = Schema(TABLES)
DriftKind: TypeAlias = Literal["missing", "different", "surplus"]
DRIFT_KINDS: Final[tuple[DriftKind, ...]] = ("missing", "different", "surplus")
Mend: TypeAlias = Literal["tell", "read"]
ComparisonState: TypeAlias = Literal["waiting", "reading", "rechecking", "done", "skipped", "failed", "cancelled"]
RunState: TypeAlias = Literal["waiting", "running", "done", "cancelled"]
_encode: Final = msgspec.msgpack.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """What is to be verified: `subjects` (entities, or plain copies as "system:table") in `systems`, none: all that have them.

    With `keys` (of records) only those, with `where` (SQL of an operator) only rows of main tables that satisfy it: then
    nobody is missing whom the condition does not show. `scheduled`: no person asked.
    """

    subjects: tuple[str, ...]
    systems: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = ()
    where: str = ""
    scheduled: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all records are compared."""
        return not (self.keys or self.where)


class Comparison(msgspec.Struct, frozen=True):
    """One subject in one system: how far it is, or what was found.

    `rows` were read of about `estimate`, `records` were looked for. `missing`, `different` and `surplus` records are not in
    step, and nothing on its way explains it. `known` counts those that are otherwise for a reason that cdcd knows, by that
    reason; `moving` are records that changed faster than they could be compared. `why` says why it was skipped or failed.
    `row_key` are the columns that rows are named by.
    """

    subject: str
    system: str
    state: ComparisonState = "waiting"
    why: str = ""
    rows: int = 0
    estimate: int = 0
    records: int = 0
    missing: int = 0
    different: int = 0
    surplus: int = 0
    known: dict[str, int] = {}
    moving: int = 0
    began_at_us: int = 0
    ended_at_us: int = 0
    row_key: tuple[str, ...] = ()

    @property
    def drift(self) -> int:
        """How many records are not in step."""
        return self.missing + self.different + self.surplus

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "skipped", "failed", "cancelled")

    @property
    def rows_per_second(self) -> float:
        """From its beginning to its end, or until now."""
        elapsed_us = (self.ended_at_us or now_us()) - self.began_at_us
        return self.rows * 1e6 / elapsed_us if self.began_at_us and elapsed_us > 0 else 0.0


class Difference(msgspec.Struct, frozen=True):
    """A record that is not in step in a system, by its key (empty where that cannot be told) and its row's id there.

    `fields` are the names of those that differ. `cause` is what may have led to it, where there is a trace. `mend` says what
    puts it right by ownership: the system is to be told the record, or its row is to be read, and counts.
    """

    kind: DriftKind
    key: bytes
    row_id: bytes
    fields: tuple[str, ...] = ()
    cause: str = ""
    mend: Mend = "tell"


class Run(msgspec.Struct, frozen=True):
    """One verification."""

    id: int
    asked: Asked
    asked_at_us: int
    state: RunState
    paused: bool
    ended_at_us: int
    comparisons: tuple[Comparison, ...]

    @property
    def drift(self) -> int:
        """How many records are not in step."""
        return sum(comparison.drift for comparison in self.comparisons)


class Standing(msgspec.Struct, frozen=True):
    """How an entity stands in a system (or a plain copy in its target), by the last comparison of all its records.

    `last_success_at_us`: the end of the last one that found everything in step, 0 where none has.
    """

    subject: str
    system: str
    last_run_at_us: int
    last_success_at_us: int
    missing: int
    different: int
    surplus: int
    known: int
    records: int
    seconds: float

    @property
    def drift(self) -> dict[DriftKind, int]:
        """Records that are not in step, by kind."""
        return {"missing": self.missing, "different": self.different, "surplus": self.surplus}


def path_in(directory: Path) -> Path:
    """Where a state directory keeps all this."""
    return directory / "verify.db"


def drift(directory: Path) -> tuple[Standing, ...]:
    """How everything stands that was ever verified as a whole; nothing where nothing was. `directory` is the state's."""
    path = path_in(directory)
    if not path.exists():
        return ()
    with closing(Results(path, read_only=True)) as results:
        return results.standings()


class Known(msgspec.Struct, frozen=True):
    """What status shows: how everything stands, and up to when the moments of each schedule are accounted for."""

    standings: tuple[Standing, ...]
    considered_us: dict[str, int]


def known(directory: Path) -> Known | None:
    """That of a state directory; None where nothing was ever asked for or scheduled."""
    path = path_in(directory)
    if not path.exists():
        return None
    with closing(Results(path, read_only=True)) as results:
        return Known(results.standings(), results.considered())


class Results:
    """The file, as one process sees it. Several write."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._database = Database(path, SCHEMA, read_only=read_only)
        self._connection = self._database.connection

    # ---- runs ------------------------------------------------------------------------------------------------

    def ask(self, asked: Asked, parts: Iterable[tuple[str, str]]) -> int:
        """Have `parts` (subject and system) compared; return the run's number."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO runs (asked, asked_at_us, state) VALUES (?,?,'waiting')", (_encode(asked), now_us())
            )
            run = int(cursor.lastrowid or 0)
            bodies = [(run, place, _encode(Comparison(*part))) for place, part in enumerate(parts)]
            connection.executemany("INSERT INTO comparisons VALUES (?,?,?)", bodies)
            for table, column in (("differences", "run"), ("comparisons", "run"), ("runs", "id")):
                connection.execute(f"DELETE FROM {table} WHERE {column} <= ?", (run - RUNS_KEPT,))
        return run

    def run(self, number: int) -> Run | None:
        """A run by its number, while it is remembered."""
        return next(iter(self._runs("id=?", number)), None)

    def runs(self) -> list[Run]:
        """All that are remembered, oldest first."""
        return self._runs("1")

    def next(self) -> Run | None:
        """The run that is to be worked on: of those that nobody has paused, the oldest."""
        return next(iter(self._runs("state IN ('waiting', 'running') AND NOT paused")), None)

    def has_work(self) -> bool:
        """Whether there is such a run. Cheap."""
        return self._one("SELECT count(*) FROM runs WHERE state IN ('waiting', 'running') AND NOT paused") > 0

    def _runs(self, where: str, *parameters: Any) -> list[Run]:
        rows = self._connection.execute(
            f"SELECT id, asked, asked_at_us, state, paused, ended_at_us FROM runs WHERE {where} ORDER BY id", parameters
        ).fetchall()
        return [
            Run(run, msgspec.msgpack.decode(asked, type=Asked), at, state, bool(paused), ended, self._comparisons(run))
            for run, asked, at, state, paused, ended in rows
        ]

    def _comparisons(self, run: int) -> tuple[Comparison, ...]:
        rows = self._connection.execute("SELECT body FROM comparisons WHERE run=? ORDER BY place", (run,))
        return tuple(msgspec.msgpack.decode(body, type=Comparison) for (body,) in rows)

    def begin(self, run: int) -> None:
        """The run is worked on."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE runs SET state='running' WHERE id=? AND state='waiting'", (run,))

    def end(self, run: int) -> None:
        """Nothing more comes of it."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET state='done', paused=0, ended_at_us=? WHERE id=? AND state='running'", (now_us(), run)
            )

    def pause(self, run: int, *, on: bool) -> bool:
        """Have it wait after the rows in work, or go on; False where it is over."""
        return self._change(run, f"paused={int(on)}")

    def cancel(self, run: int) -> bool:
        """Have it end; False where it is over."""
        return self._change(run, f"state='cancelled', paused=0, ended_at_us={now_us()}")

    def _change(self, run: int, what: str) -> bool:
        with self._database.transaction() as connection:
            done = connection.execute(f"UPDATE runs SET {what} WHERE id=? AND state IN ('waiting', 'running')", (run,))
        return bool(done.rowcount)

    def wish(self, run: int) -> Wish:
        """What is wanted of a run that is worked on."""
        row = self._connection.execute("SELECT state, paused FROM runs WHERE id=?", (run,)).fetchone()
        if row is None or row[0] not in ("waiting", "running"):
            return "cancel"
        return "pause" if row[1] else "go-on"

    # ---- findings --------------------------------------------------------------------------------------------

    def keep(
        self,
        run: int,
        place: int,
        comparison: Comparison,
        differences: Iterable[Difference] = (),
        *,
        whole: bool = False,
    ) -> None:
        """Keep how far a comparison is. One that is over brings its differences; one that is `whole` is how things stand."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE comparisons SET body=? WHERE run=? AND place=?", (_encode(comparison), run, place)
            )
            connection.execute("DELETE FROM differences WHERE run=? AND place=?", (run, place))
            connection.executemany(
                "INSERT INTO differences VALUES (?,?,?,?)",
                [(run, place, number, _encode(found)) for number, found in enumerate(differences)],
            )
            if whole and comparison.state == "done":
                success_at_us = 0 if comparison.drift else comparison.ended_at_us
                connection.execute(
                    "INSERT INTO standings VALUES (?,?,?,?) ON CONFLICT (subject, system) DO UPDATE SET body=excluded.body,"
                    " success_at_us=max(success_at_us, excluded.success_at_us)",
                    (comparison.subject, comparison.system, success_at_us, _encode(comparison)),
                )

    def differences(self, run: int, place: int, limit: int = DIFFERENCES_MAX) -> list[Difference]:
        """The first ones of a comparison."""
        rows = self._connection.execute(
            "SELECT body FROM differences WHERE run=? AND place=? ORDER BY number LIMIT ?", (run, place, limit)
        )
        return [msgspec.msgpack.decode(body, type=Difference) for (body,) in rows]

    def standings(self) -> tuple[Standing, ...]:
        """How everything stands."""
        rows = self._connection.execute("SELECT success_at_us, body FROM standings ORDER BY subject, system")
        return tuple(_standing(at_us, msgspec.msgpack.decode(body, type=Comparison)) for at_us, body in rows)

    def forget(self, parts: Iterable[tuple[str, str]]) -> None:
        """Keep only how these stand: others are not configured any more."""
        known = set(parts)
        gone = [(s.subject, s.system) for s in self.standings() if (s.subject, s.system) not in known]
        if gone:
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM standings WHERE subject=? AND system=?", gone)

    # ---- schedules -------------------------------------------------------------------------------------------

    def considered_us(self, name: str) -> int | None:
        """Up to when the moments of a schedule are accounted for, None where it is new."""
        row = self._connection.execute("SELECT value FROM notes WHERE name=?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def considered(self) -> dict[str, int]:
        """Up to when the moments of each schedule are accounted for."""
        return dict(self._connection.execute("SELECT name, value FROM notes").fetchall())

    def consider(self, name: str, until_us: int) -> None:
        """Account for them."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?,?)", (name, until_us))

    def _one(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchone()[0])

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._database.close()


def _standing(success_at_us: int, last: Comparison) -> Standing:
    return Standing(
        last.subject,
        last.system,
        last.ended_at_us,
        success_at_us,
        last.missing,
        last.different,
        last.surplus,
        sum(last.known.values()),
        last.records,
        (last.ended_at_us - last.began_at_us) / 1e6,
    )
