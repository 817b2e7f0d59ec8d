"""What belongs on a machine that runs cdcd as a service: files, directories and an account, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import ConfigError

ACCOUNT: Final = "cdcd"
PROGRAM: Final = "/opt/cdcd/bin/cdcd"
"""As the unit files of the repository have it."""
SHARED: Final = "/usr/local/share/cdcd"
UNITS: Final = ("cdcd.service", "cdcd@.service")
_INSTANCE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_NAME: Final = re.compile(r'^name(\s*)= ".*"$', re.MULTILINE)
_STATE: Final = re.compile(r'^state-dir = ".*"$', re.MULTILINE)
_SECRET: Final = re.compile(r'\{ file = "/etc/cdcd/([a-z-]+)" \}( +# chmod 600)?')


class Layout(msgspec.Struct, frozen=True):
    """Where files go that are nobody's configuration."""

    units: str
    sysusers: str
    tmpfiles: str
    shared: str


ADMINISTRATOR: Final = Layout("/etc/systemd/system", "/etc/sysusers.d", "/etc/tmpfiles.d", SHARED)
PACKAGE: Final = Layout("/usr/lib/systemd/system", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/usr/share/cdcd")


class Account(msgspec.Struct, frozen=True):
    """The system account, and the group of the same name."""

    name: str = ACCOUNT
    home: str = "/var/lib/cdcd"
    comment: str = "cdcd, change data capture"


class Directory(msgspec.Struct, frozen=True):
    """A directory with exactly this mode and these owners."""

    path: str
    mode: int
    owner: str = "root"
    group: str = "root"


class File(msgspec.Struct, frozen=True):
    """A file. One that `is_kept` is a person's as soon as it is there: it is neither overwritten nor removed."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    is_kept: bool = False


Part: TypeAlias = Account | Directory | File


class Installation(msgspec.Struct, frozen=True):
    """One installation: its program, the files that came with it by their path below share/cdcd, and an instance's name."""

    program: str
    files: Mapping[str, bytes]
    layout: Layout = ADMINISTRATOR
    instance: str = ""

    def __post_init__(self) -> None:
        if self.instance and not _INSTANCE.fullmatch(self.instance):
            raise ConfigError(
                f"an instance cannot be called {self.instance!r}",
                cause="it becomes part of file names and of the unit's name",
                remedy="lower-case letters, digits, - and _, a letter or digit first, 31 at most",
                code="install-instance",
            )

    @property
    def unit(self) -> str:
        """The service's name for systemctl."""
        return f"cdcd@{self.instance}" if self.instance else "cdcd"

    @property
    def config(self) -> str:
        """Its configuration file."""
        return f"/etc/cdcd/{self.instance or 'cdcd'}.toml"

    @property
    def state(self) -> str:
        """Its state directory."""
        return f"/var/lib/cdcd-{self.instance}" if self.instance else "/var/lib/cdcd"

    @property
    def credentials(self) -> str:
        """The directory of its secrets."""
        return f"/etc/cdcd/credentials-{self.instance}" if self.instance else "/etc/cdcd/credentials"

    def packaged(self) -> list[File]:
        """The files that are nobody's configuration: those of a package."""
        layout = self.layout
        units = [File(f"{layout.units}/{name}", self._unit(name)) for name in UNITS]
        shared = [
            File(f"{layout.shared}/{name}", content.replace(SHARED.encode(), layout.shared.encode()))
            for name, content in sorted(self.files.items())
            if not name.startswith("systemd/")
        ]
        return [
            *units,
            File(f"{layout.sysusers}/cdcd.conf", self.files["systemd/cdcd.sysusers"]),
            File(f"{layout.tmpfiles}/cdcd.conf", self.files["systemd/cdcd.tmpfiles"]),
            *shared,
        ]

    def own(self) -> list[Part]:
        """What a machine has of its own: account, directories, and an example to begin with."""
        return [
            Account(),
            Directory("/etc/cdcd", 0o750, "root", ACCOUNT),
            Directory(self.credentials, 0o700),
            Directory(self.state, 0o700, ACCOUNT, ACCOUNT),
            self.example(),
        ]

    def example(self) -> File:
        """A configuration to begin with. Not under the name that is read: 'cdcd init' writes that one."""
        return File(f"{self.config}.example", self._example(), is_kept=True)

    def parts(self) -> list[Part]:
        """Everything, in the order in which it can be made: files of a package only where it is not one that brings them."""
        parts: list[Part] = [] if self.layout == PACKAGE else [*self.packaged()]
        return parts + self.own()

    def hidden_units(self) -> list[str]:
        """Units that, where they are, count instead of ours."""
        return [f"{ADMINISTRATOR.units}/{name}" for name in UNITS] if self.layout == PACKAGE else []

    def _unit(self, name: str) -> bytes:
        """A unit with the path of this program."""
        text = self.files[f"systemd/{name}"].decode()
        return text.replace(PROGRAM, self.program).replace(SHARED, self.layout.shared).encode()

    def _example(self) -> bytes:
        text = self.files["config/cdcd.minimal.toml"].decode()
        text = _SECRET.sub(r'{ credential = "\1" }', text)
        text = _STATE.sub(f'state-dir = "{self.state}"', text)
        if self.instance:
            text = _NAME.sub(rf'name\1= "{self.instance.replace("-", "_")}"', text, count=1)
        return f"{_BEFORE.format(credentials=self.credentials, config=self.config)}{text}".encode()

    def next_steps(self) -> Iterator[str]:
        """What a person does now."""
        yield "what comes next:"
        yield f"  1. secrets: a file for each in {self.credentials}/, e.g. erp-password (only root can read it)"
        yield f"  2. configuration: {self.config}; 'cdcd init' proposes one, {self.config}.example is the least"
        yield f"  3. chown root:{ACCOUNT} {self.config} && chmod 640 {self.config}"
        credentials = f"CREDENTIALS_DIRECTORY={self.credentials} " if self.instance else ""
        yield f"  4. {credentials}{self.program} check --config {self.config}"
        yield f"  5. systemctl enable --now {self.unit}"
        yield f"alert rules, dashboard, examples, docs: {self.layout.shared}/"

    def left_behind(self) -> Iterator[str]:
        """What a removal leaves, and how it goes, too."""
        yield f"left as they are: {self.config}, {self.credentials}/, {self.state}/, the account {ACCOUNT}"
        yield "a PostgreSQL source keeps its log for us until the slot is dropped there:"
        yield "  SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'cdcd%' AND NOT active"
        yield "each target has the tables cdcd_checkpoint and, maybe, cdcd_xref"


_BEFORE: Final = """\
# An example: copy it to {config} and change it, or have 'cdcd init' propose one. Secrets are files of
# {credentials}/ (root only), named after the credential.
"""
