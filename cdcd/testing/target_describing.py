"""The part of `TargetContract` on what a target says of tables before anything is written."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from collections.abc import Sequence

from cdcd.adapter import TableNeed, Target
from cdcd.testing.harness import Table
from cdcd.testing.target_session import ITEM, PRODUCT, TargetSession
from cdcd.values import parse_type


class DescribingContract:
    """Inherited by `TargetContract`, which has the fixture `session`."""

    def test_describe_tells_types_with_their_limits_and_keys(self, session: TargetSession) -> None:
        session.harness.create_table(PRODUCT)
        item_name, product_name = session.harness.full_name(ITEM), session.harness.full_name(PRODUCT)
        nowhere = session.harness.adapter.table_name("nowhere")
        shapes = session.target.describe([item_name, product_name, nowhere])
        assert set(shapes) == {item_name, product_name}
        described = [
            (column.name, *_kind_and_sizes(column.type), column.nullable) for column in shapes[item_name].columns
        ]
        assert described == [(column.name, *_kind_and_sizes(column.type), column.nullable) for column in ITEM.columns]
        product = shapes[product_name]
        assert product.table == product_name
        assert product.primary_key == ("id",)
        assert set(product.unique_keys) == {("id",), ("sku",)}
        generated = product.column("id")
        assert generated is not None
        assert (generated.has_default, generated.generated) == (True, False)

    def test_describe_works_before_open(self, session: TargetSession) -> None:
        target = session.harness.open_target()
        assert list(target.describe([session.harness.full_name(ITEM)])) == [session.harness.full_name(ITEM)]
        target.close()

    def test_check_finds_nothing_wrong_with_tables_that_fit(self, session: TargetSession) -> None:
        session.harness.create_table(PRODUCT)
        needs = [_need(session, ITEM, ("id",), ITEM.column_names), _need(session, PRODUCT, ("sku",), ("name",))]
        assert _errors(session.target, needs) == []

    def test_check_names_what_is_missing_and_how_to_mend_it(self, session: TargetSession) -> None:
        nowhere = TableNeed(session.harness.adapter.table_name("nowhere"), captured=False, written=True)
        needs = [nowhere, _need(session, ITEM, ("id",), ("id", "no_such_column")), _need(session, ITEM, ("stock",), ())]
        found = _errors(session.target, needs)
        for name in ("nowhere", "no_such_column", "stock"):
            assert any(name in text for text in found), name


def _kind_and_sizes(spec: str) -> tuple[str, int | None, int | None]:
    """A type without the words that say more than sizes ("raw")."""
    parsed = parse_type(spec)
    return parsed.kind, parsed.number(0), parsed.number(1)


def _need(session: TargetSession, table: Table, key: tuple[str, ...], columns: tuple[str, ...]) -> TableNeed:
    return TableNeed(session.harness.full_name(table), key, columns, captured=False, written=True)


def _errors(target: Target, needs: Sequence[TableNeed]) -> list[str]:
    findings = [finding for finding in target.check(needs) if finding.severity == "error"]
    assert all(finding.code and finding.remedy for finding in findings)
    return [f"{finding.subject}: {finding.message}" for finding in findings]
