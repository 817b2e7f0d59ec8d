"""A process that captures one source into a journal and nothing else: `python -m bench.capture_only CONFIG SYSTEM CHANGES`.

It ends when so many row changes have been journalled and synced, and prints how many seconds that took, connecting included.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from cdcd import blueprint, config_rules
from cdcd.stages.capture import CaptureStage
from cdcd.state_directory import StateDirectory


def main(config: Path, system: str, changes: int) -> None:
    """Capture until `changes` changes are there."""
    found = config_rules.load(config)
    directory = StateDirectory(Path(found.daemon.state_dir))
    stage = CaptureStage(system, blueprint.draw(found, str(config)), directory)
    started_at = time.monotonic()
    stage.open()
    while sum(c.value for c in stage.counters() if c.name == "captured_changes") < changes:
        if not stage.step():
            select.select(stage.filenos(), [], [], 0.05)
    print(time.monotonic() - started_at)
    stage.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
