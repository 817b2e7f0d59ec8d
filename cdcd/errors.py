"""Every error a person may meet: a stable code, what happened, the cause, the next command.

    CdcdError
    ├── ConfigError          the configuration must change        exit 2
    ├── NeedsOperator        a person must act, nothing is lost   exit 3
    │   ├── NotReady         a precondition of a server is missing
    │   ├── FilterRefused    rows cannot be chosen as was asked
    │   ├── PositionLost     the log no longer reaches back to our position
    │   └── Fenced           another daemon took over this target
    ├── Unavailable          try again, with backoff, for ever
    ├── Refused              the target will never take these rows: park them
    └── DecodeError          the log holds something we do not understand: stop before it

The class is the policy: who catches one knows from it whether to retry, park or stop.
"""

from __future__ import annotations

from typing import ClassVar


class CdcdError(Exception):
    """Base of all. `code` is stable and documented; `what`, `cause`, `remedy` are sentences without data values."""

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal"

    def __init__(self, what: str, *, cause: str = "", remedy: str = "", code: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.remedy = remedy
        self.code = code or self.default_code

    def __str__(self) -> str:
        parts = [f"[{self.code}] {self.what}"]
        if self.cause:
            parts.append(f"cause: {self.cause}")
        if self.remedy:
            parts.append(f"next: {self.remedy}")
        return "\n  ".join(parts)


class ConfigError(CdcdError):
    """The configuration cannot be used as it is."""

    exit_code = 2
    default_code = "config"


class NeedsOperator(CdcdError):
    """Stops one system until a person has acted. Nothing was skipped."""

    exit_code = 3
    default_code = "needs-operator"


class NotReady(NeedsOperator):
    """A server lacks something cdcd needs (log level, privilege, table)."""

    default_code = "not-ready"


class FilterRefused(NeedsOperator):
    """Rows cannot be chosen as an operator asked: the server does not take the condition, or takes too long for it."""

    default_code = "filter-refused"


class PositionLost(NeedsOperator):
    """The source can no longer continue after our position (Invariant 8)."""

    default_code = "position-lost"


class Fenced(NeedsOperator):
    """Another daemon moved this target's fence epoch; writing on would undo its work (Invariant 4)."""

    default_code = "fenced"


class Unavailable(CdcdError):
    """A server did not answer, or asked to try again (deadlock, lock timeout, failover)."""

    default_code = "unavailable"


class Refused(CdcdError):
    """The target refuses rows for good. `rows` names them as (write index, row index) when the target knows which."""

    default_code = "refused"

    def __init__(
        self,
        what: str,
        *,
        cause: str = "",
        remedy: str = "",
        code: str = "",
        rows: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__(what, cause=cause, remedy=remedy, code=code)
        self.rows = rows


class DecodeError(CdcdError):
    """Bytes of a log that do not follow the format, or use a part of it that we do not know."""

    default_code = "decode"
