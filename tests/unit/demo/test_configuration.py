"""The shipped demo configuration, and the demo's own words written down beside it, say the same."""

import re

import pytest

from cdcd import config_rules
from demo import erp, shop
from demo.records import BY_STATUS, KEY_FIELDS, OWNERS
from demo.stage import CONFIG, fill_configuration

KINDS_CONFIGURED = {"product": "product", "customer": "customer", "contact": "contact", "order": "order"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "cdcd.toml"
    path.write_text(fill_configuration(state_dir="/tmp/state", listen_port=1, erp_port=2, shop_port=3))
    return config_rules.load(path)


def test_the_filled_configuration_loads(loaded):
    assert loaded.systems["shop"]["port"] == 3
    assert loaded.daemon.listen == "127.0.0.1:1"


@pytest.mark.parametrize("kind", KINDS_CONFIGURED)
def test_each_entity_has_the_fields_and_owners_that_the_verdict_checks(loaded, kind):
    entity = loaded.entities[kind]
    owners = {name: field.owner or BY_STATUS for name, field in entity.fields.items() if name not in entity.key}
    assert tuple(entity.key) == KEY_FIELDS[kind]
    assert owners == OWNERS[kind]


def test_order_lines_have_the_fields_that_the_verdict_checks(loaded):
    lines = loaded.entities["order"].children["lines"]
    assert ("number", *lines.key) == KEY_FIELDS["order_line"]
    assert {name for name in lines.fields if name not in lines.key} == set(OWNERS["order_line"])


@pytest.mark.parametrize("kind", KINDS_CONFIGURED)
@pytest.mark.parametrize("system", ["erp", "shop"])
def test_every_field_is_bound_on_both_sides(loaded, kind, system):
    entity = loaded.entities[kind]
    assert entity.bindings[system].columns.keys() == entity.fields.keys()


@pytest.mark.parametrize(("system", "side"), [("erp", erp), ("shop", shop)])
@pytest.mark.parametrize("kind", OWNERS)
def test_every_field_is_written_and_read_by_the_demo_itself(system, side, kind):
    fields = {*KEY_FIELDS[kind], *OWNERS[kind]}
    assert set(re.findall(r"%\((\w+)\)s", side.INSERTS[kind])) == fields
    assert side.ASSIGNMENTS[kind].keys() <= OWNERS[kind].keys()
    words = set(re.findall(r"\w+", side.SELECTS[kind]))
    assert fields <= words


@pytest.mark.parametrize("name", ["erp.sql", "shop.sql"])
def test_both_schemas_generate_their_ids_themselves(name):
    text = (CONFIG / name).read_text("utf-8")
    tables = text.count("CREATE TABLE")
    assert text.count("GENERATED ALWAYS AS IDENTITY") + text.count("AUTO_INCREMENT PRIMARY KEY") == tables == 5
