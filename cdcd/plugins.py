"""Adapters, found by name through the entry point group `cdcd.adapters`: ours and anybody else's alike."""

from __future__ import annotations

import difflib
import pkgutil
from typing import TYPE_CHECKING, Final, cast

import msgspec

from cdcd import config as c
from cdcd.adapter import Adapter
from cdcd.errors import ConfigError
from cdcd.scheduling import rate_limit

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "cdcd.adapters"
CORE_KEYS: Final = frozenset({"adapter", rate_limit.ROWS_KEY, rate_limit.BURST_KEY})
"""What the core itself reads of a system's options."""


class Found(msgspec.Struct, frozen=True):
    """An adapter, and the "module:attribute" it was found at."""

    adapter: Adapter
    reference: str


def find(config: c.Config, file: str, system: str) -> Found:
    """The adapter of a configured system. Raises ConfigError for an unknown one, or one whose driver is missing."""
    name = config.systems[system]["adapter"]
    entry = _entry_point(f"{file}: systems.{system}.adapter", name)
    return Found(load(entry.value, extra=name, distribution=entry.dist.name if entry.dist else ""), entry.value)


def load(reference: str, *, extra: str, distribution: str = "cdcd") -> Adapter:
    """Import the adapter at "module:attribute". Raises ConfigError naming the command that installs what is missing."""
    package = reference.partition(":")[0].partition(".")[0]
    try:
        return cast(Adapter, pkgutil.resolve_name(reference))
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition(".")[0]
        install = f"pip install 'cdcd[{extra}]'" if distribution == "cdcd" else f"pip install {missing}"
        raise ConfigError(
            f"adapter {extra!r} needs the Python package {missing!r}",
            code="adapter-driver",
            cause="it is not installed in this environment",
            remedy=f"reinstall {distribution}" if missing == package else install,
        ) from error


def options(config: c.Config, file: str, system: str, adapter: Adapter) -> msgspec.Struct:
    """The `[systems.NAME]` table as its adapter wants it, without what is ours. Raises ConfigError."""
    raw = {key: value for key, value in config.systems[system].items() if key not in CORE_KEYS}
    return cast(msgspec.Struct, c.convert(raw, adapter.options, file, f"systems.{system}"))


def _entry_point(at: str, name: str) -> EntryPoint:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and workers do without it

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        known = ", ".join(sorted(found)) or "none: is cdcd installed?"
        raise ConfigError(
            f"{at}: unknown adapter {name!r}",
            code="adapter-unknown",
            remedy=f"did you mean {near[0]!r}?" if near else f"known adapters: {known}",
        )
    return found[name]
