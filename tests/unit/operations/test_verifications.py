"""`verify`: what is written down, listed, changed and put right."""

from contextlib import closing

import pytest
from msgspec import structs

from cdcd.errors import Unavailable
from cdcd.journal import Kind, decode_command
from cdcd.operations.desk import Nobody, RequestError
from cdcd.resolve.keys import encode_key
from cdcd.verifying.results import Difference, Results, Run, path_in


def results(bench) -> Results:
    return Results(path_in(bench.desk.directory.path))


def test_everything_is_verified_unless_it_is_named(bench):
    asked = bench.do("verify").result
    assert asked == {"run": 1, "parts": [["product", "erp"], ["product", "feed"]]}
    assert bench.do("verify", entities=["product"], systems=["feed"]).result["parts"] == [["product", "feed"]]
    key = encode_key(["a"])
    assert bench.do("verify", entities=["product"], keys=[key.hex()]).ok
    with closing(results(bench)) as kept:
        assert [run.asked.keys for run in kept.runs()] == [(), (), (key,)]
        assert [run.asked.is_whole for run in kept.runs()] == [True, True, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"entities": ["prodct"]}, "unknown entity 'prodct'"),
        ({"systems": ["shop"]}, "unknown system 'shop'"),
        ({"keys": ["a161"]}, "single records are those of one entity"),
        ({"entities": ["product"], "where": "x = 1"}, "a condition is about the rows of one system"),
    ],
)
def test_what_is_not_there_is_refused(bench, arguments, said):
    with pytest.raises(RequestError, match=said):
        bench.do("verify", **arguments)
    assert not path_in(bench.desk.directory.path).exists()


def test_without_a_daemon_nothing_could_be_said(bench):
    bench.desk = structs.replace(bench.desk, crew=Nobody())
    with pytest.raises(Unavailable, match="not running"):
        bench.do("verify")
    assert bench.do("verifications").result == {"runs": [], "standings": [], "differences": []}


def test_a_run_is_paused_resumed_and_cancelled(bench):
    with pytest.raises(RequestError, match="nothing is being verified"):
        bench.do("verify-change", change="pause")
    bench.do("verify")
    assert bench.do("verify-change", change="pause").result["runs"] == [1]
    assert bench.do("verifications").result["runs"][0]["state"] == "paused"
    assert bench.do("verify-change", change="resume", entities=["product"]).result["runs"] == [1]
    assert bench.do("verifications", run=1).result["runs"][0]["state"] == "waiting"
    assert bench.do("verify-change", change="cancel").result["runs"] == [1]
    with pytest.raises(RequestError, match="nothing is being verified"):
        bench.do("verify-change", change="cancel")
    with pytest.raises(RequestError, match="there is no verification 9"):
        bench.do("verifications", run=9)


@pytest.fixture
def drifted(bench) -> Run:
    """A run that has found a record missing, one that differs in what its system owns, and a row that nobody knows."""
    bench.do("verify", systems=["erp"])
    with closing(results(bench)) as kept:
        (run,) = kept.runs()
        row_key = structs.replace(run.comparisons[0], state="done", row_key=("id",), missing=1, different=1, surplus=1)
        found = [
            Difference("missing", encode_key(["a"]), b""),
            Difference("different", encode_key(["b"]), encode_key([2]), ("sku",), mend="read"),
            Difference("surplus", b"", encode_key([3]), mend="read"),
        ]
        kept.keep(run.id, 0, row_key, found, whole=True)
    return run


def test_differences_are_listed_by_key(bench, drifted):
    listed = bench.do("verifications", run=drifted.id, limit=2).result["differences"]
    assert [(one["kind"], one["key"], one["fields"]) for one in listed] == [
        ("missing", ["a"], ()),
        ("different", ["b"], ("sku",)),
    ]


def test_what_is_missing_is_told_and_what_the_system_owns_is_read(bench, drifted):
    planned = bench.do("verify-repair", run=drifted.id, dry_run=True).result
    assert planned["told"] == [{"system": "erp", "entity": "product", "records": 1}]
    assert planned["read"] == [{"system": "erp", "table": "item", "rows": 2}]
    assert bench.journal.last_seq() == 0
    bench.do("verify-repair", run=drifted.id, dry_run=False)
    commands = [decode_command(entry.note) for entry in bench.journal.read(0) if entry.kind == Kind.COMMAND]
    number = bench.desk.blueprint.plan().entities["product"].number
    assert [(command.name, command.arguments) for command in commands] == [
        ("retry", {"system": "erp", "records": [[number, encode_key(["a"])]]}),
        ("resync", {"entity": "product", "systems": ["erp"], "filtered": True}),
    ]
    (copy,) = bench.journal.backfills("erp")
    assert (copy.filter.columns, copy.filter.keys) == (("id",), ((2,), (3,)))
    with pytest.raises(RequestError, match="is being read already"):
        bench.do("verify-repair", run=drifted.id)
