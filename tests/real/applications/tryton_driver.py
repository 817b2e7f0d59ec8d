"""Tryton at work: does business through Proteus, and says what Proteus shows, by command (see json_lines).

Usage: tryton_driver.py CONFIG DATABASE. `business` chooses for itself what is done to which record; the other commands
do what they are told, or look.
"""

import datetime as dt
import random
import sys
from contextlib import suppress
from decimal import Decimal

import catalogue
import json_lines
from proteus import Model, Wizard
from proteus import config as connection
from trytond import backend, exceptions
from trytond.exceptions import TrytonException

config = connection.set_trytond(database=sys.argv[2], config_file=sys.argv[1])
config._context.update(Model.get("res.user").get_preferences(True, {}))
rng = random.Random(1)

Address, Country, Party = Model.get("party.address"), Model.get("country.country"), Model.get("party.party")
Product, Template = Model.get("product.product"), Model.get("product.template")
Inventory, Location, Move = Model.get("stock.inventory"), Model.get("stock.location"), Model.get("stock.move")
Shipment, ShipmentIn = Model.get("stock.shipment.out"), Model.get("stock.shipment.in")
Invoice, Method = Model.get("account.invoice"), Model.get("account.invoice.payment.method")
Mechanism = Model.get("party.contact_mechanism")
Purchase, Sale = Model.get("purchase.purchase"), Model.get("sale.sale")
Line = Model.get("sale.line")
Warning_ = Model.get("res.user.warning")

country = {found.code: found for found in Country.find([])}
(storage,) = Location.find([("code", "=", "STO")])
(unit,) = Model.get("product.uom").find([("name", "=", "Unit")])
(accounting,) = Model.get("product.category").find([("accounting", "=", True)])
term = Model.get("account.invoice.payment_term").find([])[0]
supplier = Party.find([("name", "=", "株式会社さくら")])[0]
company_party = Model.get("company.company").find([])[0].party.id
WAITING_FOR = {"assign_try": "waiting", "pick": "assigned", "pack": "picked", "do": "packed"}


def today() -> dt.date:
    """The day in the company's books."""
    return dt.datetime.now(dt.UTC).date()


class NothingToDo(Exception):
    """No record is there that this could be done to."""


def pressing_yes(call, *arguments):
    """Like a person at the client: read the warning, press 'yes', and try again."""
    while True:
        try:
            return again(call, *arguments)
        except exceptions.UserWarning as warning:
            Warning_(user=config.user, name=warning.name, always=False).save()


def again(call, *arguments):
    """As Tryton's server does it: what met another transaction is tried again, up to five times."""
    for _ in range(5):
        with suppress(backend.DatabaseOperationalError):
            return call(*arguments)
    return call(*arguments)


def pick(model, domain, limit=200):
    ids = [found.id for found in model.find(domain, limit=limit)]
    if not ids:
        raise NothingToDo
    return model(rng.choice(ids))


def customer():
    return pick(
        Party, [("contact_mechanisms.type", "=", "email"), ("contact_mechanisms.value", "!=", catalogue.GUESTS_EMAIL)]
    )


def fill(address) -> None:
    code, address.city, address.postal_code, address.street = rng.choice(catalogue.PLACES)
    address.country = country[code]


# ---- master data ---------------------------------------------------------------------------------------------------


def new_customer():
    email = f"erp{rng.randrange(10**9)}@example.invalid"
    party = Party(name=" ".join(catalogue.person(rng)))
    fill(party.addresses[0] if party.addresses else party.addresses.new())
    party.contact_mechanisms.new(type="email", value=email)
    party.customer_payment_term = term
    party.save()
    return email


def edit_address():
    party = customer()
    if not party.addresses:
        raise NothingToDo
    fill(party.addresses[0])
    party.save()
    return party.code


def second_address():
    party = customer()
    fill(party.addresses.new())
    party.save()
    return party.code


def rename_party():
    party = customer()
    party.name = " ".join(catalogue.person(rng))
    party.save()
    return party.code


def merge_parties():
    """The loser becomes inactive, and every reference to it in other tables is written anew."""
    loser, winner = customer(), customer()
    if loser.id == winner.id:
        raise NothingToDo
    wizard = Wizard("party.replace", models=[loser])
    wizard.form.destination = winner
    pressing_yes(wizard.execute, "replace")
    return f"{loser.code} into {winner.code}"


def rename_product():
    template = pick(Template, [("code", "!=", None)])
    template.name = template.name.split(" (")[0] + rng.choice(["", " (neu)", " (新)", " (sale)", " 🎁"])
    template.save()
    return template.code


def change_price():
    template = pick(Template, [("code", "!=", None)])
    template.list_price = (template.list_price * Decimal(rng.choice(["0.9", "1.05", "1.2"]))).quantize(
        Decimal("0.0001")
    )
    template.save()
    return template.code


def new_product():
    template = Template(name=catalogue.new_name(rng), default_uom=unit, type="goods", salable=True, purchasable=True)
    template.list_price, template.account_category = Decimal(rng.randrange(100, 90000)) / 100, accounting
    template.code = f"ERP-{rng.randrange(10**9)}"
    template.products[0].cost_price = Decimal("1.5")
    template.save()
    return template.code


def toggle_product():
    product = pick(Product, [("active", "in", [True, False]), ("code", "like", "ERP-%")])
    product.active = not product.active
    pressing_yes(product.save)
    return product.code


def delete_product():
    """Refused by Tryton once it has been moved or sold."""
    template = pick(Template, [("code", "like", "ERP-%")])
    code = template.code
    template.delete()
    return code


# ---- stock ---------------------------------------------------------------------------------------------------------


def stocktake():
    inventory = Inventory(location=storage)
    products = Product.find([("consumable", "=", False), ("type", "=", "goods")], limit=200)
    for product in rng.sample(products, 3):
        inventory.lines.new(product=product).quantity = float(rng.randrange(0, 500))
    pressing_yes(inventory.click, "confirm")
    return inventory.id


def receive_goods():
    purchase = Purchase(party=supplier, payment_term=term, invoice_method="manual")
    for _ in range(rng.choice([1, 2, 4])):
        line = purchase.lines.new()
        line.product, line.quantity = pick(Product, [("purchasable", "=", True)]), float(rng.randrange(5, 80))
        line.unit_price = Decimal("2.5000")
    for step in ("quote", "confirm", "process"):
        if purchase.state != "processing":
            pressing_yes(purchase.click, step)
            purchase.reload()
    shipment = ShipmentIn(supplier=purchase.party)
    for move in purchase.moves:
        shipment.incoming_moves.append(Move(move.id))
    shipment.save()
    for step in ("receive", "do"):
        pressing_yes(shipment.click, step)
    return purchase.number


# ---- sales ---------------------------------------------------------------------------------------------------------


def sell_over_the_counter():
    """A sale that is none of the shop's; it moves stock once it is shipped."""
    sale = Sale(party=customer(), payment_term=term, invoice_method="order", shipment_cost_method=None)
    for _ in range(rng.choice([1, 2, 3])):
        line = sale.lines.new()
        line.product, line.quantity = pick(Product, [("salable", "=", True)]), float(rng.choice([1, 2, 4]))
    comment = sale.lines.new()
    comment.type, comment.description = "comment", "ギフト包装 🎀"
    sale.save()
    for step in ("quote", "confirm", "process"):
        if sale.state != "processing":
            pressing_yes(sale.click, step)
            sale.reload()
    return sale.number


def confirm_web_order():
    return fulfil_step(pick(Sale, [("web_shop", "!=", None), ("state", "in", ["quotation", "confirmed"])]))


def fulfil_step(sale):
    """Confirm a quotation, process what is confirmed."""
    if sale.state == "quotation":
        pressing_yes(sale.click, "confirm")
        sale.reload()
    if sale.state == "confirmed":
        pressing_yes(sale.click, "process")
        sale.reload()
    return f"{sale.web_id} {sale.state}"


def cancel_web_order():
    sale = pick(Sale, [("web_shop", "!=", None), ("state", "=", "quotation")])
    pressing_yes(sale.click, "cancel")
    return sale.web_id


def ship():
    shipment = pick(Shipment, [("state", "in", list(WAITING_FOR.values()))])
    ship_it(shipment)
    return shipment.number


def ship_it(shipment) -> None:
    for step, state in WAITING_FOR.items():
        if shipment.state != state:
            continue
        pressing_yes(shipment.click, step)
        shipment.reload()
        if shipment.state == "waiting":
            pressing_yes(shipment.click, "assign_force")  # not enough there: it goes below zero, as people do it
            shipment.reload()


def invoice():
    found = pick(Invoice, [("type", "=", "out"), ("state", "in", ["draft", "validated"])])
    invoice_it(found)
    return found.number


def invoice_it(found) -> None:
    pressing_yes(found.click, "post")
    found.reload()
    if found.state == "posted" and found.amount_to_pay:
        payment = pressing_yes(found.click, "pay")
        payment.form.payment_method, payment.form.date = Method.find([])[0], today()
        payment.execute("choice")
        found.reload()


def rolled_back():
    """Work that Tryton refuses at its end: nothing of it may be seen anywhere."""
    party = customer()
    party.name = "never to be seen"
    party.addresses.new(city="never to be seen")
    party.contact_mechanisms.new(type="phone", value="not a number" * 50)
    party.lang = None
    party.replaced_by = party
    party.code = Party.find([("id", "!=", party.id)], limit=1)[0].code  # must be unique
    try:
        party.save()
    except TrytonException:
        return party.id
    raise AssertionError("Tryton accepted a code twice")


BUSINESS = {
    confirm_web_order: 14,
    ship: 14,
    invoice: 6,
    change_price: 9,
    rename_product: 6,
    new_customer: 4,
    edit_address: 5,
    second_address: 1,
    rename_party: 3,
    merge_parties: 1,
    new_product: 4,
    toggle_product: 2,
    delete_product: 1,
    stocktake: 4,
    receive_goods: 3,
    sell_over_the_counter: 4,
    cancel_web_order: 1,
    rolled_back: 1,
}
"""What is done, and how often."""


def business(seed: int | None = None) -> str:
    """One thing that somebody does; several transactions, as for a person at the client. Returns what it was."""
    if seed is not None:
        rng.seed(seed)
    (chosen,) = rng.choices(list(BUSINESS), list(BUSINESS.values()))
    try:
        return f"{chosen.__name__} {chosen()}"
    except NothingToDo:
        return f"{chosen.__name__}: nothing to do"
    except backend.DatabaseOperationalError:
        return f"{chosen.__name__}: met another transaction"
    except TrytonException as refusal:
        return f"{chosen.__name__}: refused: {type(refusal).__name__} {refusal}"


# ---- told what to do -----------------------------------------------------------------------------------------------


def do(what: str, **arguments):
    """One kind of business, or one of the following, by its name."""
    return again(lambda: globals()[what](**arguments))


def add_party(email: str, name: str) -> str:
    party = Party(name=name)
    party.contact_mechanisms.new(type="email", value=email)
    party.save()
    return party.code


def draft_without_a_line(web_id: str) -> None:
    """Somebody takes the quotation back, drops a line, and quotes it again."""
    (sale,) = Sale.find([("web_id", "=", web_id)])
    pressing_yes(sale.click, "draft")
    sale.lines.remove(sale.lines[0])
    sale.save()
    pressing_yes(sale.click, "quote")


def delete_cancelled_order(web_id: str) -> None:
    (sale,) = Sale.find([("web_id", "=", web_id), ("state", "=", "cancelled")])
    sale.delete()


def change_email(email: str, to: str) -> None:
    (mechanism,) = Mechanism.find([("type", "=", "email"), ("value", "=", email)])
    mechanism.value = to
    mechanism.save()


def fulfil(web_id: str) -> dict:
    """A shop's order from quotation to the paid invoice."""
    (sale,) = Sale.find([("web_id", "=", web_id)])
    fulfil_step(sale)
    for shipment in sale.shipments:
        ship_it(Shipment(shipment.id))
    sale.reload()
    for found in sale.invoices:
        invoice_it(Invoice(found.id))
    sale.reload()
    return {"state": sale.state, "shipment": sale.shipment_state, "invoice": sale.invoice_state, "number": sale.number}


def count_stock(sku: str, quantity: int) -> int:
    """A stocktake of one product. Returns what is there now."""
    (product,) = Product.find([("code", "=", sku)])
    inventory = Inventory(location=storage)
    inventory.lines.new(product=product).quantity = float(quantity)
    pressing_yes(inventory.click, "confirm")
    return quantity


# ---- what Proteus shows --------------------------------------------------------------------------------------------


def read(model, domain, *names: str, **context) -> list[dict]:
    """Fields of all records, in one call; "country.code" is a field of the record that is referred to."""
    with config.set_context(**context):
        found = [record.id for record in model.find(domain)]
        rows = model._proxy.read(found, ["id", *names], config.context) if found else []
    return sorted(rows, key=lambda row: row["id"])


def products() -> dict[str, dict]:
    """By SKU, also those that are not active."""
    named = [("active", "in", [True, False]), ("code", "not in", [None, ""])]
    fields = ("code", "template.name", "template.list_price", "quantity", "active", "description")
    there = {"locations": [storage.id], "stock_date_end": today(), "active_test": False}
    return {
        row["code"]: {
            "name": row["template."]["name"],
            "price": str(row["template."]["list_price"]),
            **{name: row[name] for name in ("quantity", "active", "description")},
        }
        for row in read(Product, named, *fields, **there)
    }


def addresses(domain) -> dict[int, dict]:
    """By id, the oldest first."""
    fields = ("party", "party_name", "street", "city", "postal_code", "country.code")
    return {
        row["id"]: {
            "party": row["party"],
            "recipient": row["party_name"],
            "street": row["street"],
            "city": row["city"],
            "postcode": row["postal_code"],
            "country": (row["country."] or {}).get("code"),
        }
        for row in read(Address, domain, *fields, active_test=False)
    }


def emails() -> dict[int, list[str]]:
    """By party: the addresses in use."""
    found: dict[int, list[str]] = {}
    for row in read(Mechanism, [("type", "=", "email")], "party", "value"):
        found.setdefault(row["party"], []).append(row["value"])
    return found


def customers() -> dict[str, dict]:
    """By e-mail address: active parties that have one."""
    place: dict[int, dict] = {}
    for address in addresses([("active", "=", True)]).values():
        place.setdefault(address["party"], address)
    known = emails()
    return {
        known[row["id"]][0]: {"name": row["name"], "address": place.get(row["id"]), "code": row["code"]}
        for row in read(Party, [], "name", "code")
        if row["id"] in known
    }


def orders() -> dict[str, dict]:
    """The web shop's sales by the shop's number."""
    fields = ("web_id", "state", "currency.code", "party", "shipment_address", "untaxed_amount", "number")
    sales = read(Sale, [("web_shop", "!=", None)], *fields)
    place = addresses([("id", "in", [sale["shipment_address"] for sale in sales])])
    known = emails()
    lines: dict[int, dict] = {}
    for line in read(
        Line, [("sale.web_shop", "!=", None), ("type", "=", "line")], "sale", "product.code", "quantity", "unit_price"
    ):
        lines.setdefault(line["sale"], {})[line["product."]["code"]] = [line["quantity"], str(line["unit_price"])]
    return {
        sale["web_id"]: {
            "state": sale["state"],
            "currency": sale["currency."]["code"],
            "customer": known.get(sale["party"], []),
            "address": place.get(sale["shipment_address"]),
            "lines": lines.get(sale["id"], {}),
            "total": str(sale["untaxed_amount"]),
            "number": sale["number"],
        }
        for sale in sales
    }


def merged_away() -> list[str]:
    """E-mail addresses of parties that were merged into others."""
    with config.set_context(active_test=False):
        return [mechanism.value for mechanism in Mechanism.find([("type", "=", "email"), ("active", "=", False)])]


json_lines.serve(
    {
        "business": business,
        "do": do,
        "fulfil": fulfil,
        "count_stock": count_stock,
        "products": products,
        "customers": customers,
        "orders": orders,
        "merged_away": merged_away,
    },
    (TrytonException, NothingToDo),
)
