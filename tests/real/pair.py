"""Both applications, and the daemon between them on the template's configuration."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from cdcd.status import DaemonStatus
from integration.daemon_process import ROOT, DaemonProcess
from real.comparison import differences
from real.erp import Erp
from real.shop import Shop
from real.wordpress import WordPress

TEMPLATES = ROOT / "config" / "templates"
PASSWORD = "shop-s3cret"
SYSTEMS = """[systems.erp]
adapter = "postgres"
dsn = "{dsn}"

[systems.shop]
adapter = "mysql"
host = "127.0.0.1"
port = {port}
database = "{database}"
user = "cdcd"
password = {{ env = "SHOP_PASSWORD" }}

# ----"""
GRANTS = (
    "CREATE USER cdcd@'127.0.0.1' IDENTIFIED BY '{password}'",
    "GRANT REPLICATION SLAVE, BINLOG MONITOR, RELOAD ON *.* TO cdcd@'127.0.0.1'",
    "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, LOCK TABLES ON {database}.* TO cdcd@'127.0.0.1'",
)


class Daemon(DaemonProcess):
    """cdcd between Tryton and a shop. Only what an installation has of its own differs from the template."""

    def __init__(self, directory: Path, template: str, erp: Erp, shop: Shop | WordPress) -> None:
        for grant in GRANTS:
            shop.server.execute(grant.format(password=PASSWORD, database=shop.database))
        config = directory / "cdcd.toml"
        text = (TEMPLATES / template / "cdcd.toml").read_text()
        systems = SYSTEMS.format(dsn=erp.server.dsn(erp.database), port=shop.server.port, database=shop.database)
        text = re.sub(r"\[systems\.erp\].*?# ----", lambda _: systems, text, count=1, flags=re.DOTALL)
        text = re.sub(r"^state-dir .*$", f'state-dir = "{directory / "state"}"', text, count=1, flags=re.MULTILINE)
        config.write_text(re.sub(r"^listen .*$", "", text, count=1, flags=re.MULTILINE))
        super().__init__(config, directory / "state")
        self.environment["SHOP_PASSWORD"] = PASSWORD

    def wait_until_idle(self, deadline: float) -> None:
        """Wait until everything that the servers' logs have was read, decided and delivered."""
        while not ((status := self.try_status()) and is_idle(status)):
            assert time.monotonic() < deadline, f"{self.try_status()}\n{self.log.read_text()[-6000:]}"
            time.sleep(0.1)

    def wait_for_no(self, differences: Callable[[], list[str]], timeout_seconds: float = 120.0) -> None:
        """Wait until there are no differences and nothing is on its way; fail with those that stay."""
        deadline = time.monotonic() + timeout_seconds
        self.wait_until_idle(deadline)
        while found := differences():
            if time.monotonic() > deadline:
                told = [*found[:40], f"({len(found)})", str(self.status()), self.log.read_text()[-6000:]]
                raise AssertionError("\n".join(told))
            self.wait_until_idle(deadline)


class Pair(Daemon):
    """Tryton, Oscar and cdcd."""

    def __init__(self, directory: Path, erp: Erp, shop: Shop) -> None:
        super().__init__(directory, "tryton-oscar", erp, shop)
        self.erp, self.shop = erp, shop

    def wait_in_step(self, timeout_seconds: float = 120.0) -> None:
        """Wait until both applications say the same; fail with what they do not agree on."""
        self.wait_for_no(lambda: differences(self.erp, self.shop), timeout_seconds)


def is_idle(status: DaemonStatus) -> bool:
    """Whether nothing is on its way, and nothing is being copied."""
    systems = status.systems.values()
    return (
        all(worker.state == "running" for worker in status.workers().values())
        and set(status.resolve.phases.values()) <= {"live"}
        and not status.resolve.lag_events
        and all(system.capture is not None and not system.capture.lag_bytes for system in systems)
        and all(system.deliver is not None and not system.deliver.lag_events for system in systems)
    )
