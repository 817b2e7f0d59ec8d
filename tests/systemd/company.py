"""An ERP and a shop on servers out here, and the configuration with which a daemon inside a machine reaches them."""

from typing import Any

from cdcd.testing.servers import MySqlFamilyServer, PostgresServer
from integration.erp_and_shop import CONFIG, ITEM, PRODUCTS
from systemd.machine import Machine, wait_until

ERP_PASSWORD = "erp-canary-7f3a"
SHOP_PASSWORD = "shop-canary-91bc"
ADDRESS = "host=127.0.0.1 port={port} dbname={name} user={name}"


class Company:
    """Two databases of one name, an account of that name in both, and who compares them."""

    def __init__(self, name: str, postgres: PostgresServer, mariadb: MySqlFamilyServer) -> None:
        self.name = name
        self.postgres, self.mariadb = postgres, mariadb
        postgres.create_database(name)
        postgres.create_user(name, ERP_PASSWORD, "REPLICATION SUPERUSER")
        mariadb.create_database(name)
        mariadb.execute(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{SHOP_PASSWORD}'")
        mariadb.execute(f"GRANT ALL ON *.* TO {name}@'127.0.0.1'")
        self.erp(ITEM)
        self.shop(PRODUCTS)

    def erp(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.execute(self.name, sql)

    def shop(self, sql: str) -> list[tuple[Any, ...]]:
        return self.mariadb.execute(sql, self.name)

    def config(self, state: str = "/var/lib/cdcd") -> str:
        text = CONFIG.format(
            name=self.name,
            state=state,
            dsn=ADDRESS.format(port=self.postgres.port, name=self.name),
            port=self.mariadb.port,
            database=self.name,
            keep="14d",
            max_size="1GiB",
        )
        text = text.replace('{ env = "SHOP_PASSWORD" }', '{ credential = "shop-password" }')
        return text.replace("[systems.shop]", 'password = { credential = "erp-password" }\n[systems.shop]')

    def settle(self, machine: Machine, instance: str = "") -> None:
        """Give a machine configuration and secrets, as its administrator would."""
        end = f"-{instance}" if instance else ""
        machine.write(f"/etc/cdcd/{instance or 'cdcd'}.toml", self.config(f"/var/lib/cdcd{end}"), 0o640, group="cdcd")
        for name, secret in (("erp", ERP_PASSWORD), ("shop", SHOP_PASSWORD)):
            path = f"/etc/cdcd/credentials{end}/{name}-password"
            typed = machine.attempt("install", "-m", "600", "/dev/stdin", path, stdin=f"{secret}\n")
            assert typed.returncode == 0, typed.stderr

    def add(self, first: int, last: int) -> None:
        """New items in the ERP, each in a transaction of its own where there are few."""
        self.erp(
            "INSERT INTO item (code, name, list_price)"
            f" SELECT 'SKU-' || n, 'Item ' || n, n / 100.0 FROM generate_series({first}, {last}) n"
        )

    def differences(self) -> list[tuple[Any, ...]]:
        """Records that are not the same in both databases, as either has them."""
        erp = self.erp("SELECT code, name, (list_price * 100)::bigint, web_text FROM item")
        return sorted(set(erp) ^ set(self.shop("SELECT sku, title, cents, body FROM products")), key=repr)

    def wait_in_step(self, seconds: float = 60) -> None:
        wait_until(lambda: not self.differences(), f"in step: {self.differences()[:3]}", seconds)
