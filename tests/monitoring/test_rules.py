"""Every alert has tests, a page, a command that exists, and is about metrics that exist; promtool finds them right."""

import re

import pytest

from cdcd.install.parts import SHARED
from monitoring.alerting import (
    PAGES,
    RULES,
    Alert,
    alerts,
    cases,
    commands_in,
    exposed,
    metrics_in,
    own_labels,
    wrong_in_command,
)
from monitoring.programs import promtool

SECTIONS = ("What it means", "What waits or is lost", "What to do", "It is over when", "False alarms")


def named(alert: Alert) -> str:
    return f"{alert.name}-{alert.severity}"


def test_promtool_finds_the_rules_right():
    done = promtool("check", "rules", *sorted(RULES.glob("*.rules.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_the_example_configuration_right(tmp_path):
    text = (RULES / "prometheus.yml").read_text("utf-8").replace("/etc/prometheus/", f"{RULES}/")
    (tmp_path / "prometheus.yml").write_text(text)
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(RULES.glob("tests/*.yml")), ids=lambda file: file.stem)
def test_the_rules_fire_when_they_should_and_only_then(file):
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts(), ids=named)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert):
    firing = [
        case
        for case in cases()
        if any(alert.name == f["alertname"] and alert.severity == f["severity"] for f in case.firing)
    ]
    assert firing
    assert [case for case in cases() if case.name == alert.name and not case.firing]


@pytest.mark.parametrize("alert", alerts(), ids=named)
def test_annotations_speak_of_labels_that_the_alert_has(alert):
    texts = alert.annotations.values()
    assert alert.annotations.keys() == {"summary", "description", "command", "runbook_url"}
    for case in cases():
        for firing in case.firing:
            if (firing["alertname"], firing["severity"]) == (alert.name, alert.severity):
                optional = {label for text in texts for label in re.findall(r"with \$labels\.(\w+)", text)}
                used = {label for text in texts for label in re.findall(r"\$labels\.(\w+)", text)}
                assert used - optional <= own_labels(firing)


@pytest.mark.parametrize("alert", alerts(), ids=named)
def test_every_alert_is_about_metrics_that_there_are(alert):
    assert metrics_in(alert.expression) <= exposed()


@pytest.mark.parametrize("alert", alerts(), ids=named)
def test_every_alert_names_a_command_that_there_is(alert):
    command = alert.annotations["command"]
    plain = re.sub(r"\{\{ (?:with|end|else)[^}]*\}\}", "", command)
    plain = re.sub(r"\{\{[^}]*\}\}", "X", plain)
    if plain.startswith("cdcd "):
        assert wrong_in_command(plain) is None
    else:
        assert plain.split()[0] in ("systemctl", "journalctl", "timedatectl")


@pytest.mark.parametrize("name", sorted({alert.name for alert in alerts()}))
def test_every_alert_has_a_page_that_leads_to_the_cure(name):
    page = (PAGES / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {name}\n")
    assert tuple(re.findall(r"^## (.+)$", page, re.MULTILINE)) == SECTIONS
    assert commands_in(page), "no command to run"
    assert [wrong for command in commands_in(page) if (wrong := wrong_in_command(command))] == []
    assert metrics_in(page) <= exposed()
    of_rule = [alert for alert in alerts() if alert.name == name]
    for alert in of_rule:
        assert metrics_in(alert.expression) <= metrics_in(page), "the page says what the rule looks at"
        assert alert.annotations["runbook_url"] == f"file://{SHARED}/docs/alerts/{name}.md", (
            "install puts another place in"
        )
    severities = [alert.severity for alert in of_rule]
    assert all(f"**{severity}**" in page for severity in severities)


def test_every_page_is_about_an_alert_and_listed():
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == {alert.name for alert in alerts()}
    listed = re.findall(r"\]\((\w+)\.md\)", (PAGES / "README.md").read_text("utf-8"))
    assert sorted(listed) == sorted(pages)


def test_the_example_of_alertmanager_speaks_of_alerts_that_there_are():
    known = {alert.name for alert in alerts()}
    named_there = set(re.findall(r"\bCdcd\w+", (RULES / "alertmanager.yml").read_text("utf-8")))
    assert named_there <= known | {"Cdcd"}


def test_the_pages_lead_to_pages_that_there_are():
    files = [*PAGES.glob("*.md"), PAGES.parent / "monitoring.md"]
    links = [(file, link) for file in files for link in re.findall(r"\]\(([\w./-]+)\)", file.read_text("utf-8"))]
    assert [f"{file.name}: {link}" for file, link in links if not (file.parent / link).exists()] == []


def test_the_commands_of_the_guide_are_there():
    guide = (PAGES.parent / "monitoring.md").read_text("utf-8")
    assert [wrong for command in commands_in(guide) if (wrong := wrong_in_command(command))] == []
    assert metrics_in(guide) <= exposed()
