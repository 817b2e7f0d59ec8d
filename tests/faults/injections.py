"""The faults: what is done to the rig, by name. Each returns where it struck, in words for the record.

A fault is over when the function returns, and the world outside is whole again; the daemon may still be recovering. What
a fault needs and is not there (root, a C compiler) is told by `Fault.lacking`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final, NamedTuple

from cdcd import failpoints
from faults import company, upheavals
from faults.rig import ROLES, Rig, RigError

Inject = Callable[[Rig, Random], str]
SIDES: Final = ("erp", "shop")
LONGER_THAN_TIMEOUTS_SECONDS: Final = 9.0
"""Every timeout of the rig's configuration and servers is shorter: 3 to 5 s, and what they add up to is 8 s."""
REACHED_SECONDS: Final = 45.0


class Fault(NamedTuple):
    """A way to fail. `weight`: how often it is injected, beside others. `needs`: root, or cc."""

    name: str
    inject: Inject
    weight: float = 1.0
    needs: frozenset[str] = frozenset()

    def lacking(self, rig: Rig) -> str:
        """Why it cannot be injected here; empty when it can."""
        if "disk" in self.needs and not rig.mounted:
            return "a file system of its own for the state directory needs root"
        if "cc" in self.needs and rig.shim is None:
            return "there is no C compiler (cc) for the library that fails syncs and moves the clock"
        return ""


# ---- processes that die ----------------------------------------------------------------------------------------


def kill(role: str) -> Inject:
    """SIGKILL at a random moment."""

    def inject(rig: Rig, rng: Random) -> str:
        time.sleep(rng.uniform(0, 0.3))
        return f"{role} {_signal(rig, role, signal.SIGKILL)}"

    return inject


def kill_all(rig: Rig, rng: Random) -> str:
    """The whole daemon at once, as when the machine's power fails; it is started again at once."""
    pids = rig.daemon.pids()
    for pid in sorted(pids.values(), key=lambda _: rng.random()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return " ".join(sorted(pids))


def _signal(rig: Rig, role: str, number: signal.Signals) -> int:
    rig.wait_for(lambda: role in rig.daemon.pids(), f"{role} has a process")
    pid = rig.daemon.pids()[role]
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def kill_at(name: str) -> Inject:
    """SIGKILL at a failpoint; where ordinary business does not lead there, what does is done."""

    def inject(rig: Rig, rng: Random) -> str:
        armed = rig.armed / name
        armed.touch()
        provoke = PROVOKED.get(name, _nothing)
        provoke(rig, rng)
        try:
            rig.wait_for(lambda: not armed.exists(), f"failpoint {name} is reached", REACHED_SECONDS)
        except RigError:
            armed.unlink(missing_ok=True)
            raise
        return name

    return inject


def _nothing(rig: Rig, rng: Random) -> None:
    """Ordinary business leads there."""


def _restart(rig: Rig, rng: Random) -> None:
    with suppress(ProcessLookupError):
        os.kill(rig.daemon.pids().get("supervisor", 0) or _no_process(), signal.SIGKILL)


def _no_process() -> int:
    raise ProcessLookupError


def _kill_worker(role: str) -> Callable[[Rig, Random], None]:
    def provoke(rig: Rig, rng: Random) -> None:
        _signal(rig, role, signal.SIGKILL)

    return provoke


def _bulk(rig: Rig, rng: Random) -> None:
    """A transaction that is too large to be held in memory."""
    rig.erp(f"CALL bulk({rng.randrange(10_500, 13_000)})")


def _resync(rig: Rig, rng: Random) -> None:
    _cdcd(rig, "resync", "partner")


def _cdcd(rig: Rig, *arguments: str) -> bool:
    """Run a command; whether it did what it should. Whoever carries it out may die of it."""
    return rig.daemon.cli(*arguments).returncode == 0


def _verb(rig: Rig, rng: Random) -> None:
    """Switch a delivery off; when it is over, on again."""
    places = [rig.armed / f"supervisor.{when}-verb" for when in ("before", "after")]

    def is_over() -> bool:
        _cdcd(rig, "pause", "shop")
        return not any(place.exists() for place in places)

    rig.wait_for(is_over, "the daemon takes a verb")
    rig.wait_for(lambda: _cdcd(rig, "resume", "shop"), "the daemon takes another verb")


def _poison(rig: Rig, rng: Random) -> None:
    """Each side refuses something."""
    rig.shop("UPDATE partners SET name_version = name_version + 1, name = 'unlucky' ORDER BY rand() LIMIT 5")
    rig.erp("UPDATE item SET name = 'refused ' || code WHERE id % 37 = 5 AND code LIKE 'P%'")
    rig.erp(
        f"UPDATE partner SET credit = {company.UNLUCKY}, credit_version = credit_version + 1 WHERE id IN"
        " (SELECT id FROM partner ORDER BY random() LIMIT 5)"
    )


def _cure(rig: Rig, rng: Random) -> None:
    _poison(rig, rng)
    rig.cure()


PROVOKED: Final[dict[str, Callable[[Rig, Random], None]]] = {
    "capture.before-start": _kill_worker("capture:erp"),
    "capture.after-start": _kill_worker("capture:shop"),
    "capture.before-stage": _bulk,
    "capture.after-stage": _bulk,
    "capture.before-chunk": _resync,
    "capture.after-chunk": _resync,
    "journal.before-command": _resync,
    "journal.after-command": _resync,
    "resolve.before-start": _kill_worker("resolve"),
    "resolve.after-start": _kill_worker("resolve"),
    "deliver.before-open": _kill_worker("deliver:shop"),
    "deliver.after-open": _kill_worker("deliver:erp"),
    "deliver.before-park": _poison,
    "deliver.after-park": _poison,
    "deliver.before-release": _cure,
    "deliver.after-release": _cure,
    "supervisor.before-trim": _restart,
    "supervisor.after-trim": _restart,
    "supervisor.before-verb": _verb,
    "supervisor.after-verb": _verb,
}
AT_FIRST_START: Final = frozenset(
    {"storage.before-create", "storage.after-create", "capture.after-first-position", "resolve.after-settle"}
)
"""Failpoints that only a daemon comes to which has no state yet."""


# ---- processes that hang ---------------------------------------------------------------------------------------


def stop(role: str) -> Inject:
    """SIGSTOP, for longer than every timeout."""

    def inject(rig: Rig, rng: Random) -> str:
        pid = _signal(rig, role, signal.SIGSTOP)
        time.sleep(LONGER_THAN_TIMEOUTS_SECONDS)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        return f"{role} {pid}"

    return inject


def stop_all(rig: Rig, rng: Random) -> str:
    pids = rig.daemon.pids()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(LONGER_THAN_TIMEOUTS_SECONDS)
    return " ".join(sorted(pids))


def stop_server(side: str) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        rig.server(side).suspend()
        time.sleep(LONGER_THAN_TIMEOUTS_SECONDS)
        rig.server(side).resume()
        return side

    return inject


# ---- servers that crash ----------------------------------------------------------------------------------------


def crash(side: str) -> Inject:
    """All processes of the server at once, as by a power cut; it recovers by its own log."""

    def inject(rig: Rig, rng: Random) -> str:
        rig.server(side).kill()
        time.sleep(rng.uniform(0, 1.0))
        rig.server(side).start()
        return side

    return inject


def restart(side: str) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        rig.server(side).restart()
        return side

    return inject


# ---- networks that fail ----------------------------------------------------------------------------------------


def _struck(rig: Rig, strike: Callable[[], int]) -> int:
    """Strike as soon as there is a connection to be struck; how many there were."""
    counts: list[int] = [0]

    def has_struck() -> bool:
        counts.append(strike())
        return counts[-1] > 0

    rig.wait_for(has_struck, "there are connections")
    return counts[-1]


def cut(side: str) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        return f"{side}: {_struck(rig, rig.proxies[side].cut)} connections"

    return inject


def refuse(side: str) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        rig.proxies[side].refuse()
        time.sleep(rng.uniform(0.5, 2.0))
        rig.proxies[side].heal()
        return side

    return inject


def black_hole(side: str, *, seconds: float) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        rig.proxies[side].black_hole()
        time.sleep(seconds)
        rig.proxies[side].heal()
        return f"{side} for {seconds:g} s"

    return inject


def slow(side: str) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        rig.proxies[side].slow(delay_seconds=0.05, bytes_per_second=200_000)
        time.sleep(2.0)
        rig.proxies[side].heal()
        return side

    return inject


def half_open(side: str, *, lost_by: str) -> Inject:
    """One end has lost the connections, the other does not know. Nobody helps: it has to find out by itself."""

    def inject(rig: Rig, rng: Random) -> str:
        count = _struck(rig, lambda: rig.proxies[side].half_open(lost_by=lost_by))
        return f"{side}: {count} connections lost by the {lost_by}"

    return inject


# ---- disks that fail -------------------------------------------------------------------------------------------


def disk_full(rig: Rig, rng: Random) -> str:
    """No byte is left on the state directory's file system for a while."""
    fill = rig.state / "fill"
    with fill.open("wb", buffering=0) as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(rig.state).free - (1 << 20)))
        while True:
            file.seek(0, os.SEEK_END)
            file.write(bytes(4096))
    time.sleep(rng.uniform(1.0, 3.0))
    fill.unlink()
    return "state directory"


def read_only(rig: Rig, rng: Random) -> str:
    """The daemon dies, and finds its state directory read-only when it is started again: it must not run."""
    rig.daemon.rest()
    subprocess.run(["mount", "-o", "remount,ro", rig.state], check=True)
    before = rig.daemon.codes.count(0)
    rig.daemon.begin()
    try:
        time.sleep(rng.uniform(1.0, 2.0))
    finally:
        subprocess.run(["mount", "-o", "remount,rw", rig.state], check=True)
    assert rig.daemon.codes.count(0) == before, "it ended as if all were well"
    return "state directory"


PROVOKED_SYNCS: Final = {"supervisor": _resync, "deliver:erp": _poison, "deliver:shop": _poison}
"""Deliveries keep nothing but what is parked, and the supervisor what people ask for."""


def failing_sync(role: str) -> Inject:
    """fsync fails once: the process must end, because nobody knows any more what is on the disk."""

    def inject(rig: Rig, rng: Random) -> str:
        assert rig.shim is not None
        rig.wait_for(lambda: role in rig.daemon.pids(), f"{role} has a process")
        pid = rig.daemon.pids()[role]
        rig.shim.fail_syncs(1, pid)
        PROVOKED_SYNCS.get(role, _nothing)(rig, rng)
        rig.wait_for(lambda: rig.shim is not None and not rig.shim.syncs_to_fail, f"{role} syncs", REACHED_SECONDS)
        rig.wait_for(lambda: rig.daemon.pids().get(role) != pid, f"{role} has ended after a failed sync")
        return f"{role} {pid}"

    return inject


# ---- clocks that jump ------------------------------------------------------------------------------------------


def clock_jumps(seconds: int) -> Inject:
    def inject(rig: Rig, rng: Random) -> str:
        assert rig.shim is not None
        rig.shim.set_clock(seconds)
        time.sleep(1.5)
        rig.shim.set_clock(0)
        return f"{seconds:+d} s and back"

    return inject


# ---- people ----------------------------------------------------------------------------------------------------


def orderly_restart(rig: Rig, rng: Random) -> str:
    rig.wait_for(lambda: "supervisor" in rig.daemon.pids(), "there is a daemon")
    with suppress(ProcessLookupError):
        os.kill(rig.daemon.pids()["supervisor"], signal.SIGTERM)
    return "SIGTERM"


def resync(entity: str) -> Inject:
    """A whole entity is read again while it changes."""

    def inject(rig: Rig, rng: Random) -> str:
        rig.wait_for(lambda: _cdcd(rig, "resync", entity), "the daemon takes a verb")
        return entity

    return inject


def second_daemon(rig: Rig, rng: Random) -> str:
    """Another one on the same configuration is refused."""
    done = rig.daemon.cli("run")
    assert done.returncode != 0, done.stdout
    return f"refused with status {done.returncode}"


FAULTS: Final = (
    *(Fault(f"kill {role}", kill(role), 3.0) for role in ROLES),
    Fault("kill all processes", kill_all, 3.0),
    *(
        Fault(f"kill at {name}", kill_at(name), 1.5 if name not in PROVOKED else 0.7)
        for name in failpoints.NAMES
        if name not in AT_FIRST_START
    ),
    *(Fault(f"stop {role}", stop(role), 0.3) for role in ROLES),
    Fault("stop all processes", stop_all, 0.3),
    *(Fault(f"stop server {side}", stop_server(side), 0.3) for side in SIDES),
    *(Fault(f"crash server {side}", crash(side), 1.5) for side in SIDES),
    *(Fault(f"restart server {side}", restart(side), 0.7) for side in SIDES),
    *(Fault(f"cut connections {side}", cut(side), 3.0) for side in SIDES),
    *(Fault(f"refuse connections {side}", refuse(side), 1.0) for side in SIDES),
    *(Fault(f"black hole {side} short", black_hole(side, seconds=1.0), 1.0) for side in SIDES),
    *(Fault(f"black hole {side} long", black_hole(side, seconds=LONGER_THAN_TIMEOUTS_SECONDS), 0.3) for side in SIDES),
    *(Fault(f"slow {side}", slow(side), 0.7) for side in SIDES),
    *(
        Fault(f"half open {side} lost by {end}", half_open(side, lost_by=end), 0.7)
        for side in SIDES
        for end in ("client", "server")
    ),
    Fault("disk full", disk_full, 0.7, frozenset({"disk"})),
    Fault("read-only state directory", read_only, 0.5, frozenset({"disk"})),
    *(Fault(f"failing sync {role}", failing_sync(role), 0.7, frozenset({"cc"})) for role in ROLES),
    Fault("clock jumps ahead", clock_jumps(3600), 0.7, frozenset({"cc"})),
    Fault("clock jumps back", clock_jumps(-3600), 0.7, frozenset({"cc"})),
    Fault("orderly restart", orderly_restart, 1.0),
    *(Fault(f"resync {entity}", resync(entity), 0.5) for entity in ("item", "order", "partner")),
    Fault("second daemon", second_daemon, 0.3),
    Fault("standby takes over from a killed daemon", upheavals.standby_takes_over, 0.7),
    Fault("standby takes over from a frozen daemon", upheavals.standby_takes_over_from_the_frozen, 0.5),
    Fault("bit flips in the journal", upheavals.bit_flips_in_the_journal, 0.7),
    Fault("state directory lost", upheavals.state_directory_lost, 0.05),
    Fault("configuration changes", upheavals.configuration_changes, 0.7),
)
"""Every fault but those of a first start."""
