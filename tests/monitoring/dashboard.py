"""The Grafana dashboard as data: its panels and their queries, with the variables put in as Grafana would."""

import json
import re
from functools import cache
from typing import Any

from monitoring.alerting import DASHBOARD


@cache
def model() -> dict[str, Any]:
    """The whole of it."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """All panels that show something, also those of collapsed rows."""
    listed = model()["panels"]
    return [panel for row in listed for panel in (row, *row.get("panels", [])) if panel["type"] != "row"]


def queries(panel: dict[str, Any]) -> list[str]:
    """The PromQL of a panel."""
    return [target["expr"] for target in panel.get("targets", [])]


def substituted(query: str) -> str:
    """A query with everything selected, over a minute."""
    for variable, value in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$instance", ".*"), ("$system", ".*")):
        query = query.replace(variable, value)
    assert "$" not in query.replace('"$1"', ""), query
    return query


def _query_of(variable: dict[str, Any]) -> str:
    """What the values of a variable are made from, as PromQL."""
    text = variable["query"]["query"]
    of_label = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
    plain = of_label[1] if of_label else re.sub(r"^query_result\((.+)\)$", r"\1", text)
    return substituted(plain.replace("$daemon", ".*"))


DASHBOARD_VARIABLES = {
    variable["name"]: _query_of(variable) for variable in model()["templating"]["list"] if variable["type"] == "query"
}
