"""Writes the tables of docs/metrics.md from the catalogue and the alert rules: `PYTHONPATH=tests:. python -m unit.metrics_table`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cdcd.metrics import catalogue
from cdcd.metrics.catalogue import Described

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "metrics.md"
RULES = sorted((ROOT / "config" / "prometheus").glob("*.rules.yml"))
GROUPS: dict[str, Sequence[Described]] = {
    "daemon": catalogue.DAEMON,
    "capture": catalogue.CAPTURE,
    "resolve": catalogue.RESOLVE,
    "deliver": catalogue.DELIVER,
    "verify": catalogue.VERIFY,
}
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_ALERT = re.compile(r"- alert: (\w+)\n\s+expr: (.*?)\n\s+(?:for|keep_firing_for|labels|annotations):", re.DOTALL)
_HISTOGRAM_PARTS = re.compile(r"_(bucket|sum|count)$")


def alerts() -> dict[str, list[str]]:
    """The alerts that ask for each metric."""
    found: dict[str, list[str]] = {}
    for file in RULES:
        for alert, expression in _ALERT.findall(file.read_text("utf-8")):
            for name in dict.fromkeys(re.findall(r"\bcdcd_\w+", expression)):
                found.setdefault(_HISTOGRAM_PARTS.sub("", name), []).append(alert)
    return found


def written(text: str) -> str:
    """The document with its tables as they should be."""
    by_metric = alerts()
    return _PLACE.sub(lambda place: f"{place[1]}{_table(GROUPS[place[2]], by_metric)}\n{place[3]}", text)


def _table(group: Sequence[Described], by_metric: dict[str, list[str]]) -> str:
    head = [
        "| metric | labels | kind, unit | what it says | where it comes from | alerts |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *_rows(group, by_metric)])


def _rows(group: Sequence[Described], by_metric: dict[str, list[str]]) -> Iterator[str]:
    for found in group:
        links = [f"[{alert}](alerts/{alert}.md)" for alert in by_metric.get(found.exposed_name, [])]
        labels = ", ".join(f"`{label}`" for label in found.labels)
        cells = (
            f"`{found.exposed_name}`", labels, f"{found.kind}, {found.unit}", found.meaning, found.origin, ", ".join(links)
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8")), "utf-8")
