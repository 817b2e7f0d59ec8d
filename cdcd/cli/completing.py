"""What the shell offers for a name: systems, entities and channels of the configuration, and codes of errors."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from cdcd.cli.output import DEFAULT_CONFIG


def systems(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Systems of the configuration."""
    return _beginning_so(_names(context, "systems"), incomplete)


def entities(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Entities of the configuration."""
    return _beginning_so(_names(context, "entities"), incomplete)


def systems_and_entities(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Both."""
    return _beginning_so([*_names(context, "systems"), *_names(context, "entities")], incomplete)


def channels(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Channels that are told what happens."""
    return _beginning_so(_names(context, "notify"), incomplete)


def error_codes(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Codes of errors."""
    from cdcd.explained import entries  # noqa: PLC0415

    return _beginning_so(list(entries()), incomplete)


def _beginning_so(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _names(context: click.Context, section: str) -> list[str]:
    """Nothing where the file cannot be read, or is in the middle of an edit."""
    given: Any = context.params.get("config") or os.environ.get("CDCD_CONFIG") or DEFAULT_CONFIG
    try:
        found = tomllib.loads(Path(given).read_text("utf-8")).get(section)
    except (OSError, ValueError):
        return []
    return list(found) if isinstance(found, dict) else []
