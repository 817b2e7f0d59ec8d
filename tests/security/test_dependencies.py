"""The lock: it says what pyproject.toml says, knows every file by its hash, and nothing in it forbids what cdcd's licence allows."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.txt").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = ("postgres", "mysql", "dev")
ENTRY = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?P<rest>(?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)
AGAIN = "make lock writes requirements.txt anew"
ALLOWED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|LGPL|Zlib|0BSD|Unlicense|Public Domain)\b", re.IGNORECASE
)

SAID_ELSEWHERE = {"sqlcipher3": "zlib, in the LICENSE file of its sources"}
"""Packages whose metadata say nothing."""


def locked() -> dict[str, tuple[Version, str]]:
    return {m["name"]: (Version(m["version"]), m["rest"]) for m in ENTRY.finditer(LOCK)}


def wanted() -> list[Requirement]:
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    lines += PROJECT["build-system"]["requires"]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_the_lock_has_what_the_project_wants_in_a_version_that_it_wants(requirement: Requirement):
    found = locked().get(canonicalize_name(requirement.name))
    assert found is not None, AGAIN
    assert requirement.specifier.contains(found[0], prereleases=True), AGAIN


def test_every_package_is_known_by_the_hashes_of_its_files():
    assert len(locked()) == len(re.findall(r"^[^#\s][^\s]*==", LOCK, re.MULTILINE))
    assert [name for name, (_, rest) in locked().items() if "--hash=sha256:" not in rest] == []


def test_the_lock_names_no_index_and_no_address():
    assert "://" not in LOCK
    assert "--index-url" not in LOCK
    assert "--find-links" not in LOCK


def runtime_packages() -> set[str]:
    """cdcd's own needs and the drivers, with all that these need here."""
    project = PROJECT["project"]
    names = [
        *project["dependencies"],
        *project["optional-dependencies"]["postgres"],
        *project["optional-dependencies"]["mysql"],
    ]
    waiting, found = [Requirement(line) for line in names], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": "binary"})):
            continue
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [Requirement(line) for line in needed if "extra ==" not in line or "binary" in line]
    return found


def test_what_runs_with_cdcd_has_a_licence_that_lets_it():
    packages = runtime_packages()
    assert {"click", "msgspec", "psycopg", "pymysql"} <= packages
    without = {}
    for name in packages:
        about = metadata.metadata(name)
        said = [about.get("License-Expression") or "", about.get("License") or "", *(about.get_all("Classifier") or [])]
        said = [text for text in said if "::" not in text or text.startswith("License")]
        if not ALLOWED.search(" ".join(said)):
            without[name] = said
    assert without.keys() <= SAID_ELSEWHERE.keys(), without
