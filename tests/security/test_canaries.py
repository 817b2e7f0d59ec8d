"""Secrets and values that would sing: planted everywhere, and looked for in all that leaves a daemon in a whole life of it.

A secret is in nothing at all. A value of a row, and the key of a record, are where somebody asks for a record or a row, and
nowhere else: not in a log line, an error, a figure, a page, a notification, a bundle, or the list of processes.
"""

import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cdcd.cli import COMMANDS
from cdcd.testing.server_process import free_port
from cdcd.testing.servers import PASSWORD_GROUP, MySqlFamilyServer, PostgresServer
from integration.daemon_process import wait_until
from integration.erp_and_shop import Line

SECRETS = {
    "dsn": "canary-dsn-7f3a91",
    "file": "canary-file-7f3a92",
    "webhook": "canary-webhook-7f3a93",
    "environment": "shop-s3cret",
}
VALUE, KEY = "canary-value-5be210", "CANARY-KEY-5be211"
MORE = """
[entities.product.not-owner]
fields = {{ name = "hold" }}
[notify.sink]
severity = "info"
[notify.sink.webhook]
url = "http://127.0.0.1:{port}/hook"
headers = {{ Authorization = {{ file = "{file}" }} }}
"""
SHOWING = {"history", "parked", "conflicts", "journal", "plan", "verify", "forget", "resync"}
"""Commands that a person asks for records and rows: they may show values and keys; secrets never."""
CALLS: dict[str, list[list[str]]] = {
    "init": [["init", "--help"]],
    "run": [["run"]],
    "check": [["check"]],
    "grants": [["grants", "erp"], ["grants", "shop"], ["grants", "erp", "--diff"], ["grants", "nowhere"]],
    "plan": [["plan"]],
    "status": [["status"]],
    "events": [["events"]],
    "history": [["history", "product", KEY]],
    "pause": [["pause", "shop"]],
    "resume": [["resume", "shop"]],
    "deliver": [["deliver", "product"]],
    "resync": [["resync", "product", "--key", KEY], ["resync", "product", "--system", "erp", "--where", "no sql"]],
    "verify": [["verify"]],
    "reposition": [["reposition", "erp", "--dry-run"]],
    "parked": [["parked", "list"], ["parked", "show", "product", KEY], ["parked", "retry", "--all", "--yes"]],
    "conflicts": [["conflicts", "list"], ["conflicts", "show", "product", KEY]],
    "wait": [["wait", "--timeout", "20s"]],
    "reload": [["reload"]],
    "rewind": [["rewind", "--to", "1h", "--system", "shop", "--dry-run"]],
    "replay": [["replay", "shop", "--dry-run"]],
    "recover": [["recover"]],
    "journal": [["journal", "stats"], ["journal", "verify"], ["journal", "tail", "--values"]],
    "forget": [["forget", "product", KEY]],
    "rekey": [["rekey", "--help"]],
    "install": [["install", "--help"]],
    "notify": [["notify", "list"]],
    "explain": [["explain", "tls"]],
    "completion": [["completion", "bash"]],
    "support-bundle": [],
}


class Sink:
    """Where notifications go: keeps what it is told."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.authorization: set[str] = set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sink.authorization.add(self.headers.get("Authorization", ""))
                sink.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Life(Line):
    """The line, with secrets in every place that can have one; `said` is all that left it, by where."""

    def __init__(self, directory: Path, postgres: PostgresServer, mariadb: MySqlFamilyServer, sink: Sink) -> None:
        self.webhook = directory / "webhook"
        self.webhook.write_text(SECRETS["webhook"])
        self.webhook.chmod(0o600)
        self.port = free_port()
        self.said: dict[str, str] = {}
        self.notified = directory / "notify.sock"
        more = MORE.format(port=sink.server.server_port, file=self.webhook)
        super().__init__(directory, postgres, mariadb, more=more)
        text = self.config.read_text()
        text = text.replace("[journal]", f'listen = "127.0.0.1:{self.port}"\n[journal]', 1)
        self.config.write_text(text.replace(f"user='{self.name}'", f"user='{self.name}' password={SECRETS['dsn']}"))
        postgres.execute(
            "postgres",
            f'ALTER ROLE "{self.name}" PASSWORD \'{SECRETS["dsn"]}\'; GRANT {PASSWORD_GROUP} TO "{self.name}"',
        )

    def call(self, *arguments: str) -> None:
        for form in ((), ("--json",)):
            if "--help" not in arguments or not form:
                done = self.cli(*arguments, *form)
                self.said[" ".join((*arguments, *form))] = done.stdout + done.stderr

    def fetch(self, path: str) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                self.said[f"GET {path}"] = answer.read().decode()
        except urllib.error.HTTPError as error:
            self.said[f"GET {path}"] = error.read().decode()

    def processes(self) -> None:
        """The command line of every process of the machine, as any user sees it."""
        lines = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                lines.append((directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        ours = [line for line in lines if "cdcd.worker" in line or "cdcd.cli" in line]
        assert len(ours) >= 5, ours
        self.said["process list"] = "\n".join(lines)

    def bundle(self) -> None:
        path = self.config.with_name("bundle.tar.gz")
        done = self.cli("support-bundle", "-o", str(path))
        assert done.returncode == 0, done.stderr
        self.said["support-bundle"] = done.stdout + done.stderr
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member)
                self.said[f"bundle {member.name}"] = file.read().decode() if file else ""


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture(scope="module")
def life(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, mariadb: MySqlFamilyServer, sink: Sink
) -> Iterator[Life]:
    """Everything happens here, once; the tests look at what was said."""
    made = Life(tmp_path_factory.mktemp("life"), postgres, mariadb, sink)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(made.notified))
    channel.setblocking(False)
    try:
        made.shop("ALTER TABLE products ADD CONSTRAINT decent CHECK (title NOT LIKE '%refused%')")
        made.erp(f"INSERT INTO item (code, name, list_price, web_text) VALUES ('{KEY}', '{VALUE}', 1, '{VALUE}')")
        made.start(NOTIFY_SOCKET=str(made.notified))
        made.wait_in_step()
        live(made)
        for calls in CALLS.values():
            for arguments in calls:
                made.call(*arguments)
        made.bundle()
        made.processes()
        for path in ("/metrics", "/", "/healthz", "/readyz", "/status", "/nowhere"):
            made.fetch(path)
        assert made.end() == 0
        made.said["log"] = made.log.read_text()
        made.said["systemd"] = b"\n".join(iter(lambda: received(channel), b"")).decode()
        made.said["notifications"] = b"\n".join(sink.bodies).decode()
        yield made
    finally:
        channel.close()
        made.dispose()
        made.drop_slot()


def received(channel: socket.socket) -> bytes:
    try:
        return channel.recv(65536)
    except BlockingIOError:
        return b""


def live(line: Life) -> None:
    """What can go wrong with a record, a process and a connection."""
    line.erp(f"INSERT INTO item (code, name, list_price) VALUES ('{KEY}-2', 'refused {VALUE}', 1)")
    wait_until(lambda: f"{KEY}-2" in line.cli("parked", "list").stdout, "it is parked")
    line.shop(f"UPDATE products SET title = 'held {VALUE}' WHERE sku = '{KEY}'")
    wait_until(lambda: KEY in line.cli("conflicts", "list").stdout, "a conflict is held")
    workers = line.status().workers()
    os.kill(next(worker.pid for role, worker in workers.items() if role == "deliver:shop"), signal.SIGKILL)
    os.kill(next(worker.pid for role, worker in workers.items() if role == "capture:erp"), signal.SIGABRT)
    line.erp("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + line.name + "'")
    line.shop(f"ALTER TABLE products CHANGE body body_{VALUE.replace('-', '_')} text")
    line.erp(f"UPDATE item SET list_price = 3, name = '{VALUE} later'")
    line.wait_for(lambda status: any(w.error for w in status.workers().values()) or True, "it goes on")
    line.shop(f"ALTER TABLE products CHANGE body_{VALUE.replace('-', '_')} body text")
    line.wait_for_states()


def test_every_command_was_called():
    assert CALLS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("place", SECRETS)
def test_a_secret_is_nowhere(life: Life, place: str):
    assert [where for where, said in life.said.items() if SECRETS[place] in said] == []


def test_the_secrets_are_the_ones_in_use(life: Life, sink: Sink):
    assert sink.bodies
    assert {SECRETS["webhook"]} == sink.authorization
    assert life.postgres.execute("postgres", "SELECT 1")
    assert "started" in life.said["log"]
    assert "STATUS=" in life.said["systemd"]
    assert "cdcd_" in life.said["GET /metrics"]
    assert "<html" in life.said["GET /"]
    assert len([where for where in life.said if where.startswith("bundle ")]) > 5


@pytest.mark.parametrize("canary", [VALUE, KEY])
def test_values_and_keys_are_only_where_somebody_asks_for_a_record(life: Life, canary: str):
    found = [where for where, said in life.said.items() if canary in said and where.split()[0] not in SHOWING]
    assert found == []


def test_who_asks_for_a_record_is_shown_it(life: Life):
    assert VALUE in life.said[f"history product {KEY}"]


def test_no_process_of_the_daemon_leaves_a_core_or_shows_its_environment_to_others(tmp_path: Path):
    program = "from cdcd import core_dumps; core_dumps.forbid(); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert Path(f"/proc/{process.pid}/environ").stat().st_uid == 0
        process.communicate("\n")
    assert next(line.split()[4:6] for line in limits.splitlines() if "core file" in line) == ["0", "0"]
