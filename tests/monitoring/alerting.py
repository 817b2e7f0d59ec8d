"""The alert rules, their tests and their pages, as data; and which metrics and commands there are."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import yaml

from cdcd import cli
from cdcd.metrics.catalogue import METRICS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "prometheus"
PAGES = ROOT / "docs" / "alerts"
DASHBOARD = ROOT / "config" / "grafana" / "cdcd.json"
_NO_METRICS = {"cdcd_checkpoint", "cdcd_xref", "cdcd_acme_erp"}
_LABELS_OF_ALERTS = {"alertname", "alertstate", "severity"}


class Alert(NamedTuple):
    """One rule, by name and severity."""

    name: str
    severity: str
    expression: str
    annotations: dict[str, str]


class Case(NamedTuple):
    """What a test of promtool expects of one alert at one moment: the labels of those that fire."""

    name: str
    firing: tuple[dict[str, str], ...]


@cache
def alerts() -> list[Alert]:
    """All rules that are shipped."""
    return [
        Alert(rule["alert"], rule["labels"]["severity"], str(rule["expr"]), rule["annotations"])
        for file in sorted(RULES.glob("*.rules.yml"))
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


@cache
def cases() -> list[Case]:
    """All that promtool's tests expect of alerts that they name."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for file in sorted(RULES.glob("tests/*.yml")):
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for asked in test["promql_expr_test"]:
                named = re.search(r'alertname=~?"([^"]+)"', asked["expr"])
                for name in named[1].split("|") if named else []:
                    labels = [_labels(sample["labels"]) for sample in asked["exp_samples"]]
                    yield Case(name, tuple(found for found in labels if found["alertname"] == name))


def _labels(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', text))


def own_labels(firing: dict[str, str]) -> set[str]:
    """The labels that an alert has from its expression."""
    return firing.keys() - _LABELS_OF_ALERTS


@cache
def exposed() -> frozenset[str]:
    """The name of every sample that the daemon can expose."""
    found = set()
    for metric in METRICS.values():
        suffixes = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        found |= {metric.exposed_name + suffix for suffix in suffixes}
    return frozenset(found)


def metrics_in(text: str) -> set[str]:
    """Names of metrics in PromQL or prose."""
    return set(re.findall(r"\bcdcd_[a-z0-9_]*[a-z0-9]", text)) - _NO_METRICS


@cache
def _root() -> click.Group:
    return next(found for found in vars(cli).values() if isinstance(found, click.Group))


def wrong_in_command(line: str) -> str | None:
    """What is wrong in a command line "cdcd …": no such command or option; None when it is right."""
    words = line.split()[1:]
    found: click.Command = _root()
    context = click.Context(found)
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        following = found.get_command(context, words[0])
        if following is None:
            return f"no command {words[0]!r} in {line!r}"
        found, words = following, words[1:]
    if isinstance(found, click.Group) and words != ["--help"]:
        return f"{line!r} is not a whole command"
    known = {option for parameter in found.params for option in parameter.opts} | {"--help"}
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no option {wrong[0]} in {line!r}" if wrong else None


def commands_in(text: str) -> list[str]:
    """Every `cdcd …` of a page: lines of its code blocks and of its inline code, without comments."""
    blocks = re.findall(r"^ {4,}(cdcd .+)$", text, re.MULTILINE)
    inline = re.findall(r"`(cdcd [^`]+)`", text)
    return [re.split(r"\s+#\s|\s*[|&;]\s*", found)[0].strip() for found in [*blocks, *inline]]
