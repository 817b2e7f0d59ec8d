"""The `[systems.NAME]` table of a memory server."""

from __future__ import annotations

import msgspec


class MemoryOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """`server` names a `MemoryServer` of this process."""

    server: str
