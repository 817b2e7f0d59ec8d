"""What systemd wants to hear from a service of Type=notify: sd_notify(3), spoken directly.

The protocol is lines of KEY=VALUE in one datagram to the Unix socket named by NOTIFY_SOCKET ("@" for the abstract
namespace). Without that variable nobody listens and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> bool:
    """Send e.g. "READY=1", "STATUS=…", "WATCHDOG=1"; return whether it was delivered. Never raises, never blocks long."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1)
            channel.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def reloading() -> None:
    """Say that a reload begins; READY=1 is to follow. The time belongs into the same datagram (sd_notify(3))."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def extend_timeout(seconds: float, status: str) -> None:
    """Ask for so much time until the next such word, or READY=1, and say what takes it (sd_notify(3), EXTEND_TIMEOUT_USEC)."""
    notify(f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


def watchdog_seconds() -> float | None:
    """How often systemd wants WATCHDOG=1 at the latest (sd_watchdog_enabled(3)), None when it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) > 0 and for_us else None
