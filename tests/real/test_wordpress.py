"""Tryton's products in WordPress, whose values are rows of one table, kept in step by the template's configuration."""

import math
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from real.erp import Erp
from real.pair import Daemon
from real.wordpress import WordPress


class Catalogue(Daemon):
    """Tryton, WordPress and cdcd."""

    def __init__(self, directory: Path, erp: Erp, shop: WordPress) -> None:
        super().__init__(directory, "tryton-wordpress", erp, shop)
        self.erp, self.shop = erp, shop

    def differences(self) -> list[str]:
        """Products in which the applications are not in step, each asked through its own API."""
        erp, shop = self.erp.tell("products"), self.shop.tell("products")
        found = [f"{sku}: the shop has none" for sku in erp.keys() - shop.keys()]
        for sku in erp.keys() & shop.keys():
            price = str(Decimal(erp[sku]["price"]).quantize(Decimal("0.01"), ROUND_HALF_UP))
            expected = {
                "name": erp[sku]["name"],
                "price": price,
                "regular": price,
                "stock": str(math.floor(erp[sku]["quantity"])),
                "active": erp[sku]["active"],
                "description": erp[sku]["description"] or "",
                "meta_count": 1,
            }
            found += [f"{sku}: {n} {v!r}, {shop[sku][n]!r}" for n, v in expected.items() if not same(v, shop[sku][n])]
        return found

    def wait_in_step(self) -> None:
        self.wait_for_no(self.differences)


def same(expected: object, shown: object) -> bool:
    """Numbers are texts in WordPress: 12.5 is 12.50."""
    try:
        return expected == shown or Decimal(str(expected)) == Decimal(str(shown))
    except ArithmeticError:
        return False


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    directory: Path = tmp_path_factory.mktemp("wordpress")
    erp = Erp(directory)
    try:
        shop = WordPress(directory)
        made = Catalogue(directory, erp, shop)
        try:
            made.start()
            yield made
        finally:
            made.dispose()
            shop.close()
    finally:
        erp.close()


def test_the_first_copy_makes_posts_and_their_meta_rows(catalogue: Catalogue):
    catalogue.wait_in_step()


def test_a_new_product_a_price_a_name_and_a_stocktake_of_the_erp_reach_wordpress(catalogue: Catalogue):
    sku = catalogue.erp.tell("do", what="new_product")
    for what in ("change_price", "rename_product", "stocktake", "toggle_product", "receive_goods"):
        catalogue.erp.tell("do", what=what)
    catalogue.wait_in_step()
    assert sku in catalogue.shop.tell("products")


def test_what_wordpress_does_by_itself_stays_and_what_is_not_its_own_is_put_right(catalogue: Catalogue):
    for seed in range(30):
        catalogue.shop.tell("business", seed=seed)
        catalogue.erp.tell("do", what="change_price")
    catalogue.wait_in_step()
    status = catalogue.status()
    assert [system.deliver.parked for system in status.systems.values() if system.deliver] == [0, 0]
    assert (status.resolve.held, status.resolve.waiting) == (0, 0)
