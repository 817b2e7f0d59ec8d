"""Which statements mend a publication."""

import msgspec

from cdcd_postgres.catalog import CatalogTable
from cdcd_postgres.publication import Publication, repairs

ITEM = CatalogTable(1, "public", "item", "r", "p", "d", (), ())
PART = msgspec.structs.replace(ITEM, name="part", kind="p")
GOOD = Publication("p", "me", True, False, True, False, frozenset({ITEM.table_name, PART.table_name}))
OPTIONS = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true"


def changed(**changes) -> Publication:
    return msgspec.structs.replace(GOOD, **changes)


def test_a_publication_that_is_not_there_is_created_with_all_tables():
    assert repairs(None, "p", [ITEM, PART], exactly=True) == [
        f'CREATE PUBLICATION "p" FOR TABLE ONLY "public"."item", "public"."part" WITH ({OPTIONS})'
    ]
    assert repairs(None, "p", [], exactly=True) == [f'CREATE PUBLICATION "p" WITH ({OPTIONS})']


def test_a_publication_that_fits_is_left_alone():
    assert repairs(GOOD, "p", [PART, ITEM], exactly=True) == []
    assert GOOD.covers([ITEM])


def test_our_own_publication_is_cut_to_what_is_captured():
    assert repairs(GOOD, "p", [ITEM], exactly=True) == ['ALTER PUBLICATION "p" SET TABLE ONLY "public"."item"']


def test_a_named_publication_is_only_added_to():
    assert repairs(GOOD, "p", [ITEM], exactly=False) == []
    found = changed(tables=frozenset({ITEM.table_name}))
    assert repairs(found, "p", [ITEM, PART], exactly=False) == ['ALTER PUBLICATION "p" ADD TABLE "public"."part"']
    assert not found.covers([ITEM, PART])


def test_operations_filters_and_partition_roots_are_mended():
    assert repairs(changed(complete=False), "p", [ITEM], exactly=False) == [f'ALTER PUBLICATION "p" SET ({OPTIONS})']
    filtered = changed(filtered=True)
    assert not filtered.covers([ITEM])
    assert repairs(filtered, "p", [ITEM], exactly=False) == ['ALTER PUBLICATION "p" SET TABLE ONLY "public"."item"']


def test_a_publication_of_all_tables_lists_none():
    assert repairs(changed(all_tables=True, tables=frozenset()), "p", [ITEM], exactly=True) == []
