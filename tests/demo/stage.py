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

from cdcd import granting
from cdcd.testing import server_process
from cdcd.testing.servers import PASSWORD_GROUP, MariaDBServer, PostgresServer
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
            _make_erp(postgres, opening)
            _make_shop(mariadb, opening)
            config, state_dir = directory / "cdcd.toml", directory / "state"
            config.write_text(
                fill_configuration(
                    state_dir=state_dir,
                    listen_port=server_process.free_port(),
                    erp_port=postgres.port,
                    shop_port=mariadb.port,
                )
            )
            _make_accounts(config, postgres, mariadb, passwords)
            servers = (postgres, mariadb)
            yield Stage(directory, config, state_dir, postgres.dsn("erp"), mariadb.port, passwords, servers)
    finally:
        server_process.remove_directory(directory)


def fill_configuration(**values: object) -> str:
    """The shipped configuration with its placeholders filled in."""
    return Template((CONFIG / "cdcd.toml").read_text("utf-8")).substitute({k: str(v) for k, v in values.items()})


def _make_erp(server: PostgresServer, opening: Opening) -> None:
    server.create_database("erp")
    server.execute("erp", (CONFIG / "erp.sql").read_text("utf-8"))
    with erp.connect(server.dsn("erp")) as connection:
        erp.load(connection, opening.erp)


def _make_shop(server: MariaDBServer, opening: Opening) -> None:
    server.create_database("shop")
    server.execute((CONFIG / "shop.sql").read_text("utf-8"), "shop")
    with shop.connect(server.port) as connection:
        shop.load(connection, opening.shop)


def _make_accounts(
    config: Path, postgres: PostgresServer, mariadb: MariaDBServer, passwords: Mapping[str, str]
) -> None:
    """The daemon's accounts, with what `cdcd grants` prints for them and nothing else; then their passwords."""
    for grant in granting.grants(config, "erp"):
        postgres.execute("erp", grant.sql)
    postgres.execute("erp", f"ALTER ROLE cdcd PASSWORD '{passwords[ERP_PASSWORD]}'; GRANT {PASSWORD_GROUP} TO cdcd")
    for grant in granting.grants(config, "shop"):
        if not grant.optional:
            mariadb.execute(grant.sql)
    account = "cdcd@'127.0.0.1'"
    mariadb.execute(f"ALTER USER {account} IDENTIFIED BY '{passwords[SHOP_PASSWORD]}' ACCOUNT UNLOCK")
