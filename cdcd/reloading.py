"""What a reload changes, and why one is refused: pure comparisons of the running configuration with the new one.

A reload is refused as a whole: the daemon goes on as it is. What the running configuration already suffers from (a
table that lost a column) does not forbid one, because a restart would go on with that, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd.adapter import Finding
from cdcd.blueprint import Blueprint
from cdcd.control import Answer
from cdcd.errors import CdcdError, ConfigError, NeedsOperator
from cdcd.preflight import HELD_UP_ONLY, CheckApart, Outcome

_COMPARED_BY_NAME: Final = ("systems", "entities")


class Changes(msgspec.Struct, frozen=True):
    """What is otherwise in the new configuration. `other` are top-level keys; `tables` and `roles` follow from the rest."""

    added: dict[str, list[str]]
    removed: dict[str, list[str]]
    changed: dict[str, list[str]]
    other: list[str]

    @property
    def any(self) -> bool:
        """Whether anything is otherwise."""
        return bool(self.other) or any(
            names for kind in (self.added, self.removed, self.changed) for names in kind.values()
        )

    def lines(self) -> list[str]:
        """For people: "added systems: b"."""
        kinds = (("added", self.added), ("removed", self.removed), ("changed", self.changed))
        found = [f"{what} {kind}: {', '.join(names)}" for what, all_ in kinds for kind, names in all_.items() if names]
        return found + ([f"changed: {', '.join(self.other)}"] if self.other else [])


def changes(running: Blueprint, new: Blueprint) -> Changes:
    """What the new configuration has otherwise."""
    pairs: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        name: (getattr(running.config, name), getattr(new.config, name)) for name in _COMPARED_BY_NAME
    }
    pairs["tables"] = (_tables(running), _tables(new))
    pairs["workers"] = ({str(role): None for role in running.roles()}, {str(role): None for role in new.roles()})
    others = [field for field in running.config.__struct_fields__ if field not in _COMPARED_BY_NAME]
    return Changes(
        {kind: [name for name in after if name not in before] for kind, (before, after) in pairs.items()},
        {kind: [name for name in before if name not in after] for kind, (before, after) in pairs.items()},
        {
            kind: [name for name in after if name in before and before[name] != after[name]]
            for kind, (before, after) in pairs.items()
        },
        [name for name in others if getattr(running.config, name) != getattr(new.config, name)],
    )


def _tables(blueprint: Blueprint) -> dict[str, Any]:
    return {f"{name}:{need.table}": need for name, system in blueprint.systems.items() for need in system.tables}


def refusal(running: Blueprint, outcome: Outcome) -> CdcdError | None:
    """Why the running daemon cannot take over what was checked; None when it can."""
    fixed = list(_fixed(running, outcome.blueprint))
    if fixed:
        return ConfigError(
            "the configuration cannot be taken over by a reload",
            code="reload-fixed",
            cause="; ".join(fixed),
            remedy="put it back and reload, or restart the daemon: systemctl restart cdcd",
        )
    forbidding = [finding for finding in outcome.errors if not _is_known(finding, running, outcome.blueprint)]
    if forbidding:
        return NeedsOperator(
            f"the configuration was not taken over: {len(forbidding)} of its preconditions {_verb(forbidding)} missing",
            code="reload-findings",
            cause="; ".join(f"{f.system} {f.subject}: {f.message} [{f.code}]" for f in forbidding),
            remedy="; ".join(dict.fromkeys(f.remedy for f in forbidding)),
        )
    return None


def _verb(findings: list[Finding]) -> str:
    return "is" if len(findings) == 1 else "are"


def _fixed(running: Blueprint, new: Blueprint) -> Iterator[str]:
    """What stays as it is while a daemon runs."""
    before, after = running.config.daemon, new.config.daemon
    if before.name != after.name:
        yield f"daemon.name is {before.name!r} and names slots and checkpoints, the file says {after.name!r}"
    if before.state_dir != after.state_dir:
        yield f"daemon.state-dir is {before.state_dir}, the file says {after.state_dir}"
    for name in running.systems.keys() & new.systems.keys():
        if running.systems[name].adapter != new.systems[name].adapter:
            yield (
                f"systems.{name}.adapter is {running.systems[name].adapter!r}, the file says"
                f" {new.systems[name].adapter!r}; another server is another system, with a name of its own"
            )


def _is_known(finding: Finding, running: Blueprint, new: Blueprint) -> bool:
    """Whether it only holds up an entity, and is about a table that is already used just so."""
    key = f"{finding.system}:{finding.subject}"
    before, after = _tables(running).get(key), _tables(new).get(key)
    return finding.code in HELD_UP_ONLY and before is not None and before == after


class Reload:
    """One reload under way. `is_dry` ones only say what would change."""

    def __init__(self, path: Path, *, is_dry: bool) -> None:
        self.is_dry = is_dry
        self.stamp = file_stamp(path)
        self.outcome: Outcome | None = None
        """Set when it was accepted: then the workers are ended."""
        self.end_by = float("inf")
        self.answer: Answer | None = None
        self._check = CheckApart(path)

    def checked(self, running: Blueprint) -> Outcome | None:
        """The outcome of the checks, None while they are not done. Raises why it is refused."""
        outcome = self._check.outcome()
        if outcome is not None and (refused := refusal(running, outcome)) is not None:
            raise refused
        return outcome

    def close(self) -> None:
        """End the checks, if they have not ended."""
        self._check.close()


def file_stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written: its time in nanoseconds and its size. Zeros where it cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
