"""The blueprint: what all processes of a daemon agree on, whatever happens to the file meanwhile."""

from pathlib import Path

import msgspec
import pytest

from cdcd import blueprint, config, config_rules
from cdcd.blueprint import Blueprint, Role, draw
from cdcd.config import Config
from cdcd.errors import ConfigError

EXAMPLE = Path(config.__file__).parent.parent / "config" / "cdcd.example.toml"


@pytest.fixture
def loaded() -> Config:
    return config_rules.load(EXAMPLE)


def test_every_system_gets_its_loops(loaded: Config):
    drawn = draw(loaded, "cdcd.toml")
    roles = [str(role) for role in drawn.roles()]
    assert roles == ["resolve", "deliver:erp", "deliver:shop", "capture:erp", "capture:shop"]
    assert all(blueprint.parse_role(role) in drawn.roles() for role in roles)
    assert drawn.systems["erp"].reference == "cdcd_postgres:adapter"


def test_a_worker_compiles_the_same_plan_without_any_adapter(loaded: Config):
    drawn = draw(loaded, "cdcd.toml")
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(drawn), type=Blueprint)
    assert received == drawn
    plan = received.plan()
    assert plan == drawn.plan()
    assert tuple(plan.tables("shop")) == received.systems["shop"].tables


def test_numbers_that_state_has_used_are_kept(loaded: Config):
    first = draw(loaded, "cdcd.toml").plan()
    reordered = msgspec.structs.replace(loaded, entities=dict(reversed(loaded.entities.items())))
    known = msgspec.structs.replace(draw(reordered, "cdcd.toml"), vocabulary=msgspec.msgpack.encode(first.vocabulary))
    numbers = {name: entity.number for name, entity in first.entities.items()}
    assert {name: entity.number for name, entity in known.plan().entities.items()} == numbers


def test_the_tables_of_an_entity_include_its_children(loaded: Config):
    tables = draw(loaded, "cdcd.toml").entity_tables["order"]
    assert ("shop", "orders") in tables
    assert ("shop", "order_items") in tables


def test_options_are_checked_before_anything_starts(loaded: Config):
    wrong = msgspec.structs.replace(
        loaded, systems={**loaded.systems, "erp": {"adapter": "postgres", "dns": "host=db"}}
    )
    with pytest.raises(ConfigError, match="did you mean 'dsn'"):
        draw(wrong, "cdcd.toml")


def test_a_role_that_is_none_is_refused():
    with pytest.raises(msgspec.ValidationError):
        blueprint.parse_role("replicate:erp")
    assert Role("resolve").file_name == "resolve"
