"""Names of tables and columns, taken apart into words and compared. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SYNONYMS: Final = (  # the plainest word first: it names what both are
    ("customer", "partner", "party", "client", "user", "account", "debtor", "buyer"),
    ("product", "item", "article", "good", "post"),
    ("sku", "upc", "ean", "code", "number", "no", "reference", "ref"),
    ("order", "sale"),
    ("line", "item", "position", "detail"),
    ("name", "title", "label"),
    ("quantity", "qty", "stock", "hand", "amount", "count", "num"),
    ("price", "amount", "cost"),
    ("total", "amount", "sum"),
    ("description", "body", "text", "content"),
    ("note", "remark", "comment"),
    ("status", "state"),
    ("email", "mail"),
    ("phone", "telephone", "tel", "mobile"),
    ("street", "line", "address"),
    ("postcode", "zip", "postal"),
    ("date", "time", "at", "placed", "created", "ordered"),
    ("active", "live", "public", "enabled", "status", "state", "blocked"),
    ("currency", "curr"),
    ("supplier", "vendor", "partner"),
    ("category", "group", "segment"),
    ("tracking", "shipment"),
)
_UNITS: Final = frozenset({"code", "cents", "cent", "bp", "flag", "value"})
_WEAK_WORDS: Final = frozenset({"at", "on", "no", "by", "to", "in", "number", "unit", "code", "until", "from", "date"})
_EMPTY_WORDS: Final = frozenset({"id", "tbl", "table", "the", "of", "is", "has", "value", "data", "field"})


@lru_cache(maxsize=20_000)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, lower case, singular: "public.SalesOrder_lines" is public, sale, order, line."""
    return tuple(_singular(word.lower()) for word in _WORD.findall(name))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def without_prefix(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The words of every name, without a first word that most of them share, as in wp_posts, wp_users."""
    listed = {name: words(name.rpartition(".")[2]) for name in names}
    firsts = [found[0] for found in listed.values() if len(found) > 1]
    shared = {word for word in set(firsts) if len(listed) > 3 and firsts.count(word) > 0.8 * len(listed)}
    return {name: found[1:] if len(found) > 1 and found[0] in shared else found for name, found in listed.items()}


def similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two names are by their words, 0 to 1. Words that say the same count nearly as much as equal ones.

    The last word says what a thing is, the ones before it where it belongs: product_product is much like product.
    """
    first, second = _telling(one), _telling(other)
    if not first or not second:
        return 0.0
    if first == second:
        return 1.0
    best = [max(_alike(word, candidate) for candidate in second) for word in first]
    back = [max(_alike(word, candidate) for candidate in first) for word in second]
    covered = (sum(best) / len(best) + sum(back) / len(back)) / 2
    heads = _alike(_head(first), _head(second))
    return round(min(0.99, 0.6 * covered + 0.4 * heads), 3)


def _head(parts: Sequence[str]) -> str:
    """The last word that is not just a unit."""
    return next((word for word in reversed(parts) if word not in _UNITS), parts[-1])


def _telling(parts: Sequence[str]) -> tuple[str, ...]:
    told = [word for word in parts if word not in _EMPTY_WORDS]
    return tuple(dict.fromkeys(told)) or tuple(parts)


@lru_cache(maxsize=50_000)
def _alike(one: str, other: str) -> float:
    if one == other:
        return 1.0
    if any(one in group and other in group for group in _SYNONYMS):
        return 0.8
    short, long = sorted((one, other), key=len)
    if len(short) >= 3 and long.startswith(short):
        return 0.7
    ratio = difflib.SequenceMatcher(None, one, other).ratio()
    return ratio if ratio > 0.75 else 0.0


def common_name(one: str, other: str) -> str:
    """A name for what both names stand for: the words they share, the plain word for both, else the plainer of the two."""
    listed = [tuple(word.lower() for word in _WORD.findall(name)) for name in (one, other)]
    first, second = (_telling(parts) for parts in listed)
    if _EMPTY_WORDS.issuperset(first) != _EMPTY_WORDS.issuperset(second):
        return "_".join(second if _EMPTY_WORDS.issuperset(first) else first)
    there = {_singular(word) for word in second}
    shared = [word for word in first if _singular(word) in there]
    if shared and not _WEAK_WORDS.issuperset(shared):
        return "_".join(shared)
    canonical = _canonical(_singular(_head(first)), _singular(_head(second)))
    if canonical is not None and (len(first) == len(second) == 1 or not shared):
        return canonical
    plainer = second if _weight(second) < _weight(first) else first
    return "_".join(plainer)


def _weight(parts: Sequence[str]) -> tuple[int, int]:
    return len(parts), sum(map(len, parts))


def _canonical(one: str, other: str) -> str | None:
    found = [group[0] for group in _SYNONYMS if one in group and other in group and one != other]
    return found[0] if len(found) == 1 else None
