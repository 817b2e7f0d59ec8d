"""The configuration: TOML read into frozen structs, with messages that say the way out.

What a single value must look like is in the structs. What must fit together (owners are systems, keys are bound,
conditions compile) is in `cdcd.config_rules`, whose `load` is what the daemon starts from.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from cdcd import config_shape, state_key
from cdcd.config_columns import Column, Match, New, Part, Struct, Unfit
from cdcd.config_notices import Notices
from cdcd.config_verify import Verify
from cdcd.errors import ConfigError
from cdcd.secret_files import read_secret

Name = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[a-z][a-z0-9_]{0,30}$",
        description="a name of lower-case letters, digits and _, a letter first, 31 at most",
    ),
]
_DURATION: Final = re.compile(r"(\d+)\s*(ms|s|m|h|d|w)")
_DURATION_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE: Final = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)")
_SIZE_BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
CREDENTIALS: Final = "/etc/cdcd/credentials"
"""Where root finds the credentials that systemd hands to the service; CREDENTIALS_DIRECTORY names another place."""
NotOwner = Literal["revert", "ignore", "hold"]


class Secret(Struct, frozen=True):
    """Where a secret is kept; exactly one of the three. It is read when it is needed and never shown."""

    credential: str | None = None
    file: str | None = None
    env: str | None = None

    def reveal(self) -> str:
        """The secret's text without a trailing newline. Raises ConfigError when it is not there or open to others."""
        if self.env is not None:
            if self.env not in os.environ:
                raise ConfigError(f"environment variable {self.env} is not set", remedy=f"export {self.env}=…")
            return os.environ[self.env]
        return read_secret(self._path(), is_credential=self.file is None).rstrip("\r\n")

    def _path(self) -> Path:
        if self.file is not None:
            return Path(self.file)
        if self.credential is None:
            raise ConfigError("a secret needs one of credential, file, env", remedy='password = { file = "/etc/…" }')
        directory = Path(os.environ.get("CREDENTIALS_DIRECTORY", CREDENTIALS))
        # LoadCredential=cdcd:DIRECTORY puts "cdcd_" before each file's name (systemd.exec(5)).
        paths = [directory / self.credential, directory / f"cdcd_{self.credential}"]
        found = [path for path in paths if os.access(path, os.F_OK)]
        if not found:
            raise ConfigError(
                f"credential {self.credential!r} is not available",
                cause=f"there is no such file in {directory}, or this account may not look",
                remedy=f"put it into {CREDENTIALS}/{self.credential} (root, mode 0600), from where the service's LoadCredential= takes it, and"
                " start the service anew; or call cdcd as root; or use { file = … } or { env = … }",
            )
        return found[0]


class Daemon(Struct, frozen=True):
    """Who this daemon is and where it keeps its state, which is encrypted where there is a `state_key`."""

    name: Name
    """Names the slot, the publication, the checkpoint rows and the metrics' `daemon` label: one name per daemon and
    database."""
    state_dir: str
    """Absolute path of the directory that holds journal and state; on a disk that survives."""
    state_key: Secret | None = None
    """What encrypts the state directory; needed where anything is `sensitive`."""
    listen: str | None = None
    """`host:port` of metrics, health and the read-only status page; without it there are none."""
    clock_ahead_max: str = "10s"
    """A commit time that is further ahead of our clock is not believed (`owner = "latest"`)."""


class Journal(Struct, frozen=True):
    """How far back replay reaches, and how much room it may take."""

    keep: str = "14d"
    """How long captured transactions are kept after they were used: `rewind`, `history` and `replay` reach back so
    far."""
    max_size: str = "20GiB"
    """How large the journal may become; then capture waits, and the source keeps its log. Nothing is dropped."""


class Field(Struct, frozen=True):
    """A field of an entity. It belongs to one system, to whom the entity's ownership rules name, or several share it."""

    type: str
    """The field's canonical type, `text(64)`, `decimal(12,4)`, `ref(customer)`, … (docs/types.md)."""
    owner: Name | None = None
    """The system whose word counts, or `latest` or `sum`; without it the entity's ownership rules say."""
    between: list[Name] = []
    """The systems that share a `latest` or `sum` field; by default all that have it."""
    initial: Name | None = None
    """The system whose value is true when the entity is first copied; by default the first that may create."""
    sensitive: bool = False
    """Shown to nobody, and kept only encrypted (docs/sensitive-data.md)."""


class OwnershipRule(Struct, frozen=True):
    """While `when` (CEL over `record`) holds, `owner` owns every field that has no owner of its own."""

    when: str
    """A condition over the record before the change, in CEL: `record.status == 'paid'`."""
    owner: Name
    """Who owns the fields without an owner of their own while it holds."""


class NotOwnerPolicy(Struct, frozen=True):
    """What a change by a system that does not own the field gets; or that may not `create` or `delete` the record."""

    default: NotOwner = "revert"
    """`revert`: the owner's value is written back; `ignore`: it is not; `hold`: a person decides."""
    fields: dict[str, NotOwner] = {}
    """The same for single fields."""
    create: NotOwner | None = None
    """What a record gets that appears where none may be created; by default as the key's first field."""
    delete: NotOwner | None = None
    """What a record gets that is deleted where it may not be; by default as the key's first field."""


class ChildEntity(Struct, frozen=True):
    """A collection that lives and dies with its parent record. `key` names one child within its parent."""

    key: list[str]
    """The fields that name one child within its parent."""
    fields: dict[str, Field]
    """The child's fields, as those of an entity."""
    owner: Name | None = None
    """The system that alone adds and removes children; by default whom the rules name for the parent."""


class OnDeleteArchive(Struct, frozen=True):
    """Set these fields instead of deleting the row."""

    archive: dict[str, str | int | bool]
    """Fields and the values they get instead."""


ParkedMax = (
    Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(100|[1-9]\d?(\.\d+)?|0\.\d*[1-9]\d*)%$", description='a share like "5%", 100% at most'
        ),
    ]
    | Annotated[int, msgspec.Meta(ge=1)]
)


class Deliver(Struct, frozen=True):
    """When changes of this entity go to this system."""

    schedule: str = "realtime"
    """`realtime`, `every 10m`, a cron expression, or `on-demand` (docs/schedules.md)."""
    window: str | None = None
    """Told only between these times of day, `06:00-22:00`; the rest goes on at the next."""
    time_zone: str | None = None
    """Whose clock `window` and a cron expression mean; by default UTC."""
    parked_max: ParkedMax = "5%"
    """More refused records than this share (from 1000 on) or number pause the entity there (docs/parked.md)."""


class ChildBinding(Struct, frozen=True):
    """Where a child collection lives: `parent` is the column that holds the parent row's id. See `Binding`, `Part`."""

    table: str
    """The children's table."""
    parent: str
    """The column that holds the parent row's id."""
    columns: dict[str, str | Column]
    """Field = column, or a table with a transform."""
    where: dict[str, Match] = {}
    """Which rows are such children: what their columns hold."""
    new: dict[str, New] = {}
    """What a new row gets in columns that no field fills."""
    parts: dict[Name, Part] = {}
    """Further tables in which children have values."""


class Binding(Struct, frozen=True):
    """Where an entity lives in one system. `id` is the column others refer to; by default the primary key."""

    table: str
    """The main table: one row is one record."""
    columns: dict[str, str | Column]
    """Field = column, or a table with a transform."""
    key: dict[str, str] = {}
    """Key field = column, for a key field that is bound nowhere else."""
    id: str | None = None
    """The column others refer to; by default the primary key."""
    where: dict[str, Match] = {}
    """Which rows are such records: what their columns hold. A new row gets these values."""
    new: dict[str, New] = {}
    """What a new row gets in columns that no field fills."""
    parts: dict[Name, Part] = {}
    """Further tables in which records have values."""
    xref: bool = False
    """The table has no column for the key: `cdcd_xref` in that system keeps it."""
    on_delete: Literal["delete", "ignore"] | OnDeleteArchive = "delete"
    """What a delete elsewhere does here: `delete`, `ignore`, or `archive`."""
    deliver: Deliver = Deliver()
    """When it is told."""
    children: dict[Name, ChildBinding] = {}
    """Where child collections live."""


class Entity(Struct, frozen=True):
    """A canonical record: its fields, who may create and delete it, who owns what, and where it lives."""

    key: list[str]
    """The fields that name one record in every system."""
    fields: dict[str, Field]
    """Its fields, each with its type."""
    bindings: dict[Name, Binding] = msgspec.field(name="in")
    """Where it lives, by system."""
    create: list[Name] = []
    """Systems in which a new one may appear."""
    delete: list[Name] = []
    """Systems in which one may be deleted."""
    restore: list[Name] | None = None
    """Systems in which a deleted one may come back; by default who may create or delete."""
    publish: list[Name] | None = None
    """Systems that are heard; by default all that have it."""
    subscribe: list[Name] | None = None
    """Systems that are told; by default all that have it."""
    ownership: list[OwnershipRule] = []
    """Rules for fields without an owner; the first that holds counts."""
    not_owner: NotOwnerPolicy = NotOwnerPolicy()
    """What changes by others get."""
    children: dict[Name, ChildEntity] = {}
    """Collections that live and die with it."""


class Replicate(Struct, frozen=True):
    """Plain one-way copies of whole tables. `rename` maps a source table to another name in the target."""

    source: Name = msgspec.field(name="from")
    """The system that is read."""
    target: Name = msgspec.field(name="to")
    """The system that is written."""
    tables: list[str] = []
    """The tables, as the source spells them."""
    rename: dict[str, str] = {}
    """Source table = its name in the target."""
    unfit: dict[str, Unfit] = {}
    """`table.column` = what stands in for a value that the copy cannot hold."""
    leave_out: list[str] = []
    """`table.column`s that the target is not given."""
    sensitive: list[str] = []
    """`table.column`s that are shown to nobody, and kept only encrypted."""


class SecuredPage(Struct, frozen=True):
    """The status page over TLS, for `users` (name and password), who may act on it. `certificate` is a PEM file with its chain."""

    listen: str
    """Its `host:port`."""
    certificate: str
    """PEM file of the certificate with its chain."""
    key: Secret
    """The certificate's key (PEM), as a secret; nobody else may read its file."""
    users: dict[Name, Secret]
    """Name = the secret that is this person's password."""


class Web(Struct, frozen=True):
    """The status page. Without TLS (`daemon.listen`) it is read-only, and open to whoever can reach that address."""

    keys_shown: list[str] = []
    """Entities, and plain copies as `SYSTEM:TABLE`, whose records' keys the page may show; values it never shows."""
    open_to_network: bool = False
    """`daemon.listen` is meant to be reached from other machines; silences a warning."""
    secured: SecuredPage | None = None
    """A second listener with TLS, people and actions."""


class Config(Struct, frozen=True):
    """One whole configuration. `systems` keeps each system's options raw: its adapter owns their shape.

    So does `notify` those of its channels, which are `notices.channels.Channel`.
    """

    daemon: Daemon
    systems: dict[Name, dict[str, Any]]
    journal: Journal = Journal()
    web: Web = Web()
    notices: Notices = Notices()
    verify: Verify = Verify()
    notify: dict[Name, dict[str, Any]] = {}
    entities: dict[Name, Entity] = {}
    replicate: list[Replicate] = []


def parse_duration(text: str) -> float:
    """Seconds of "90s", "10m", "14d". Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a duration like 10m, 24h or 14d, got {text!r}")
    return int(match[1]) * _DURATION_SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes of "512MiB", "20GiB". Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size like 512MiB or 20GiB, got {text!r}")
    return int(match[1]) * _SIZE_BYTES[match[2]]


def read(path: Path) -> Config:
    """Read the configuration at `path` without asking whether its parts fit together. Raises ConfigError."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read", cause=str(error.strerror), remedy="give --config PATH") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        twice = "a table written inline, { … }, cannot be extended further down: give it a [table] of its own"
        remedy = twice if "twice" in str(error) or "overwrite" in str(error) else "see toml.io for the syntax"
        raise ConfigError(f"{path}: not valid TOML", cause=str(error), remedy=remedy, code="config-syntax") from error
    config: Config = convert(raw, Config, str(path), "")
    use_state_key(config)
    return config


def use_state_key(config: Config) -> None:
    """From now on this process opens the state directory of that configuration with its key."""
    secret = config.daemon.state_key
    state_key.keep(Path(config.daemon.state_dir), None if secret is None else secret.reveal)


def convert(raw: object, struct: type[Any], file: str, prefix: str) -> Any:
    """Turn `raw` into `struct`. Raises one ConfigError with everything that does not fit: file, key, rule, value, way out."""
    try:
        return msgspec.convert(raw, struct, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), list(config_shape.problems(raw, struct, prefix)), file) from None


def _explain(refusal: str, found: list[config_shape.Problem], file: str) -> ConfigError:
    listed = "\n".join(f"{file}: {problem.path}: {problem.message}" for problem in found)
    code = "config-key" if found and all(problem.is_key for problem in found) else "config-value"
    return ConfigError(listed or f"{file}: {refusal}", remedy="correct the file, then run 'cdcd check'", code=code)
