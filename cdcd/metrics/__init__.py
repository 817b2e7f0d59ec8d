"""Prometheus metrics: values from one `DaemonStatus` per scrape, names and meanings from the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from cdcd.durations import histograms
from cdcd.metrics.catalogue import COUNTED, METRICS
from cdcd.metrics.values import Sample, gauges
from cdcd.report import Counter
from cdcd.status import DaemonStatus


def collect(status: DaemonStatus) -> Iterator[Metric]:
    """All metrics of one status; each is there with its help, also without any value yet."""
    gauge_samples = _by_name(gauges(status))
    counters: dict[str, list[Counter]] = {}
    for counter in status.counters:
        counters.setdefault(COUNTED[counter.name], []).append(counter)
    for name, found in METRICS.items():
        if found.kind == "info":
            yield InfoMetricFamily(name, found.meaning, {"version": status.version, "daemon": status.daemon})
        elif found.kind == "gauge":
            gauge = GaugeMetricFamily(name, found.meaning, labels=found.labels)
            for labels, value in gauge_samples.pop(name, ()):
                gauge.add_metric(labels, value)
            yield gauge
        elif found.kind == "counter":
            counted = CounterMetricFamily(name, found.meaning, labels=found.labels)
            for counter in counters.get(name, ()):
                counted.add_metric(counter.labels, counter.value)
            yield counted
        else:
            yield _histogram(name, found.meaning, found.labels, counters.get(name, ()))
    assert not gauge_samples, f"not in the catalogue: {', '.join(gauge_samples)}"


def _histogram(name: str, meaning: str, labels: tuple[str, ...], counters: Iterable[Counter]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for values, histogram in histograms(counters).items():
        family.add_metric(values, histogram.cumulative(), histogram.sum_seconds)
    return family


def _by_name(samples: Iterable[Sample]) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for name, labels, value in samples:
        found.setdefault(name, []).append((labels, value))
    return found


class StatusCollector:
    """What a Prometheus registry asks at each scrape."""

    def __init__(self, status: Callable[[], DaemonStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        return collect(self._status())

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: registering must not ask the supervisor."""
        return []
