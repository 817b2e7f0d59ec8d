"""Names and texts as they occur: several scripts, characters outside the BMP, quotes, backslashes, line ends."""

# ruff: noqa: RUF001 (letters that look like others are the point)

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

THINGS: Final = (
    "Teekanne", "急須", "Чайник", "Théière", "Čajník", "Tetera", "Τσαγιέρα", "إبريق شاي", "차주전자", "Szélkakas",
    "Messer 3\" 'Santoku'", "出刃包丁", "Нож", "C:\\Tools\\Zange", "100% Leinen", "Lampe 💡", "Ofen 🔥", "靴下", "Носки",
)  # fmt: skip
QUALITIES: Final = (
    "groß", "小さい", "красный", "bleu", "🌸", "mit Henkel", "edition №5", "½ Liter", "Ø 30 mm", "👩‍🍳", "v2", "—", "A&B",
)  # fmt: skip
GIVEN: Final = (
    "Anna", "Jürgen", "さくら", "健太", "Ольга", "Дмитрий", "Zoë", "Łukasz", "Ngọc", "Aoife", "José", "Ёлка", "李", "𠮷田",
)  # fmt: skip
FAMILY: Final = (
    "Müller", "O'Brien", "佐藤", "髙橋", "Иванова", "Щербаков", "Nuñez", "Åkesson", "van 't Hoff", "D’Angelo", "王", "Yılmaz",
)  # fmt: skip
COMPANIES: Final = (
    "GmbH & Co. KG",
    "株式会社",
    "ООО «Ромашка»",
    "S.à r.l.",
    "Ltd.",
    "\\ Söhne",
    '"Best" Inc.',
    "🍣 Bar",
)
PHRASES: Final = (
    "Handgemacht in Japan.", "日本製。", "Сделано с любовью ❤️", "<p>Fully <b>washable</b> &amp; dry</p>", "50 % Rabatt!",
    "Line one\nline two\r\nline three", "tab\there", "It's \"quoted\"", "back\\slash", "🏳️‍🌈🎉", "Preis: ¥1,200", "%s %(x)s {} $1",
)  # fmt: skip
CURRENCIES: Final = ("EUR", "EUR", "EUR", "USD", "JPY", "CHF")
COUNTRIES: Final = ("DE", "JP", "UA", "FR", "IE", "TR", "US")
BERLIN: Final = ZoneInfo("Europe/Berlin")
EPOCH: Final = datetime(2019, 1, 1, tzinfo=UTC)


def product_name(rng: Random) -> str:
    """One to three words, in any scripts."""
    return " ".join([rng.choice(THINGS), *rng.sample(QUALITIES, rng.randrange(3))])


def person_name(rng: Random) -> str:
    """A person, or sometimes a company."""
    if rng.random() < 0.2:
        return f"{rng.choice(FAMILY)} {rng.choice(COMPANIES)}"
    return f"{rng.choice(GIVEN)} {rng.choice(FAMILY)}"


def text(rng: Random) -> str | None:
    """No text, the empty text, a few sentences, or (rarely) more than a database page holds."""
    roll = rng.random()
    if roll < 0.05:
        return None
    if roll < 0.08:
        return ""
    if roll < 0.09:
        return " ".join(rng.choices(PHRASES, k=800))
    return " ".join(rng.choices(PHRASES, k=rng.randint(1, 5)))


def attributes(rng: Random) -> str | None:
    """A JSON document, or none."""
    if rng.random() < 0.3:
        return None
    sizes: dict[str, object] = {
        "w": rng.randint(1, 99),
        "tags": rng.sample(QUALITIES, 2),
        "fragile": rng.random() < 0.5,
    }
    return json.dumps(sizes, ensure_ascii=rng.random() < 0.5)


def money(rng: Random, currency: str, most: int = 500) -> Decimal:
    """An amount in whole cents, or in whole yen."""
    if currency == "JPY":
        return Decimal(rng.randint(1, most) * 100).quantize(Decimal("0.01"))
    return Decimal(rng.randint(1, most * 100)).scaleb(-2)


def phone(rng: Random) -> str | None:
    """A number in one of the ways people write it, or none."""
    digits = "".join(rng.choices("0123456789", k=9))
    forms = (f"+49 {digits[:3]} {digits[3:]}", f"0{digits[:2]}-{digits[2:6]}-{digits[6:]}", f"(+7) {digits}")
    return None if rng.random() < 0.1 else rng.choice(forms)


def past_instant(rng: Random) -> datetime:
    """A whole second of the last years, at noon in Berlin: never in the hour that summer time skips or repeats."""
    day = EPOCH + timedelta(days=rng.randrange(2000))
    return datetime(day.year, day.month, day.day, 12, rng.randrange(60), rng.randrange(60), tzinfo=BERLIN).astimezone(
        UTC
    )


def future_day(rng: Random) -> date:
    """A day of the next years."""
    return date(2026, 1, 1) + timedelta(days=rng.randrange(1500))
