"""Failpoints: nothing at all unless they are asked for, and then the process that comes by dies once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from cdcd import failpoints

ROOT = Path(failpoints.__file__).parents[1]


def come_by(directory: Path | None, name: str) -> int:
    environment = {key: value for key, value in os.environ.items() if key != failpoints.VARIABLE}
    if directory is not None:
        environment[failpoints.VARIABLE] = str(directory)
    script = f"from cdcd.failpoints import reach; reach({name!r}); reach({name!r})"
    return subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, check=False).returncode


def test_a_process_that_comes_to_a_place_that_was_named_dies_there_and_the_next_one_does_not(tmp_path: Path):
    (tmp_path / "deliver.after-commit").touch()
    assert come_by(tmp_path, "deliver.before-commit") == 0
    assert come_by(tmp_path, "deliver.after-commit") == -signal.SIGKILL
    assert come_by(tmp_path, "deliver.after-commit") == 0


def test_nothing_happens_where_the_facility_is_off(tmp_path: Path):
    (tmp_path / "deliver.after-commit").touch()
    assert come_by(None, "deliver.after-commit") == 0
    failpoints.armed_by(None)("no such place: nobody looks")


def test_every_place_is_in_the_code_and_every_place_in_the_code_is_listed():
    sources = [path.read_text("utf-8") for path in (ROOT / "cdcd").rglob("*.py")]
    text = "\n".join(sources).replace(
        'f"capture.before-{what}"', '"capture.before-append") reach("capture.before-chunk"'
    )
    text = text.replace('f"capture.after-{what}"', '"capture.after-append") reach("capture.after-chunk"')
    for name in (*failpoints.NAMES, *failpoints.VERB_NAMES):
        assert f'reach("{name}")' in text, name
