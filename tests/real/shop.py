"""django-oscar on a private MariaDB."""

from pathlib import Path
from typing import Any

from cdcd.testing.servers import MariaDBServer
from real import images
from real.application import PROGRAMS, Application, environment_of, run


class Shop:
    """The server, filled, and how to reach it. `tell` has Oscar do something (see oscar_driver)."""

    database = "shop"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = MariaDBServer()
        self._python = environment_of("oscar") / "bin" / "python"
        self._start()
        self.tell = self.application()

    def _start(self) -> None:
        version = MariaDBServer.package + str(self.server._server)
        names = ("requirements-oscar.txt", "catalogue.py", "oscar_settings.py", "oscar_fill.py")
        schema = images.image_path("oscar-schema", version, [PROGRAMS / name for name in names[:1]])
        filled = images.image_path("oscar", version, [PROGRAMS / name for name in names])
        if filled.exists():
            images.restore(self.server, filled)
            return
        if not schema.exists():
            self._build(schema)
        with_schema = MariaDBServer()
        images.restore(with_schema, schema)
        with with_schema:
            run([self._python, PROGRAMS / "oscar_fill.py"], self._variables(with_schema))
            with_schema.execute("RESET MASTER")
            images.save(with_schema, filled)
        images.restore(self.server, filled)

    def _build(self, image: Path) -> None:
        """Django's and Oscar's migrations: a minute."""
        with MariaDBServer() as server:
            server.create_database(self.database)
            server.execute("CREATE USER shop@'127.0.0.1' IDENTIFIED BY 'shop'")
            server.execute(f"GRANT ALL ON {self.database}.* TO shop@'127.0.0.1'")
            admin = [self._python, "-m", "django"]
            run([*admin, "migrate", "-v0"], self._variables(server))
            run([*admin, "oscar_populate_countries", "-v0", "--no-shipping"], self._variables(server))
            images.save(server, image)

    def _variables(self, server: MariaDBServer) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "oscar_settings",
            "SHOP_PORT": str(server.port),
            "SHOP_DATABASE": self.database,
        }

    def application(self) -> Application:
        """Another process of the shop."""
        program = [self._python, PROGRAMS / "oscar_driver.py"]
        return Application(program, self._variables(self.server), self.directory / "oscar.log")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Look into the database; nothing is ever changed this way."""
        return self.server.execute(statement, self.database)

    def close(self) -> None:
        """End client and server."""
        self.tell.close()
        self.server.dispose()
