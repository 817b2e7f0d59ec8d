"""The wheels of this checkout, and machines to install them in. Nothing is kept but Debian's root."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemd.machine import Machine, why_not

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_not()
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"no systemd can be booted here: {reason}"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout and what it needs, for a machine without a network."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run([ROOT / ".ci" / "wheels", folder, sys.prefix], check=True)
    return folder


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as booted:
        yield booted
