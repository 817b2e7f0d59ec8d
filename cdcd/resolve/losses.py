"""What a log says of rows that have gone without naming them: nobody can judge that, so what needs them can be read no further."""

from __future__ import annotations

from typing import Final

from cdcd.model import Op
from cdcd.resolve.suspension import CannotRead

UNNAMED_LOSSES: Final = {
    Op.TRUNCATE: ("truncated", "was truncated", "a TRUNCATE says nothing about rows, so ownership cannot be judged"),
    Op.ROWS_LOST: (
        "rows-lost",
        "lost rows that its log does not name",
        "a partition was dropped, truncated or exchanged",
    ),
    Op.TABLE_GONE: ("table-gone", "is not there any more", "it was dropped or renamed"),
}


def unnamed_loss(subject: str, source: str, table: str, op: Op) -> CannotRead:
    """Why a subject that needs a table's rows cannot be read on."""
    code, what, cause = UNNAMED_LOSSES[op]
    return CannotRead(
        subject,
        f"table {table} {what} in {source!r}",
        code=code,
        cause=cause,
        remedy=f"restore the table, or name the right one in the configuration; then 'cdcd resync {subject}' tells all"
        " its rows anew (rows that are not there by then count as deleted)",
    )
