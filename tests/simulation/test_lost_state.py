"""The state directory is lost in the middle of work: what it says afterwards, and whether everything is in step but for that."""

from __future__ import annotations

import random
import shutil
import tomllib
from contextlib import closing

import pytest

from cdcd import blueprint, config_rules, conflicts
from cdcd import config as configuration
from cdcd.deliver import Deliverer
from cdcd.journal import Command
from cdcd.recovering import lost_state
from cdcd.resolve.keys import decode_key
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.testing.simulator import Simulation
from cdcd_memory import MemoryOptions
from cdcd_memory import adapter as memory_adapter
from golden.state_formats.line import SYSTEMS, TEXT, new_servers

SEEDS = range(12)


class Company:
    """Random work of both systems on products, customers and orders."""

    def __init__(self, seed, directory):
        self.chance = random.Random(seed)
        self.directory = StateDirectory(directory)
        self.servers = new_servers()
        for server in self.servers.values():
            server.prune = self.chance.random() < 0.5
        self.made = 0
        raw = tomllib.loads(TEXT)
        raw["systems"] = {name: {"adapter": "memory", "server": f"formats-{name}"} for name in SYSTEMS}
        self.config = configuration.convert(raw, configuration.Config, "lost.toml", "")
        config_rules.check(self.config, "lost.toml")
        self.line = self.start()

    def start(self):
        self.directory.path.mkdir(exist_ok=True)
        adapters = {name: (memory_adapter, MemoryOptions(server=server.name)) for name, server in self.servers.items()}
        return Simulation(self.config, adapters, self.directory.path, self.chance)

    def some(self, system, table):
        rows = list(self.servers[system].tables[table].rows.values())
        return self.chance.choice(rows) if rows else None

    def work(self, count):
        for _ in range(count):
            self.chance.choice([self.product, self.price, self.order, self.no_product, self.stock])()
            if self.chance.random() < 0.7:
                self.line.step()

    def product(self):
        self.made += 1
        row = {"code": f"P{self.made}", "name": "n", "price": "1.00", "stock": None}
        self.servers["erp"].transaction([("insert", "item", row)])

    def price(self):
        if row := self.some("erp", "item"):
            price = f"{self.chance.randrange(99)}.00"
            self.servers["erp"].transaction([("update", "item", {"id": row[0]}, {"price": price})])

    def stock(self):
        if row := self.some("shop", "products"):
            stock = {"stock": self.chance.randrange(99)}
            self.servers["shop"].transaction([("update", "products", {"id": row[0]}, stock)])

    def no_product(self):
        if row := self.some("erp", "item"):
            self.servers["erp"].transaction([("delete", "item", {"id": row[0]})])

    def order(self):
        self.made += 1
        shop = self.servers["shop"]
        shop.transaction([("insert", "customers", {"number": f"C{self.made}", "name": "c"})])
        customer = shop.tables["customers"].next_number - 1
        row = {"number": f"O{self.made}", "customer_id": customer, "status": "new", "total": "1.00"}
        shop.transaction([("insert", "orders", row)])

    def lose(self):
        self.line.close()
        shutil.rmtree(self.directory.path)

    def recover(self):
        drawn = blueprint.draw(self.config, "lost.toml")
        found = lost_state.survey(drawn)
        lost_state.take_over(found, self.directory, in_step=True)
        self.line = self.start()
        return found

    def settle(self):
        """What is parked is tried some times: what refers to a record that is listed stays parked."""
        for _ in range(5):
            self.line.retry_all()
            self.line.settle()

    def tell_progress(self):
        """As deliverers at rest do it every few seconds."""
        for stage in self.line._stages.values():
            if isinstance(stage, Deliverer):
                stage.tell_progress()

    def listed(self):
        with closing(State(self.directory.state)) as state:
            return [c for c in conflicts.listed(state.connection) if c.kind == "unmatched"]

    def accept_all(self):
        """A person wants everything everywhere that is listed."""
        named = [(c.entity, c.key, c.system, c.slot, c.seq) for c in self.listed()]
        self.line.command(Command("conflicts", {"accept": True, "conflicts": named}), [])
        self.settle()

    def held(self, system, table, *columns):
        stored = self.servers[system].tables[table]
        return {tuple(row[stored.index[name]] for name in columns) for row in stored.rows.values()}


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_is_in_step_but_for_what_is_listed(seed, tmp_path):
    company = Company(seed, tmp_path / "state")
    company.work(20)
    company.settle()
    company.tell_progress()
    company.work(40)
    company.lose()
    before = company.made
    for _ in range(15):
        company.chance.choice([company.product, company.price, company.order, company.no_product, company.stock])()
    company.recover()
    company.work(10)
    company.settle()
    made = {f"{letter}{number}" for letter in "CO" for number in range(before + 1, company.made + 1)}
    listed = {decode_key(c.key, 1)[0] for c in company.listed()}
    assert not made & listed, "what was made while the state was lost is no question"
    company.accept_all()
    assert company.line.parked() == 0
    company.line.close()
    assert company.listed() == []
    erp = company.held("erp", "item", "code", "name", "price", "stock")
    assert erp == company.held("shop", "products", "sku", "title", "price", "stock")
    assert company.held("erp", "partner", "no", "name") == company.held("shop", "customers", "number", "name")
    assert company.held("erp", "sales_order", "no", "total") == company.held("shop", "orders", "number", "total")
