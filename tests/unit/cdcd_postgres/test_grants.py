"""What a role of PostgreSQL is granted."""

import pytest

from cdcd.adapter import Identity, TableNeed
from cdcd.errors import ConfigError
from cdcd_postgres import Options
from cdcd_postgres.grants import grants

IDENTITY = Identity("acme", "erp", "")
OPTIONS = Options(dsn="postgresql://cdcd:s3cret@erp.internal/business", checkpoint_schema="cdcd")


def sql_of(*tables: TableNeed, options: Options = OPTIONS) -> list[str]:
    return [grant.sql for grant in grants(IDENTITY, options, tables)]


def grant_on(table: str, *tables: TableNeed) -> str:
    (found,) = [sql for sql in sql_of(*tables) if sql.startswith("GRANT") and f" ON {table} " in sql]
    return found


def test_a_table_that_is_only_read_is_only_read_and_nothing_of_ours_is_made():
    found = sql_of(TableNeed("item"))
    assert grant_on('"public"."item"', TableNeed("item")) == 'GRANT SELECT ON "public"."item" TO "cdcd"'
    assert not any("CREATE TABLE" in sql or "SEQUENCE" in sql for sql in found)
    assert any('CREATE PUBLICATION "cdcd_acme_erp" FOR TABLE ONLY "public"."item" WITH' in sql for sql in found)


def test_a_table_that_is_written_is_written_in_its_columns():
    need = TableNeed("s.item", written=True, inserted=("a", 'b"'), updated=("a",), deleted=False)
    assert grant_on('"s"."item"', need) == 'GRANT SELECT, INSERT ("a", "b"""), UPDATE ("a") ON "s"."item" TO "cdcd"'
    assert grant_on('"cdcd"."cdcd_checkpoint"', need).startswith("GRANT SELECT, INSERT, UPDATE ON")
    assert any('GRANT USAGE ON SCHEMA "cdcd"' in sql for sql in sql_of(need))


def test_an_id_that_the_server_gives_may_be_in_any_column():
    need = TableNeed("item", written=True, inserted=("a",), updated=("a",), numbered=True)
    assert (
        grant_on('"public"."item"', need) == 'GRANT SELECT, INSERT, UPDATE ("a"), DELETE ON "public"."item" TO "cdcd"'
    )


def test_who_only_writes_does_not_replicate():
    found = sql_of(TableNeed("item", captured=False, written=True))
    assert 'CREATE ROLE "cdcd" LOGIN;' in found[0]
    assert not any("PUBLICATION" in sql for sql in found)


def test_no_password_is_printed():
    for grant in grants(IDENTITY, OPTIONS, [TableNeed("item", written=True)]):
        assert "s3cret" not in grant.sql + grant.purpose


def test_a_dsn_without_a_user_says_so():
    with pytest.raises(ConfigError) as caught:
        sql_of(TableNeed("item"), options=Options(dsn="host=erp.internal"))
    assert caught.value.code == "grants-user"
