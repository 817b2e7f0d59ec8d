"""`make fuzz`: the decoders against mutated logs, side by side, until the time is up or one lets anything but DecodeError out.

`--seconds N` (60) bounds it. The corpus begins with the golden captures and is kept in the user's cache (CDCD_CACHE), so
that the next run goes on where this one ended; what crashes a decoder is left beside it, to be given to the fuzzer again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECODERS = {"pgoutput": "fuzz_pgoutput.py", "binlog": "fuzz_binlog.py"}
ENDING_SECONDS = 120


def corpus(name: str) -> Path:
    """The folder of a decoder's inputs; the fuzzer itself puts the golden captures there."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cdcd"
    folder = Path(os.environ.get("CDCD_CACHE") or usual) / "fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def start(name: str, script: Path, seconds: int) -> subprocess.Popen[bytes]:
    """Start a fuzzer in its own folder, where it leaves what crashes it."""
    folder = corpus(name)
    command = [
        sys.executable,
        str(script),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder.parent}/crash-{name}-",
    ]
    return subprocess.Popen([*command, str(folder)], cwd=folder.parent)


def ends_well(process: subprocess.Popen[bytes], timeout_seconds: float) -> bool:
    """Wait for a fuzzer's end; one that hangs is killed and has failed."""
    try:
        return process.wait(max(1.0, timeout_seconds)) == 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def main() -> int:
    """Run all decoders' fuzzers; 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    seconds = parser.parse_args().seconds
    scripts = {name: ROOT / "tests" / "fuzz" / file for name, file in DECODERS.items()}
    running = {name: start(name, script, seconds) for name, script in scripts.items() if script.exists()}
    deadline = time.monotonic() + seconds + ENDING_SECONDS
    failed = [name for name, process in running.items() if not ends_well(process, deadline - time.monotonic())]
    missing = [name for name in scripts if name not in running]
    for name in failed:
        print(f"{name}: FAILED; its input is {corpus(name).parent}/crash-{name}-*")
    for name in missing:
        print(f"{name}: there is no {scripts[name].relative_to(ROOT)}")
    print(
        f"{seconds} s of {', '.join(running) or 'nothing'}: {'something crashed' if failed else 'nothing but DecodeError'}"
    )
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
