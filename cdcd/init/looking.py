"""Reads what a proposal is made from: the catalog, and a bounded sample of every table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from cdcd.errors import CdcdError
from cdcd.init.picture import SystemPicture, TablePicture
from cdcd.model import CHECKPOINT_TABLE, Row
from cdcd.reader import Reader, TableFacts

PROBE_ROWS: Final = 20
LONG_VALUE: Final = 2_000
"""Columns whose values are longer on average are looked at in the probe alone."""
FETCH_KEYS_MAX: Final = 500
_OUR_TABLES: Final = ("cdcd_barrier", "cdcd_xref", CHECKPOINT_TABLE)
_log: Final = logging.getLogger(__name__)


def look(name: str, reader: Reader, sample_rows: int, progress: Callable[[str], None]) -> SystemPicture:
    """Look at every table of a system. A table that cannot be read is left out, and logged."""
    tables = []
    for facts in reader.catalog():
        if facts.table.rpartition(".")[2] in _OUR_TABLES:
            continue
        progress(facts.table)
        try:
            tables.append(_picture(reader, facts, sample_rows))
        except CdcdError as error:
            _log.warning("left out system=%s table=%s code=%s", name, facts.table, error.code)

    def fetch(table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]) -> list[Row]:
        return reader.read_rows(table, columns, key, keys[:FETCH_KEYS_MAX])

    return SystemPicture(name, tables, fetch)


def _picture(reader: Reader, facts: TableFacts, sample_rows: int) -> TablePicture:
    """A few rows tell which columns are too long to sample many of."""
    left_out = {c.name: "bytes are not looked at" for c in facts.shape.columns if c.type.startswith("bytes")}
    left_out |= {c.name: "computed by the server" for c in facts.shape.columns if c.generated}
    names = [column.name for column in facts.shape.columns if column.name not in left_out]
    probe = reader.sample(facts.table, names, PROBE_ROWS + 1) if names else []
    if len(probe) <= PROBE_ROWS:
        return TablePicture(facts, names, probe, complete=True, left_out=left_out)
    long = {name for at, name in enumerate(names) if _size([row[at] for row in probe]) > LONG_VALUE}
    left_out |= dict.fromkeys(long, "its values are long: matched by name only")
    names = [name for name in names if name not in long]
    rows = reader.sample(facts.table, names, sample_rows, spread=True)
    return TablePicture(facts, names, rows, complete=len(rows) < sample_rows, left_out=left_out)


def _size(values: Sequence[Any]) -> float:
    texts = [len(value) for value in values if isinstance(value, str)]
    return sum(texts) / len(texts) if texts else 0.0
