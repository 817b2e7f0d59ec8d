"""A Debian that systemd has booted, in a container: what is installed in it is gone with it.

The root is made once by debootstrap and kept (CDCD_CACHE, by default /var/cache/cdcd); each machine is a copy of it, or
an overlay. It shares this machine's network, so servers on 127.0.0.1 are the same inside.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
"""The Debian whose Python can use our wheels."""
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,procps"
WAIT_SECONDS = 60
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    "DEBIAN_FRONTEND": "noninteractive",
}


def why_not() -> str:
    """Why no machine can be booted here; "" when one can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [name for name in ("systemd-nspawn", "debootstrap", "nsenter", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (apt-get install systemd-container debootstrap)"
    if sys.version_info[:2] not in SUITES:
        return f"no Debian has Python {sys.version_info[0]}.{sys.version_info[1]}"
    return ""


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Poll until `condition` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.1)


def mirror() -> str:
    """Where this machine's apt reads Debian from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return next((uri for uri in found if uri.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian")


def debian_root() -> Path:
    """The root that machines are made of."""
    suite = SUITES[sys.version_info[:2]]
    root = Path(os.environ.get("CDCD_CACHE", "/var/cache/cdcd")) / "roots" / f"{suite}-systemd"
    if not (root / "complete").exists():
        draft = root.with_name(root.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)
        draft.mkdir(parents=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(draft), mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        (draft / "var/log/journal").mkdir(exist_ok=True)
        shutil.rmtree(draft / "var/cache/apt/archives", ignore_errors=True)
        (draft / "complete").touch()
        draft.rename(root)
    return root


class Machine:
    """A booted Debian. A context manager."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="cdcd-machine-"))
        self.root = self._directory / "root"
        self._console = self._directory / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_mounted = False

    def _make_root(self) -> None:
        lower, upper, work = debian_root(), self._directory / "upper", self._directory / "work"
        for folder in (self.root, upper, work):
            folder.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, self.root], capture_output=True, check=False
        )
        self._is_mounted = mounted.returncode == 0
        if not self._is_mounted:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{lower}/.", self.root], check=True)

    def __enter__(self) -> Self:
        self._make_root()
        command = ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--register=no", "--keep-unit", "--boot"]
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command, "--console=pipe", "--machine=cdcd-test"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},  # v1 does not say when a service is empty
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, f"booted\n{self._console.read_text(errors='replace')[-2000:]}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Switch it off, and leave nothing."""
        if self._process is not None and self._process.poll() is None:
            if self._leader():
                self.run("systemctl", "poweroff", check=False)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", self.root], check=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._console.read_text(errors="replace")
        return self._leader() != 0 and self.run("systemctl", "is-system-running", check=False).strip() in (
            "running",
            "degraded",
        )

    def _leader(self) -> int:
        """The pid, out here, of its process 1; 0 while there is none."""
        assert self._process is not None
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            return next((int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"), 0)
        except OSError:
            return 0

    # ---- what a person at it would do -----------------------------------------------------------------------

    def attempt(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        inside = ["nsenter", "-t", str(self._leader()), "-m", "-p", "-i", "-u", "--", *command]
        return subprocess.run(
            inside, input=stdin, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
        )

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints. Fails where the command does, unless told otherwise."""
        done = self.attempt(*command)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str, mode: int = 0o644, *, group: str = "") -> None:
        """Write a file."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        if group:
            self.run("chgrp", group, path)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", unit, "--property", name, "--value").strip()

    def journal(self, unit: str, *options: str) -> str:
        """What a unit has logged."""
        return self.run("journalctl", "--unit", unit, "--no-pager", "--output", "cat", *options)

    def wait_for(self, unit: str, name: str, wanted: Callable[[str], bool], seconds: float = WAIT_SECONDS) -> str:
        """Wait until a property of a unit is as wanted; return it."""
        found = ""

        def reached() -> bool:
            nonlocal found
            found = self.show(unit, name)
            return wanted(found)

        try:
            wait_until(reached, f"{name} of {unit}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found!r}\n{self.journal(unit)[-3000:]}") from error
        return found
