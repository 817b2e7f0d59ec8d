"""What verbs are asked for, and is not there."""

import pytest

from cdcd.operations import RequestError
from unit.operations.conftest import Bench


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("pause", {"name": "epr"}, "did you mean 'erp'?"),
        ("pause", {"name": "feed"}, "known: erp"),
        ("pause", {}, "known: erp"),
        ("resync", {"entity": "products"}, "did you mean 'product'?"),
        ("rewind", {"system": "erp", "since_us": "yesterday"}, "give --to"),
        ("rewind", {"system": "erp", "since_us": 2**62}, "give --to"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_hint(
    bench: Bench, command: str, arguments: dict[str, object], said: str
):
    with pytest.raises(RequestError) as caught:
        bench.handle(command, **arguments)
    assert said in caught.value.remedy
    assert caught.value.exit_code == 2
    assert bench.journal.last_seq() == 0
