"""PostgreSQL 14 and later as a source and a target: logical replication with pgoutput, COPY and set-based SQL."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdcd.adapter import Grant, GrantDifference, Identity, TableNeed
from cdcd.errors import PositionLost
from cdcd_postgres import granted, session
from cdcd_postgres.errors import translated
from cdcd_postgres.grants import grants
from cdcd_postgres.names import parse_table
from cdcd_postgres.options import Options
from cdcd_postgres.reader import PostgresReader
from cdcd_postgres.source import PostgresSource
from cdcd_postgres.target import PostgresTarget

__all__ = ["Options", "PostgresSource", "PostgresTarget", "adapter"]


class PostgresAdapter:
    """See `cdcd.adapter.Adapter`."""

    options: type[msgspec.Struct] = Options

    def table_name(self, bare: str) -> str:
        """See the contract. A name that has a schema keeps it; 'public."odd.name"' has one, "odd.name" is in schema odd."""
        return parse_table(bare).spelled

    def open_source(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> PostgresSource:
        """See the contract."""
        assert isinstance(options, Options)
        return PostgresSource(identity, options, tables)

    def open_past(
        self,
        identity: Identity,
        options: msgspec.Struct,  # noqa: ARG002 - the contract names the arguments
        tables: Sequence[TableNeed],  # noqa: ARG002
    ) -> PostgresSource:
        """See the contract. A slot does not go back before what was confirmed, and none can be made in the past."""
        raise PositionLost(
            f"the log of system '{identity.system}' cannot be read a second time",
            cause="PostgreSQL keeps what a slot has confirmed for nobody",
            remedy="read the tables again: 'cdcd resync'",
            code="past-not-kept",
        )

    def open_target(self, identity: Identity, options: msgspec.Struct) -> PostgresTarget:
        """See the contract."""
        assert isinstance(options, Options)
        return PostgresTarget(identity, options)

    def open_reader(self, identity: Identity, options: msgspec.Struct) -> PostgresReader:
        """See the contract."""
        assert isinstance(options, Options)
        return PostgresReader(identity.system, options)

    def grants(self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]) -> list[Grant]:
        """See the contract."""
        assert isinstance(options, Options)
        return grants(identity, options, tables)

    def compare_grants(
        self, identity: Identity, options: msgspec.Struct, tables: Sequence[TableNeed]
    ) -> GrantDifference:
        """See the contract."""
        assert isinstance(options, Options)
        connection = session.connect_reading(identity.system, options)
        try:
            with translated(f"the privileges in system '{identity.system}' could not be read"):
                return granted.compare(connection, identity, options, tables)
        finally:
            session.close(connection)


adapter = PostgresAdapter()
