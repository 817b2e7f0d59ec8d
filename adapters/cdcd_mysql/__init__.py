"""The adapter for MySQL (8.0, 8.4, 9.x) and MariaDB (10.5 and later): binlog source, SQL target."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdcd.adapter import Grant, GrantDifference, Identity, TableNeed
from cdcd_mysql.granted import compare
from cdcd_mysql.grants import grants
from cdcd_mysql.options import Options
from cdcd_mysql.reader import MySqlReader
from cdcd_mysql.source import MySqlSource
from cdcd_mysql.target import MySqlTarget

__all__ = ["MySqlAdapter", "MySqlSource", "MySqlTarget", "Options", "adapter"]


class MySqlAdapter:
    """See `cdcd.adapter.Adapter`."""

    options: type[msgspec.Struct] = Options

    def table_name(self, bare: str) -> str:
        """A table of the configured database goes by its bare name; "other.item" is one of another database."""
        return bare

    def open_source(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> MySqlSource:
        """See the contract."""
        assert isinstance(options, Options)
        return MySqlSource(identity, options, tables)

    def open_past(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> MySqlSource:
        """See the contract. Another replica in the server's eyes: of two with one id it would end the first."""
        assert isinstance(options, Options)
        past = msgspec.structs.replace(identity, system=f"{identity.system} past")
        return MySqlSource(past, msgspec.structs.replace(options, server_id=None), tables)

    def open_target(self, identity: Identity, options: msgspec.Struct) -> MySqlTarget:
        """See the contract."""
        assert isinstance(options, Options)
        return MySqlTarget(identity, options)

    def open_reader(self, identity: Identity, options: msgspec.Struct) -> MySqlReader:  # noqa: ARG002
        """See the contract."""
        assert isinstance(options, Options)
        return MySqlReader(options)

    def grants(
        self,
        identity: Identity,  # noqa: ARG002 - the contract names the arguments
        options: msgspec.Struct,
        tables: Sequence[TableNeed],
    ) -> list[Grant]:
        """See the contract."""
        assert isinstance(options, Options)
        return grants(options, tables)

    def compare_grants(
        self,
        identity: Identity,  # noqa: ARG002 - the contract names the arguments
        options: msgspec.Struct,
        tables: Sequence[TableNeed],
    ) -> GrantDifference:
        """See the contract."""
        assert isinstance(options, Options)
        return compare(options, tables)


adapter = MySqlAdapter()
