"""What a bug report needs, in one archive: no column's value, no record's key, no secret. The daemon may be down, or hang.

Every part is made by itself, in a time of its own; one that fails is a line in the manifest. What each of them holds is
said there, too. Whatever a part was made of, known secrets are taken out of its text at the end.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd import config as c
from cdcd import control, health, redaction, state_key
from cdcd.errors import CdcdError, Unavailable
from cdcd.journal import Journal
from cdcd.model import Relation
from cdcd.resolve import suspension
from cdcd.sqlite_driver import sqlite
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.status import DaemonStatus
from cdcd.storage import connected

STATUS_SECONDS: Final = 10.0
CHECK_SECONDS: Final = 60
COMMAND_SECONDS: Final = 20
READ_SECONDS: Final = 20.0
LOG_LINES: Final = 2_000
UNIT: Final = "cdcd.service"
PACKAGES: Final = (
    "cdcd",
    "psycopg",
    "psycopg-binary",
    "PyMySQL",
    "sqlcipher3",
    "msgspec",
    "prometheus-client",
    "click",
    "rich",
)
_PROGRESS_STEPS: Final = 10_000
_decode_relation: Final = msgspec.msgpack.Decoder(Relation).decode


class Written(msgspec.Struct, frozen=True):
    """A part, as the manifest tells of it. `error` says why it is not there."""

    file: str
    holds: str
    size_bytes: int
    seconds: float
    error: str = ""


class PartError(CdcdError):
    """A part that could not be made."""

    default_code = "support-part"


def write(path: Path, config: Path, *, offline: bool = False, unit: str = UNIT) -> list[Written]:
    """Write the archive to a new file that only its owner can read; return what is in it.

    `offline` leaves out the checks of the servers. Raises CdcdError when the file cannot be made.
    """
    maker = Maker(config, unit)
    parts = [
        (file, holds, make) for file, (holds, make) in maker.parts().items() if not (offline and file == "check.json")
    ]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        remedy = "name another file with -o"
        raise CdcdError(
            f"{path} cannot be written", code="support-file", cause=str(error.strerror), remedy=remedy
        ) from error
    written = []
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, holds, make in parts:
            content, done = _made(name, holds, make)
            content = redaction.without(content, maker.secrets)
            if not done.error:
                _add(archive, path, name, content)
            written.append(
                msgspec.structs.replace(
                    done, size_bytes=len(content.encode()), error=redaction.without(done.error, maker.secrets)
                )
            )
        _add(archive, path, "manifest.json", _json({"made_at": _now(), "parts": written}))
    return written


def _made(name: str, holds: str, make: Callable[[], str]) -> tuple[str, Written]:
    """A part's text; whatever goes wrong in it ends this part only."""
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(make)
        error = future.exception()
    seconds = round(time.monotonic() - began, 3)
    if error is None:
        return future.result(), Written(name, holds, 0, seconds)
    said = f"[{error.code}] {error.what}" if isinstance(error, CdcdError) else type(error).__name__
    return "", Written(name, holds, 0, seconds, said)


def _add(archive: tarfile.TarFile, path: Path, name: str, content: str) -> None:
    encoded = content.encode("utf-8", "backslashreplace")
    entry = tarfile.TarInfo(f"{path.name.partition('.')[0]}/{name}")
    entry.size, entry.mode, entry.mtime = len(encoded), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(encoded))


class Maker:
    """Makes the parts of one daemon's bundle."""

    def __init__(self, config: Path, unit: str) -> None:
        self._file = config
        self._unit = unit
        self._raw = _raw(config)
        self.secrets = redaction.secrets_of(self._raw)
        """Everything that must not be in it, as far as it is known here."""

    def parts(self) -> Mapping[str, tuple[str, Callable[[], str]]]:
        """By file name: what it holds, and how it is made."""
        return {
            "versions.json": ("versions of cdcd, Python, SQLite, drivers and the system", self._versions),
            "config.json": (
                "the configuration: where secrets are kept, not what they are; constants that it names itself are in it",
                self._config,
            ),
            "status.json": ("what 'cdcd status --json' says, and what is unhealthy", self._status),
            "metrics.txt": ("the metrics as Prometheus reads them", self._metrics),
            "check.json": ("what 'cdcd check --json' finds on the servers", self._check),
            "journal.json": ("what 'cdcd journal stats --json' says", self._journal),
            "queues.json": (
                "how many records are parked, held, waiting, in conflict, owed: by entity and code, without keys",
                self._queues,
            ),
            "files.json": (
                "the files of the state directory: sizes, formats, tables and how many rows they have",
                self._files,
            ),
            "tables.json": ("shapes of the captured tables: names and types of columns", self._tables),
            "unit.txt": ("the systemd unit, without what its environment is set to, and its state", self._unit_text),
            "log.txt": (f"the last {LOG_LINES:,} lines of the log", self._log),
        }

    # ---- what is not ours ------------------------------------------------------------------------------------

    def _versions(self) -> str:
        packages: dict[str, str | None] = {}
        for name in PACKAGES:
            try:
                packages[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                packages[name] = None
        return _json(
            {
                "packages": packages,
                "python": sys.version,
                "sqlite": sqlite.sqlite_version,
                "system": platform.platform(),
                "os": platform.freedesktop_os_release(),
                "cpus": os.cpu_count(),
                "locale_encoding": sys.getfilesystemencoding(),
            }
        )

    def _unit_text(self) -> str:
        shown = _command("systemctl", "cat", "--no-pager", self._unit)
        properties = "ActiveState,SubState,Result,NRestarts,ExecMainStatus,ActiveEnterTimestamp,MemoryCurrent"
        state = _command("systemctl", "show", "--no-pager", f"--property={properties}", self._unit)
        return redaction.unit(f"{shown}\n# state\n{state}")

    def _log(self) -> str:
        return redaction.text(
            _command("journalctl", "--no-pager", "-o", "short-iso", "-n", str(LOG_LINES), "-u", self._unit)
        )

    def _check(self) -> str:
        program = [
            sys.executable,
            "-c",
            "from cdcd.cli import main; main()",
            "check",
            "--json",
            "--config",
            str(self._file),
        ]
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=CHECK_SECONDS)
        return redaction.text(done.stdout or done.stderr)

    # ---- the daemon ------------------------------------------------------------------------------------------

    @property
    def _directory(self) -> StateDirectory:
        return StateDirectory(Path(c.read(self._file).daemon.state_dir))

    def _config(self) -> str:
        if self._raw is None:
            raise PartError(f"{self._file} is no TOML that can be read")
        return _json(redaction.configuration(self._raw))

    def _current(self) -> tuple[DaemonStatus, str]:
        """The status, and where it is from."""
        try:
            asked = control.ask(self._directory.control_socket, "status", answer_seconds=STATUS_SECONDS)
            return msgspec.convert(asked, DaemonStatus), "the daemon"
        except Unavailable:
            where = "the state directory: no daemon runs"
        except CdcdError as error:
            where = f"the state directory: {error.what}"
        from cdcd import config_rules  # noqa: PLC0415
        from cdcd.blueprint import draw  # noqa: PLC0415 - loads drivers
        from cdcd.status import offline  # noqa: PLC0415

        blueprint = draw(config_rules.load(self._file), str(self._file))
        return offline(blueprint, self._directory, metadata.version("cdcd")), where

    def _status(self) -> str:
        status, where = self._current()
        reasons = health.health(status) if status.running else []
        return redaction.text(_json({"from": where, "unhealthy": reasons, "status": status}))

    def _metrics(self) -> str:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

        from cdcd.metrics import StatusCollector  # noqa: PLC0415

        status, _ = self._current()
        registry = CollectorRegistry()
        registry.register(StatusCollector(lambda: status))
        return generate_latest(registry).decode()

    # ---- the state directory ---------------------------------------------------------------------------------

    def _journal(self) -> str:
        from cdcd.journal_care.stats import measure  # noqa: PLC0415

        settings = c.read(self._file).journal
        with (
            closing(Journal(self._directory.journal, read_only=True)) as journal,
            closing(State(self._directory.state, read_only=True)) as state,
        ):
            _limit(journal.database.connection)
            stats = measure(
                journal,
                state,
                max_bytes=c.parse_size(settings.max_size),
                keep=settings.keep,
                keep_us=int(c.parse_duration(settings.keep) * 1e6),
                now_us=time.time_ns() // 1000,
            )
            controls = sorted(journal.controls())
        return _json({"stats": stats, "controls": controls})

    def _queues(self) -> str:
        with closing(State(self._directory.state, read_only=True)) as state:
            _limit(state.connection)
            names = _entity_names(state)
            counts = {
                "conflicts": _counted(state.connection, "conflicts", "entity, kind", names),
                "held": _counted(state.connection, "held", "entity, code", names),
                "waiting": _counted(state.connection, "waiting", "binding", {}),
                "owed": _counted(state.connection, "owed", "entity, system", names),
                "suspended": [[s.subject, s.code, s.position] for s in suspension.load(state).values()],
                "phases": [list(row) for row in state.connection.execute("SELECT entity, phase FROM phases")],
            }
        parked = {}
        for path in sorted(self._directory.path.glob("deliver-*.db")):
            with closing(_connected(path)) as connection:
                parked[path.stem] = _counted(connection, "parked", "subject, code", names)
        return _json({**counts, "parked": parked})

    def _files(self) -> str:
        usage = shutil.disk_usage(self._directory.path)
        found: dict[str, Any] = {"disk": {"total_bytes": usage.total, "free_bytes": usage.free}}
        for path in sorted(self._directory.path.iterdir()):
            size = path.stat().st_size if path.is_file() else None
            found[path.name] = {"size_bytes": size, "mode": oct(path.stat().st_mode)}
            if path.suffix == ".db":
                found[path.name] |= _described(path)
        return _json(found)

    def _tables(self) -> str:
        with closing(_connected(self._directory.journal)) as connection:
            rows = connection.execute("SELECT id, source, body FROM relations ORDER BY id").fetchall()
        shapes = [(number, source, _decode_relation(body)) for number, source, body in rows]
        return _json(
            [
                {
                    "number": number,
                    "source": source,
                    "table": shape.table,
                    "columns": dict(zip(shape.columns, shape.types, strict=True)),
                    "identity": [shape.columns[at] for at in shape.identity],
                }
                for number, source, shape in shapes
            ]
        )


def _raw(config: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _connected(path: Path) -> sqlite.Connection:
    connection = connected(path, state_key.key_of(path.parent), options="mode=ro")
    _limit(connection)
    return connection


def _limit(connection: sqlite.Connection) -> None:
    """Interrupt what takes too long."""
    until = time.monotonic() + READ_SECONDS
    connection.set_progress_handler(lambda: int(time.monotonic() > until), _PROGRESS_STEPS)


def _entity_names(state: State) -> dict[int, str]:
    vocabulary = state.vocabulary
    return {} if vocabulary is None else dict(enumerate(vocabulary.entities))


def _counted(connection: sqlite.Connection, table: str, columns: str, names: Mapping[int, str]) -> list[list[Any]]:
    """How many rows for each value of these columns, which hold no key; the first is a number with a name."""
    rows = connection.execute(f"SELECT {columns}, count(*) FROM {table} GROUP BY {columns}")
    return [[names.get(first, first), *rest] for first, *rest in rows]


def _described(path: Path) -> dict[str, Any]:
    with closing(_connected(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type='table' ORDER BY name").fetchall()
        rows = dict(_row_counts(connection, [name for name, _ in tables]))
    return {"format": version, "rows": rows, "tables": dict(tables)}


def _row_counts(connection: sqlite.Connection, tables: list[str]) -> Iterator[tuple[str, int | None]]:
    """None where counting took too long."""
    for name in tables:
        try:
            (count,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()
        except sqlite.OperationalError:
            count = None
        yield name, count


def _command(*arguments: str) -> str:
    """What a program of the system prints. Raises PartError when there is none, or it fails."""
    program = shutil.which(arguments[0])
    if program is None:
        raise PartError(f"there is no {arguments[0]} here")
    done = subprocess.run(
        [program, *arguments[1:]],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode:
        raise PartError(f"{arguments[0]} ended with {done.returncode}")
    return done.stdout


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _json(content: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
