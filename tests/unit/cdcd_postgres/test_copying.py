"""When rows are tried by COPY, and what it is told. `test_postgres_copying` has a server read it."""

import psycopg
import pytest
from msgspec import structs

from cdcd.model import Lookup, TableWrite, Where, WriteKind
from cdcd_postgres.catalog import CatalogColumn, CatalogKey, CatalogTable
from cdcd_postgres.copying import COPY_ROWS_MIN, CopyAttempts, copy_sql, is_refusal

KEY = CatalogKey(("id",), primary=True, immediate=True, replica=False)


def column(name: str, **more) -> CatalogColumn:
    return CatalogColumn(
        name, 23, -1, False, more.pop("generated", False), more.pop("identity", ""), False, None, **more
    )


ID, TEXT, NUMBERED = column("id"), column('te"xt'), column("number", identity="d")
TABLE = CatalogTable(1, "public", "item", "r", "p", "d", (ID, TEXT), (KEY,))
CASTS = {"id": "integer", 'te"xt': "text", "number": "integer"}
UPSERT = TableWrite("public.item", WriteKind.UPSERT, ("id",), ("id", 'te"xt'), [], likely_new=True)
LOOKUP = Lookup("id", "public.other", ("sku",), "id")


def replace(thing, **changes):
    return structs.replace(thing, **changes)


def test_the_columns_are_named_and_quoted():
    assert copy_sql(UPSERT, TABLE, [ID, TEXT], CASTS) == 'COPY "public"."item" ("id", "te""xt") FROM STDIN'


@pytest.mark.parametrize(
    ("write", "table"),
    [
        (replace(UPSERT, kind=WriteKind.UPDATE), TABLE),
        (replace(UPSERT, where=(Where("id", (1,)),)), TABLE),
        (replace(UPSERT, lookups=(LOOKUP,)), TABLE),
        (UPSERT, replace(TABLE, kind="v")),
        (UPSERT, replace(TABLE, has_rules=True)),
        (UPSERT, replace(TABLE, keys=())),
        (UPSERT, replace(TABLE, keys=(replace(KEY, immediate=False),))),
        (UPSERT, replace(TABLE, columns=(ID, TEXT, NUMBERED))),
    ],
    ids=["update", "where", "lookups", "view", "rules", "no index", "deferrable index", "draws numbers"],
)
def test_what_could_do_anything_else_than_insert_the_rows_is_not_copied(write, table):
    assert copy_sql(write, table, [ID, TEXT], CASTS) == ""


def test_only_types_that_are_read_as_they_are_cast_are_copied_and_enumerations():
    assert copy_sql(UPSERT, TABLE, [ID, TEXT], CASTS | {'te"xt': "interval"}) == ""
    assert copy_sql(UPSERT, TABLE, [ID, replace(TEXT, is_enum=True)], CASTS | {'te"xt': "own.mood"}) != ""


def test_few_rows_and_rows_that_are_not_likely_new_are_not_tried():
    attempts = CopyAttempts()
    assert attempts.is_due(replace(UPSERT, rows=[[1, "a"]] * COPY_ROWS_MIN))
    assert not attempts.is_due(replace(UPSERT, rows=[[1, "a"]] * (COPY_ROWS_MIN - 1)))
    assert not attempts.is_due(replace(UPSERT, rows=[[1, "a"]] * COPY_ROWS_MIN, likely_new=False))


def test_a_table_that_refuses_goes_twice_as_many_writes_without_each_time():
    attempts = CopyAttempts()
    write = replace(UPSERT, rows=[[1, "a"]] * COPY_ROWS_MIN)
    tried = [
        number for number in range(60) if attempts.is_due(write) and not attempts.note(write.table, accepted=False)
    ]
    assert tried == [0, 3, 8, 17, 34]
    assert attempts.is_due(replace(write, table="public.other"))


def test_a_table_that_has_accepted_is_tried_at_once_after_its_next_refusal():
    attempts = CopyAttempts()
    write = replace(UPSERT, rows=[[1, "a"]] * COPY_ROWS_MIN)
    for _ in range(3):
        attempts.note(write.table, accepted=False)
    attempts.note(write.table, accepted=True)
    assert attempts.is_due(write)
    attempts.note(write.table, accepted=False)
    assert [attempts.is_due(write) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (psycopg.errors.UniqueViolation, True),
        (psycopg.errors.NotNullViolation, True),
        (psycopg.errors.CharacterNotInRepertoire, True),
        (psycopg.errors.FeatureNotSupported, True),
        (psycopg.errors.InsufficientPrivilege, True),
        (psycopg.errors.RaiseException, True),
        (psycopg.errors.DeadlockDetected, False),
        (psycopg.errors.LockNotAvailable, False),
        (psycopg.errors.QueryCanceled, False),
        (psycopg.errors.DiskFull, False),
        (psycopg.errors.AdminShutdown, False),
        (psycopg.OperationalError, False),
    ],
)
def test_what_is_about_the_rows_is_a_refusal_and_a_lost_connection_or_lock_is_none(error, is_one):
    assert is_refusal(error("of the server")) is is_one
