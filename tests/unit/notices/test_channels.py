"""The sections [notify.NAME]: what fits, and who hears of what."""

from typing import Any

import pytest

from cdcd.config import Config, Daemon
from cdcd.config_notices import Notices
from cdcd.notices.channels import Channel, Program, of_config, problems
from cdcd.notices.occurrences import Occurrence, moment

PROGRAM = {"command": {"run": ["/usr/local/bin/page"]}}


def config(notices: Notices | None = None, **notify: Any) -> Config:
    return Config(Daemon("acme", "/var/lib/cdcd"), {}, notices=notices or Notices(), notify=notify)


def found(**channel: Any) -> str:
    return "\n".join(problems(config(oncall=channel)))


def test_what_fits_is_a_channel():
    written = {**PROGRAM, "severity": "critical", "repeat-every": "4h", "silent": ["lag"]}
    assert found(**written) == ""
    assert of_config(config(oncall=written)) == {
        "oncall": Channel(
            command=Program(["/usr/local/bin/page"]), severity="critical", repeat_every="4h", silent=["lag"]
        )
    }


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({}, "notify.oncall: needs exactly one of webhook, email, command"),
        ({**PROGRAM, "webhook": {"url": "https://a.test/"}}, "exactly one"),
        ({"webhok": {}}, "unknown key 'webhok'; did you mean 'webhook'?"),
        ({**PROGRAM, "severity": "warn"}, "did you mean 'warning'?"),
        ({**PROGRAM, "codes": ["parkd"]}, "unknown occurrence 'parkd'; did you mean 'parked'?"),
        ({**PROGRAM, "silent": ["x"]}, "notify.oncall.silent: unknown occurrence 'x'"),
        ({**PROGRAM, "repeat-every": "often"}, "repeat-every: expected a duration"),
        ({"command": {"run": ["page"]}}, "expected the absolute path"),
        ({"command": {"run": ["/x"], "timeout": "1"}}, "command.timeout: expected a duration"),
        ({"webhook": {"url": "ftp://a.test/"}}, "webhook.url: expected https://"),
        ({"webhook": {"url": "http://a.test/", "headers": {"A": {"env": "X"}}}}, "must not travel without TLS"),
        ({"webhook": {"url": "https://a.test/", "headers": {"A B": "c"}}}, "no name of a header"),
        ({"webhook": {"url": "https://a.test/", "headers": {"A": "b\nC: d"}}}, "must be one line"),
        ({"email": {"server": "mail", "from": "a@b", "to": ["c@d"]}}, "expected host:port, got 'mail'"),
        ({"email": {"server": "mail:25", "from": "a", "to": ["c@d\n"]}}, "expected a mail address, got 'a'"),
        ({"email": {"server": "mail:25", "from": "a@b", "to": ["c@d"], "user": "u"}}, "user and password go together"),
        (
            {
                "email": {
                    "server": "m:25",
                    "from": "a@b",
                    "to": ["c@d"],
                    "user": "u",
                    "password": {"env": "P"},
                    "tls": "off",
                }
            },
            "a password must not travel without TLS",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_a_way_out(channel: dict[str, Any], said: str):
    assert said in found(**channel)


def test_what_counts_as_an_occurrence_is_checked_too():
    said = "\n".join(problems(config(Notices(lag="long", after={"lagg": "1m", "parked": "x"}))))
    assert "notices.lag: expected a duration" in said
    assert "unknown occurrence 'lagg'; did you mean 'lag'?" in said
    assert "notices.after.parked: expected a duration" in said


def test_a_channel_hears_of_what_is_bad_enough_and_of_the_codes_it_wants():
    warning = Occurrence(1, "warning", "parked", "shop", "…")
    started = moment("started", "daemon", "…", 1)
    program = Program(["/x"])
    assert Channel(command=program).hears_of(warning)
    assert not Channel(command=program).hears_of(started)
    assert Channel(command=program, severity="info").hears_of(started)
    assert not Channel(command=program, severity="critical").hears_of(warning)
    assert not Channel(command=program, silent=["parked"]).hears_of(warning)
    assert not Channel(command=program, codes=["lag"]).hears_of(warning)
