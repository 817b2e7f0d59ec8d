"""`make audit`: asks a database of vulnerabilities about every package of the lock, by pip-audit.

Fails where one has a known vulnerability. Where the database does not answer, or knows none of the packages (something in
between answers in its place), it says so and goes on. AUDIT=off leaves it out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements.txt"
SECONDS_MAX = 90


def ask() -> tuple[list[dict[str, object]], str]:
    """What pip-audit says of each package; else why it says nothing."""
    program = Path(sys.executable).with_name("pip-audit")
    if not program.exists():
        return [], "pip-audit is not installed"
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", "5", "--format", "json"]
    try:
        done = subprocess.run(
            [program, *options, "-r", LOCK], cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer in {SECONDS_MAX} s"
    if not done.stdout.startswith("{"):
        return [], (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
    packages: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
    return packages, ""


def main() -> int:
    """Print the verdict; 1 where something is known to be vulnerable."""
    if os.environ.get("AUDIT") == "off":
        print("dependencies: not audited (AUDIT=off)")
        return 0
    packages, reason = ask()
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        print(
            f"dependencies: NOT AUDITED: {reason or 'the database knows none of the packages, so it is not the real one'}"
        )
        return 0
    vulnerable = [package for package in known if package["vulns"]]
    for package in vulnerable:
        for vulnerability in package["vulns"]:  # type: ignore[attr-defined]
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {fixed}")
    if vulnerable:
        print(f"{len(vulnerable)} packages of {LOCK} are vulnerable: raise them in pyproject.toml, then make lock")
        return 1
    unknown = len(packages) - len(known)
    print(
        f"dependencies: no known vulnerability in {len(known)} packages" + (f"; {unknown} unknown" if unknown else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
