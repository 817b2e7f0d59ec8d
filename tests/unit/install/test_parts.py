"""What belongs on a machine, as values."""

import tomllib

import pytest

from cdcd.errors import ConfigError
from cdcd.install import ADMINISTRATOR, PACKAGE, Installation
from cdcd.install.parts import Directory, File
from cdcd.install.program import shipped

FILES = shipped()


def of(installation: Installation) -> dict[str, Directory | File]:
    return {part.path: part for part in installation.parts() if isinstance(part, Directory | File)}


def test_the_units_run_the_program_that_was_called():
    placed = of(Installation("/srv/cdcd/bin/cdcd", FILES))
    for name in ("cdcd.service", "cdcd@.service"):
        unit = placed[f"/etc/systemd/system/{name}"]
        assert isinstance(unit, File)
        assert b"\nExecStart=/srv/cdcd/bin/cdcd run " in unit.content
        assert b"\nExecReload=/srv/cdcd/bin/cdcd reload " in unit.content
        assert b"/opt/cdcd/bin" not in unit.content


def test_secrets_are_roots_alone_and_the_configuration_is_for_the_service_to_read():
    placed = of(Installation("/opt/cdcd/bin/cdcd", FILES))
    assert placed["/etc/cdcd"] == Directory("/etc/cdcd", 0o750, "root", "cdcd")
    assert placed["/etc/cdcd/credentials"] == Directory("/etc/cdcd/credentials", 0o700)
    assert placed["/var/lib/cdcd"] == Directory("/var/lib/cdcd", 0o700, "cdcd", "cdcd")


def test_alert_rules_dashboard_examples_and_docs_come_along():
    placed = of(Installation("/opt/cdcd/bin/cdcd", FILES))
    for name in ("config/cdcd.example.toml", "docs/operating.md"):
        assert f"/usr/local/share/cdcd/{name}" in placed


@pytest.mark.parametrize(("instance", "state"), [("", "/var/lib/cdcd"), ("acme-2", "/var/lib/cdcd-acme-2")])
def test_the_example_fits_the_service_and_does_not_take_the_place_of_a_configuration(instance: str, state: str):
    installation = Installation("/opt/cdcd/bin/cdcd", FILES, instance=instance)
    example = installation.example()
    assert example.path == f"{installation.config}.example"
    assert example.is_kept
    config = tomllib.loads(example.content.decode())
    assert config["daemon"]["state-dir"] == state
    assert config["daemon"]["name"] == ("acme_2" if instance else "acme")
    assert config["systems"]["erp"]["password"] == {"credential": "erp-password"}
    assert b"chmod" not in example.content


def test_a_package_brings_its_files_itself():
    machine = of(Installation("/usr/lib/cdcd/bin/cdcd", FILES, PACKAGE))
    assert list(machine) == ["/etc/cdcd", "/etc/cdcd/credentials", "/var/lib/cdcd", "/etc/cdcd/cdcd.toml.example"]
    files = {file.path for file in Installation("/usr/lib/cdcd/bin/cdcd", FILES, PACKAGE).packaged()}
    assert "/usr/lib/systemd/system/cdcd@.service" in files
    assert not any(path.startswith(("/etc", "/usr/local")) for path in files)


def test_what_comes_next_names_this_service():
    said = "\n".join(Installation("/opt/cdcd/bin/cdcd", FILES, ADMINISTRATOR, "acme").next_steps())
    for wanted in ("/etc/cdcd/credentials-acme/", "/etc/cdcd/acme.toml", "systemctl enable --now cdcd@acme"):
        assert wanted in said


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-a", "a" * 32, "a/b"])
def test_an_instance_has_a_name_that_fits_into_file_names(name: str):
    with pytest.raises(ConfigError, match="cannot be called"):
        Installation("/opt/cdcd/bin/cdcd", FILES, instance=name)
