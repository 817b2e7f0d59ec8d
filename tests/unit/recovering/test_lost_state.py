"""A state directory that is lost: what the systems still know, and a new one that begins where that ends."""

from __future__ import annotations

import tomllib
from contextlib import closing

import msgspec
import pytest

from cdcd import blueprint, config_rules, plugins
from cdcd import config as configuration
from cdcd.adapter import Identity
from cdcd.errors import NeedsOperator
from cdcd.journal import Command, Journal
from cdcd.model import Batch, ColumnShape
from cdcd.recovering import lost_state, recovery
from cdcd.recovering.lost_state import FoundSource, FoundTarget
from cdcd.recovering.recovery import Adoption, Progress
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd_memory import MemoryServer
from unit.small_line import HEAD

TEXT = """
[systems.erp]
adapter = "memory"
server = "lost-erp"
[systems.shop]
adapter = "memory"
server = "lost-shop"
[entities.product]
key = ["sku"]
fields = { sku = { type = "text", owner = "erp" }, name = { type = "text", owner = "erp" } }
in.erp = { table = "item", columns = { sku = "code", name = "name" } }
in.shop = { table = "products", columns = { sku = "sku", name = "title" } }
"""


@pytest.fixture
def servers():
    made = {name: MemoryServer(f"lost-{name}", prune=name == "erp") for name in ("erp", "shop")}
    for server, table, columns in ((made["erp"], "item", "code name"), (made["shop"], "products", "sku title")):
        shapes = [ColumnShape(name, "text") for name in columns.split()]
        server.create_table(table, shapes, (shapes[0].name,))
    return made


@pytest.fixture
def drawn(servers):
    raw = tomllib.loads(HEAD + TEXT)
    config = configuration.convert(raw, configuration.Config, "test.toml", "")
    config_rules.check(config, "test.toml")
    return blueprint.draw(config, "test.toml")


def write(server, table, number):
    first, second = (column.name for column in server.tables[table].shape.columns)
    server.transaction([("insert", table, {first: f"S{number}", second: "n"})])


def delivered(drawn, system, through, progress=None, lineage="lost"):
    """What a daemon with another state directory has left in a target."""
    adapter = plugins.find(drawn.config, "test.toml", system).adapter
    options = plugins.options(drawn.config, "test.toml", system, adapter)
    with closing(adapter.open_target(Identity("test", system, lineage), options)) as target:
        target.open()
        text = "" if progress is None else msgspec.json.encode(progress).decode()
        target.apply([], Batch(0, through, text))


def read_on(drawn, system):
    """What a daemon has read and confirmed of a log."""
    adapter = plugins.find(drawn.config, "test.toml", system).adapter
    options = plugins.options(drawn.config, "test.toml", system, adapter)
    with closing(adapter.open_source(Identity("test", system, "lost"), options, [])) as source:
        position = source.start(None)
        source.confirm(position)
    return position


def reaches(found):
    return {source.system: (source.reach, source.position) for source in found.sources}


def test_logs_are_read_from_where_the_target_stood_that_was_the_furthest_behind(drawn, servers):
    for number in range(4):
        write(servers["shop"], "products", number)
    delivered(drawn, "erp", 5, Progress(8, 7, {"shop": "lost-shop:3"}))
    delivered(drawn, "shop", 9, Progress(6, 5, {"shop": "lost-shop:2"}))
    found = lost_state.survey(drawn)
    assert reaches(found)["shop"] == ("whole", "lost-shop:2")
    assert found.targets == (FoundTarget("erp", "lost", 1, 5, 7, True), FoundTarget("shop", "lost", 1, 9, 5, True))
    assert (found.unit, found.lineages, found.complete) == (9, ["lost"], ["shop"])


def test_a_log_that_was_let_go_further_is_read_from_where_the_server_kept_it(drawn, servers):
    for number in range(3):
        write(servers["erp"], "item", number)
    kept = read_on(drawn, "erp")
    delivered(drawn, "erp", 5, Progress(8, 7, {"erp": "lost-erp:1", "shop": "lost-shop:0"}))
    delivered(drawn, "shop", 9, Progress(8, 7, {"erp": "lost-erp:1", "shop": "lost-shop:0"}))
    found = lost_state.survey(drawn)
    assert reaches(found) == {"erp": ("part", kept), "shop": ("whole", "lost-shop:0")}
    assert "does not hold what came after" in found.sources[0].why


def test_without_a_word_of_every_target_no_log_is_believed_to_show_all(drawn, servers):
    delivered(drawn, "erp", 5, Progress(8, 7, {"erp": "lost-erp:0", "shop": "lost-shop:0"}))
    delivered(drawn, "shop", 9)
    assert reaches(lost_state.survey(drawn)) == {"erp": ("none", None), "shop": ("none", None)}


def test_systems_that_know_nobody_need_no_recovery(drawn, servers):
    with pytest.raises(NeedsOperator) as caught:
        lost_state.survey(drawn)
    assert caught.value.code == "nothing-to-recover"


def test_the_new_state_begins_where_the_lost_one_ended(drawn, servers, tmp_path):
    delivered(drawn, "erp", 5, Progress(8, 7, {"shop": "lost-shop:0"}))
    found = lost_state.survey(drawn)
    directory = StateDirectory(tmp_path / "state")
    for _ in range(2):  # a crash before the first start leaves what can be done again
        lost_state.take_over(found, directory, in_step=True)
    with closing(Journal(directory.journal)) as journal, closing(State(directory.state)) as state:
        assert journal.commands_after(0)[-1] == Command("recover", {"unit": 5, "complete": ["shop"], "in_step": True})
        assert journal.stand()[1] == {"shop": "lost-shop:0"}
        assert recovery.adopted_lineages(journal) == ["lost"]
        assert recovery.read(journal, recovery.adopted("erp"), Adoption) == Adoption("lost", 5)
        assert recovery.read(journal, recovery.adopted("shop"), Adoption) is None
        assert state.lineage != "lost"
    assert found.sources == (FoundSource("erp", "none", None, "no target says where it was"), found.sources[1])


def test_state_that_is_there_is_never_given_up(drawn, servers, tmp_path):
    directory = StateDirectory(tmp_path)
    lost_state.refuse_state(directory)
    with closing(Journal(directory.journal)) as journal:
        journal.command(Command("resync", {"entity": "product"}))
    with pytest.raises(NeedsOperator) as caught:
        lost_state.refuse_state(directory)
    assert caught.value.code == "state-in-use"
