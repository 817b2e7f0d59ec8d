"""WordPress on a private MariaDB, run by the PHP of another Debian suite, unpacked and not installed."""

import subprocess
from pathlib import Path
from typing import Any

from cdcd.testing.servers import MariaDBServer
from real import images
from real.application import PROGRAMS, ROOT, Application
from real.applications import catalogue

IN_ERP_ONLY = 5
"""The last so many products of the catalogue are not in the shop yet."""


class WordPress:
    """The server, filled, and how to reach it. `tell` has WordPress do something (see wordpress_driver.php)."""

    database = "wordpress"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = MariaDBServer()
        self._root = unpacked("trixie", "wordpress", "php8.4-cli", "php8.4-mysql", "php8.4-mbstring")
        self._start()
        self.tell = self._application(self.server)

    def _start(self) -> None:
        version = f"{self.server._server} {self._root}"
        image = images.image_path("wordpress", version, [PROGRAMS / "wordpress_driver.php", PROGRAMS / "catalogue.py"])
        if not image.exists():
            with MariaDBServer() as server:
                server.create_database(self.database)
                server.execute("CREATE USER shop@'127.0.0.1' IDENTIFIED BY 'shop'")
                server.execute(f"GRANT ALL ON {self.database}.* TO shop@'127.0.0.1'")
                installing = self._application(server, "install")
                installing("install", products=list(self._products()))
                installing.close()
                server.execute("RESET MASTER")
                images.save(server, image)
        images.restore(self.server, image)

    @staticmethod
    def _products() -> list[list[Any]]:
        """SKU, name, price, stock of what both have; some in other words than the ERP's."""
        return [
            [sku, product["name"], str(product["list_price"]), 10]
            for product in catalogue.products()[:-IN_ERP_ONLY]
            for sku, _ in product["variants"]
        ]

    def _application(self, server: MariaDBServer, *more: str) -> Application:
        loader = next(path for path in sorted(self._root.rglob("ld-linux*.so.?")) if path.is_file())
        libraries = ":".join(str(path) for path in sorted(self._root.glob("usr/lib/*-linux-gnu*")))
        extensions = next(self._root.glob("usr/lib/php/2*"))
        php = [loader, "--library-path", libraries, self._root / "usr" / "bin" / "php8.4", "-n"]
        php += [f"-dextension_dir={extensions}", "-dextension=mysqlnd", "-dextension=mysqli", "-dextension=mbstring"]
        php += ["-derror_reporting=E_ERROR", "-ddisplay_errors=stderr"]
        folder = self._root / "usr" / "share" / "wordpress"
        program = [*php, PROGRAMS / "wordpress_driver.php", folder, str(server.port), self.database, *more]
        return Application(program, {}, self.directory / "wordpress.log")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Look into the database; nothing is ever changed this way."""
        return self.server.execute(statement, self.database)

    def close(self) -> None:
        """End client and server."""
        self.tell.close()
        self.server.dispose()


def unpacked(suite: str, *packages: str) -> Path:
    """Packages of a Debian suite, with all they depend on, in a folder of their own."""
    made = subprocess.run(
        [ROOT / ".ci" / "server-root", suite, *packages], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(made.stdout.strip())
