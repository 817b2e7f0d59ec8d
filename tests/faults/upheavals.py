"""Faults that people must answer, or a second daemon does: takeovers, damage, loss, and a configuration that changes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import closing, suppress
from random import Random
from typing import Final

from cdcd.sqlite_driver import sqlite
from faults.rig import Rig

ENDED_SECONDS: Final = 60.0
BACKLOG_SECONDS: Final = 1.0


# ---- a standby -------------------------------------------------------------------------------------------------


def standby_takes_over(rig: Rig, rng: Random) -> str:
    """The daemon is killed; how long the standby takes is noted (tests/integration/test_standby.py says how long it may)."""
    return _succeeded(rig, signal.SIGKILL)


def standby_takes_over_from_the_frozen(rig: Rig, rng: Random) -> str:
    """The whole daemon is stopped and never goes on; the standby notices, ends it and takes over."""
    return _succeeded(rig, signal.SIGSTOP)


def _succeeded(rig: Rig, number: signal.Signals) -> str:
    rig.wait_well()
    standby = rig.daemon.start_standby()
    old = rig.daemon.give_up()
    try:
        rig.wait_for(lambda: "standing by while" in rig.daemon.log_since_standby(), "the standby waits")
        struck_at = time.monotonic()
        with suppress(ProcessLookupError):
            if number == signal.SIGSTOP:
                os.killpg(old.pid, signal.SIGSTOP)
            else:
                os.kill(old.pid, signal.SIGKILL)
        old.wait(ENDED_SECONDS)
        rig.wait_for(lambda: rig.daemon_pid() == standby.pid and rig.is_well(), "the standby is at work")
        seconds = time.monotonic() - struck_at
    finally:
        with suppress(ProcessLookupError):
            os.killpg(old.pid, signal.SIGKILL)
        rig.daemon.adopt(standby)
    return f"all at work after {seconds:.1f} s"


# ---- damage and loss -------------------------------------------------------------------------------------------


def bit_flips_in_the_journal(rig: Rig, rng: Random) -> str:
    """A transaction that is journalled and not resolved is damaged: it is named, and read again from its source's log."""
    seq = None
    while seq is None:
        rig.daemon.begin()
        rig.wait_well()
        with suppress(ProcessLookupError, KeyError):
            os.kill(rig.daemon.pids()["resolve"], signal.SIGSTOP)
        time.sleep(BACKLOG_SECONDS)
        rig.daemon.rest()
        seq = _flip_a_bit(rig, rng)
    verified = rig.daemon.cli("journal", "verify")
    assert verified.returncode == 3, verified.stdout
    assert f"entry {seq:,}:" in verified.stdout, verified.stdout
    rig.daemon.begin()
    rig.wait_for(lambda: rig.error_codes().get("resolve") == "journal-damaged", "resolve stops before the damage")
    repaired = rig.daemon.cli("journal", "repair", "--yes")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    rig.wait_well()
    return f"entry {seq}"


def _flip_a_bit(rig: Rig, rng: Random) -> int | None:
    """One bit of one of the shop's transactions that resolve has not come to."""
    state, journal = rig.daemon.directory.state, rig.daemon.directory.journal
    with closing(sqlite.connect(state)) as connection:
        position = connection.execute("SELECT value FROM meta WHERE name = 'position'").fetchone()
    with closing(sqlite.connect(journal, isolation_level=None)) as connection:
        found = connection.execute(
            "SELECT seq, body FROM entries WHERE seq > ? AND source = 'shop' AND mark_through IS NULL AND length(body) > 0",
            (int(position[0]) if position else 0,),
        ).fetchall()
        if not found:
            return None
        seq, body = rng.choice(found)
        damaged = bytearray(body)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        connection.execute("UPDATE entries SET body = ? WHERE seq = ?", (bytes(damaged), seq))
    return int(seq)


def state_directory_lost(rig: Rig, rng: Random) -> str:
    """Everything of the daemon's is gone, while nobody writes: else totals go by one system's word (docs/recovery.md)."""
    rig.writers.say("pause")
    try:
        rig.wait_well()
        rig.cure()
        rig.pass_mark()
        rig.retry_parked()
        rig.pass_mark()
        rig.daemon.rest()
        shutil.rmtree(rig.daemon.directory.path)
        refused = rig.daemon.cli("run")
        assert "[other-lineage]" in refused.stdout, refused.stdout
        recovered = rig.daemon.cli("recover", "--yes")
        assert recovered.returncode == 0, recovered.stdout + recovered.stderr
        rig.daemon.begin()
        rig.wait_well()
        rig.pass_mark()
    finally:
        rig.writers.say("go")
    return "recovered"


# ---- another configuration -------------------------------------------------------------------------------------


def configuration_changes(rig: Rig, rng: Random) -> str:
    """An entity is added, then a column of it, then that goes and comes again: by a reload, or by a restart."""
    rig.wait_well()
    rig.labels = "code, text" if rig.labels == "code, text, size" or not rig.labels else "code, text, size"
    rig.write_configuration()
    if rng.random() < 0.5:
        rig.wait_for(lambda: rig.daemon.cli("reload").returncode == 0, "the daemon takes the configuration over")
        how = "reload"
    else:
        with suppress(ProcessLookupError):
            os.kill(rig.daemon.pids()["supervisor"], signal.SIGTERM)
        rig.wait_for(lambda: not rig.is_well(), "the daemon ends")
        how = "restart"
    rig.wait_well()
    return f"labels with {rig.labels}, by {how}"
