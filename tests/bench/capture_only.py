"""A process that captures one source into a journal and nothing else: `python -m bench.capture_only CONFIG SYSTEM CHANGES`.

It ends when so many row changes have been journalled and synced, and prints how many a second those were that came after
the first ones: without the start, and without connecting (where all came at once, with that).
"""

from __future__ import annotations

import gc
import select
import sys
import time
from pathlib import Path

from cdcd import blueprint, config_rules
from cdcd.stages.capture import CaptureStage
from cdcd.state_directory import StateDirectory
from cdcd.worker import GC_THRESHOLD


def main(config: Path, system: str, changes: int) -> None:
    """Capture until `changes` changes are there."""
    found = config_rules.load(config)
    directory = StateDirectory(Path(found.daemon.state_dir))
    gc.set_threshold(*GC_THRESHOLD)
    stage = CaptureStage(system, blueprint.draw(found, str(config)), directory)
    stage.open()
    first, started_at = 0, time.monotonic()
    while (journalled := captured(stage)) < changes:
        if journalled and not first:
            first, started_at = journalled, time.monotonic()
        if not stage.step():
            select.select(stage.filenos(), [], [], 0.05)
    print((journalled - first) / (time.monotonic() - started_at))
    stage.close()


def captured(stage: CaptureStage) -> int:
    """Row changes so far."""
    return int(sum(counter.value for counter in stage.counters() if counter.name == "captured_changes"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
