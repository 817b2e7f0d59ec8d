"""Company, chart of accounts, currencies, countries, products, parties, a web shop and opening stock, all by way of Proteus.

Usage: tryton_fill.py CONFIG DATABASE. No SQL: whatever is here, Tryton itself has made.
"""

import datetime as dt
import random
import sys
from decimal import Decimal

import catalogue
from proteus import Model
from proteus import config as connection
from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, create_tax, get_accounts
from trytond.modules.account_invoice.tests.tools import create_payment_term, set_fiscalyear_invoice_sequences
from trytond.modules.company.tests.tools import create_company

RATES = {"EUR": "1.0", "USD": "1.0837", "JPY": "163.42"}
PARTIES = 25


def currencies() -> dict[str, Model]:
    currency_model = Model.get("currency.currency")
    found = {}
    for code, rate in RATES.items():
        digits = 0 if code == "JPY" else 2
        currency = currency_model(name=code, code=code, symbol=code, digits=digits, rounding=Decimal(10) ** -digits)
        currency.rates.new(date=dt.datetime.now(dt.UTC).date() - dt.timedelta(days=200), rate=Decimal(rate))
        currency.save()
        found[code] = currency
    return found


def countries() -> dict[str, Model]:
    country_model = Model.get("country.country")
    found = {code: country_model(name=code, code=code) for code in catalogue.COUNTRIES}
    for country in found.values():
        country.save()
    return found


def company(config, currency: Model) -> tuple[dict, Model, Model]:
    """The company with its accounts; returns accounts, the tax and the payment term."""
    party = Model.get("party.party")(name="Nordlicht Handels GmbH")
    party.save()
    create_company(party=party, currency=currency)
    config._context.update(Model.get("res.user").get_preferences(True, {}))
    create_chart()
    accounts = get_accounts()
    set_fiscalyear_invoice_sequences(create_fiscalyear()).click("create_period")
    tax = create_tax(Decimal(".19"))
    tax.save()
    term = create_payment_term()
    term.save()
    (cash,) = Model.get("account.journal").find([("type", "=", "cash")])
    method = Model.get("account.invoice.payment.method")
    method(name="Cash", journal=cash, credit_account=accounts["cash"], debit_account=accounts["cash"]).save()
    return accounts, tax, term


def products(accounts: dict, tax: Model) -> list[Model]:
    category_model = Model.get("product.category")
    accounting = category_model(name="Standard goods", accounting=True)
    accounting.account_expense, accounting.account_revenue = accounts["expense"], accounts["revenue"]
    accounting.customer_taxes.append(tax)
    accounting.save()
    (unit,) = Model.get("product.uom").find([("name", "=", "Unit")])
    everything = []
    for product in catalogue.products():
        template = Model.get("product.template")(name=product["name"], default_uom=unit, type="goods", salable=True)
        template.purchasable, template.account_category = True, accounting
        template.list_price, template.code = product["list_price"], product["sku"]
        for place, (sku, _) in enumerate(product["variants"]):
            variant = template.products.new() if place else template.products[0]
            variant.suffix_code = sku[len(product["sku"]) :] or None
            variant.cost_price = product["cost_price"]
        template.save()
        everything += list(template.products)
    return everything


def new_party(name: str, email: str, rng: random.Random, country: dict[str, Model], term: Model) -> Model:
    party = Model.get("party.party")(name=name)
    address = party.addresses[0] if party.addresses else party.addresses.new()
    code, address.city, address.postal_code, address.street = rng.choice(catalogue.PLACES)
    address.country = country[code]
    party.contact_mechanisms.new(type="email", value=email)
    party.customer_payment_term = party.supplier_payment_term = term
    party.save()
    return party


def stock(variants: list[Model], rng: random.Random) -> None:
    (storage,) = Model.get("stock.location").find([("code", "=", "STO")])
    inventory = Model.get("stock.inventory")(location=storage)
    for variant in variants:
        line = inventory.lines.new(product=Model.get("product.product")(variant.id))
        line.quantity, line.expected_quantity = float(rng.randrange(20, 400)), 0.0
    inventory.click("confirm")


def main() -> None:
    config = connection.set_trytond(database=sys.argv[2], config_file=sys.argv[1])
    rng = random.Random(42)
    currency, country = currencies(), countries()
    accounts, tax, term = company(config, currency["EUR"])
    variants = products(accounts, tax)
    for number in range(PARTIES):
        new_party(" ".join(catalogue.person(rng)), catalogue.email(number), rng, country, term)
    new_party("Web shop guests", catalogue.GUESTS_EMAIL, rng, country, term)
    supplier = Model.get("party.party")(name="株式会社さくら", supplier_payment_term=term)
    supplier.addresses.new(country=country["JP"])
    supplier.save()
    shop = Model.get("web.shop")(name=catalogue.WEB_SHOP, currency=currency["EUR"])
    shop.company = Model.get("company.company").find([])[0]
    shop.save()
    stock(variants, rng)


main()
