"""Tryton on a private PostgreSQL."""

from pathlib import Path
from typing import Any

from cdcd.testing.servers import PostgresServer
from real import images
from real.application import PROGRAMS, Application, environment_of, run

MODULES = (
    "party company currency country product product_price_list product_attribute account account_product account_invoice"
    " account_invoice_stock stock stock_supply purchase sale sale_price_list sale_history sale_shipment_cost carrier"
    " web_shop"
)
CONFIG = """
[database]
uri = postgresql://postgres@127.0.0.1:{port}/
path = {directory}
[session]
super_pwd =
[password]
length = 3
"""


class Erp:
    """The server, filled, and how to reach it. `tell` has Tryton do something (see tryton_driver)."""

    database = "erp"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = PostgresServer(settings={"max_wal_size": "4GB"})
        self._environment = environment_of("tryton")
        self._config = directory / "trytond.conf"
        self._config.write_text(CONFIG.format(port=self.server.port, directory=directory))
        password = directory / "password"
        password.write_text("admin\n")
        self._variables = {"TRYTOND_CONFIG": str(self._config), "TRYTONPASSFILE": str(password)}
        self._start()
        self.tell = self.application()

    def _start(self) -> None:
        version = self.server.binaries.version
        names = ("requirements-tryton.txt", "catalogue.py", "tryton_fill.py")
        schema = images.image_path("tryton-schema", version + MODULES, [PROGRAMS / names[0]])
        filled = images.image_path("tryton", version + MODULES, [PROGRAMS / name for name in names])
        if filled.exists():
            images.restore(self.server, filled)
            return
        if not schema.exists():
            self._build(schema)
        with_schema = PostgresServer()
        images.restore(with_schema, schema)
        self._fill(with_schema, filled)
        images.restore(self.server, filled)

    def _build(self, image: Path) -> None:
        """Tryton's own program makes the tables of all modules: a minute and a half."""
        with PostgresServer() as server:
            server.create_database(self.database)
            config = self._config_for(server)
            admin = [self._environment / "bin" / "trytond-admin", "-c", config, "-d", self.database]
            run([*admin, "--all", "--email", "admin@example.invalid", "-p"], self._variables)
            run([*admin, "-u", *MODULES.split(), "--activate-dependencies"], self._variables)
            images.save(server, image)

    def _fill(self, server: PostgresServer, image: Path) -> None:
        with server:
            config = self._config_for(server)
            program = [self._environment / "bin" / "python", PROGRAMS / "tryton_fill.py", config, self.database]
            run(program, {**self._variables, "TRYTOND_CONFIG": str(config)})
            images.save(server, image)

    def _config_for(self, server: PostgresServer) -> Path:
        config = self.directory / f"trytond-{server.port}.conf"
        config.write_text(CONFIG.format(port=server.port, directory=self.directory))
        return config

    def application(self) -> Application:
        """Another Tryton client, for somebody else who works at the same time."""
        program = [self._environment / "bin" / "python", PROGRAMS / "tryton_driver.py", self._config, self.database]
        return Application(program, self._variables, self.directory / "tryton.log")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Look into the database; nothing is ever changed this way."""
        return self.server.execute(self.database, statement)

    def close(self) -> None:
        """End client and server."""
        self.tell.close()
        self.server.dispose()
