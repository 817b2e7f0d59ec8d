"""Made-up master data that both applications are filled with: the same SKUs and some customers in common.

It is the same for the same seed. Names and places hold what breaks careless software: other scripts, quotes, emoji,
leading zeros.
"""

import random
from decimal import Decimal

MATERIALS = ["Oak", "Walnut", "Steel", "Linen", "Wool", "Copper", "Ceramic", "Glass", "Bamboo", "Leather"]
THINGS = [
    "Desk",
    "Chair",
    "Lamp",
    "Teapot",
    "Blanket",
    "Shelf",
    "Notebook",
    "Backpack",
    "Clock",
    "Bowl",
    "Kettle",
    "Rug",
]
SUFFIXES = ["", " – Édition spéciale", " №7", " 日本製", " «Север»", " Größe L", " ☕", " 50 %", ' 3/4"', " O’Hara"]  # noqa: RUF001 (on purpose)
GIVEN = [
    "Anna",
    "José",
    "Zoë",
    "Łukasz",
    "花子",
    "太郎",
    "Алексей",
    "Мария",
    "Nguyễn",
    "İlker",
    "Ελένη",
    "محمد",
    "Dvořák",
]
GIVEN += ["O’Brien", "Renée 🎉", "👩‍💻 Ada"]  # noqa: RUF001 (on purpose)
FAMILY = [
    "Müller",
    "García",
    "Smith",
    "山田",
    "Иванов",
    "Ștefan",
    "Papadopoulos",
    "الخطيب",
    "כהן",
    "李",
    "van der Berg",
]
FAMILY += ["D'Angelo", "Sørensen", "Ångström", "Null"]
PLACES = [
    ("JP", "東京都千代田区", "100-0001", "千代田1-1"),
    ("JP", "大阪市北区", "530-0001", "梅田3丁目1−3"),  # noqa: RUF001 (on purpose)
    ("RU", "Москва", "101000", "ул. Мясницкая, д. 5"),
    ("DE", "München", "80331", "Sendlinger Straße 8"),
    ("US", "Boston", "02108", "1 Beacon St, Apt #4B"),
    ("FR", "Saint-Étienne", "42000", "3, rue de l'Hôpital"),
    ("GB", "London", "SW1A 1AA", "Flat 2, The Mall"),
    ("NL", "'s-Gravenhage", "2511 CV", "Binnenhof 1a"),
    ("PL", "Łódź", "90-001", "ul. Piotrkowska 1"),
    ("BR", "São Paulo", "01001-000", "Praça da Sé, s/n"),
    ("GR", "Αθήνα", "105 57", "Ερμού 12"),
    ("IE", "Dublin", "D02 AF30", "12 Grafton Street"),
]
COUNTRIES = sorted({place[0] for place in PLACES})
COLOURS = ["black", "white", "ocean blue", "crème", "grün"]
PRICES = ["0.99", "4.50", "12.00", "19.95", "49.90", "129.00", "999.99", "1249.5"]
COMMON_CUSTOMERS = 15
"""The first so many customers are in both applications."""
GUESTS_EMAIL = "guests@nordlicht.invalid"
"""The party that orders without an account belong to."""
WEB_SHOP = "Nordlicht shop"
PARTNER = "nordlicht"


def products(count: int = 40, seed: int = 7) -> list[dict]:
    """Templates of products: sku, name, category, list_price, cost_price, variants [(sku, colour)]."""
    rng = random.Random(seed)
    return [_product(rng, number) for number in range(1, count + 1)]


def _product(rng: random.Random, number: int) -> dict:
    material, thing = rng.choice(MATERIALS), rng.choice(THINGS)
    price = Decimal(rng.choice(PRICES))
    colours = rng.sample(COLOURS, rng.choice([1, 1, 1, 2, 3]))
    sku = f"{material[:2].upper()}{thing[:2].upper()}-{number:04}"
    suffixes = [""] if len(colours) == 1 else [f"/{place}" for place in range(1, len(colours) + 1)]
    return {
        "sku": sku,
        "name": f"{material} {thing}{rng.choice(SUFFIXES)}",
        "category": thing,
        "list_price": price,
        "cost_price": (price / 2).quantize(Decimal("0.0001")),
        "variants": [(sku + suffix, colour) for suffix, colour in zip(suffixes, colours, strict=True)],
    }


def new_name(rng: random.Random) -> str:
    """The name of a product."""
    return f"{rng.choice(MATERIALS)} {rng.choice(THINGS)}{rng.choice(SUFFIXES)}"


def person(rng: random.Random) -> tuple[str, str]:
    """A given name and a family name."""
    return rng.choice(GIVEN), rng.choice(FAMILY)


def email(number: int) -> str:
    """The address of a customer; the first are in both applications."""
    return f"customer{number}@example.invalid"
