"""Totals over the rows of a part, kept exactly while rows come, change and go: a sum of stock moves, a count of lines.

For every row that counts its *share* is kept: what it hangs on, and its amounts. So a changed row changes totals by the
difference to its share, whatever the log says of its old values, and nothing is ever added up anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final

import msgspec

from cdcd.state import State
from cdcd.values import ValueRefused

EXACT: Final = Context(prec=400, traps=[Inexact, InvalidOperation])
_encode: Final = msgspec.msgpack.Encoder().encode


class Share(msgspec.Struct, frozen=True, array_like=True):
    """What one row adds to the total of `link`. An amount is a decimal's text, None for NULL, "" for none that can be added."""

    link: str
    amounts: tuple[str | None, ...]


class _Total(msgspec.Struct, array_like=True):
    """The total of one link value: how many rows, the sum of each column, and how many of its amounts cannot be added."""

    count: int
    sums: list[str]
    unusable: list[int]


_decode_amounts: Final = msgspec.msgpack.Decoder(tuple[str | None, ...]).decode
_decode_total: Final = msgspec.msgpack.Decoder(_Total).decode


class Totals:
    """Shares and totals in the state database, by the number of the total (of one part of one binding)."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection

    def share(self, number: int, row_id: bytes) -> Share | None:
        """What a row adds at present."""
        found = self._connection.execute(
            "SELECT link, amounts FROM gathered_shares WHERE total=? AND id=?", (number, row_id)
        ).fetchone()
        return None if found is None else Share(found[0], _decode_amounts(found[1]))

    def change(self, number: int, row_id: bytes, old: Share | None, new: Share | None) -> None:
        """Let a row add `new` from now on, where it added `old`."""
        if old is not None:
            self._add(number, old, -1)
        if new is None:
            self._connection.execute("DELETE FROM gathered_shares WHERE total=? AND id=?", (number, row_id))
            return
        self._add(number, new, 1)
        self._connection.execute(
            "INSERT OR REPLACE INTO gathered_shares VALUES (?,?,?,?)", (number, row_id, new.link, _encode(new.amounts))
        )

    def _add(self, number: int, share: Share, sign: int) -> None:
        total = self._get(number, share.link) or _Total(0, ["0"] * len(share.amounts), [0] * len(share.amounts))
        total.count += sign
        for column, amount in enumerate(share.amounts):
            if amount == "":
                total.unusable[column] += sign
            elif amount is not None:
                added = EXACT.add(Decimal(total.sums[column]), sign * Decimal(amount))
                total.sums[column] = format(added, "f")
        at = (number, share.link)
        if total.count:
            self._connection.execute("INSERT OR REPLACE INTO gathered_totals VALUES (?,?,?)", (*at, _encode(total)))
        else:
            self._connection.execute("DELETE FROM gathered_totals WHERE total=? AND link=?", at)

    def _get(self, number: int, link: str) -> _Total | None:
        found = self._connection.execute(
            "SELECT body FROM gathered_totals WHERE total=? AND link=?", (number, link)
        ).fetchone()
        return None if found is None else _decode_total(found[0])

    def read(self, number: int, link: str, column: int | None) -> tuple[int, Decimal]:
        """How many rows there are, and the sum of one of the columns. Raises ValueRefused where it has none."""
        total = self._get(number, link)
        if total is None:
            return 0, Decimal(0)
        if column is None:
            return total.count, Decimal(0)
        if total.unusable[column]:
            raise ValueRefused(
                "rows that cannot be added up", code="sum-not-finite", cause="an amount is NaN or infinite"
            )
        return total.count, Decimal(total.sums[column])

    def clear(self, first: int, last: int) -> None:
        """Forget the totals with these numbers, `last` not among them."""
        for table in ("gathered_shares", "gathered_totals"):
            self._connection.execute(f"DELETE FROM {table} WHERE total>=? AND total<?", (first, last))


def share_of(link: str | None, values: Sequence[Any]) -> Share | None:
    """What a row adds that hangs on `link`: nothing, where that is NULL."""
    return None if link is None else Share(link, tuple([_amount(value) for value in values]))


def _amount(value: Any) -> str | None:
    """A number as a decimal's text: of a float the shortest that reads back the same."""
    if value is None:
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        return ""
    return format(number, "f") if number.is_finite() else ""
