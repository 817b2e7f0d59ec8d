"""The two private servers with the demo's schemas and opening data, and the daemon's configuration for them."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

import msgspec

from cdcd.testing import server_process
from cdcd.testing.servers import MariaDBServer, PostgresServer
from demo import erp, shop
from demo.opening import Opening

CONFIG: Final = Path(__file__).resolve().parents[2] / "config" / "demo"
ERP_PASSWORD: Final = "CDCD_DEMO_ERP_PASSWORD"
SHOP_PASSWORD: Final = "CDCD_DEMO_SHOP_PASSWORD"


class Stage(msgspec.Struct, frozen=True):
    """Where everything is. `environment` holds the daemon's passwords."""

    directory: Path
    config: Path
    state_dir: Path
    erp_dsn: str
    shop_port: int
    environment: Mapping[str, str]
    servers: tuple[PostgresServer, MariaDBServer]

    def keep_logs(self) -> Path:
        """Copy logs, configuration and the daemon's state to a directory that stays; return it."""
        kept = Path(tempfile.mkdtemp(prefix="cdcd-demo-kept-"))
        shutil.copytree(self.directory, kept / "demo", ignore=shutil.ignore_patterns("*.sock"))
        for server in self.servers:
            (kept / f"{server.name}.log").write_text(server.log)
        return kept


@contextmanager
def set_up(opening: Opening) -> Iterator[Stage]:
    """Everything but the daemon; when left, no process and no directory is there any more."""
    directory = server_process.private_directory("demo", pwd.getpwuid(os.geteuid()))
    try:
        with PostgresServer() as postgres, MariaDBServer() as mariadb:
            passwords = {ERP_PASSWORD: secrets.token_urlsafe(12), SHOP_PASSWORD: secrets.token_urlsafe(12)}
            _make_erp(postgres, passwords[ERP_PASSWORD], opening)
            _make_shop(mariadb, passwords[SHOP_PASSWORD], opening)
            config, state_dir = directory / "cdcd.toml", directory / "state"
            config.write_text(
                fill_configuration(
                    state_dir=state_dir,
                    listen_port=server_process.free_port(),
                    erp_port=postgres.port,
                    shop_port=mariadb.port,
                )
            )
            servers = (postgres, mariadb)
            yield Stage(directory, config, state_dir, postgres.dsn("erp"), mariadb.port, passwords, servers)
    finally:
        server_process.remove_directory(directory)


def fill_configuration(**values: object) -> str:
    """The shipped configuration with its placeholders filled in."""
    return Template((CONFIG / "cdcd.toml").read_text("utf-8")).substitute({k: str(v) for k, v in values.items()})


def _make_erp(server: PostgresServer, password: str, opening: Opening) -> None:
    """The daemon's account owns the tables through a role: that is what it needs to publish them."""
    server.create_user("cdcd", password)
    server.create_database("erp")
    server.execute("erp", "CREATE ROLE erp_owner; GRANT erp_owner TO cdcd; ALTER DATABASE erp OWNER TO erp_owner")
    server.execute("erp", "SET ROLE erp_owner;\n" + (CONFIG / "erp.sql").read_text("utf-8"))
    with erp.connect(server.dsn("erp")) as connection:
        erp.load(connection, opening.erp)


def _make_shop(server: MariaDBServer, password: str, opening: Opening) -> None:
    server.create_database("shop")
    server.execute((CONFIG / "shop.sql").read_text("utf-8"), "shop")
    server.execute(
        f"CREATE USER cdcd@127.0.0.1 IDENTIFIED BY '{password}';"
        "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO cdcd@127.0.0.1;"
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON shop.* TO cdcd@127.0.0.1"
    )
    with shop.connect(server.port) as connection:
        shop.load(connection, opening.shop)
