"""The commands of the quick start and the handbook, in order, on a real ERP and shop; systemd and Prometheus have tests of their own."""

import re
import shlex
from pathlib import Path
from random import Random

import pytest
from pymysql.cursors import DictCursor

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "config" / "demo"
NAME = "quickstart"
WOULD_CHANGE = 10
PASSWORD = "quick and secret"
BLOCK = re.compile(r"^    ((?:.*\\\n)*.+)$", re.MULTILINE)


class Reader:
    """Somebody who types what the page says, with the names of their own servers in the place of the page's."""

    def __init__(self, postgres: PostgresServer, mariadb: MySqlFamilyServer, place: Path) -> None:
        self.postgres, self.mariadb = postgres, mariadb
        self.config = place / "cdcd.toml"
        self.state = place / "state"
        self.secrets = place / "credentials"
        self.daemon = DaemonProcess(self.config, self.state)
        self.said: dict[str, str] = {}

    def type(self, line: str) -> None:
        """One line of the page."""
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        if words[0] == "psql":
            self._psql(words[words.index("-c") + 1])
        elif words[0] == "mariadb":
            self._mariadb(words[words.index("-e") + 1])
        elif words[0] == "install":
            path = self.secrets / Path(words[-1]).name
            path.touch(mode=0o600)
            path.write_text(PASSWORD + "\n")
        elif words[:2] == ["cdcd", "grants"] and "|" in words:
            shown = self._cdcd(words[1 : words.index("|")])
            (self._psql if "psql" in words else self._mariadb)(shown)
        elif words[0] == "cdcd" and words[1] != "install" and "--watch" not in words:
            self._cdcd(words[1:])
            if words[1] == "init":
                self._as_operator_edits()
        elif words[:2] == ["systemctl", "enable"]:
            self.daemon.start()
            self.daemon.wait_for(lambda status: all(w.state == "running" for w in status.workers().values()), "all run")

    def _psql(self, sql: str) -> None:
        self.postgres.execute(NAME, sql.replace("…", PASSWORD))

    def _mariadb(self, sql: str) -> None:
        for old, new in (("…", PASSWORD), (" REQUIRE SSL", ""), ("shop.*", f"{NAME}.*"), ("@'%'", "@'127.0.0.1'")):
            sql = sql.replace(old, new)
        self.mariadb.execute(sql, NAME)

    def _cdcd(self, words: list[str]) -> str:
        text = "\0".join(words)
        for old, new in (
            ("erp.internal/erp?sslmode=verify-full", f"127.0.0.1:{self.postgres.port}/{NAME}"),
            ("shop.internal/shop?tls=verify-full", f"127.0.0.1:{self.mariadb.port}/{NAME}"),
            ("/etc/cdcd/credentials", str(self.secrets)),
            ("/etc/cdcd/cdcd.toml", str(self.config)),
        ):
            text = text.replace(old, new)
        done = self.daemon.cli(*text.split("\0"))
        assert done.returncode in (0, WOULD_CHANGE if words[0] == "plan" else 0), f"{words}: {done.stdout}{done.stderr}"
        self.said[words[0]] = done.stdout
        return done.stdout

    def _as_operator_edits(self) -> None:
        """Products alone; and the state's place and the port, which root lays down otherwise."""
        head, *sections = self.config.read_text("utf-8").split("\n# ---- ")
        text = "\n# ---- ".join([head, *(section for section in sections if section.startswith("product"))])
        text = re.sub(r'^(state-dir *= *)".*"', rf'\1"{self.state}"', text, flags=re.MULTILINE)
        text = re.sub(r'^(listen *= *)".*"', r'\1"127.0.0.1:0"', text, flags=re.MULTILINE)
        self.config.write_text(text, "utf-8")


@pytest.fixture
def reader(postgres: PostgresServer, mariadb: MySqlFamilyServer, tmp_path: Path):
    from demo import erp, shop  # noqa: PLC0415 - drivers
    from demo.opening import Opening  # noqa: PLC0415

    opening = Opening(Random(5), 40)
    postgres.create_database(NAME)
    mariadb.create_database(NAME)
    postgres.execute(NAME, (DEMO / "erp.sql").read_text("utf-8"))
    mariadb.execute((DEMO / "shop.sql").read_text("utf-8"), NAME)
    with erp.connect(postgres.dsn(NAME)) as connection:
        erp.load(connection, opening.erp)
    with mariadb.connect(NAME) as connection:
        connection.cursorclass = DictCursor
        shop.load(connection, opening.shop)
        connection.commit()
    found = Reader(postgres, mariadb, tmp_path)
    found.secrets.mkdir(mode=0o700)
    try:
        yield found
    finally:
        found.daemon.dispose()


def commands(page: str) -> list[str]:
    """What stands in a page's blocks, in order."""
    return BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))


def test_who_types_what_the_quick_start_and_the_handbook_say_has_two_databases_in_step(reader: Reader):
    lines = [*commands("quickstart.md"), *commands("handbook.md")]
    assert len(lines) > 20
    for line in lines:
        reader.type(line)
    assert "in step" in reader.said["verify"]
    assert reader.said.keys() >= {"init", "grants", "check", "plan", "wait", "status", "events"}
