"""Catalogue, stock records, users and addresses by way of Oscar's own importer and models."""

import csv
import logging
import random
import tempfile
from pathlib import Path

import django

django.setup()

import catalogue  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from oscar.core.loading import get_class, get_model  # noqa: E402

Country, UserAddress = get_model("address", "Country"), get_model("address", "UserAddress")
Partner, StockRecord = get_model("partner", "Partner"), get_model("partner", "StockRecord")
Product = get_model("catalogue", "Product")
Importer = get_class("partner.importers", "CatalogueImporter")
User = get_user_model()
IN_ERP_ONLY = 5
"""The last so many products of the catalogue are not in the shop yet."""
USERS = range(10, 35)
rng = random.Random(43)


def import_catalogue(products: list[dict]) -> None:
    """Stand-alone products with their stock records, and the parents of variants, by Oscar's importer."""
    with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="", encoding="utf-8", delete=False) as file:
        writer = csv.writer(file, escapechar="\\", doublequote=False, quoting=csv.QUOTE_ALL)
        for product in products:
            text = f"<p>{product['name']} — as the shop describes it</p>"
            row = ["Household", f"Shop > {product['category']}", product["sku"], product["name"], text]
            if len(product["variants"]) == 1:
                row += ["Nordlicht", product["sku"], str(product["list_price"]), str(rng.randrange(0, 200))]
            writer.writerow(row)
    Importer(logging.getLogger("import")).handle(file.name)
    Path(file.name).unlink()


def add_variants(products: list[dict]) -> None:
    """Variants are child products, each with a stock record; they inherit the parent's title."""
    partner, _ = Partner.objects.get_or_create(name="Nordlicht")
    Partner.objects.filter(pk=partner.pk).update(code=catalogue.PARTNER)
    overseas = Partner.objects.create(name="海外倉庫 Overseas", code="overseas")
    for product in products:
        parent = Product.objects.get(upc=product["sku"])
        children = []
        if len(product["variants"]) > 1:
            Product.objects.filter(pk=parent.pk).update(structure=Product.PARENT)
            parent.refresh_from_db()
            children = [Product(structure=Product.CHILD, parent=parent, upc=sku) for sku, _ in product["variants"]]
        for child in children:
            child.save()
            stock = {"partner_sku": child.upc, "price": product["list_price"], "num_in_stock": rng.randrange(0, 200)}
            StockRecord.objects.create(product=child, partner=partner, price_currency="EUR", **stock)
        if rng.random() < 0.2:  # a second partner has some of them too, in another currency
            for sold in children or [parent]:
                StockRecord.objects.create(
                    product=sold, partner=overseas, partner_sku=f"X-{sold.upc}", price_currency="USD", price=10
                )


def add_user(number: int) -> None:
    user = User.objects.create_user(username=f"c{number:05}", email=catalogue.email(number), password="shop")
    user.first_name, user.last_name = catalogue.person(rng)
    user.save()
    code, city, postcode, street = rng.choice(catalogue.PLACES)
    UserAddress.objects.create(
        user=user,
        first_name=user.first_name,
        last_name=user.last_name,
        line1=street,
        line4=city,
        postcode=postcode,
        country=Country.objects.get(iso_3166_1_a2=code),
        is_default_for_shipping=True,
    )


def main() -> None:
    Country.objects.filter(iso_3166_1_a2__in=catalogue.COUNTRIES).update(is_shipping_country=True)
    products = catalogue.products()[:-IN_ERP_ONLY]
    import_catalogue(products)
    add_variants(products)
    for number in USERS:
        add_user(number)


main()
