"""What the roles of the systems need, and what they have: the configuration's needs, put to the adapters."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from cdcd import blueprint as b
from cdcd import config_rules, plugins
from cdcd.adapter import Adapter, Grant, GrantDifference, Identity, TableNeed
from cdcd.errors import ConfigError


class Asked(msgspec.Struct, frozen=True):
    """Whom to ask about a system."""

    adapter: Adapter
    identity: Identity
    options: msgspec.Struct
    tables: Sequence[TableNeed]


def grants(config: Path, system: str) -> Sequence[Grant]:
    """What makes a role that can do its part in a system. Raises ConfigError."""
    asked = _asked(config, system)
    return asked.adapter.grants(asked.identity, asked.options, asked.tables)


def difference(config: Path, system: str) -> GrantDifference:
    """What the configured role lacks, and has beyond its part. Raises CdcdError where it cannot connect."""
    asked = _asked(config, system)
    return asked.adapter.compare_grants(asked.identity, asked.options, asked.tables)


def _asked(path: Path, system: str) -> Asked:
    config = config_rules.load(path)
    if system not in config.systems:
        near = difflib.get_close_matches(system, config.systems, n=1)
        known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(config.systems)}"
        raise ConfigError(f"there is no system {system!r} in {path}", code="system-unknown", remedy=known)
    drawn = b.draw(config, str(path))
    wanted = drawn.systems[system]
    adapter = plugins.load(wanted.reference, extra=wanted.adapter)
    options = plugins.options(config, str(path), system, adapter)
    return Asked(adapter, Identity(config.daemon.name, system, ""), options, wanted.tables)
