"""Names of PostgreSQL objects: how a configuration spells them, how SQL quotes them, what ours are called."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from cdcd.adapter import Identity
from cdcd.errors import ConfigError

DEFAULT_SCHEMA: Final = "public"
_PART: Final = re.compile(r'"((?:[^"]|"")*)"|([^".][^.]*)')
_NAME_BYTES_MAX: Final = 63


class TableName(msgspec.Struct, frozen=True):
    """A table in a schema, both exactly as the catalog has them."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """The name quoted for SQL."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"

    @property
    def spelled(self) -> str:
        """The name as a configuration spells it: `parse_table` reads it back."""
        return f"{_spell(self.schema)}.{_spell(self.name)}"


def parse_table(spelled: str) -> TableName:
    """Read "item", "public.item" or 'public."we""ird.table"'.

    A part in double quotes may contain dots and doubled quotes; any other part is taken letter for letter, without
    folding its case. A name alone is in schema "public". Raises ConfigError for anything else.
    """
    parts: list[str] = []
    at = 0
    while at <= len(spelled):
        match = _PART.match(spelled, at)
        if match is None or not (end := match.end()) or spelled[end : end + 1] not in ("", "."):
            break
        parts.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        at = end + 1
    if at <= len(spelled) or len(parts) not in (1, 2) or not all(parts) or "\0" in spelled:
        raise ConfigError(
            f"{spelled!r} does not name a PostgreSQL table",
            cause="expected table or schema.table, a part with a dot or a leading quote in double quotes",
            remedy='write it like "public.item" or \'public."odd.name"\'',
        )
    return TableName(DEFAULT_SCHEMA, parts[0]) if len(parts) == 1 else TableName(parts[0], parts[1])


def _spell(part: str) -> str:
    return quote_identifier(part) if "." in part or part.startswith('"') else part


def quote_identifier(name: str) -> str:
    """Quote a name for SQL. The one place where names enter SQL text."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Quote text as a string constant, where SQL takes no parameters: replication commands, remedies for people."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in text else quoted


def object_name(identity: Identity) -> str:
    """What our slot and publication are called: "cdcd_DAEMON_SYSTEM", in the characters that a slot name may have.

    A name that had to be changed or cut ends with a hash of the original, so that two never fall together.
    """
    wanted = f"cdcd_{identity.daemon}_{identity.system}"
    name = re.sub(r"[^a-z0-9_]", "_", wanted.lower())
    if name == wanted and len(name) <= _NAME_BYTES_MAX:
        return name
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:8]
    return f"{name[: _NAME_BYTES_MAX - 9]}_{digest}"
