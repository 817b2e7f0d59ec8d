"""The stage of the fault tests: two private servers, proxies before them, the daemon between, writers on both sides.

The daemon is looked after as systemd would: whatever is left of it is ended, and it is started again, when it has ended.
Its state directory is a small file system of its own where that is allowed (root), so that it can be full or read-only.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import pymysql
from pymysql.constants import ER

from cdcd import failpoints
from cdcd.errors import CdcdError
from cdcd.testing import server_process, watchdog
from cdcd.testing.proxy import TcpProxy
from cdcd.testing.servers import MySqlFamilyServer, PostgresServer, mysql_family_server
from faults import company, shim, verdict
from faults.shim import Shim
from integration.daemon_process import DaemonProcess, alive, wait_until

WELL_SECONDS: Final = 90.0
SETTLE_SECONDS: Final = 180.0
STATE_BYTES: Final = 3 << 29
PASSWORD: Final = "shop-s3cret"
CLONE_NEWNS: Final = 0x00020000
ROLES: Final = ("supervisor", "capture:erp", "capture:shop", "resolve", "deliver:erp", "deliver:shop")


class RigError(AssertionError):
    """What should have come did not."""


class Daemon(DaemonProcess):
    """The daemon, and a thread that starts it again whenever it has ended."""

    def __init__(self, config: Path, state: Path, environment: dict[str, str]) -> None:
        super().__init__(config, state)
        self.environment.update(environment)
        self.starts = 0
        self.codes: list[int] = []
        self._wanted = False
        self._log_at_standby = 0
        self._lock = threading.RLock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look_after, daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Run from now on, whatever happens."""
        with self._lock:
            self._wanted = True
            if self.process is None or self.process.poll() is not None:
                self._start_again()

    def rest(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, with all its workers, and leave it ended."""
        with self._lock:
            self._wanted = False
            if self.process is not None:
                left = self.pids()
                with suppress(ProcessLookupError):
                    os.kill(self.process.pid, number)
                self.process.wait(60)
                self._end_group()
                wait_until(lambda: not any(alive(pid) for pid in left.values()), "all processes are gone")

    def start_standby(self) -> subprocess.Popen[bytes]:
        """Another one, which waits for this one's end."""
        self._log_at_standby = self.log.stat().st_size
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command("run", "--standby"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )

    def log_since_standby(self) -> str:
        """What the log says since the standby was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_at_standby)
            return log.read().decode(errors="replace")

    def give_up(self) -> subprocess.Popen[bytes]:
        """Look after this one no more; it runs on."""
        with self._lock:
            self._wanted = False
            assert self.process is not None
            return self.process

    def adopt(self, process: subprocess.Popen[bytes]) -> None:
        """Look after another one instead."""
        with self._lock:
            self.process = process
            self._wanted = True
            server_process._watch.tell(self.config.parent, process.pid)

    def _look_after(self) -> None:
        while not self._ending.wait(0.05):
            with self._lock:
                if self._wanted and self.process is not None and self.process.poll() is not None:
                    self.codes.append(self.process.returncode)
                    self._end_group()
                    self._start_again()

    def _start_again(self) -> None:
        self.starts += 1
        self.start()
        server_process._watch.tell(self.config.parent, self.pid)  # ends with us, however we end

    def _end_group(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def pids(self) -> dict[str, int]:
        """The processes there are now, by role."""
        if self.process is None or self.process.poll() is not None:
            return {}
        found = {"supervisor": self.process.pid}
        for pid in watchdog.descendants(self.process.pid):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
                found.update({word: pid for word in words if word in ROLES})
        return found

    def dispose(self) -> None:
        self._ending.set()
        self._thread.join()
        self.rest()


class Writers:
    """The writing processes, one for each side."""

    def __init__(self, ports: dict[str, int], per_second: float, connections: int, log: Path) -> None:
        with log.open("ab") as errors:
            script = [sys.executable, str(Path(__file__).with_name("writers.py"))]
            self._processes = [
                subprocess.Popen(
                    [*script, side, str(port), str(connections), str(per_second / len(ports))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
                for side, port in ports.items()
            ]

    def say(self, word: str) -> None:
        """Tell all, and wait until they have done it."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
        for process in self._processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RigError("a writer has ended")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


class Rig:
    """Everything that faults are injected into. A context manager; entering starts it, without the daemon."""

    def __init__(self, *, seed: int = 1, per_second: float = 600.0, connections: int = 2) -> None:
        self.random = random.Random(seed)
        self._per_second, self._connections = per_second, connections
        self.directory = server_process.private_directory("faults", server_process.unprivileged(("root",)))
        self.state = self.directory / "disk"
        self.armed = self.directory / "failpoints"
        self.mounted = False
        self.shim: Shim | None = None
        self.markers = 0
        self.labels = ""

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def _set_up(self) -> None:
        self.armed.mkdir()
        self.state.mkdir()
        self._mount()
        self.shim = Shim(self.directory) if shim.is_possible() else None
        self.postgres = PostgresServer(settings={"wal_sender_timeout": "4s", "tcp_keepalives_idle": "2"})
        self.mariadb = mysql_family_server(settings={"innodb-lock-wait-timeout": "5"})
        for server in (self.postgres, self.mariadb):
            server.start()
        self.postgres.execute("postgres", "CREATE DATABASE company")
        self.postgres.execute("company", company.ERP)
        self.mariadb.create_database("company")
        self.mariadb.execute(company.SHOP, "company")
        self.mariadb.execute(company.SHOP_BUSINESS, "company")
        self.mariadb.execute(
            f"CREATE USER cdcd@127.0.0.1 IDENTIFIED BY '{PASSWORD}';"
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT /*!80000 , XA_RECOVER_ADMIN */ ON *.* TO cdcd@127.0.0.1;"
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON company.* TO cdcd@127.0.0.1"
        )
        self.proxies = {"erp": TcpProxy(self.postgres.port), "shop": TcpProxy(self.mariadb.port)}
        self.config = self.directory / "cdcd.toml"
        self.write_configuration()
        self.daemon = Daemon(self.config, self.state / "state", self._environment())
        ports = {"erp": self.postgres.port, "shop": self.mariadb.port}
        self.writers = Writers(ports, self._per_second, self._connections, self.directory / "writers.log")

    def write_configuration(self) -> None:
        """The file, with `labels` as they are to be kept in step."""
        new = self.config.with_suffix(".new")
        new.write_text(
            company.configuration(
                self.labels,
                state=self.state / "state",
                erp_port=self.proxies["erp"].port,
                shop_port=self.proxies["shop"].port,
            )
        )
        new.rename(self.config)

    def _environment(self) -> dict[str, str]:
        found = {"SHOP_PASSWORD": PASSWORD, failpoints.VARIABLE: str(self.armed)}
        if self.shim is not None:
            found |= self.shim.environment
        return found

    def _mount(self) -> None:
        """In a namespace of our own, so that nothing stays mounted however we end (unshare(2), mount_namespaces(7))."""
        if os.geteuid() == 0 and ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0:
            subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES},mode=700", "cdcd-faults", self.state],
                check=False,
                capture_output=True,
            )
            self.mounted = done.returncode == 0

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for name in ("writers", "daemon", "proxies", "postgres", "mariadb"):
            part = getattr(self, name, None)
            for one in part.values() if isinstance(part, dict) else [part] if part is not None else []:
                (one.dispose if hasattr(one, "dispose") else one.close)()
        if self.mounted:
            subprocess.run(["umount", "-l", self.state], check=False)
        server_process.remove_directory(self.directory)

    def keep_logs(self) -> Path:
        """Copy what tells the story to a directory that stays; return it."""
        kept = Path(f"/tmp/cdcd-faults-kept-{os.getpid()}")
        shutil.copytree(self.directory, kept, ignore=shutil.ignore_patterns("*.sock", "fill"), dirs_exist_ok=True)
        for server in (self.postgres, self.mariadb):
            (kept / f"{server.name}.log").write_text(server.log)
        return kept

    # ---- the world outside ---------------------------------------------------------------------------------

    def erp(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute("company", sql)

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        """A transaction that InnoDB has chosen to end in a deadlock did not happen, and is begun again."""
        while True:
            try:
                return self.mariadb.execute(sql, "company")
            except pymysql.err.OperationalError as error:
                if error.args[0] != ER.LOCK_DEADLOCK:
                    raise

    def transactions(self) -> int:
        """What both sides have committed by now, as they say themselves."""
        sql = "SELECT sum(transactions) FROM progress"
        return sum(int(query(sql)[0][0]) for query in (self.erp, self.shop))

    def server(self, side: str) -> PostgresServer | MySqlFamilyServer:
        return self.postgres if side == "erp" else self.mariadb

    # ---- the daemon ----------------------------------------------------------------------------------------

    def status(self) -> dict[str, str]:
        """The workers' states; empty while the daemon does not answer."""
        try:
            with suppress(CdcdError):
                found = self.daemon.status()
                return {role: worker.state for role, worker in found.workers().items()}
        except (OSError, ValueError):
            pass
        return {}

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = WELL_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RigError(f"still not: {what}; {self.status()}\n{self.log_end()}")
            time.sleep(0.05)

    def begin(self) -> None:
        """Start the daemon for the first time, and return when it has copied what was there."""
        self.daemon.begin()
        self.wait_begun()

    def wait_begun(self) -> None:
        """Until the shop has what the ERP had."""
        sql = f"SELECT 1 FROM products WHERE sku = '{company.BARRIER}'"
        self.wait_for(lambda: self.shop(sql), "the first copy has arrived")
        self.wait_well()

    def wait_well(self) -> None:
        """Until every worker runs."""
        self.wait_for(self.is_well, "every worker runs")

    def is_well(self) -> bool:
        states = self.status()
        return bool(states) and all(state == "running" for state in states.values())

    def pass_mark(self, seconds: float = WELL_SECONDS) -> None:
        """Marks written on both sides come out on the other one, behind everything that was written before them."""
        self.markers += 1
        mark = self.markers
        self.erp(f"UPDATE item SET price_version = {mark} WHERE code = '{company.BARRIER}'")
        self.shop(f"UPDATE products SET web_version = {mark} WHERE sku = '{company.BARRIER}'")

        def arrived() -> bool:
            at_erp = self.erp(f"SELECT web_version FROM item WHERE code = '{company.BARRIER}'")
            at_shop = self.shop(f"SELECT price_version FROM products WHERE sku = '{company.BARRIER}'")
            return (at_erp, at_shop) == ([(mark,)], [(mark,)])

        self.wait_for(arrived, f"mark {mark} arrives on both sides", seconds)

    def log_end(self, characters: int = 3000) -> str:
        return self.daemon.log.read_text(errors="replace")[-characters:] if self.daemon.log.exists() else ""

    def retry_parked(self) -> None:
        """What is parked is tried again at once."""
        self.daemon.cli("parked", "retry", "--all", "--yes")

    def error_codes(self) -> dict[str, str]:
        """Of the workers that have stopped: why."""
        with suppress(CdcdError, OSError, ValueError):
            workers = self.daemon.status().workers()
            return {role: w.error.code for role, w in workers.items() if w.error is not None and w.state == "stopped"}
        return {}

    def daemon_pid(self) -> int:
        """The daemon that answers, 0 when none does."""
        with suppress(CdcdError, OSError, ValueError):
            return self.daemon.status().pid
        return 0

    def cure(self) -> None:
        """What the shop refuses is put right by its owner."""
        self.erp(f"{company.CURE}; {company.CURE_ITEMS}")
        self.shop(company.CURE_AT_SHOP)

    # ---- the verdict ---------------------------------------------------------------------------------------

    def settle(self, seconds: float = SETTLE_SECONDS) -> verdict.Verdict:
        """Stop writing, wait until all has arrived, compare, and go on writing."""
        self.writers.say("pause")
        try:
            self.wait_well()
            self.cure()
            for _ in range(2):
                self.pass_mark(seconds)
            return self._judge(seconds)
        finally:
            self.writers.say("go")

    def _judge(self, seconds: float) -> verdict.Verdict:
        """Compare; what is parked may need another moment."""
        deadline = time.monotonic() + seconds
        while True:
            self.retry_parked()
            found = self._compare()
            if found.right or time.monotonic() > deadline:
                return found
            time.sleep(1.0)

    def _compare(self) -> verdict.Verdict:
        with (
            closing(psycopg.connect(self.postgres.dsn("company"), autocommit=True)) as erp,
            closing(self.mariadb.connect("company")) as shop,
            shop.cursor() as cursor,
        ):

            def at_shop(sql: str) -> list[Any]:
                cursor.execute(sql)
                return list(cursor.fetchall())

            return verdict.compare(
                verdict.read("erp", lambda sql: erp.execute(sql).fetchall(), self.labels),
                verdict.read("shop", at_shop, self.labels),
            )
