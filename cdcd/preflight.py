"""The checks before a start: the configuration, and every precondition of every server, all findings at once.

They run as a process of their own (`python -m cdcd.preflight CONFIG`, the outcome as MessagePack on stdout), so that
the supervisor never loads a driver and a check that hangs or crashes takes nothing with it. Nothing is written.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from cdcd import blueprint as b
from cdcd import config_rules, fitting, plugins, state_key
from cdcd.adapter import Finding, Identity
from cdcd.control import Failure, RemoteError, failure
from cdcd.errors import CdcdError, NeedsOperator, Unavailable
from cdcd.forking import CheckRequest, Process, Template
from cdcd.model import TableShape
from cdcd.report import ErrorNote, error_note
from cdcd.state_directory import StateDirectory
from cdcd.web import checks

if TYPE_CHECKING:
    from cdcd.adapter import Adapter, Target

PREFLIGHT_SECONDS: Final = 300
KILLED_TIMES_MAX: Final = 10
HELD_UP_ONLY: Final = frozenset(
    [
        "column-missing",
        "table-missing",
        "type-mismatch",
        "target-column-missing",
        "target-id-unknown",
        "target-key-mismatch",
        "target-no-key",
        "target-table-missing",
        "target-type-mismatch",
    ]
)
"""Errors that, in a daemon at work, suspend an entity (reading) or park its records (writing)."""


class Outcome(msgspec.Struct, frozen=True):
    """What the checks found. `unreachable` systems could not be checked: they may simply be down."""

    blueprint: b.Blueprint
    findings: tuple[Finding, ...] = ()
    unreachable: dict[str, ErrorNote] = {}

    @property
    def errors(self) -> list[Finding]:
        """The findings that forbid a first start."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def forbidding(self, *, first_start: bool) -> list[Finding]:
        """The errors that forbid a start. What ran before must run on: what a table lacks holds up its entity only."""
        return [finding for finding in self.errors if first_start or finding.code not in HELD_UP_ONLY]


class Result(msgspec.Struct, frozen=True):
    """What the process of its own prints: one of the two."""

    outcome: Outcome | None = None
    failure: Failure | None = None


def check(path: Path, *, only_looks: bool = False) -> Outcome:
    """Read the configuration at `path` and check every system. Raises ConfigError.

    Who `only_looks` may be root where the daemon has an account of its own.
    """
    config = config_rules.load(path)
    blueprint = b.draw(config, str(path))
    directory = StateDirectory(Path(config.daemon.state_dir))
    state_key.key_of(directory.path)  # a key that cannot be had is found now, not by the first file
    findings = [*_check_state_directory(directory, only_looks=only_looks), *checks.findings(config)]
    unreachable: dict[str, ErrorNote] = {}
    lineage = _lineage(directory)
    shapes: dict[str, Mapping[str, TableShape]] = {}
    for name in config.systems:
        identity = Identity(config.daemon.name, name, lineage)
        try:
            found, shapes[name] = _check_system(blueprint, identity)
            findings += found
        except Unavailable as error:
            unreachable[name] = error_note(error)
        except NeedsOperator as error:
            findings.append(Finding("error", error.code, name, "", _sentence(error), error.remedy))
    findings += fitting.findings(blueprint.plan(), shapes)
    findings += _copied_anew(directory, blueprint)
    return Outcome(blueprint, _unique(findings), unreachable)


def _check_system(blueprint: b.Blueprint, identity: Identity) -> tuple[Sequence[Finding], Mapping[str, TableShape]]:
    """What a system's adapter finds, and its tables as they are."""
    system = blueprint.systems[identity.system]
    adapter = plugins.load(system.reference, extra=system.adapter)
    options = plugins.options(blueprint.config, blueprint.file, identity.system, adapter)
    findings: list[Finding] = []
    if system.is_source:
        findings += _check_source(adapter, identity, options, system)
    with closing(adapter.open_target(identity, options)) as target:
        if system.is_target:
            findings += target.check([need for need in system.tables if need.written])
            findings += _check_lineage(target, identity)
        return findings, target.describe([need.table for need in system.tables])


def _check_lineage(target: Target, identity: Identity) -> Iterator[Finding]:
    """Who starts for the first time must not begin anew what another state directory has begun."""
    row = None if identity.lineage else target.checkpoint()
    if row is not None:
        yield Finding(
            "error",
            "other-lineage",
            identity.system,
            "daemon.state-dir",
            f"a daemon {identity.daemon!r} has delivered to this system, and the state directory is not its own",
            "start with the state directory that it had; if that is lost, 'cdcd recover'; if it is another daemon, give this"
            " one a daemon.name of its own",
        )


def _check_source(
    adapter: Adapter, identity: Identity, options: msgspec.Struct, system: b.SystemBlueprint
) -> Sequence[Finding]:
    tables = [need for need in system.tables if need.captured]
    with closing(adapter.open_source(identity, options, tables)) as source:
        return source.check(tables)


def _check_state_directory(directory: StateDirectory, *, only_looks: bool) -> Iterator[Finding]:
    """The directory, or the nearest one above it that exists, must let us write; what is ours, nobody else."""
    if os.access(directory.path, os.F_OK):
        try:
            directory.refuse_open(only_looks=only_looks)
        except NeedsOperator as error:
            yield Finding("error", error.code, "", "daemon.state-dir", _sentence(error), error.remedy)
    existing = next(path for path in (directory.path, *directory.path.absolute().parents) if os.access(path, os.F_OK))
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding(
            "error",
            "state-dir",
            "",
            "daemon.state-dir",
            f"{directory.path} cannot be written by this account",
            f"chown it to the account the daemon runs as (we are uid {os.getuid()}), or change daemon.state-dir",
        )


def _lineage(directory: StateDirectory) -> str:
    """The identity of existing state, "" when there is none yet."""
    if not directory.state.exists():
        return ""
    from cdcd.state import State  # noqa: PLC0415

    with closing(State(directory.state)) as state:
        return state.lineage


def _copied_anew(directory: StateDirectory, blueprint: b.Blueprint) -> Iterator[Finding]:
    """What was read otherwise until now, so that the start would have it copied anew."""
    if not directory.state.exists():
        return
    from cdcd.resolve import recopying  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    with closing(State(directory.state, read_only=True)) as state:
        known = msgspec.structs.replace(blueprint, vocabulary=state.get("vocabulary") or b"")
        try:
            recopies = recopying.wanted(known.plan(), state)
        except NeedsOperator as error:
            yield Finding("error", error.code, "", "entities", _sentence(error), error.remedy)
            return
    for recopy in recopies:
        reasons = "; ".join(recopy.reasons)
        what = f"will be copied anew at the start, while changes flow: {reasons}"
        yield Finding("warning", "copied-anew", "", recopy.subject, what, "'cdcd plan' shows what that would change")


def _unique(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Without what the source's and the target's check of one system both found."""
    return tuple({(f.code, f.system, f.subject): f for f in findings}.values())


def _sentence(error: CdcdError) -> str:
    return f"{error.what}: {error.cause}" if error.cause else error.what


class CheckApart:
    """`check` in a process of its own, begun when this is made; its outcome is asked for when it may be there."""

    def __init__(self, path: Path, template: Template | None = None) -> None:
        """`template` saves the imports."""
        self._path = path
        self._until = time.monotonic() + PREFLIGHT_SECONDS
        self._output = os.memfd_create("cdcd-preflight", os.MFD_CLOEXEC)
        self._asked = template.ask(CheckRequest(str(path)), [self._output]) if template is not None else None

    @cached_property
    def _process(self) -> Process:
        forked = self._asked.process() if self._asked is not None else None
        if forked is not None:
            return forked
        command = [sys.executable, "-P", "-m", "cdcd.preflight", str(self._path)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output)

    def wait(self) -> None:
        """Until it has ended, or has taken too long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, self._until - time.monotonic()))

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it."""
        return (self._process.poll() or 0) < 0

    def outcome(self) -> Outcome | None:
        """What it found, None while it is not done. Raises what `check` raised."""
        code = self._process.poll()
        if code is None and time.monotonic() < self._until:
            return None
        if code is None:
            raise CdcdError(
                "the checks did not end",
                code="preflight-hung",
                cause=f"no result after {PREFLIGHT_SECONDS} s",
                remedy="run 'cdcd check' to see which server does not answer",
            )
        output = os.pread(self._output, os.fstat(self._output).st_size, 0)
        if code != 0 or not output:
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise CdcdError(
                "the checks crashed", code="preflight", cause=f"their process ended {how}, see its log lines"
            )
        result = msgspec.msgpack.decode(output, type=Result)
        if result.failure is not None:
            raise RemoteError(result.failure)
        return result.outcome

    def close(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        os.close(self._output)


def check_apart(path: Path, begun: CheckApart | None = None) -> Outcome:
    """`check` in a process of its own, waited for. Raises what it raised. `begun`: the first attempt."""
    for attempt in range(KILLED_TIMES_MAX):
        apart = begun if attempt == 0 and begun is not None else CheckApart(path)
        try:
            apart.wait()
            if not apart.was_killed or attempt == KILLED_TIMES_MAX - 1:
                outcome = apart.outcome()
                assert outcome is not None, "it has ended, or taken too long"
                return outcome
        finally:
            apart.close()
    raise AssertionError("the last attempt returns or raises")


def print_outcome(path: Path, output: BinaryIO) -> int:
    """Check, and write a `Result` to `output`. The exit code of a process that does only that."""
    from cdcd import core_dumps, logs  # noqa: PLC0415

    logs.setup("preflight")
    core_dumps.forbid()
    try:
        result = Result(outcome=check(path))
    except CdcdError as error:
        result = Result(failure=failure(error).error)
    output.write(msgspec.msgpack.encode(result))
    return 0


def main(arguments: list[str]) -> int:
    """Check and print the outcome."""
    return print_outcome(Path(arguments[0]), sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
