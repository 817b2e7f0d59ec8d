"""pg_chameleon: another replicator from MariaDB to PostgreSQL, where it is installed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench import workloads
from bench.measuring import Cost, Meter
from bench.programs import printed
from bench.sides import WAIT_SECONDS, MariaDbSide, PostgresSide, wait_for_marker
from cdcd.testing import watchdog

_STOP_SECONDS: Final = 30.0
_NOT_ROOT: Final = "import os, runpy, sys; os.geteuid = lambda: 1; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
"""It refuses to be root. Another account could not always read the environment it is installed in."""
_SOURCE: Final = "mysql"
_READING: Final = b"Starting the replica daemons"


class Chameleon:
    """It makes its own tables in its target; its start, until its processes begin to read, is left out of its rate."""

    name = "pg_chameleon"

    def __init__(self, python: Path, source: MariaDbSide, database: str, target: PostgresSide, directory: Path) -> None:
        """`python` has pg_chameleon. What is committed at the source from now on is its backlog."""
        self._python, self._source, self._database, self.target = python, source, database, target
        self._copy = f"{database}_chameleon"
        self._home = directory / self._copy
        self._log = self._home / "log"
        target.server.create_database(self._copy)
        target.run(self._copy, f'ALTER DATABASE "{self._copy}" SET search_path = "{database}", public')
        self._configure()
        self._run("create_replica_schema")
        self._run("add_source", "--source", _SOURCE)
        self._run("init_replica", "--source", _SOURCE, "--debug")  # without that it goes on in the background

    def target_database(self) -> str:
        return self._copy

    def drain(self, marker: int) -> Cost:
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._command("start_replica", "--source", _SOURCE),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=self._environment,
            )
        parties = {"replicator": process.pid, "source": self._source.pid, "target": self.target.pid}
        try:
            with Meter(parties, "replicator", lambda _pid: self.name) as meter:
                self._wait_until_reading(process)
                meter.begin()
                wait_for_marker(self.target, self._copy, marker, lambda: self._trouble(process))
                return meter.stop()
        finally:
            process.send_signal(signal.SIGINT)  # as its own stop_replica does
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            watchdog.kill_tree(process.pid)
            process.wait()
            self.target.run(self._copy, "UPDATE sch_chameleon.t_sources SET enm_status = 'stopped'")

    def close(self) -> None:
        """All it has is in its target database."""

    def _wait_until_reading(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while _READING not in self._log.read_bytes():
            if found := self._trouble(process):
                raise RuntimeError(found)
            if time.monotonic() > deadline:
                raise TimeoutError("pg_chameleon has not begun to read")
            time.sleep(0.005)

    def _trouble(self, process: subprocess.Popen[bytes]) -> str:
        return "" if process.poll() is None else self._log.read_text(errors="replace")[-2000:]

    def _run(self, *arguments: str) -> None:
        printed(self._command(*arguments), cwd=self._home, env=self._environment)

    def _command(self, *arguments: str) -> list[str]:
        program = self._python.with_name("chameleon.py")
        return [str(self._python), "-c", _NOT_ROOT, str(program), *arguments, "--config", "bench"]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self._home)}

    def _configure(self) -> None:
        """The settings of its own example, with larger batches; it wants a charset that Python's codecs know."""
        base = self._home / ".pg_chameleon"
        folder = base / "configuration"
        for path in (folder, base / "pid", base / "logs"):
            path.mkdir(parents=True)
        tables = "".join(f"\n      - {self._database}.{table}" for table in workloads.TABLES)
        (folder / "bench.yml").write_text(
            f"""
pid_dir: '{base}/pid/'
log_dir: '{base}/logs/'
log_dest: stdout
log_level: info
log_days_keep: 10
rollbar_key: ''
rollbar_env: ''
type_override:
pg_conn:
  host: "127.0.0.1"
  port: "{self.target.server.port}"
  user: "postgres"
  password: "none"
  database: "{self._copy}"
  charset: "utf8"
sources:
  {_SOURCE}:
    db_conn:
      host: "127.0.0.1"
      port: "{self._source.server.port}"
      user: "root"
      password: ""
      charset: 'utf8'
      connect_timeout: 10
    schema_mappings:
      {self._database}: {self._database}
    limit_tables:{tables}
    skip_tables:
    grant_select_to:
    lock_timeout: "120s"
    my_server_id: 4712
    replica_batch_size: 10000
    replay_max_rows: 10000
    batch_retention: '1 day'
    copy_max_memory: "300M"
    copy_mode: 'file'
    out_dir: {self._home}
    sleep_loop: 1
    on_error_replay: exit
    on_error_read: exit
    auto_maintenance: "disabled"
    gtid_enable: false
    type: mysql
    keep_existing_schema: No
    net_read_timeout: 600
"""
        )
