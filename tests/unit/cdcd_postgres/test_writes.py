"""Which statements write what. `test_postgres_target` runs them on a server."""

import msgspec
import pytest

from cdcd.errors import NotReady
from cdcd.model import Lookup, TableWrite, WriteKind
from cdcd_postgres.catalog import CatalogColumn, CatalogKey, CatalogTable
from cdcd_postgres.writes import lookup_sql, plan_key, plan_write


def column(name: str, *, generated: bool = False, identity: str = "", expression: str | None = None) -> CatalogColumn:
    return CatalogColumn(name, 23, -1, False, generated, identity, expression is not None, expression)


ID_KEY = CatalogKey(("id",), primary=True, immediate=True, replica=False)
SKU_KEY = CatalogKey(("sku",), primary=False, immediate=True, replica=False)
TABLE = CatalogTable(
    1, "public", "item", "r", "p", "d", (column("id"), column("sku"), column("price")), (ID_KEY, SKU_KEY)
)
CASTS = {"id": "integer", "sku": "character varying", "price": "numeric"}
UPSERT = TableWrite("public.item", WriteKind.UPSERT, ("id",), ("id", "sku", "price"), [])


def statements(write: TableWrite = UPSERT, table: CatalogTable = TABLE) -> tuple[str, ...]:
    return plan_write(
        write, table, CASTS | {name.name: "integer" for name in table.columns if name.name not in CASTS}
    ).statements


def replace(thing, **changes):
    return msgspec.structs.replace(thing, **changes)


def test_an_upsert_by_a_unique_key_is_one_statement():
    (sql,) = statements()
    assert 'INSERT INTO "public"."item" AS t ("id", "sku", "price")' in sql
    assert 'ON CONFLICT ("id") DO UPDATE SET "sku" = excluded."sku", "price" = excluded."price"' in sql


def test_columns_for_new_rows_only_are_inserted_but_not_set():
    (sql,) = statements(replace(UPSERT, insert_only=("sku",)))
    assert '("id", "sku", "price")' in sql
    assert 'DO UPDATE SET "price" = excluded."price" WHERE' in sql


def test_an_upsert_that_sets_nothing_does_nothing_where_the_row_exists():
    (sql,) = statements(replace(UPSERT, insert_only=("sku", "price")))
    assert sql.endswith('ON CONFLICT ("id") DO NOTHING')


@pytest.mark.parametrize(
    "keys",
    [(), (replace(ID_KEY, immediate=False),), (replace(ID_KEY, columns=("id", "sku")),)],
    ids=["no index", "deferrable", "wider index"],
)
def test_an_upsert_without_an_index_that_arbitrates_updates_and_then_inserts_what_is_not_there(keys):
    update, insert = statements(table=replace(TABLE, keys=keys))
    assert update.startswith('UPDATE "public"."item" AS t SET')
    assert "NOT EXISTS" in insert
    assert "ON CONFLICT" not in insert


@pytest.mark.parametrize("column", [column("n", identity="d"), column("n", expression="nextval('s'::regclass)")])
def test_an_upsert_of_existing_rows_draws_no_numbers(column):
    update, insert = statements(table=replace(TABLE, columns=(*TABLE.columns, column)))
    assert update.startswith("UPDATE")
    assert "NOT EXISTS" in insert
    assert insert.index("ORDER BY s.place") < insert.index('ON CONFLICT ("id")')


def test_generated_columns_are_left_out():
    table = replace(TABLE, columns=(column("id"), column("sku", generated=True), column("price")))
    plan = plan_write(UPSERT, table, CASTS)
    assert plan.picked == (0, 2)
    assert '("id", "price")' in plan.statements[0]
    assert "$3" not in plan.statements[0]


def test_a_number_that_is_always_generated_is_inserted_as_given_and_never_set():
    table = replace(TABLE, columns=(column("id"), column("sku"), column("price", identity="a")))
    (sql,) = statements(table=table)
    assert '("id", "sku", "price") OVERRIDING SYSTEM VALUE SELECT' in sql
    assert 'DO UPDATE SET "sku" = excluded."sku" WHERE' in sql


def test_a_delete_takes_the_key_alone():
    plan = plan_write(replace(UPSERT, kind=WriteKind.DELETE), TABLE, CASTS)
    assert plan.picked == (0,)
    assert plan.statements[0].startswith('DELETE FROM "public"."item" AS t USING (SELECT u.c0::integer AS c0 FROM')


def test_an_update_reports_what_is_missing_also_when_it_sets_nothing():
    plan = plan_write(replace(UPSERT, kind=WriteKind.UPDATE), TABLE, CASTS)
    assert plan.reports
    assert plan.statements[0].startswith("WITH changed AS (UPDATE")
    (sql,) = statements(replace(UPSERT, kind=WriteKind.UPDATE, columns=("id",)))
    assert sql.startswith("SELECT s.place FROM")


def test_what_is_missing_is_found_by_the_key_alone():
    (sql,) = statements(replace(UPSERT, kind=WriteKind.UPDATE))
    assert sql.count("$1::text[]") == 2
    assert sql.count("$3::text[]") == 1


@pytest.mark.parametrize(
    ("kind", "row_estimate", "prepares"),
    [
        (WriteKind.UPSERT, 0, True),
        (WriteKind.UPDATE, 0, False),
        (WriteKind.DELETE, 0, False),
        (WriteKind.UPDATE, 10_000, True),
    ],
)
def test_a_plan_that_finds_rows_is_kept_only_where_the_table_is_large_already(kind, row_estimate, prepares):
    table = replace(TABLE, row_estimate=row_estimate)
    assert plan_write(replace(UPSERT, kind=kind), table, CASTS).prepares is prepares


def test_names_are_quoted_wherever_they_stand():
    table = replace(
        TABLE, name='it"em', columns=(column('i"d'), column("s ku")), keys=(replace(ID_KEY, columns=('i"d',)),)
    )
    write = replace(UPSERT, key=('i"d',), columns=('i"d', "s ku"))
    (sql,) = plan_write(write, table, {'i"d': "integer", "s ku": "text"}).statements
    assert '"public"."it""em" AS t ("i""d", "s ku")' in sql
    assert 'ON CONFLICT ("i""d") DO UPDATE SET "s ku" = excluded."s ku"' in sql


@pytest.mark.parametrize(
    "write", [replace(UPSERT, columns=("id", "nothing")), replace(UPSERT, key=("nothing",), columns=("nothing",))]
)
def test_a_column_that_is_not_there_needs_the_operator(write):
    with pytest.raises(NotReady, match="nothing"):
        statements(write)


def test_a_generated_key_needs_the_operator():
    with pytest.raises(NotReady, match="generated"):
        statements(table=replace(TABLE, columns=(column("id", generated=True), *TABLE.columns[1:])))


def test_a_lookup_finds_ids_by_all_columns_of_the_key():
    sql = lookup_sql(Lookup("item_id", "public.item", ("sku", "price"), "id"), TABLE, CASTS)
    assert 't."sku" = s.c0 AND t."price" = s.c1' in sql
    assert 'min(t."id"::text)' in sql
    with pytest.raises(NotReady):
        lookup_sql(Lookup("item_id", "public.item", ("nothing",), "id"), TABLE, CASTS)


def test_writes_that_differ_in_rows_alone_share_a_plan():
    assert plan_key(UPSERT) == plan_key(replace(UPSERT, rows=[[1, "a", "1"]]))
    assert plan_key(UPSERT) != plan_key(replace(UPSERT, insert_only=("sku",)))
