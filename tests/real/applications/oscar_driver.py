"""Oscar at work: does business through Oscar's classes, and says what its models show, by command (see json_lines).

`business` chooses for itself what is done to which record; the other commands do what they are told, or look.
"""

import html
import random
from decimal import Decimal

import django

django.setup()

import catalogue  # noqa: E402
import json_lines  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.contrib.auth.forms import PasswordResetForm  # noqa: E402
from django.core.exceptions import ValidationError  # noqa: E402
from django.db import OperationalError, connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402
from oscar.apps.order.exceptions import InvalidOrderStatus  # noqa: E402
from oscar.core.loading import get_class, get_model  # noqa: E402

Basket, Order = get_model("basket", "Basket"), get_model("order", "Order")
Product, Category = get_model("catalogue", "Product"), get_model("catalogue", "Category")
ShippingAddress, UserAddress = get_model("order", "ShippingAddress"), get_model("address", "UserAddress")
StockRecord = get_model("partner", "StockRecord")
Source, SourceType = get_model("payment", "Source"), get_model("payment", "SourceType")
Applicator = get_class("offer.applicator", "Applicator")
EventHandler = get_class("order.processing", "EventHandler")
Free, FixedPrice = get_class("shipping.methods", "Free"), get_class("shipping.methods", "FixedPrice")
OrderCreator = get_class("order.utils", "OrderCreator")
OrderNumberGenerator = get_class("order.utils", "OrderNumberGenerator")
OrderTotalCalculator = get_class("checkout.calculators", "OrderTotalCalculator")
Default = get_class("partner.strategy", "Default")
User = get_user_model()
rng = random.Random(1)


class NothingToDo(Exception):
    """No record is there that this could be done to."""


class EuroStrategy(Default):
    """Sells what the house itself has, in its currency."""

    def select_stockrecord(self, product):
        return product.stockrecords.filter(partner__code=catalogue.PARTNER).first()


def pick(found):
    count = found.count()
    if not count:
        raise NothingToDo
    return found.order_by("pk")[rng.randrange(count)]


def customers_only():
    """Who can log in: not the staff, and not the account that stands for guests."""
    users = User.objects.filter(is_active=True, is_staff=False)
    return users.exclude(email="").exclude(email=catalogue.GUESTS_EMAIL)


# ---- customers -----------------------------------------------------------------------------------------------------


def new_customer():
    number = rng.randrange(10**9)
    user = User.objects.create_user(username=f"w{number}", email=f"web{number}@example.invalid", password="shop")
    user.first_name, user.last_name = catalogue.person(rng)
    user.save()
    code, city, postcode, street = rng.choice(catalogue.PLACES)
    names = {"first_name": user.first_name, "last_name": user.last_name}
    place = {"line1": street, "line4": city, "postcode": postcode, "country_id": code}
    UserAddress.objects.create(user=user, is_default_for_shipping=True, **names, **place)
    return user.email


def edit_address():
    address = pick(UserAddress.objects.filter(is_default_for_shipping=True, user__in=customers_only()))
    address.country_id, address.line4, address.postcode, address.line1 = rng.choice(catalogue.PLACES)
    address.save()
    return address.user.email


def change_own_email():
    user = pick(customers_only())
    return change_email(user.email, f"moved{rng.randrange(10**9)}@example.invalid")


def second_address():
    user = pick(customers_only())
    code, city, postcode, street = rng.choice(catalogue.PLACES)
    if UserAddress.objects.filter(user=user, line1=street).exists():
        raise NothingToDo
    UserAddress.objects.create(user=user, line1=street, line4=city, postcode=postcode, country_id=code)
    return user.email


def rename_customer():
    user = pick(customers_only())
    user.first_name, user.last_name = catalogue.person(rng)
    user.save(update_fields=["first_name", "last_name"])
    return user.email


# ---- catalogue -----------------------------------------------------------------------------------------------------


def describe_product():
    product = pick(Product.objects.exclude(structure="parent"))
    product.description = f"<p>{catalogue.new_name(rng)} · {rng.randrange(10**6)}</p>"
    product.save()
    return product.upc


def wrongly_rename_product():
    """Names are the ERP's: this is put right."""
    product = pick(Product.objects.exclude(structure="parent"))
    product.title = f"{product.get_title()[:200]} as the shop would have it"
    product.save()
    return product.upc


def wrongly_change_price():
    record = pick(StockRecord.objects.filter(partner__code=catalogue.PARTNER))
    record.price = (record.price * Decimal("1.5")).quantize(Decimal("0.01"))
    record.save()
    return record.partner_sku


def move_category():
    """Treebeard writes the paths of many rows."""
    category = pick(Category.objects.filter(depth__gt=1))
    sibling = pick(Category.objects.filter(depth=category.depth).exclude(pk=category.pk))
    category.move(sibling, "left")
    return category.name


# ---- orders --------------------------------------------------------------------------------------------------------


def new_basket(user):
    basket = Basket.objects.create(owner=user)
    basket.strategy = EuroStrategy()
    return basket


def abandon_basket():
    basket = new_basket(pick(customers_only()))
    add_lines(basket)
    return basket.pk


def add_lines(basket) -> None:
    for _ in range(rng.choice([1, 1, 2, 3])):
        record = pick(
            StockRecord.objects.filter(partner__code=catalogue.PARTNER, num_in_stock__gt=5, price__gt=0)
            .filter(product__is_public=True)
            .exclude(product__structure="parent")
        )
        if basket.strategy.fetch_for_product(record.product).availability.is_purchase_permitted(4)[0]:
            basket.add_product(record.product, quantity=rng.choice([1, 1, 2, 4]))


def place_order():
    return checkout(pick(customers_only()))


def place_order_as_guest():
    return checkout(None)


def checkout(user, basket=None):
    """What Oscar's checkout does at its end. Returns the order's number."""
    if basket is None:
        basket = new_basket(user)
        add_lines(basket)
    if basket.is_empty:
        raise NothingToDo
    Applicator().apply(basket, user, None)
    first_name, last_name = (user.first_name, user.last_name) if user else catalogue.person(rng)
    code, city, postcode, street = rng.choice(catalogue.PLACES)
    address = ShippingAddress.objects.create(
        first_name=first_name, last_name=last_name, line1=street, line4=city, postcode=postcode, country_id=code
    )
    method = rng.choice([Free(), FixedPrice(charge_excl_tax=Decimal("4.90"), charge_incl_tax=Decimal("4.90"))])
    charge = method.calculate(basket)
    total = OrderTotalCalculator().calculate(basket, charge)
    guest = {} if user else {"guest_email": f"guest{rng.randrange(10**6)}@example.invalid"}
    order = OrderCreator().place_order(
        basket,
        total,
        method,
        charge,
        user=user,
        shipping_address=address,
        order_number=OrderNumberGenerator().order_number(basket),
        **guest,
    )
    kind, _ = SourceType.objects.get_or_create(name="Card", code="card")
    Source.objects.create(order=order, source_type=kind, currency=order.currency, amount_allocated=total.incl_tax)
    basket.submit()
    return str(order.number)


def edit_shipping_address():
    """The customer calls and moves; only while nobody works on the order."""
    address = pick(Order.objects.filter(status="Pending", shipping_address__isnull=False)).shipping_address
    address.country_id, address.line4, address.postcode, address.line1 = rng.choice(catalogue.PLACES)
    address.save()
    return address.pk


def cancel_order():
    order = pick(Order.objects.filter(status="Pending"))
    EventHandler().cancel_stock_allocations(order)
    EventHandler().handle_order_status_change(order, "Cancelled", note_msg="キャンセル")
    return order.number


def hand_over_order():
    order = pick(Order.objects.filter(status="Pending"))
    EventHandler().handle_order_status_change(order, "Being processed", note_msg="paid")
    return order.number


def release_allocations():
    """What is shipped, or cancelled, by the ERP is not reserved here any more (see the template's README)."""
    done = 0
    for order in Order.objects.filter(status__in=["Complete", "Cancelled"], lines__num_allocated__gt=0).distinct():
        EventHandler().cancel_stock_allocations(order)
        done += 1
    return done


def rolled_back():
    """Work that is undone: nothing of it may be seen anywhere."""
    with transaction.atomic():
        number = place_order()
        new_customer()
        transaction.set_rollback(True)
    return number


BUSINESS = {
    place_order: 22,
    place_order_as_guest: 5,
    hand_over_order: 8,
    cancel_order: 4,
    edit_shipping_address: 5,
    new_customer: 6,
    edit_address: 6,
    second_address: 2,
    rename_customer: 4,
    change_own_email: 1,
    describe_product: 8,
    wrongly_rename_product: 2,
    wrongly_change_price: 2,
    move_category: 1,
    abandon_basket: 6,
    release_allocations: 2,
    rolled_back: 2,
}
"""What is done, and how often."""


def business(seed: int | None = None) -> str:
    """One thing that somebody does, in one transaction. Returns what it was."""
    if seed is not None:
        rng.seed(seed)
    (chosen,) = rng.choices(list(BUSINESS), list(BUSINESS.values()))
    try:
        with transaction.atomic():
            return f"{chosen.__name__} {chosen()}"
    except NothingToDo:
        return f"{chosen.__name__}: nothing to do"
    except OperationalError as error:
        if error.args[0] not in (1020, 1205, 1213):
            raise
        return f"{chosen.__name__}: met another transaction"


# ---- told what to do -----------------------------------------------------------------------------------------------


def do(what: str, **arguments):
    """One kind of business, or one of the following, by its name."""
    with transaction.atomic():
        return globals()[what](**arguments)


def change_email(email: str, to: str) -> str:
    user = User.objects.get(email=email)
    user.email = to
    user.save()
    return to


def deactivate_user(email: str) -> None:
    User.objects.filter(email=email).update(is_active=False)


def delete_user(email: str) -> None:
    """As a customer does it in the profile; orders stay, without a user."""
    User.objects.get(email=email).delete()


def cancel(number: str) -> None:
    order = Order.objects.get(number=number)
    EventHandler().cancel_stock_allocations(order)
    EventHandler().handle_order_status_change(order, "Cancelled")


def buy(email: str, sku: str, quantity: int = 1) -> str:
    """An order of one product; refused where Oscar does not sell it. Returns its number."""
    with transaction.atomic():
        user = User.objects.get(email=email)
        product = Product.objects.get(upc=sku)
        basket = new_basket(user)
        permitted, why = basket.strategy.fetch_for_product(product).availability.is_purchase_permitted(quantity)
        if not permitted or not product.is_public:
            raise ValidationError(str(why))
        basket.add_product(product, quantity=quantity)
        return checkout(user, basket)


def set_status(number: str, status: str) -> None:
    with transaction.atomic():
        order = Order.objects.get(number=number)
        EventHandler().handle_order_status_change(order, status)


def show_pages(sku: str) -> bool:
    """The shop's own pages: the catalogue, and a product that a visitor puts into the basket; whether it is there then."""
    visitor = Client()
    product = Product.objects.get(upc=sku)
    for page in (reverse("catalogue:index"), product.get_absolute_url()):
        answer = visitor.get(page)
        assert answer.status_code == 200, f"{page}: {answer.status_code}"
    assert product.get_title() in html.unescape(answer.content.decode())
    answer = visitor.post(reverse("basket:add", kwargs={"pk": product.pk}), {"quantity": 1})
    assert answer.status_code == 302, answer.status_code
    return product.get_title() in html.unescape(visitor.get(reverse("basket:summary")).content.decode())


def may_reset_password(email: str) -> bool:
    """Whether somebody who comes from elsewhere can get a password by "forgotten password"."""
    return [user.email for user in PasswordResetForm().get_users(email)] == [email]


# ---- what the models show ------------------------------------------------------------------------------------------


def products() -> dict[str, dict]:
    """By SKU: what can be sold, so not the parents of variants."""
    found = {}
    for product in Product.objects.exclude(structure="parent").exclude(upc=None):
        record = product.stockrecords.filter(partner__code=catalogue.PARTNER).first()
        found[product.upc] = {
            "name": product.get_title(),
            "price": None if record is None else str(record.price),
            "stock": None if record is None else record.num_in_stock,
            "active": product.is_public,
            "description": product.description,
        }
    return found


def address_of(address) -> dict | None:
    if address is None:
        return None
    return {
        "recipient": f"{address.first_name} {address.last_name}".strip(),
        "street": address.line1,
        "city": address.line4,
        "postcode": address.postcode,
        "country": address.country_id,
    }


def customers() -> dict[str, dict]:
    """By e-mail address: users who may log in."""
    return {
        user.email: {
            "name": user.get_full_name(),
            "address": address_of(user.addresses.filter(is_default_for_shipping=True).first()),
            "username": user.username,
        }
        for user in User.objects.filter(is_active=True, is_staff=False).exclude(email="")
    }


def orders() -> dict[str, dict]:
    """By number."""
    return {
        order.number: {
            "status": order.status,
            "currency": order.currency,
            "customer": order.email,
            "guest": order.user is None,
            "address": address_of(order.shipping_address),
            "lines": {line.upc: [line.quantity, str(line.unit_price_excl_tax)] for line in order.lines.all()},
            "total": str(order.basket_total_excl_tax),
        }
        for order in Order.objects.select_related("user", "shipping_address").prefetch_related("lines")
    }


connection.ensure_connection()
json_lines.serve(
    {
        "business": business,
        "do": do,
        "buy": buy,
        "set_status": set_status,
        "show_pages": show_pages,
        "may_reset_password": may_reset_password,
        "products": products,
        "customers": customers,
        "orders": orders,
    },
    (ValidationError, NothingToDo, InvalidOrderStatus),
)
