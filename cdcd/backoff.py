"""How long to wait before trying again."""

from __future__ import annotations

import random
from typing import Final

FIRST_SECONDS: Final = 0.2
LONGEST_SECONDS: Final = 30.0


class Backoff:
    """Doubling waits with jitter, so that many daemons do not come back to one server in the same instant."""

    def __init__(self, first_seconds: float = FIRST_SECONDS, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self.attempts = 0

    def next_seconds(self) -> float:
        """The next wait: between half and all of first · 2^attempts, and never more than the longest."""
        full = min(self._longest_seconds, self._first_seconds * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret

    def reset(self) -> None:
        """It worked: start over."""
        self.attempts = 0
