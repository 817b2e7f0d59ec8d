"""What the processes of one daemon must agree on: the configuration, worked out once and handed to each of them.

Every worker gets the same bytes, so editing the file while the daemon runs changes nothing until it is restarted,
and a worker loads no more code than its role needs (a capture neither compiles conditions nor knows other adapters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from cdcd.adapter import TableNeed
from cdcd.config import Config

if TYPE_CHECKING:
    from cdcd.resolve.plan import Plan

Stage: TypeAlias = Literal["capture", "resolve", "deliver"]


class Role(msgspec.Struct, frozen=True):
    """Which loop a process drives: capture or deliver of one system, or resolve."""

    stage: Stage
    system: str = ""

    def __str__(self) -> str:
        return f"{self.stage}:{self.system}" if self.system else self.stage

    @property
    def file_name(self) -> str:
        """The role as part of a file name."""
        return f"{self.stage}-{self.system}" if self.system else self.stage


def parse_role(text: str) -> Role:
    """The role that prints as `text`. Raises msgspec.ValidationError."""
    stage, _, system = text.partition(":")
    return msgspec.convert({"stage": stage, "system": system}, Role)


class SystemBlueprint(msgspec.Struct, frozen=True):
    """One system: its adapter (entry point name and "module:attribute"), and what is needed of its tables.

    `told_of`: the entities that it has, and the plain copies into it (`copies_of`).
    """

    adapter: str
    reference: str
    tables: tuple[TableNeed, ...]
    is_source: bool
    is_target: bool
    told_of: tuple[str, ...] = ()


class Blueprint(msgspec.Struct, frozen=True):
    """The configuration and all that had to be looked up to understand it.

    `entity_tables` are the (system, table) pairs of every entity, and of the plain copies of a table (`copies_of`).
    `table_names` gives, by system, the full name of every table as the configuration spells it. `vocabulary` is what
    the state database knew when the daemon started (encoded; see `resolve.plan.Vocabulary`).
    """

    file: str
    config: Config
    systems: dict[str, SystemBlueprint]
    table_names: dict[str, dict[str, str]]
    entity_tables: dict[str, tuple[tuple[str, str], ...]]
    vocabulary: bytes = b""

    @property
    def sources(self) -> list[str]:
        """Systems whose log is captured."""
        return [name for name, system in self.systems.items() if system.is_source]

    @property
    def targets(self) -> list[str]:
        """Systems that are written to."""
        return [name for name, system in self.systems.items() if system.is_target]

    def roles(self) -> list[Role]:
        """The loops of this daemon, in the order in which they are started."""
        captures = [Role("capture", name) for name in self.sources]
        return [Role("resolve"), *[Role("deliver", name) for name in self.targets], *captures]

    def plan(self) -> Plan:
        """Compile the configuration, with the numbers that state has used so far."""
        from cdcd.resolve.plan import Vocabulary  # noqa: PLC0415 - captures do without it
        from cdcd.resolve.planning import build  # noqa: PLC0415

        known = msgspec.msgpack.decode(self.vocabulary, type=Vocabulary) if self.vocabulary else None
        return build(self.config, lambda system, table: self.table_names[system][table], known)


def draw(config: Config, file: str) -> Blueprint:
    """Look up adapters and table names, and compile the configuration once. Raises ConfigError."""
    from cdcd import plugins  # noqa: PLC0415 - workers are handed the result
    from cdcd.resolve.plan import copies_of  # noqa: PLC0415
    from cdcd.resolve.planning import build  # noqa: PLC0415

    entries = {name: plugins.find(config, file, name) for name in config.systems}
    names: dict[str, dict[str, str]] = {name: {} for name in config.systems}

    def table_name(system: str, table: str) -> str:
        return names[system].setdefault(table, entries[system].adapter.table_name(table))

    plan = build(config, table_name)
    for name in config.systems:
        plugins.options(config, file, name, entries[name].adapter)
    systems = {
        name: SystemBlueprint(
            adapter=str(config.systems[name]["adapter"]),
            reference=entries[name].reference,
            tables=tuple(plan.tables(name)),
            is_source=plan.is_source(name),
            is_target=plan.is_target(name),
            told_of=tuple(dict.fromkeys(plan.told_of(name).values())),
        )
        for name in config.systems
    }
    tables = {entity: tuple(plan.entities_tables(entity)) for entity in config.entities}
    tables |= {copies_of(r.source, r.source_table): ((r.source, r.source_table),) for r in plan.routes}
    return Blueprint(file, config, systems, names, tables)
