"""What a source writes into the log for itself."""

import pytest

from cdcd.errors import DecodeError
from cdcd.model import Op
from cdcd_postgres.names import TableName
from cdcd_postgres.notices import read_notice


def test_a_notice_is_for_the_source_with_that_slot():
    assert read_notice('rows-lost my_slot public."odd table"', "my_slot") == (
        Op.ROWS_LOST,
        TableName("public", "odd table"),
    )
    assert read_notice("table-gone my_slot public.sale", "my_slot") == (Op.TABLE_GONE, TableName("public", "sale"))
    with pytest.raises(DecodeError):
        read_notice("rows-lost my_slot a.b.c", "my_slot")
    for content in ("rows-lost other public.sale", "0123456789abcdef", "", "rows-lost"):
        assert read_notice(content, "my_slot") is None
