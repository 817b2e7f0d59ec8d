"""The measurements: for each line, fresh databases, each workload played once and drained by cdcd and by its peers, one after the other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import latency, workloads
from bench.line import Line, Mode, role
from bench.measuring import Cost, Meter, cpu_seconds
from bench.peers import MultiRowUpserts, MysqlReplication, NativeMariaDb, NativePostgres, Peer, ReceiveLogical
from bench.results import Result
from bench.sides import AnySide, MariaDbSide, PostgresSide, difference, place_marker, wait_for_marker

LINES = ("pg > pg", "my > pg", "pg > my", "my > my")
IDLE_SECONDS = 20.0


class Wanted(NamedTuple):
    """What to measure: `work` is of W1 to W5, INIT and IDLE; W1 is played in any case, because it makes the products."""

    work: Sequence[str]
    scale: float
    run: int


class Servers:
    """Started when they are first needed."""

    def __init__(self) -> None:
        self._sides: dict[str, AnySide] = {}

    def side(self, kind: str, part: str) -> AnySide:
        """`kind` is "pg" or "my", `part` "source", "target" or "replica"."""
        name = f"{kind} {part}"
        if name not in self._sides:
            self._sides[name] = PostgresSide() if kind == "pg" else MariaDbSide(101 + len(self._sides))
        return self._sides[name]

    def close(self) -> None:
        """End them."""
        for side in self._sides.values():
            side.close()


class LineRun:
    """One line with its peers in one run."""

    def __init__(
        self, servers: Servers, line: str, wanted: Wanted, directory: Path, say: Callable[[str], None]
    ) -> None:
        self._line, self._wanted, self._directory, self._say = line, wanted, directory, say
        self._servers = servers
        source, target = line.split(" > ")
        self._source = servers.side(source, "source")
        self._target = servers.side(target, "target")
        self._name = f"bench_{source}_{target}_{wanted.run}"
        self._marker = 0

    def measure(self) -> Iterator[Result]:
        """All that is wanted of it."""
        self._source.create(self._name)
        daemons = {"cdcd": self._daemon("copy")}
        if any(work in self._wanted.work for work in ("W1", "W3")):
            daemons["entity"] = self._daemon("entity")
        peers = self._peers()
        readers = self._readers()
        for work in (w for w in workloads.WORKLOADS if w == "W1" or w in self._wanted.work):
            yield from self._workload(work, daemons, peers, readers)
        if "W5" in self._wanted.work:
            yield self._latency(daemons["cdcd"])
        if "IDLE" in self._wanted.work:
            yield self._idle(daemons["cdcd"])
        for peer in (*peers, *readers):
            if not isinstance(peer, MysqlReplication):
                peer.close()
        if "INIT" in self._wanted.work:
            yield self._first_copy()

    def _daemon(self, mode: Mode) -> Line:
        """A daemon that has copied the empty tables, and is stopped: all that follows is in the log."""
        database = f"{self._name}_{mode}"
        self._target.create(database)
        line = Line(self._directory / database, mode, self._source, self._name, self._target, database)
        line.start()
        line.wait_until_arrived()
        line.stop()
        return line

    def _peers(self) -> list[Peer]:
        if isinstance(self._source, PostgresSide) and isinstance(self._target, PostgresSide):
            return [NativePostgres(self._source, self._name, self._target)]
        if isinstance(self._source, MariaDbSide) and isinstance(self._target, MariaDbSide):
            replica = self._servers.side("my", "replica")  # cdcd would not read a target that is one
            assert isinstance(replica, MariaDbSide)
            return [NativeMariaDb(self._source, self._name, replica)]
        return []

    def _readers(self) -> list[ReceiveLogical | MysqlReplication]:
        if isinstance(self._source, PostgresSide):
            return [ReceiveLogical(self._source, self._name)]
        return [MysqlReplication(self._source, self._name)]

    def _workload(
        self, work: str, daemons: dict[str, Line], peers: list[Peer], readers: list[ReceiveLogical | MysqlReplication]
    ) -> Iterator[Result]:
        copies = self._states(daemons["cdcd"], work)
        self._say(f"{self._line}: {work} is played")
        self._marker += 1
        self._source.play(self._name, workloads.transactions(work, self._wanted.scale))
        place_marker(self._source, self._name, self._marker)
        for side in (self._source, self._target):
            side.settle()
        changes = workloads.changes(work, self._wanted.scale)
        one_way = self._drained(work, daemons["cdcd"], "cdcd", self._line, changes)
        yield one_way
        if "entity" in daemons and work in ("W1", "W3"):
            line = f"{self._line} entity"
            yield self._result(work, "cdcd one-way", one_way.rows_per_second, line=line)
            yield self._drained(work, daemons["entity"], "cdcd", line, changes)
        elif "entity" in daemons:
            self._drained(work, daemons["entity"], "cdcd", self._line, changes)
        for peer in peers:
            cost = peer.drain(self._marker)
            found = difference(self._source, self._name, peer.target, peer.target_database())
            yield self._result(work, peer.name, changes / cost.wall_seconds, cost=cost, difference=found)
        yield from self._read(work, copies, readers, changes)
        if isinstance(self._target, MariaDbSide) and work == "W1":
            seconds = MultiRowUpserts(self._target).write(self._wanted.scale)
            yield self._result(work, MultiRowUpserts.name, changes / seconds)

    def _states(self, line: Line, work: str) -> Path:
        """A copy of the state before the workload, for reading its log a second time without resolving."""
        return line.second_reading(self._directory / f"{self._name}_{work.lower()}")

    def _read(
        self, work: str, config: Path, readers: list[ReceiveLogical | MysqlReplication], changes: int
    ) -> Iterator[Result]:
        """Only the source's part: the log's own readers, and our capture into a journal."""
        line = f"{self._line.split(' > ')[0]} > journal"
        for reader in readers:
            yield self._result(work, reader.name, changes / reader.read(), line=line)
        found = subprocess.run(
            [sys.executable, "-m", "bench.capture_only", str(config), "erp", str(changes)],
            check=True,
            capture_output=True,
            text=True,
        )
        yield self._result(work, "cdcd", changes / float(found.stdout), line=line)
        if isinstance(self._source, PostgresSide):
            self._source.run(self._name, f"SELECT pg_drop_replication_slot('{config.parent.name}_reading')")

    def _drained(self, work: str, daemon: Line, system: str, line: str, changes: int) -> Result:
        self._say(f"{line}: {work}, {system}")
        daemon.start()
        parties = {"cdcd": daemon.pid, "source": self._source.pid, "target": self._target.pid}
        with Meter(parties, "cdcd", role) as meter:
            wait_for_marker(self._target, daemon.target_database, self._marker, daemon.trouble)
            cost = meter.stop()
        daemon.wait_until_arrived()
        daemon.stop()
        found = difference(self._source, self._name, self._target, daemon.target_database)
        return self._result(work, system, changes / cost.wall_seconds, cost=cost, difference=found, line=line)

    def _latency(self, daemon: Line) -> Result:
        self._say(f"{self._line}: W5")
        daemon.start()
        daemon.wait_until_arrived()
        found = latency.measure(self._source, self._name, self._target, daemon.target_database)
        daemon.stop()
        return self._result("W5", "cdcd", 0.0, p50_ms=found.p50_ms, p99_ms=found.p99_ms)

    def _idle(self, daemon: Line) -> Result:
        """CPU of a daemon that has nothing to do, as a share of one core."""
        daemon.start()
        daemon.wait_until_arrived()
        time.sleep(5)
        before = cpu_seconds(daemon.pid)
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(daemon.pid) - before
        daemon.stop()
        cost = Cost(IDLE_SECONDS, {"cdcd": used}, 0, {})
        return self._result("IDLE", f"cdcd, {used / IDLE_SECONDS:.2%} of a core", 0.0, cost=cost)

    def _first_copy(self) -> Result:
        """All products into an empty target, from the start of the process on."""
        database = f"{self._name}_first"
        self._target.create(database)
        line = Line(self._directory / database, "entity", self._source, self._name, self._target, database)
        count = workloads.products(self._wanted.scale)
        line.start()
        parties = {"cdcd": line.pid, "source": self._source.pid, "target": self._target.pid}
        with Meter(parties, "cdcd", role) as meter:
            while self._target.run(database, "SELECT count(*) FROM product")[0][0] < count:
                time.sleep(0.1)
            cost = meter.stop()
        line.wait_until_arrived()
        line.stop()
        return self._result("INIT", "cdcd", count / cost.wall_seconds, cost=cost)

    def _result(
        self,
        work: str,
        system: str,
        rows_per_second: float,
        *,
        cost: Cost | None = None,
        line: str = "",
        difference: str = "",
        p50_ms: float = 0.0,
        p99_ms: float = 0.0,
    ) -> Result:
        cost = cost or Cost(0.0, {}, 0, {})
        return Result(
            line=line or self._line,
            workload=work,
            system=system,
            scale=self._wanted.scale,
            run=self._wanted.run,
            rows_per_second=rows_per_second,
            wall_seconds=cost.wall_seconds,
            cpu_seconds=cost.cpu_seconds,
            memory_bytes=cost.memory_bytes,
            memory_by_process=cost.memory_by_process,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            difference=difference,
        )
