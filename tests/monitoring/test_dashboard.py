"""The dashboard's JSON is what Grafana 10 and newer expects, and is about metrics that there are.

There is no Grafana to ask here: these are the rules that its own linter and its migrations look at.
"""

import re
from itertools import combinations

from monitoring.alerting import exposed, metrics_in
from monitoring.dashboard import model, panels, queries, substituted

KEPT_PANELS = {"timeseries", "stat", "table", "state-timeline", "heatmap"}
"""Of those that Grafana 10 still has: graph, singlestat, table-old, worldmap and angular ones are gone."""
UNITS = {"short", "s", "bytes", "percentunit", "cps", "dateTimeFromNow"}
SCHEMA_VERSION_OF_GRAFANA_10 = 38
WIDTH = 24


def test_it_is_a_dashboard_of_grafana_10_that_can_be_imported_and_provisioned():
    found = model()
    assert found["schemaVersion"] >= SCHEMA_VERSION_OF_GRAFANA_10
    assert found["id"] is None
    assert re.fullmatch(r"[\w-]{1,40}", found["uid"])
    assert found["title"] == "cdcd"
    assert found["time"]["to"] == "now"


def test_every_panel_is_of_a_kind_that_grafana_keeps_and_is_explained():
    for panel in panels():
        assert panel["type"] in KEPT_PANELS, panel["title"]
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert queries(panel), panel["title"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    listed = [*model()["panels"]]
    assert len({panel["id"] for panel in listed}) == len(listed)
    places = [(panel["title"], panel["gridPos"]) for panel in listed]
    for title, place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= WIDTH, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one, other)


def test_values_have_units():
    for panel in panels():
        unit = panel["fieldConfig"]["defaults"].get("unit")
        assert unit in UNITS or panel["type"] in ("table", "state-timeline", "heatmap"), panel["title"]


def test_every_query_asks_the_chosen_source_of_data_and_only_the_chosen_daemon():
    for panel in panels():
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            selectors = re.findall(r"\{[^}]*\}", target["expr"])
            assert selectors, target["expr"]
            assert all("$instance" in selector for selector in selectors), target["expr"]


def test_every_variable_that_is_used_is_there():
    names = {variable["name"] for variable in model()["templating"]["list"]}
    texts = [query for panel in panels() for query in queries(panel)]
    used = {name for text in texts for name in re.findall(r"\$(?!__|1)\{?(\w+)", text)}
    assert used <= names
    assert {"datasource", "daemon", "instance", "system", "runbooks"} <= names


def test_every_metric_of_the_dashboard_is_exposed():
    asked = {name for panel in panels() for query in queries(panel) for name in metrics_in(substituted(query))}
    asked |= {name for variable in model()["templating"]["list"] for name in metrics_in(str(variable["query"]))}
    asked |= {name for one in model()["annotations"]["list"] for name in metrics_in(str(one.get("expr", "")))}
    assert asked <= exposed()


def test_counters_are_shown_as_rates():
    for panel in panels():
        for query in queries(panel):
            for name in re.findall(r"(\w*cdcd_\w+_total|\w*cdcd_\w+_bucket)\{", query):
                assert re.search(rf"(?:rate|increase)\({name}\{{", query), query
