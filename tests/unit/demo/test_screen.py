"""What a person sees, on a terminal and in a file."""

import io
import re
from collections import Counter

from rich.console import Console

from demo.activity import Event
from demo.comparison import compare
from demo.records import KINDS
from demo.screen import Moment, Screen, plain_line, verdict_lines
from demo.status import view


def moment(daemon, events=()):
    return Moment("business", 12.4, daemon, events, 345, 6, 2, 1)


def drawn(now, *, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)
    with Screen(console) as screen:
        screen.show(now)
    return console.file.getvalue()


def test_a_terminal_shows_each_system_and_the_latest_events(answer):
    events = [Event("shop", "order [bold]O-1[/] by 佐藤", False), Event("erp", "rewrites a text", True)]
    text = drawn(moment(view(answer(), Counter()), events), terminal=True)
    assert re.search(r"ERP +running +0/1 ", text)
    assert re.search(r"shop +running +0/1 ", text)
    assert "order [bold]O-1[/] by 佐藤" in text
    assert "✗ rewrites a text" in text


def test_a_terminal_shows_a_daemon_that_does_not_answer():
    assert "does not answer" in drawn(moment(None), terminal=True)


def test_a_file_gets_one_line_per_moment(answer):
    text = drawn(moment(view(answer(), Counter())), terminal=False)
    assert text.count("\n") == 1
    assert "345 business transactions | erp: 0 read" in text


def test_a_file_is_told_that_the_daemon_does_not_answer():
    assert "does not answer" in plain_line(moment(None))


def test_the_verdict_names_the_first_differences_and_counts_the_rest():
    record = dict.fromkeys(("product", "quantity", "price"), "x")
    nothing = {kind: {} for kind in KINDS}
    ledger = nothing | {"order_line": {(f"O-{n}", 1): record for n in range(30)}}
    lines = verdict_lines(compare(ledger, nothing, nothing), 5)
    assert lines[0].startswith("NOT in step, 60 differences")
    assert "order_line ('O-" in lines[1]
    assert lines[-1] == "  … and 40 more"
