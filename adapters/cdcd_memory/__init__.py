"""The reference adapter: servers in memory, for tests, for the simulator, and to read before writing an adapter."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdcd.adapter import Identity, TableNeed
from cdcd_memory.options import MemoryOptions
from cdcd_memory.reader import MemoryReader
from cdcd_memory.server import MemoryServer
from cdcd_memory.source import MemorySource
from cdcd_memory.target import MemoryTarget
from cdcd_memory.types import Violation

__all__ = ["MemoryOptions", "MemoryServer", "MemorySource", "MemoryTarget", "Violation", "adapter"]


class MemoryAdapter:
    """See `cdcd.adapter.Adapter`."""

    options: type[msgspec.Struct] = MemoryOptions

    def table_name(self, bare: str) -> str:
        """See the contract."""
        return bare

    def open_source(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> MemorySource:
        """See the contract."""
        assert isinstance(options, MemoryOptions)
        return MemorySource(MemoryServer.named(options.server), identity, tables)

    def open_past(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> MemorySource:
        """See the contract. Nothing is kept for a source: it takes no slot unless it begins anew."""
        return self.open_source(identity, options, tables)

    def open_target(self, identity: Identity, options: msgspec.Struct) -> MemoryTarget:
        """See the contract."""
        assert isinstance(options, MemoryOptions)
        return MemoryTarget(MemoryServer.named(options.server), identity)

    def open_reader(self, identity: Identity, options: msgspec.Struct) -> MemoryReader:  # noqa: ARG002
        """See the contract."""
        assert isinstance(options, MemoryOptions)
        return MemoryReader(MemoryServer.named(options.server))


adapter = MemoryAdapter()
