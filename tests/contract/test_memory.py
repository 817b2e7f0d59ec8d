"""The memory adapter passes the contract, with a log that stays and with one that forgets what was confirmed."""

import pytest

from cdcd.testing.source_contract import SourceContract
from cdcd.testing.target_contract import TargetContract
from contract.memory_harness import MemoryHarness


@pytest.fixture(params=[False, True], ids=["log stays", "log pruned"])
def harness(request) -> MemoryHarness:
    return MemoryHarness(prune=request.param)


class TestMemorySource(SourceContract):
    pass


class TestMemoryTarget(TargetContract):
    pass
