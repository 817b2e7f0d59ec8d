"""cdcd itself, as a benchmark runs it: a configuration over two databases, started and stopped between the workloads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal

from bench.journal_watch import JournalWatch
from bench.measuring import Cost, Meter, family
from bench.programs import printed
from bench.sides import AnySide, MariaDbSide, PostgresSide, wait_for_marker
from bench.workloads import COLUMNS, TABLES

Mode = Literal["copy", "entity"]
_STOP_SECONDS: Final = 60.0
_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
"""What is installed has its modules compiled: else each start would compile them, which takes half of it."""
_READY_SECONDS: Final = 300.0
_TYPES: Final = {
    "id": "integer",
    "sku": "text(32)",
    "name": "text(120)",
    "price": "decimal(12,4)",
    "stock": "integer",
    "status": "enum(active,draft,archived,oos)",
    "updated_at": "datetime",
    "description": "text",
    "attrs": "json",
}
_OWNED_BY_SHOP: Final = ("description",)


class Line:
    """One daemon from `source` to `target`. In mode "entity" products are golden records, and flow both ways.

    `more_tables` are copied besides the workloads' own.
    """

    def __init__(
        self,
        directory: Path,
        mode: Mode,
        source: AnySide,
        source_database: str,
        target: AnySide,
        target_database: str,
        *,
        more_tables: tuple[str, ...] = (),
    ) -> None:
        """The directory's name is the daemon's, too."""
        self.directory = directory
        self.target, self.target_database = target, target_database
        self._source, self._source_database = source, source_database
        self.state = directory / "state"
        self.state.mkdir(parents=True, mode=0o700)
        self.config = directory / "cdcd.toml"
        self.log = directory / "cdcd.log"
        self.process: subprocess.Popen[bytes] | None = None
        systems = _system("erp", source, source_database) + _system("shop", target, target_database)
        daemon = f'[daemon]\nname = "{directory.name}"\nstate-dir = "{self.state}"\n\n'
        tables = _copies(source, (*TABLES, *more_tables)) if mode == "copy" else _entity(source, target)
        self.config.write_text(daemon + systems + tables)

    def start(self) -> None:
        """Start the daemon; do not wait for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                _command("run", self.config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != _NO_BYTECODE},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self.process is not None
        return self.process.pid

    def trouble(self) -> str:
        """The end of its log when it has ended by itself."""
        ended = self.process is None or self.process.poll() is not None
        return self.log.read_text()[-2000:] if ended else ""

    def parties(self) -> dict[str, int]:
        """Who works for it: the daemon and both servers."""
        return {"cdcd": self.pid, "source": self._source.pid, "target": self.target.pid}

    def drain(self, marker: int) -> Cost:
        """Bring everything before the marker to the target. It goes on running."""
        watch = JournalWatch(self.state / "journal.db")
        self.start()
        with Meter(self.parties(), "cdcd", role) as meter:
            watch.wait_for_change("erp", self.trouble)
            meter.begin()
            wait_for_marker(self.target, self.target_database, marker, self.trouble)
            return meter.stop()

    def wait_until_arrived(self) -> None:
        """Until everything committed so far, the first copies too, is in the target."""
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_live():
            if found := self.trouble():
                raise RuntimeError(found)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not live within {_READY_SECONDS:.0f} s")
            time.sleep(0.1)
        printed(_command("wait", self.config, "--timeout", "15m"))

    def wait_until_settled(self) -> None:
        """Until what belongs to the start is over: the template has ended."""
        deadline = time.monotonic() + _READY_SECONDS
        while any(role(pid) == "template" for pid in family(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _is_live(self) -> bool:
        found = subprocess.run(_command("status", self.config, "--json"), check=False, capture_output=True, text=True)
        if found.returncode != 0:
            return False
        result = json.loads(found.stdout)["result"]
        captures = [system["capture"] for system in result["systems"].values() if system.get("capture")]
        copied = all(copy["done"] for capture in captures for copy in capture["copies"])
        begun = bool(captures) and all(capture["copies"] for capture in captures)
        return begun and copied and all(phase == "live" for phase in result["resolve"]["phases"].values())

    def finish(self) -> None:
        """Let it read all that there is, and stop it where it would begin behind that."""
        self.wait_until_arrived()
        for side in (self._source, self.target):
            side.settle_readers()
        self.stop()

    def stop(self) -> None:
        """Let it finish its step and end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_STOP_SECONDS)
        self.process = None

    def second_reading(self, into: Path) -> Path:
        """The configuration of something that can read the log from here on a second time, with a state of its own."""
        shutil.copytree(self.state, into / "state", ignore=shutil.ignore_patterns("*.sock", "locks"))
        text = self.config.read_text().replace(str(self.state), str(into / "state"))
        if isinstance(self._source, PostgresSide):
            slot, copy = f"cdcd_{self.directory.name}_erp", f"{into.name}_reading"
            self._source.run(self._source_database, f"SELECT pg_copy_logical_replication_slot('{slot}', '{copy}')")
            text = text.replace("[systems.erp]\n", f'[systems.erp]\nslot = "{copy}"\n')
        config = into / "cdcd.toml"
        config.write_text(text)
        return config


def _command(verb: str, config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from cdcd.cli import main; main()", verb, "--config", str(config), *arguments]


def role(pid: int) -> str:
    """What a process of the daemon does, by its command line."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    except OSError:
        return "ended"
    if "cdcd.template" in words:
        return "template"
    return words[words.index("cdcd.worker") + 1] if "cdcd.worker" in words else "supervisor"


def _system(name: str, side: AnySide, database: str) -> str:
    if isinstance(side, MariaDbSide):
        port, user = side.server.port, "root"
        return (
            f'[systems.{name}]\nadapter = "mysql"\nhost = "127.0.0.1"\nport = {port}\nuser = "{user}"\n'
            f'database = "{database}"\ntls = "off"\n\n'
        )
    return f'[systems.{name}]\nadapter = "postgres"\ndsn = "{side.server.dsn(database)}"\n\n'


def _table(side: AnySide, name: str) -> str:
    return name if isinstance(side, MariaDbSide) else f"public.{name}"


def _copies(source: AnySide, tables: tuple[str, ...]) -> str:
    names = ", ".join(f'"{_table(source, name)}"' for name in tables)
    return f'[[replicate]]\nfrom = "erp"\nto = "shop"\ntables = [{names}]\n'


def _entity(source: AnySide, target: AnySide) -> str:
    fields = "\n".join(
        f'{name} = {{ type = "{kind}", owner = "{"shop" if name in _OWNED_BY_SHOP else "erp"}" }}'
        for name, kind in _TYPES.items()
    )
    columns = ", ".join(f'{name} = "{name}"' for name in COLUMNS)
    bindings = "".join(
        f'[entities.product.in.{system}]\ntable = "{_table(side, "product")}"\ncolumns = {{ {columns} }}\n\n'
        for system, side in (("erp", source), ("shop", target))
    )
    head = (
        f'[entities.product]\nkey = ["id"]\ncreate = ["erp"]\ndelete = ["erp"]\n[entities.product.fields]\n{fields}\n\n'
    )
    return head + bindings + _copies(source, TABLES[1:])
