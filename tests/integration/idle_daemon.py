"""A daemon between the two servers of the idle adapter (`cdcd_idle`), and systemd's ear."""

import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cdcd.testing.server_process import free_port
from integration.daemon_process import DaemonProcess

CONFIG = """
[daemon]
name = "idle"
state-dir = "{state}"
listen = "127.0.0.1:{port}"
[systems.a]
adapter = "idle"
directory = "{directory}/a"
[systems.b]
adapter = "idle"
directory = "{directory}/b"
[entities.item]
key = ["id"]
create = ["a"]
delete = ["a"]
[entities.item.fields]
id = {{ type = "integer" }}
name = {{ type = "text", owner = "a" }}
[entities.item.in.a]
table = "item"
columns = {{ id = "id", name = "name" }}
[entities.item.in.b]
table = "item"
columns = {{ id = "id", name = "name" }}
"""
ENTRY_POINTS = "[cdcd.adapters]\nidle = cdcd_idle:adapter\n"


class IdleDaemon(DaemonProcess):
    """A daemon between the two servers of the idle adapter."""

    def __init__(self, directory: Path, state: Path) -> None:
        self.base = directory
        self.port = free_port()
        package = directory / "site" / "cdcd_idle-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: cdcd-idle\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text(ENTRY_POINTS)
        shutil.copy(Path(__file__).with_name("cdcd_idle.py"), directory / "site")
        for name in ("a", "b"):
            (directory / name).mkdir()
        config = directory / "cdcd.toml"
        config.write_text(CONFIG.format(state=state, directory=directory, port=self.port))
        super().__init__(config, state, directory / "site")

    def switch(self, name: str, on: bool = True) -> None:
        if on:
            (self.base / name).touch()
        else:
            (self.base / name).unlink()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


class SystemdEar:
    """The socket that systemd would listen on."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(30)
        self.heard: list[str] = []

    def wait_for(self, wanted: Callable[[str], bool]) -> None:
        while not any(wanted(line) for line in self.heard):
            self.heard += self.socket.recv(4096).decode().splitlines()
