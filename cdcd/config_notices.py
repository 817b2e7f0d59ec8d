"""The section `[notices]` of the configuration. The channels, `[notify.NAME]`, are in `cdcd.notices.channels`."""

from __future__ import annotations

import msgspec


class Notices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What counts as an occurrence (docs/notifications.md).

    `lag`: how far behind a target may be. `after`: by an occurrence's code, how long something must last before it is one,
    and at most how long it must be gone before it is over.
    """

    lag: str = "15m"
    """How far behind a target may be before it is an occurrence."""
    after: dict[str, str] = {}
    """By an occurrence's code, how long it must last before it is one."""
