"""Whether the account may do what we do, and the GRANT for what is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from cdcd.adapter import Finding, TableNeed
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE
from cdcd_mysql.captured import TableName
from cdcd_mysql.preflight_context import CheckContext
from cdcd_mysql.schema import read_table
from cdcd_mysql.snapshot import BARRIER_TABLE
from cdcd_mysql.statements import quote_name, quote_table, quote_text

_LINE: Final = re.compile(r"(?P<verb>GRANT|REVOKE) (?P<what>.+?) ON (?:TABLE )?(?P<on>.+?) (?:TO|FROM) ", re.IGNORECASE)
_PRIVILEGE: Final = re.compile(r"\s*(?P<name>[A-Za-z_ ]+?)\s*(?:\((?P<columns>[^)]*)\))?\s*(?:,|$)")
_ALL: Final = frozenset({"ALL PRIVILEGES", "ALL"})


class Grant(NamedTuple):
    """One privilege on one object ("*.*", "`shop`.*", "`shop`.`item`"); on all columns where `columns` is empty."""

    privilege: str
    on: str
    columns: frozenset[str]
    is_revoked: bool


class Grants:
    """What the account may do, as the lines of SHOW GRANTS say it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._grants = [grant for line in lines for grant in _parse(line)]

    def allows(self, privileges: Iterable[str], name: TableName | None, columns: Collection[str] = ()) -> bool:
        """Whether any of `privileges` (synonyms) is given on the table, or globally where there is none.

        A grant on columns counts where `columns` says which are needed and it has them all. A partial revoke
        (MySQL's partial_revokes) takes a database out of a global grant.
        """
        wanted = {*_ALL, *privileges}
        fitting = [grant for grant in self._grants if grant.privilege in wanted and _covers(grant.on, name)]
        if any(grant.is_revoked for grant in fitting):
            fitting = [grant for grant in fitting if grant.on != "*.*" and not grant.is_revoked]
        return any(not grant.columns or (columns and grant.columns >= set(columns)) for grant in fitting)


def _parse(line: str) -> Iterator[Grant]:
    match = _LINE.match(line)
    if match is None:
        return
    for privilege in _PRIVILEGE.finditer(match["what"]):
        columns = frozenset(part.strip().strip("`") for part in (privilege["columns"] or "").split(",")) - {""}
        yield Grant(privilege["name"].upper(), match["on"], columns, match["verb"].upper() == "REVOKE")


def _covers(on: str, name: TableName | None) -> bool:
    """Whether the object of a grant includes a table: `shop`.*, or with wildcards that a backslash escapes."""
    if on == "*.*":
        return True
    database, _, table = on.partition(".")
    if name is None:
        return False
    database = database.strip("`").replace("``", "`")
    parts = re.split(r"(\\.|%|_)", database)
    wild = {"%": ".*", "_": "."}
    pattern = "".join(wild.get(part) or re.escape(part[-1] if part.startswith("\\") else part) for part in parts)
    is_database = re.fullmatch(pattern, name.database, re.DOTALL) is not None
    return is_database and table in ("*", quote_name(name.table))


class _Account(NamedTuple):
    context: CheckContext
    grants: Grants
    name: str
    """As GRANT names it: 'cdcd'@'%'."""

    def missing(self, privileges: Sequence[str], on: str) -> Iterator[Finding]:
        """One finding for all that is missing on an object."""
        if privileges:
            names = ", ".join(privileges)
            message = f"user {self.context.options.user} lacks {names} on {on}"
            yield self.context.error("privilege", on, message, f"GRANT {names} ON {on} TO {self.name}")

    def lacking(self, name: TableName, privileges: Sequence[str], columns: Collection[str] = ()) -> list[str]:
        return [privilege for privilege in privileges if not self.grants.allows((privilege,), name, columns)]

    def own_table(self, name: TableName, privileges: Sequence[str]) -> Iterator[Finding]:
        """A table that we make: on one that does not exist yet, rights can be granted only together with CREATE."""
        context = self.context
        exists = read_table(context.session, context.server, name.table, name.database) is not None
        lacking = self.lacking(name, privileges if exists else ("CREATE", *privileges))
        if lacking and not exists and "CREATE" not in lacking:
            lacking = ["CREATE", *lacking]
        yield from self.missing(lacking, quote_table(name))


def _account(context: CheckContext) -> _Account:
    """Our account, with its grants and those of its active roles."""
    session, doing = context.session, "read our privileges"
    user, _, host = str(session.rows("SELECT CURRENT_USER()", doing)[0][0]).rpartition("@")
    sql = "SHOW GRANTS"
    if not context.server.is_mariadb:
        roles = str(session.rows("SELECT CURRENT_ROLE()", doing)[0][0])
        sql = sql if roles == "NONE" else f"SHOW GRANTS FOR CURRENT_USER() USING {roles}"
    rows = session.rows(sql, doing)
    return _Account(context, Grants(str(row[0]) for row in rows), f"{quote_text(user)}@{quote_text(host)}")


def check_source_privileges(context: CheckContext, tables: Sequence[TableNeed]) -> Iterator[Finding]:
    """For the log, its status, prepared transactions (MySQL asks a privilege for XA RECOVER), and chunks of tables."""
    account = _account(context)
    status = ("BINLOG MONITOR" if context.server.is_mariadb else "REPLICATION CLIENT", "REPLICATION CLIENT", "SUPER")
    replica = ("REPLICATION SLAVE", "REPLICATION REPLICA")
    prepared = () if context.server.is_mariadb else (("XA_RECOVER_ADMIN",),)
    lacking = [names[0] for names in (replica, status, *prepared) if not account.grants.allows(names, None)]
    yield from account.missing(lacking, "*.*")
    for need in tables:
        name = context.name(need)
        if name.table != XREF_TABLE:
            yield from account.missing(account.lacking(name, ("SELECT",)), quote_table(name))
    if not context.server.has_gtids:
        yield from account.own_table(TableName(context.options.database, BARRIER_TABLE), ("INSERT", "UPDATE"))


def check_target_privileges(context: CheckContext, tables: Sequence[TableNeed]) -> Iterator[Finding]:
    """For the checkpoint and the rows; of tables that are only looked up, to read them."""
    account = _account(context)
    checkpoint = TableName(context.options.database, CHECKPOINT_TABLE)
    yield from account.own_table(checkpoint, ("SELECT", "INSERT", "UPDATE"))
    for need in tables:
        name, columns = context.name(need), {*need.key, *need.columns} if need.columns else ()
        if name.table == XREF_TABLE:
            yield from account.own_table(name, ("SELECT", "INSERT", "UPDATE", "DELETE"))
            continue
        if not need.written:
            yield from account.missing(account.lacking(name, ("SELECT",), columns), quote_table(name))
            continue
        lacking = account.lacking(name, ("SELECT", "INSERT", "UPDATE", "DELETE"), columns)
        yield from account.missing(lacking, quote_table(name))
