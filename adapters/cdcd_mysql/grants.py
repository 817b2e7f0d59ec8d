"""What an account needs for our part in a MySQL or MariaDB server, as SQL for its administrator; and what it has beyond it.

Every statement can be run on both servers, and again. Tables of ours are made by whoever runs this. Captured tables are
granted as a whole to be read, because the log carries their rows whole; columns are written only where they are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from cdcd.adapter import Grant, TableNeed
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE
from cdcd_mysql.captured import TableName, table_name
from cdcd_mysql.options import Options
from cdcd_mysql.preflight_privileges import ALL, Grants
from cdcd_mysql.preflight_privileges import Grant as Granted
from cdcd_mysql.snapshot import BARRIER_TABLE, CREATE_BARRIER_SQL
from cdcd_mysql.statements import (
    CREATE_CHECKPOINT_SQL,
    CREATE_XREF_SQL,
    quote_name,
    quote_names,
    quote_table,
    quote_text,
)

Privileges = Mapping[str, tuple[str, ...] | None]
"""By the name of a privilege the columns that it is needed on; None is the table."""
_LOG: Final = {"REPLICATION SLAVE": "the log", "REPLICATION CLIENT": "where it ends"}
_SYNONYMS: Final = {"BINLOG MONITOR": "REPLICATION CLIENT", "REPLICATION REPLICA": "REPLICATION SLAVE"}
_OPTIONAL_GLOBAL: Final = (
    ("SLAVE MONITOR", "MariaDB", "'check' sees whether the server is a replica that does not log what it replicates"),
    ("REPLICATION MASTER ADMIN", "MariaDB", "'check' sees whether another replica has our server id"),
)
_HARMLESS: Final = frozenset({"USAGE"})


class TableAccess(msgspec.Struct, frozen=True):
    """What is needed of one table."""

    name: TableName
    privileges: Privileges


def needed(options: Options, tables: Sequence[TableNeed]) -> list[TableAccess]:
    """What is needed of each table, that of the checkpoint at the end."""
    found = [_of_need(need, options.database) for need in tables]
    if any(need.written for need in tables):
        checkpoint = TableName(options.database, CHECKPOINT_TABLE)
        found.append(TableAccess(checkpoint, {"SELECT": None, "INSERT": None, "UPDATE": None}))
    return found


def _of_need(need: TableNeed, database: str) -> TableAccess:
    name = table_name(need.table, database)
    if not need.written:
        return TableAccess(name, {"SELECT": None})
    privileges: dict[str, tuple[str, ...] | None] = {
        "SELECT": None,
        "INSERT": need.inserted or None,
        "UPDATE": need.updated or None,
    }
    if need.deleted:
        privileges["DELETE"] = None
    return TableAccess(name, privileges)


def account_host(options: Options) -> str:
    """Where we connect from, as far as the options tell; else anywhere."""
    if options.unix_socket is not None or options.host == "localhost":
        return "localhost"
    return options.host if options.is_local else "%"


def account(user: str, host: str) -> str:
    """As GRANT names it."""
    return f"{quote_text(user)}@{quote_text(host)}"


def grants(options: Options, tables: Sequence[TableNeed]) -> list[Grant]:
    """See `cdcd.adapter.Adapter.grants`."""
    name = account(options.user, account_host(options))
    reads = any(need.captured for need in tables)
    return [
        *_account(options, name),
        *(_to_read_the_log(name) if reads else ()),
        *(grant for _, grant in own_tables(options, tables)),
        *(Grant(grant_sql(one, name), _purpose(one)) for one in needed(options, tables)),
        *(_optional(options, tables, name) if reads else ()),
    ]


def _account(options: Options, name: str) -> Iterator[Grant]:
    """Locked until somebody gives it a password: an account without one is open to everybody."""
    encrypted = " REQUIRE SSL" if options.encrypts else ""
    anywhere = "; put our address in the place of %" if name.endswith("@'%'") else ""
    yield Grant(
        f"CREATE USER IF NOT EXISTS {name}{encrypted} ACCOUNT LOCK",
        f"the account, locked: ALTER USER {name} IDENTIFIED BY '<password>' ACCOUNT UNLOCK{anywhere}",
    )


def _to_read_the_log(name: str) -> Iterator[Grant]:
    """The comment is a privilege to MySQL, where listing prepared transactions needs one, and nothing to MariaDB."""
    privileges = ", ".join(_LOG)
    yield Grant(f"GRANT {privileges} /*!80000 , XA_RECOVER_ADMIN */ ON *.* TO {name}", "to read the log")


def own_tables(options: Options, tables: Sequence[TableNeed]) -> Iterator[tuple[TableName, Grant]]:
    """Tables of ours, and what makes them: they are no account's, and without CREATE ours makes no others."""
    if any(need.written for need in tables):
        checkpoint = TableName(options.database, CHECKPOINT_TABLE)
        what = "how far this daemon has written here; it marks our own transactions"
        yield checkpoint, Grant(CREATE_CHECKPOINT_SQL.format(table=quote_table(checkpoint)), what)
    for need in tables:
        name = table_name(need.table, options.database)
        if name.table == XREF_TABLE:
            what = "business keys of records whose own table has no column for them"
            yield name, Grant(CREATE_XREF_SQL.format(table=quote_table(name)), what)


def _optional(options: Options, tables: Sequence[TableNeed], name: str) -> Iterator[Grant]:
    barrier = TableName(options.database, BARRIER_TABLE)
    where = "only for a MySQL without GTIDs (gtid_mode is not ON), whose tables are read with its help"
    yield Grant(CREATE_BARRIER_SQL.format(table=quote_table(barrier)), where, optional=True)
    yield Grant(grant_sql(barrier_access(barrier), name), where, optional=True)
    for privilege, server, buys in _OPTIONAL_GLOBAL:
        yield Grant(f"GRANT {privilege} ON *.* TO {name}", f"{server}: {buys}", optional=True)
    for need in tables:
        if need.written and table_name(need.table, options.database).table != XREF_TABLE:
            table = quote_table(table_name(need.table, options.database))
            buys = "'check' sees whether a trigger undoes what is delivered; it also allows to make triggers"
            yield Grant(f"GRANT TRIGGER ON {table} TO {name}", buys, optional=True)


def barrier_access(name: TableName) -> TableAccess:
    """What the table of barriers needs: its counter is read where it is raised."""
    return TableAccess(name, {"SELECT": None, "INSERT": None, "UPDATE": None})


def grant_sql(one: TableAccess, name: str) -> str:
    """The GRANT of everything that is needed of a table."""
    return f"GRANT {', '.join(listed(one.privileges))} ON {quote_table(one.name)} TO {name}"


def listed(privileges: Privileges) -> Iterator[str]:
    """As GRANT and REVOKE write them: SELECT, INSERT (`id`, `code`)."""
    for name, columns in privileges.items():
        yield name if columns is None else f"{name} ({quote_names(columns)})"


def _purpose(one: TableAccess) -> str:
    return "to read and write rows" if len(one.privileges) > 1 else "to read rows"


# ---- against what there is -------------------------------------------------------------------------------------------


def missing(has: Grants, wanted: Iterable[TableAccess], name: str) -> Iterator[Grant]:
    """What the account lacks of tables, one GRANT for each."""
    for one in wanted:
        lacking = {
            privilege: columns
            for privilege, columns in one.privileges.items()
            if not has.allows((privilege,), one.name, columns or ())
        }
        if lacking:
            yield Grant(grant_sql(TableAccess(one.name, lacking), name), _purpose(one))


def missing_of_log(has: Grants, *, is_mariadb: bool, name: str) -> Iterator[Grant]:
    """What the account lacks to read the log."""
    synonyms = {known: (known, other) for other, known in _SYNONYMS.items()}
    lacking = [privilege for privilege in _LOG if not has.allows(synonyms[privilege], None)]
    lacking += [] if is_mariadb or has.allows(("XA_RECOVER_ADMIN",), None) else ["XA_RECOVER_ADMIN"]
    if lacking:
        yield Grant(f"GRANT {', '.join(lacking)} ON *.* TO {name}", "to read the log")


def excess(has: Grants, wanted: Iterable[TableAccess], name: str, *, reads: bool) -> Iterator[Grant]:
    """What the account may do beyond its part, one REVOKE for each privilege on each object."""
    tables = {quote_table(one.name): one for one in wanted}
    harmless = {*_HARMLESS, *((*_LOG, *_SYNONYMS, "XA_RECOVER_ADMIN") if reads else ())}
    for granted in has.all:
        if granted.is_revoked or (granted.on == "*.*" and granted.privilege in harmless):
            continue
        one = tables.get(granted.on)
        if one is None or granted.privilege not in one.privileges:
            if granted.privilege not in _HARMLESS:
                yield _revoked(granted, tuple(sorted(granted.columns)), name, "not needed")
            continue
        columns = one.privileges[granted.privilege]
        needless = sorted(granted.columns - set(columns or granted.columns))
        if columns is not None and not granted.columns:
            again = f"; {grant_sql(TableAccess(one.name, {granted.privilege: columns}), name)}"
            yield _revoked(granted, (), name, "needed on some columns only", again)
        elif needless:
            yield _revoked(granted, tuple(needless), name, "columns that are not written")
    if has.grants_on:
        yield Grant(f"REVOKE GRANT OPTION ON *.* FROM {name}", "it may give its rights to others, and make accounts")
    for role in has.roles:
        yield Grant(f"REVOKE {role} FROM {name}", f"it may do whatever role {role} may")


def _revoked(granted: Granted, columns: tuple[str, ...], name: str, why: str, again: str = "") -> Grant:
    privilege = "ALL PRIVILEGES" if granted.privilege in ALL else granted.privilege
    of = f" ({', '.join(map(quote_name, columns))})" if columns else ""
    return Grant(f"REVOKE {privilege}{of} ON {granted.on} FROM {name}{again}", f"{privilege} on {granted.on}: {why}")
