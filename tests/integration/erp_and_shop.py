"""An ERP on PostgreSQL, a shop on MariaDB or MySQL, and the daemon between them."""

import uuid
from pathlib import Path
from typing import Any

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.daemon_process import DaemonProcess, wait_until
from integration.least_privilege import grant_in_mysql, grant_in_postgres

PASSWORD = "shop-s3cret"
CONFIG = """
[daemon]
name = "{name}"
state-dir = "{state}"
[journal]
keep = "{keep}"
max-size = "{max_size}"
[systems.erp]
adapter = "postgres"
dsn = "{dsn}"
[systems.shop]
adapter = "mysql"
host = "127.0.0.1"
port = {port}
user = "{name}"
database = "{database}"
password = {{ env = "SHOP_PASSWORD" }}
[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.product.fields]
sku = {{ type = "text(64)" }}
name = {{ type = "text(200)", owner = "erp" }}
price = {{ type = "decimal(14,2)", owner = "erp" }}
description = {{ type = "text", owner = "shop" }}
[entities.product.in.erp]
table = "item"
columns = {{ sku = "code", name = "name", price = "list_price", description = "web_text" }}
[entities.product.in.shop]
table = "products"
columns = {{ sku = "sku", name = "title", price = {{ column = "cents", scale = 100 }}, description = "body" }}
"""
ITEM = """CREATE TABLE item (id bigserial PRIMARY KEY, code text NOT NULL UNIQUE, name text,
    list_price numeric(14,2), web_text text)"""
PRODUCTS = """CREATE TABLE products (id bigint AUTO_INCREMENT PRIMARY KEY, sku varchar(64) NOT NULL UNIQUE,
    title varchar(200), cents integer, body text) CHARACTER SET utf8mb4"""


class Line(DaemonProcess):
    """Both databases and the daemon between them, which connects with what `cdcd grants` prints for its configuration."""

    def __init__(
        self,
        directory: Path,
        postgres: PostgresServer,
        mariadb: MySqlFamilyServer,
        *,
        keep: str = "14d",
        max_size: str = "20GiB",
        more: str = "",
        owns_tables: bool = False,
    ) -> None:
        """`more` is added to the configuration. With `owns_tables` the ERP's role makes its publication itself, and mends it."""
        self.name = f"line_{uuid.uuid4().hex[:12]}"
        self.postgres, self.mariadb = postgres, mariadb
        postgres.create_database(self.name)
        mariadb.create_database(self.name)
        self.owns_tables = owns_tables
        self.erp(ITEM)
        self.shop(PRODUCTS)
        config = directory / "cdcd.toml"
        text = CONFIG.format(
            name=self.name,
            state=directory / "state",
            dsn=postgres.dsn(self.name, "postgres" if owns_tables else self.name),
            port=mariadb.port,
            database=self.name,
            keep=keep,
            max_size=max_size,
        )
        config.write_text(text + more)
        super().__init__(config, directory / "state")
        self.environment["SHOP_PASSWORD"] = PASSWORD
        self.grant()

    def start(self, *arguments: str, **environment: str) -> None:
        self.grant()
        super().start(*arguments, **environment)

    def grant(self, config: Path | None = None) -> None:
        """Have the administrators run what `cdcd grants` prints for the configuration as it is, or for another."""
        if not self.owns_tables:
            grant_in_postgres(self.postgres, self.name, config or self.config, "erp")
        grant_in_mysql(self.mariadb, config or self.config, "shop", PASSWORD)

    def erp(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute(self.name, sql)

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        return self.mariadb.execute(sql, self.name)

    def differences(self) -> list[tuple[Any, ...]]:
        """Records that are not the same in both databases, as either has them."""
        erp = self.erp("SELECT code, name, (list_price * 100)::bigint, web_text FROM item")
        return sorted(set(erp) ^ set(self.shop("SELECT sku, title, cents, body FROM products")), key=repr)

    def wait_in_step(self) -> None:
        def reached() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            return not self.differences()

        try:
            wait_until(reached, "in step")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.differences()[:10]}\n{self.log.read_text()[-2000:]}") from error

    def reconfigure(self, old: str, new: str) -> None:
        """Change the configuration's text and start the daemon anew with it."""
        text = self.config.read_text()
        assert old in text, old
        assert self.end() == 0
        self.config.write_text(text.replace(old, new))
        self.start()

    def drop_slot(self) -> None:
        slots = "FROM pg_replication_slots WHERE database = current_database()"
        wait_until(lambda: not self.erp(f"SELECT 1 {slots} AND active"), "the slot is free")
        self.erp(f"SELECT pg_drop_replication_slot(slot_name) {slots}")
