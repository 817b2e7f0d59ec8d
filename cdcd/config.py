"""The configuration: TOML read into frozen structs, with messages that say the way out.

What a single value must look like is in the structs. What must fit together (owners are systems, keys are bound,
conditions compile) is in `cdcd.config_rules`, whose `load` is what the daemon starts from.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from cdcd import config_shape
from cdcd.errors import ConfigError

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
NotOwner = Literal["revert", "ignore", "hold"]


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Base of all configuration structs: unknown keys are errors."""


class Secret(_Struct, frozen=True):
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
        return self._read(self._path())

    def _path(self) -> Path:
        if self.file is not None:
            return Path(self.file)
        if self.credential is None:
            raise ConfigError("a secret needs one of credential, file, env", remedy='password = { file = "/etc/…" }')
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            raise ConfigError(
                f"credential {self.credential!r} is not available",
                cause="CREDENTIALS_DIRECTORY is not set: the process was not started by systemd with LoadCredential=",
                remedy=f"add LoadCredential={self.credential}:/path to the unit, or use {{ file = … }} or {{ env = … }}",
            )
        return Path(directory) / self.credential

    def _read(self, path: Path) -> str:
        try:
            mode = path.stat().st_mode
            text = path.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"secret file {path} cannot be read", cause=str(error.strerror)) from error
        if self.file is not None and stat.S_IMODE(mode) & 0o077:
            raise ConfigError(f"secret file {path} is open to other users", remedy=f"chmod 600 {path}")
        return text.rstrip("\r\n")


class Daemon(_Struct, frozen=True):
    """Who this daemon is and where it keeps its state.

    A commit time that lies further than `clock_ahead_max` after its transaction was journalled is not believed.
    """

    name: Name
    state_dir: str
    listen: str | None = None
    clock_ahead_max: str = "10s"


class Journal(_Struct, frozen=True):
    """How far back replay reaches, and how much room it may take."""

    keep: str = "14d"
    max_size: str = "20GiB"


class Field(_Struct, frozen=True):
    """A field of an entity. `owner` is a system; without it the entity's ownership rules decide.

    Or systems share it, those `between` (by default all that have it): with owner "latest" the last change counts, with
    "sum" the changes of all of them add up. `initial` is the system whose value is true when it is first copied.
    """

    type: str
    owner: Name | None = None
    between: list[Name] = []
    initial: Name | None = None


class OwnershipRule(_Struct, frozen=True):
    """While `when` (CEL over `record`) holds, `owner` owns every field that has no owner of its own."""

    when: str
    owner: Name


class NotOwnerPolicy(_Struct, frozen=True):
    """What a change by a system that does not own the field gets; or that may not `create` or `delete` the record."""

    default: NotOwner = "revert"
    fields: dict[str, NotOwner] = {}
    create: NotOwner | None = None
    delete: NotOwner | None = None


class ChildEntity(_Struct, frozen=True):
    """A collection that lives and dies with its parent record. `key` names one child within its parent.

    Only `owner` adds and removes children; without it the system that owns the parent by its state, or a creator.
    """

    key: list[str]
    fields: dict[str, Field]
    owner: Name | None = None


class UnfitValue(_Struct, frozen=True):
    """What stands in for a value that does not fit, as a value of the field."""

    value: str | int | bool


Unfit = Literal["park", "null"] | UnfitValue


class Null(_Struct, frozen=True):
    """NULL, for which TOML has no word: `{ null = true }`."""

    null: Literal[True]


Constant = str | int | bool
Match = str | int | bool | list[str | int | bool] | Null
"""What a column must hold: a constant, one of several, or nothing."""


class FromField(_Struct, frozen=True):
    """The value of a field of the record."""

    field: str


class NewValue(_Struct, frozen=True):
    """What a new row gets in a column that no field fills; exactly one of `commit_time`, `template` and `id_of`.

    `commit_time`: when the change was committed, as a datetime or date in that zone. `template`: text with fields in braces.
    `id_of`: the id of the row of that table that `where` describes, of several the first by `first_by`.
    """

    commit_time: str | None = None
    template: str | None = None
    id_of: str | None = None
    where: dict[str, str | int | bool | FromField] = {}
    id: str | None = None
    first_by: list[str] = []


New = str | int | bool | NewValue


class Part(_Struct, frozen=True):
    """A further table in which a binding's records have values.

    Its rows hang on the main row, or on that of the part `of`: `at` is that row's column that holds this one's id;
    `parent` is this table's column that holds that row's id. `where` says which rows count: a column, or "part.column" of a
    part that hangs on this one, and what it holds. Of several rows the first counts, in the order `first_by`.

    `write`: "row" changes, makes and deletes the row, "refer" chooses which row is referred to, "never" only reads. `null`:
    whether a row whose fields are all NULL is kept ("set") or deleted; deleted by default where it is one field and a `where`.
    """

    table: str
    at: str | None = None
    parent: str | None = None
    of: str | None = None
    where: dict[str, Match] = {}
    first_by: list[str] = []
    id: str | None = None
    write: Literal["refer", "row", "never"] | None = None
    null: Literal["set", "delete"] | None = None
    new: dict[str, New] = {}


class Round(_Struct, frozen=True):
    """How many digits after the point a number keeps, and which way the rest goes."""

    digits: Annotated[int, msgspec.Meta(ge=0, le=30)]
    mode: Literal["half-even", "half-up", "half-down", "up", "down", "ceiling", "floor"] = "half-even"


class Split(_Struct, frozen=True):
    """The field is what stands before or after the first or last `by` in the column."""

    by: Annotated[str, msgspec.Meta(min_length=1)]
    take: Literal["before-first", "after-first", "before-last", "after-last"]


class Join(_Struct, frozen=True):
    """The field is the text of several columns with `by` between; what is written is split `at` the first or last `by`.

    `missing` says what the columns hold for which the text has too few parts: NULL or the empty text.
    """

    columns: Annotated[list[str], msgspec.Meta(min_length=2)]
    by: Annotated[str, msgspec.Meta(min_length=1)] = " "
    at: Literal["first", "last"] = "last"
    missing: Literal["null", "empty"] = "null"


class Transform(_Struct, frozen=True, kw_only=True):
    """One step from a column's value to a field's, and back; exactly one of its kinds (docs/transforms.md).

    With `map` go `map_null` (the field's value for NULL), `default` (for column values that the map does not know), `write`
    (the way back, where it is not the map read backwards) and `write_default`; with `time_zone` goes `doubled_hour`.
    """

    map: dict[str, str | int | bool] | None = None
    map_file: str | None = None
    map_null: str | int | bool | None = None
    default: str | int | bool | None = None
    write: dict[str, str | int | bool] = {}
    write_default: str | int | bool | None = None
    nulls: list[str | int | bool] = []
    null_means: str | int | bool | None = None
    scale: Annotated[int, msgspec.Meta(gt=0)] | None = None
    unit: str | None = None
    round: Round | None = None
    decimal_mark: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] | None = None
    time_zone: str | None = None
    doubled_hour: Literal["refuse", "earlier", "later"] = "refuse"
    format: str | None = None
    trim: bool = False
    case: Literal["lower", "upper"] | None = None
    normalise: Literal["NFC", "NFKC"] | None = None
    truncate: Annotated[int, msgspec.Meta(gt=0)] | None = None
    template: str | None = None
    split: Split | None = None
    member: str | None = None


class Column(Transform, frozen=True):
    """A column with a transform, or with several as `steps` in the order of reading, or with a policy.

    Instead of a `column`, a field may have the `first` of several that holds something, the `sum` of columns of all rows
    of parts without those of `minus`, or the `count` of a part's rows; such fields are read and never written.

    `unfit` says what happens to a value that does not fit the column, or that it has and the field cannot hold: the
    record is parked, or something stands in for the value. `reference` says what the column of a ref field holds: the
    other row's local id, or its business key.

    `join` has several columns, `constant` none: every record of this system has that value. `minor_units` names the
    field that holds the currency of an amount in its smallest unit (cents of EUR, yen of JPY).
    """

    column: str = ""
    first: list[str] = []
    sum: list[str] = []
    minus: list[str] = []
    count: str | None = None
    reference: Literal["id", "key"] = "id"
    join: Join | None = None
    constant: str | int | bool | None = None
    minor_units: str | None = None
    steps: list[Transform] = []
    unfit: Unfit = "park"

    @property
    def is_read_only(self) -> bool:
        """Whether the field comes from something that is not written: several rows or columns, part of a JSON object."""
        computed = bool(self.first or self.sum) or self.count is not None
        return computed or any(step.member is not None for step in (self, *self.steps))


class OnDeleteArchive(_Struct, frozen=True):
    """Set these fields instead of deleting the row."""

    archive: dict[str, str | int | bool]


ParkedMax = (
    Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(100|[1-9]\d?(\.\d+)?|0\.\d*[1-9]\d*)%$", description='a share like "5%", 100% at most'
        ),
    ]
    | Annotated[int, msgspec.Meta(ge=1)]
)


class Deliver(_Struct, frozen=True):
    """When changes of this entity go to this system.

    `schedule` is "realtime", "every 10m", a cron expression or "on-demand"; with `window` ("02:00-04:00") a run stops at its
    end, and goes on at the next. Both mean wall clocks in `time_zone`, UTC by default (docs/schedules.md).

    More parked records than `parked_max` (a share of the entity's, but never below 1000, or a number) pause it (docs/parked.md).
    """

    schedule: str = "realtime"
    window: str | None = None
    time_zone: str | None = None
    parked_max: ParkedMax = "5%"


class ChildBinding(_Struct, frozen=True):
    """Where a child collection lives: `parent` is the column that holds the parent row's id. See `Binding`, `Part`."""

    table: str
    parent: str
    columns: dict[str, str | Column]
    where: dict[str, Match] = {}
    new: dict[str, New] = {}
    parts: dict[Name, Part] = {}


class Binding(_Struct, frozen=True):
    """Where an entity lives in one system. `id` is the column others refer to; by default the primary key.

    Only rows as `where` says are such records. `new` is what a new row gets in columns that no field fills. `xref`: the
    table has no column for the business key; `cdcd_xref` in that system keeps it.
    """

    table: str
    columns: dict[str, str | Column]
    key: dict[str, str] = {}
    id: str | None = None
    where: dict[str, Match] = {}
    new: dict[str, New] = {}
    parts: dict[Name, Part] = {}
    xref: bool = False
    on_delete: Literal["delete", "ignore"] | OnDeleteArchive = "delete"
    deliver: Deliver = Deliver()
    children: dict[Name, ChildBinding] = {}


class Entity(_Struct, frozen=True):
    """A canonical record: its fields, who may create and delete it, who owns what, and where it lives.

    `restore` are the systems in which a deleted record may come back (by default those that may create or delete),
    `publish` those that are heard at all, `subscribe` those that are told (by default all).
    """

    key: list[str]
    fields: dict[str, Field]
    bindings: dict[Name, Binding] = msgspec.field(name="in")
    create: list[Name] = []
    delete: list[Name] = []
    restore: list[Name] | None = None
    publish: list[Name] | None = None
    subscribe: list[Name] | None = None
    ownership: list[OwnershipRule] = []
    not_owner: NotOwnerPolicy = NotOwnerPolicy()
    children: dict[Name, ChildEntity] = {}


class Replicate(_Struct, frozen=True):
    """Plain one-way copies of whole tables. `rename` maps a source table to another name in the target.

    `unfit` says for columns ("item.released", by the source's names) what stands in for values that do not fit.
    `leave_out` are columns that the target is not given: "item.note", the table as it is spelled in `tables`.
    """

    source: Name = msgspec.field(name="from")
    target: Name = msgspec.field(name="to")
    tables: list[str] = []
    rename: dict[str, str] = {}
    unfit: dict[str, Unfit] = {}
    leave_out: list[str] = []


class Config(_Struct, frozen=True):
    """One whole configuration. `systems` keeps each system's options raw: its adapter owns their shape."""

    daemon: Daemon
    systems: dict[Name, dict[str, Any]]
    journal: Journal = Journal()
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
    return config


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
