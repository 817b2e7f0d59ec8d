"""The status page: the table of `cdcd status` as HTML that needs no script and reloads itself."""

from __future__ import annotations

from html import escape
from typing import Final

from cdcd import health
from cdcd.status import DaemonStatus, WorkerStatus

_STYLE: Final = (
    "body{font:14px system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.3em 1em .3em 0;border-bottom:1px solid #ddd}td.n{text-align:right}"
    ".bad{color:#b00}.good{color:#070}"
)


def render(status: DaemonStatus) -> str:
    """The whole page."""
    reasons = health.health(status)
    verdict = '<span class="good">healthy</span>' if not reasons else '<span class="bad">needs attention</span>'
    listed = "".join(f"<li>{escape(r.role)}: {escape(r.message)} [{escape(r.code)}]</li>" for r in reasons)
    rows = "".join(_rows(status))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>cdcd {escape(status.daemon)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>cdcd {escape(status.daemon)}: {verdict}</h1><ul>{listed}</ul>"
        "<table><tr><th>system</th><th>direction</th><th>state</th><th>lag, s</th><th>waiting</th><th>last error</th></tr>"
        f"{rows}</table><p>journal: {status.journal.size_bytes:,} of {status.journal.max_bytes:,} bytes, "
        f"entry {status.journal.last_seq:,}, {status.resolve.lag_events:,} to be resolved; "
        f"version {escape(status.version)}; <a href='/metrics'>metrics</a></p></body></html>\n"
    )


def _rows(status: DaemonStatus) -> list[str]:
    found = []
    for name, system in status.systems.items():
        if system.capture is not None:
            waiting = f"{system.capture.lag_bytes:,} bytes"
            found.append(_row(name, "read", system.capture.worker, system.capture.lag_seconds, waiting))
        if system.deliver is not None:
            waiting = f"{system.deliver.lag_events:,} writes, {system.deliver.parked:,} parked"
            found.append(_row(name, "write", system.deliver.worker, system.deliver.lag_seconds, waiting))
    return found


def _row(name: str, direction: str, worker: WorkerStatus, lag_seconds: float, waiting: str) -> str:
    error = f"{worker.error.what} [{worker.error.code}]" if worker.error is not None else ""
    return (
        f"<tr><td>{escape(name)}</td><td>{direction}</td><td>{escape(worker.state)}</td>"
        f'<td class="n">{lag_seconds:.1f}</td><td class="n">{escape(waiting)}</td><td>{escape(error)}</td></tr>'
    )
