"""Adapters by name: found, or explained."""

import sys
from pathlib import Path

import pytest

from cdcd import plugins
from cdcd.config import Config, Daemon
from cdcd.errors import ConfigError


def config(**system: object) -> Config:
    return Config(Daemon("acme", "/state"), {"erp": system})


def test_an_adapter_is_found_by_its_entry_point():
    found = plugins.find(config(adapter="memory"), "cdcd.toml", "erp")
    assert found.reference == "cdcd_memory:adapter"
    assert found.adapter.table_name("item") == "item"


def test_an_unknown_adapter_is_answered_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        plugins.find(config(adapter="postgress"), "cdcd.toml", "erp")
    assert str(caught.value).startswith("[adapter-unknown] cdcd.toml: systems.erp.adapter: unknown adapter 'postgress'")
    assert caught.value.remedy == "did you mean 'postgres'?"
    with pytest.raises(ConfigError) as caught:
        plugins.find(config(adapter="oracle"), "cdcd.toml", "erp")
    assert "memory, mysql, postgres" in caught.value.remedy


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An adapter package whose driver is missing."""
    (tmp_path / "cdcd_broken.py").write_text("import no_such_driver\nadapter = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("cdcd_broken", None)
    return "cdcd_broken:adapter"


def test_a_missing_driver_names_the_command_that_installs_it(broken: str):
    with pytest.raises(ConfigError, match="needs the Python package 'no_such_driver'") as caught:
        plugins.load(broken, extra="mysql")
    assert caught.value.remedy == "pip install 'cdcd[mysql]'"


def test_a_missing_driver_of_somebody_elses_adapter_names_the_package(broken: str):
    with pytest.raises(ConfigError) as caught:
        plugins.load(broken, extra="oracle", distribution="cdcd-oracle")
    assert caught.value.remedy == "pip install no_such_driver"


def test_an_adapter_whose_own_package_is_gone_is_to_be_reinstalled():
    with pytest.raises(ConfigError) as caught:
        plugins.load("no_such_adapter:adapter", extra="oracle", distribution="cdcd-oracle")
    assert caught.value.remedy == "reinstall cdcd-oracle"


def test_options_are_checked_by_the_adapters_struct():
    adapter = plugins.find(config(adapter="memory"), "cdcd.toml", "erp").adapter
    with pytest.raises(ConfigError) as caught:
        plugins.options(config(adapter="memory", srver="x"), "cdcd.toml", "erp", adapter)
    assert "cdcd.toml: systems.erp: unknown key 'srver'; did you mean 'server'?" in str(caught.value)
