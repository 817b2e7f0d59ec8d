"""The measurements: for each line, fresh databases, each workload played once and drained by cdcd and by its peers, one after the other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import latency, soak, workloads
from bench.chameleon import Chameleon
from bench.debezium import Debezium
from bench.growth import Growth
from bench.journal_watch import JournalWatch
from bench.line import Line, Mode, role
from bench.measuring import NOTHING, Cost, Meter, cpu_seconds
from bench.peers import (
    MultiRowUpserts,
    MysqlReplication,
    NativeMariaDb,
    NativePostgres,
    Peer,
    ReceiveLogical,
    drop_slot,
)
from bench.programs import printed
from bench.results import OURS, Result
from bench.sides import AnySide, MariaDbSide, PostgresSide, difference, place_marker, wait_for_row

LINES = ("pg > pg", "my > pg", "pg > my", "my > my")
IDLE_SECONDS = 20.0
PEERS: Final = Path(os.environ.get("CDCD_BENCH_PEERS") or Path(__file__).parents[2] / ".venv-peers")
"""Where `make bench-peers` makes an environment for each."""


class Wanted(NamedTuple):
    """What to measure: `work` is of W1 to W5, INIT, IDLE, GROWTH and SOAK.

    W1 is played for all but GROWTH, because it makes the products.
    """

    work: Sequence[str]
    scale: float
    run: int
    minutes: int


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
        if any(work != "GROWTH" for work in self._wanted.work):
            yield from self._backlogs()
        if "GROWTH" in self._wanted.work:
            yield from self._growth()

    def _backlogs(self) -> Iterator[Result]:
        self._source.create(self._name)
        daemons = {"copy": self._daemon("copy")}
        if any(work in self._wanted.work for work in ("W1", "W3")):
            daemons["entity"] = self._daemon("entity")
        is_compared = any(work in workloads.WORKLOADS for work in self._wanted.work)
        peers = self._natives() if is_compared or "W5" in self._wanted.work else []
        peers += self._others() if is_compared else []
        readers = self._readers() if is_compared else []
        for work in (w for w in workloads.WORKLOADS if w == "W1" or w in self._wanted.work):
            yield from self._workload(work, daemons, peers, readers)
        yield from self._live(daemons["copy"], peers)
        for peer in (*peers, *readers):
            if not isinstance(peer, MysqlReplication):
                peer.close()
        if "INIT" in self._wanted.work:
            yield self._first_copy()

    def _live(self, daemon: Line, peers: list[Peer]) -> Iterator[Result]:
        """What is measured of a daemon that has nothing to catch up with."""
        for side in (self._source, self._target):
            side.settle()
        os.sync()  # copies of state directories, too: the kernel would write them out half a minute later
        if "W5" in self._wanted.work:
            disk = latency.of_syncs(self._directory)
            yield self._result("W5", "one sync of the disk", p50_ms=disk.p50_ms, p99_ms=disk.p99_ms)
            yield self._latency(daemon)
            yield from (self._latency_of(peer) for peer in peers if isinstance(peer, NativePostgres | NativeMariaDb))
        if "IDLE" in self._wanted.work:
            yield self._idle(daemon)
        if "SOAK" in self._wanted.work:
            yield self._soak(daemon)

    def _daemon(self, mode: Mode) -> Line:
        """A daemon that has copied the empty tables, and is stopped: all that follows is in the log."""
        database = f"{self._name}_{mode}"
        self._target.create(database)
        line = Line(self._directory / database, mode, self._source, self._name, self._target, database)
        self._catch_up(line)
        return line

    def _natives(self) -> list[Peer]:
        """The servers' own replication."""
        source, target = self._source, self._target
        peers: list[Peer] = []
        if isinstance(source, PostgresSide) and isinstance(target, PostgresSide):
            peers.append(NativePostgres(source, self._name, target))
        if isinstance(source, MariaDbSide) and isinstance(target, MariaDbSide):
            replica = self._servers.side("my", "replica")  # cdcd would not read a target that is one
            assert isinstance(replica, MariaDbSide)
            peers.append(NativeMariaDb(source, self._name, replica))
        return peers

    def _others(self) -> list[Peer]:
        """Replicators that may be installed."""
        source, target = self._source, self._target
        peers: list[Peer] = []
        if isinstance(target, PostgresSide) and (python := self._installed("debezium", Debezium.name)):
            peers.append(Debezium(python, source, self._name, target, self._directory))
        if isinstance(source, MariaDbSide) and isinstance(target, PostgresSide):
            python = self._installed("chameleon", Chameleon.name)
            peers += [Chameleon(python, source, self._name, target, self._directory)] if python else []
        return peers

    def _installed(self, folder: str, name: str) -> Path | None:
        python = PEERS / folder / "bin" / "python"
        if python.exists():
            return python
        self._say(f"{self._line}: without {name}, which is not installed (make bench-peers)")
        return None

    def _readers(self) -> list[ReceiveLogical | MysqlReplication]:
        if isinstance(self._source, PostgresSide):
            return [ReceiveLogical(self._source, self._name)]
        return [MysqlReplication(self._source, self._name)]

    def _workload(
        self, work: str, daemons: dict[str, Line], peers: list[Peer], readers: list[ReceiveLogical | MysqlReplication]
    ) -> Iterator[Result]:
        copies = self._states(daemons["copy"], work) if readers else None
        if "entity" in daemons:
            # It reads the log of the target's server, too: what peers have written there is not its work.
            self._catch_up(daemons["entity"])
        self._say(f"{self._line}: {work} is played")
        self._marker += 1
        self._source.play(self._name, workloads.transactions(work, self._wanted.scale))
        place_marker(self._source, self._name, self._marker)
        for side in (self._source, self._target):
            side.settle()
        changes = workloads.changes(work, self._wanted.scale)
        line = f"{self._line} entity"
        entity = self._drained(work, daemons["entity"], line, changes) if "entity" in daemons else None
        one_way = self._drained(work, daemons["copy"], self._line, changes)
        yield one_way
        if entity is not None:
            yield self._result(work, "cdcd one-way", line=line, rows_per_second=one_way.rows_per_second)
            yield entity
        yield from self._drained_by(work, peers, changes)
        if copies is not None:
            yield from self._read(work, copies, readers, changes)
        if isinstance(self._target, MariaDbSide) and work == "W1":
            seconds = MultiRowUpserts(self._target).write(self._wanted.scale)
            yield self._result(work, MultiRowUpserts.name, changes=changes, rows_per_second=changes / seconds)

    def _catch_up(self, daemon: Line) -> None:
        """Have it read all that there is."""
        daemon.start()
        daemon.finish()

    def _states(self, line: Line, work: str) -> Path:
        """A copy of the state before the workload, for reading its log a second time without resolving."""
        return line.second_reading(self._directory / f"{self._name}_{work.lower()}")

    def _drained_by(self, work: str, peers: list[Peer], changes: int) -> Iterator[Result]:
        """A peer that gives up is left out of what follows."""
        for peer in list(peers):
            self._say(f"{self._line}: {work}, {peer.name}")
            try:
                cost = peer.drain(self._marker)
            except (RuntimeError, TimeoutError) as error:
                self._say(f"{self._line}: without {peer.name} from here on: {error}")
                peers.remove(peer)
                continue
            found = difference(self._source, self._name, peer.target, peer.target_database())
            yield self._result(work, peer.name, changes=changes, cost=cost, difference=found)

    def _read(
        self, work: str, config: Path, readers: list[ReceiveLogical | MysqlReplication], changes: int
    ) -> Iterator[Result]:
        """Only the source's part: the log's own readers, and our capture into a journal."""
        line = f"{self._line.split(' > ')[0]} > journal"
        for reader in readers:
            rate = changes / reader.read()
            yield self._result(work, reader.name, line=line, changes=changes, rows_per_second=rate)
        rate = float(printed([sys.executable, "-m", "bench.capture_only", str(config), "erp", str(changes)]))
        yield self._result(work, OURS, line=line, changes=changes, rows_per_second=rate)
        if isinstance(self._source, PostgresSide):
            drop_slot(self._source, self._name, f"{config.parent.name}_reading")

    def _drained(self, work: str, daemon: Line, line: str, changes: int) -> Result:
        self._say(f"{line}: {work}, cdcd")
        cost = daemon.drain(self._marker)
        daemon.finish()
        found = difference(self._source, self._name, self._target, daemon.target_database)
        return self._result(work, OURS, line=line, changes=changes, cost=cost, difference=found)

    def _latency(self, daemon: Line) -> Result:
        self._say(f"{self._line}: W5")
        daemon.start()
        daemon.wait_until_arrived()
        found = latency.measure(self._source, self._name, self._target, daemon.target_database)
        daemon.stop()
        return self._result("W5", OURS, p50_ms=found.p50_ms, p99_ms=found.p99_ms)

    def _latency_of(self, peer: NativePostgres | NativeMariaDb) -> Result:
        """The same of a server's own replication, which first catches up: it says what this machine has to give just now."""
        self._say(f"{self._line}: W5, {peer.name}")
        self._marker += 1
        place_marker(self._source, self._name, self._marker)
        peer.drain(self._marker)
        with peer.following():
            found = latency.measure(self._source, self._name, peer.target, peer.target_database(), nth=1)
        return self._result("W5", peer.name, p50_ms=found.p50_ms, p99_ms=found.p99_ms)

    def _idle(self, daemon: Line) -> Result:
        """CPU of a daemon that has nothing to do, as a share of one core."""
        self._say(f"{self._line}: IDLE")
        daemon.start()
        daemon.wait_until_arrived()
        daemon.wait_until_settled()
        before = cpu_seconds(daemon.pid)
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(daemon.pid) - before
        daemon.stop()
        return self._result("IDLE", OURS, core_share=used / IDLE_SECONDS)

    def _soak(self, daemon: Line) -> Result:
        self._say(f"{self._line}: SOAK, {self._wanted.minutes} minutes")
        found = soak.measure(daemon, self._source, self._name, self._wanted.minutes, self._say)
        return self._result(
            "SOAK",
            OURS,
            memory_bytes=found.peak_bytes,
            memory_by_process=found.peaks,
            memory_growth_bytes_per_hour=found.growth_bytes_per_hour,
        )

    def _first_copy(self) -> Result:
        """All products into an empty target."""
        self._say(f"{self._line}: INIT")
        database = f"{self._name}_first"
        self._target.create(database)
        line = Line(self._directory / database, "entity", self._source, self._name, self._target, database)
        count = workloads.products(self._wanted.scale)
        watch = JournalWatch(line.state / "journal.db")
        line.start()
        with Meter(line.parties(), OURS, role) as meter:
            watch.wait_for_change("erp", line.trouble)
            meter.begin()
            # Rows are copied in the order of their keys: counting them is only worth asking for when the last is there.
            wait_for_row(self._target, database, f"SELECT 1 FROM product WHERE id = {count}", line.trouble)
            while self._target.run(database, "SELECT count(*) FROM product")[0][0] < count:
                time.sleep(0.1)
            cost = meter.stop()
        line.wait_until_arrived()
        line.stop()
        return self._result("INIT", OURS, changes=count, cost=cost)

    def _growth(self) -> Iterator[Result]:
        name = self._name.replace("bench", "growth")
        growth = Growth(self._source, self._target, name, self._wanted.scale, self._directory, self._say)
        for work, system, changes, cost, found in growth.measure():
            yield self._result(work, system, changes=changes, cost=cost, difference=found)

    def _result(
        self, work: str, system: str, *, line: str = "", changes: int = 0, cost: Cost = NOTHING, **more: Any
    ) -> Result:
        if cost.cpu_seconds and changes:
            more["rows_per_second"] = cost.rate(changes)
        return Result(
            line=line or self._line,
            workload=work,
            system=system,
            scale=self._wanted.scale,
            run=self._wanted.run,
            changes=changes,
            **{**cost._asdict(), **more},
        )
