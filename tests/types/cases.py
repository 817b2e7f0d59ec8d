"""The shape of the type table: what every server type is in canonical terms, with samples that tests write and read."""

from __future__ import annotations

import msgspec

from cdcd.model import Value


class Sample(msgspec.Struct, frozen=True):
    """A value as SQL writes it, and the canonical value that snapshot and stream must give for it."""

    literal_sql: str
    value: Value


class TypeCase(msgspec.Struct, frozen=True):
    """One server type. A table column of `ddl` holds every sample; NULL is tested besides and is no sample.

    `canonical` is the type that the source reports for the column. `setup_sql` runs once before the table is created.
    `servers` names those that have the type ("postgres", "mysql", "mariadb", with a version from which on they have it:
    "mariadb>=11.7", or before which: "mariadb<11.5"); empty means all that the cases are for. `note` is a sentence for the documentation.
    """

    ddl: str
    canonical: str
    samples: tuple[Sample, ...]
    setup_sql: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    note: str = ""
