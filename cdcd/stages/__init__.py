"""The three loops as a worker drives them: opened, stepped, waited for, reported on, closed and opened again.

The engine's classes (`capture`, `resolve`, `deliver`) take steps and know nothing of processes; this is where they
meet files, adapters and switches. Each import happens in the stage that needs it, so that a worker stays small.
"""

from __future__ import annotations

from cdcd.blueprint import Blueprint, Role
from cdcd.stages.stage import Stage
from cdcd.state_directory import StateDirectory


def build(role: Role, blueprint: Blueprint, directory: StateDirectory) -> Stage:
    """The stage of a role."""
    if role.stage == "capture":
        from cdcd.stages.capture import CaptureStage  # noqa: PLC0415 - see above

        return CaptureStage(role.system, blueprint, directory)
    if role.stage == "deliver":
        from cdcd.stages.deliver import DeliverStage  # noqa: PLC0415

        return DeliverStage(role.system, blueprint, directory)
    from cdcd.stages.resolve import ResolveStage  # noqa: PLC0415

    return ResolveStage(blueprint, directory)
