"""Whether the account may do what we do, and the GRANT for what is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from cdcd.adapter import Finding, TableNeed
from cdcd.model import CHECKPOINT_TABLE, XREF_TABLE
from cdcd_mysql.captured import TableName
from cdcd_mysql.preflight_context import CheckContext
from cdcd_mysql.schema import read_table
from cdcd_mysql.session import Server, Session
from cdcd_mysql.snapshot import BARRIER_TABLE
from cdcd_mysql.statements import quote_names, quote_table, quote_text

_NAME: Final = r"`(?:[^`]|``)*`"
_LINE: Final = re.compile(
    rf"(?P<verb>GRANT|REVOKE) (?P<what>(?:[^`]|{_NAME})+?)"
    rf" ON (?:TABLE )?(?P<on>(?:\*|{_NAME})\.(?:\*|{_NAME})) (?:TO|FROM) ",
    re.IGNORECASE | re.DOTALL,
)
_PRIVILEGE: Final = re.compile(
    rf"\s*(?P<name>[A-Za-z_ ]+?)\s*(?:\((?P<columns>(?:[^)`]|{_NAME})*)\))?\s*(?:,|$)", re.DOTALL
)
_COLUMN: Final = re.compile(rf"{_NAME}|[^\s,`]+", re.DOTALL)
_OBJECT: Final = re.compile(rf"(\*|{_NAME})\.(\*|{_NAME})", re.DOTALL)
_DOING: Final = "read our privileges"
_GRANT_OPTION: Final = re.compile(r" WITH (?:ADMIN|.*?\bGRANT) OPTION\b[^'`]*$")
_ROLES: Final = re.compile(r"GRANT ((?:`(?:[^`]|``)*`(?:@`(?:[^`]|``)*`)?(?:, )?)+) TO ")
ALL: Final = frozenset({"ALL PRIVILEGES", "ALL"})


class Grant(NamedTuple):
    """One privilege on one object ("*.*", "`shop`.*", "`shop`.`item`"); on all columns where `columns` is empty."""

    privilege: str
    on: str
    columns: frozenset[str]
    is_revoked: bool


class Grants:
    """What the account may do, as the lines of SHOW GRANTS say it. `grants_on`: it may give rights to others."""

    def __init__(self, lines: Iterable[str]) -> None:
        lines = list(lines)
        self._grants = [grant for line in lines for grant in _parse(line)]
        self.grants_on = any(_GRANT_OPTION.search(line) for line in lines)
        self.roles = tuple(role for line in lines if (found := _ROLES.match(line)) for role in found[1].split(", "))

    @property
    def all(self) -> Sequence[Grant]:
        """Every privilege on every object."""
        return self._grants

    def allows(self, privileges: Iterable[str], name: TableName | None, columns: Collection[str] = ()) -> bool:
        """Whether any of `privileges` (synonyms) is given on the table, or globally where there is none.

        A grant on columns counts where `columns` says which are needed and it has them all. A partial revoke
        (MySQL's partial_revokes) takes a database out of a global grant.
        """
        wanted = {*ALL, *privileges}
        fitting = [grant for grant in self._grants if grant.privilege in wanted and _covers(grant.on, name)]
        if any(grant.is_revoked for grant in fitting):
            fitting = [grant for grant in fitting if grant.on != "*.*" and not grant.is_revoked]
        return any(not grant.columns or (columns and grant.columns >= set(columns)) for grant in fitting)


def _parse(line: str) -> Iterator[Grant]:
    match = _LINE.match(line)
    if match is None:
        return
    for privilege in _PRIVILEGE.finditer(match["what"]):
        columns = frozenset(map(_plain, _COLUMN.findall(privilege["columns"] or "")))
        yield Grant(privilege["name"].upper(), match["on"], columns, match["verb"].upper() == "REVOKE")


def _plain(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _covers(on: str, name: TableName | None) -> bool:
    """Whether the object of a grant includes a table: `shop`.*, or with wildcards that a backslash escapes."""
    if on == "*.*":
        return True
    found = _OBJECT.fullmatch(on)
    if name is None or found is None:
        return False
    database, table = _plain(found[1]), found[2]
    if table != "*":
        return (database, _plain(table)) == (name.database, name.table)
    parts = re.split(r"(\\.|%|_)", database)
    wild = {"%": ".*", "_": "."}
    pattern = "".join(wild.get(part) or re.escape(part[-1] if part.startswith("\\") else part) for part in parts)
    return re.fullmatch(pattern, name.database, re.DOTALL) is not None


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


def own_account(session: Session) -> str:
    """The account that we are to the server, as GRANT names it."""
    user, _, host = str(session.rows("SELECT CURRENT_USER()", _DOING)[0][0]).rpartition("@")
    return f"{quote_text(user)}@{quote_text(host)}"


def own_grants(session: Session, server: Server) -> Grants:
    """Our account's grants, and those of its active roles."""
    sql = "SHOW GRANTS"
    if not server.is_mariadb:
        roles = str(session.rows("SELECT CURRENT_ROLE()", _DOING)[0][0])
        sql = sql if roles == "NONE" else f"SHOW GRANTS FOR CURRENT_USER() USING {roles}"
    return Grants(str(row[0]) for row in session.rows(sql, _DOING))


def _account(context: CheckContext) -> _Account:
    session = context.session
    return _Account(context, own_grants(session, context.server), own_account(session))


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
        barrier = TableName(context.options.database, BARRIER_TABLE)
        yield from account.own_table(barrier, ("SELECT", "INSERT", "UPDATE"))


def check_target_privileges(context: CheckContext, tables: Sequence[TableNeed]) -> Iterator[Finding]:
    """For the checkpoint and the rows; of tables that are only looked up, to read them."""
    account = _account(context)
    checkpoint = TableName(context.options.database, CHECKPOINT_TABLE)
    yield from account.own_table(checkpoint, ("SELECT", "INSERT", "UPDATE"))
    for need in tables:
        name = context.name(need)
        if name.table == XREF_TABLE:
            yield from account.own_table(name, ("SELECT", "INSERT", "UPDATE", "DELETE"))
            continue
        columns = _columns_by_privilege(need)
        lacking = [privilege for privilege, some in columns.items() if account.lacking(name, (privilege,), some)]
        written = {"INSERT": need.inserted, "UPDATE": need.updated}
        yield from account.missing(
            [f"{one} ({quote_names(written[one])})" if written.get(one) else one for one in lacking], quote_table(name)
        )


def _columns_by_privilege(need: TableNeed) -> Mapping[str, Collection[str]]:
    """On which columns each privilege is needed; on the table where there are none."""
    named = {*need.key, *need.columns} if need.columns else ()
    if not need.written:
        return {"SELECT": named}
    found: dict[str, Collection[str]] = {
        "SELECT": () if need.captured else named,
        "INSERT": need.inserted or named,
        "UPDATE": need.updated or named,
    }
    return {**found, "DELETE": ()} if need.deleted else found
