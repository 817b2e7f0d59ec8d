"""The operator's verbs at a desk: a journal, a state and workers that only note what they are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd import operations
from cdcd.blueprint import Blueprint, Role, SystemBlueprint
from cdcd.control import Answer, Ready, Request
from cdcd.journal import Journal
from cdcd.operations.desk import Desk
from cdcd.report import WorkerState
from cdcd.state import State
from unit.small_line import load

CONFIG = """
[entities.product]
key = ["sku"]
create = ["feed"]
[entities.product.fields]
sku = { type = "text", owner = "feed" }
[entities.product.in.erp]
table = "item"
columns = { sku = "code" }
[entities.product.in.feed]
table = "product"
columns = { sku = "sku" }
[[replicate]]
from = "erp"
to = "feed"
tables = ["move"]
"""


class StandInCrew:
    """What verbs see of the workers."""

    def __init__(self) -> None:
        self.states: dict[Role, WorkerState] = {}
        self.restarts: list[Role] = []
        self.rung: set[str] = set()

    def state(self, role: Role) -> WorkerState:
        return self.states.get(role, "running")

    def restart(self, role: Role) -> None:
        self.restarts.append(role)

    def ring(self, role: Role) -> None:
        self.rung.add(str(role))


class Bench:
    def __init__(self, directory: Path) -> None:
        config = load(CONFIG, ("erp", "feed"))
        systems = {
            "erp": SystemBlueprint("memory", "cdcd_memory:adapter", (), is_source=True, is_target=True),
            "feed": SystemBlueprint("memory", "cdcd_memory:adapter", (), is_source=True, is_target=False),
        }
        tables = {"product": (("erp", "item"), ("feed", "product")), "erp:main.move": (("erp", "main.move"),)}
        names = {"erp": {"item": "item", "move": "main.move"}, "feed": {"product": "product", "move": "move"}}
        blueprint = Blueprint("cdcd.toml", config, systems, names, tables)
        self.journal = Journal(directory / "journal.db", durable=False)
        self.state = State(directory / "state.db", durable=False)
        self.crew = StandInCrew()
        self.desk = Desk(blueprint, self.journal, self.state, self.crew)

    def handle(self, command: str, **arguments: object) -> Answer | Ready:
        return operations.handle(self.desk, Request(command, arguments))

    def do(self, command: str, **arguments: object) -> Answer:
        answer = self.handle(command, **arguments)
        assert isinstance(answer, Answer)
        return answer


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()
    made.state.close()
