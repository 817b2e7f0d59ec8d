"""The operator's verbs, as the running daemon carries them out, or a command while no daemon runs; a module per group.

Each leaves its trace in the journal: a switch that outlives restarts, or a command that resolve meets in order.
"""

from __future__ import annotations

from typing import Final

from cdcd.control import Answer, Ready, Request
from cdcd.operations import (
    barriers,
    deliveries,
    forgetting,
    journal,
    parked,
    pauses,
    recoveries,
    resyncs,
    rewinds,
    verdicts,
    verifications,
)
from cdcd.operations.desk import Desk, RequestError, Verb

__all__ = ["VERBS", "RequestError", "handle"]

VERBS: Final[dict[str, Verb]] = {
    **barriers.VERBS,
    **deliveries.VERBS,
    **forgetting.VERBS,
    **journal.VERBS,
    **parked.VERBS,
    **pauses.VERBS,
    **recoveries.VERBS,
    **resyncs.VERBS,
    **rewinds.VERBS,
    **verdicts.VERBS,
    **verifications.VERBS,
}


def handle(desk: Desk, request: Request) -> Answer | Ready:
    """Carry out a command. Raises RequestError."""
    verb = VERBS.get(request.command)
    if verb is None:
        raise RequestError(
            f"unknown command {request.command!r}", remedy="the daemon and the cdcd command differ in version"
        )
    return verb(desk, request.arguments)
