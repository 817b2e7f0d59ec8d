"""`cdcd notify --test [CHANNEL]`."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import Unavailable

if TYPE_CHECKING:
    from cdcd.notices.channels import Channel


@click.command("notify")
@click.argument("channel", required=False, shell_complete=completing.channels)
@click.option("--test", is_flag=True, help="Send a test message to CHANNEL, or to all of them.")
@common
def command(channel: str | None, test: bool, config: Path, as_json: bool) -> None:
    """List the channels that are told what happens ([notify.NAME]), or send them a test message.

    The running daemon sends it, with its secrets; without one this command does. Exits with 1 when a message did not
    arrive.

    Examples: cdcd notify; cdcd notify --test; cdcd notify --test oncall
    """
    answer("notify", as_json, lambda: _test(config, channel) if test else _list(config, channel))


def _list(config: Path, channel: str | None) -> Verdict:
    from cdcd.notices.trial import chosen  # noqa: PLC0415 - the help does without it

    found = {name: _described(one) for name, one in chosen(_channels(config), channel).items()}
    lines = [f"  {name:<16} {one['means']:<8} from {one['severity']} on" for name, one in found.items()]
    return Verdict(f"{len(found)} channels; 'cdcd notify --test' sends a test message", found, lines)


def _channels(config: Path) -> dict[str, Channel]:
    from cdcd import config_rules  # noqa: PLC0415
    from cdcd.notices import channels  # noqa: PLC0415

    return channels.of_config(config_rules.load(config))


def _described(channel: Channel) -> dict[str, Any]:
    """Without where it goes to, which may be a secret."""
    means = "webhook" if channel.webhook else "email" if channel.email else "command"
    return {
        "means": means,
        "severity": channel.severity,
        "codes": channel.codes,
        "silent": channel.silent,
        "repeat_every": channel.repeat_every,
        "resolved": channel.resolved,
        "per_minute": channel.per_minute,
    }


def _test(config: Path, channel: str | None) -> Verdict:
    results = _results(config, channel)
    failed = [one for one in results if one["error"]]
    lines = [f"  {one['channel']:<16} {one['error'] or 'arrived'}" for one in results]
    summary = f"{len(results) - len(failed)} of {len(results)} test messages arrived"
    return Verdict(summary, results, lines, 1 if failed else 0)


def _results(config: Path, channel: str | None) -> list[dict[str, Any]]:
    from cdcd import config as c  # noqa: PLC0415
    from cdcd import control  # noqa: PLC0415
    from cdcd.cli.daemon import directory_of  # noqa: PLC0415
    from cdcd.cli.progress import working  # noqa: PLC0415
    from cdcd.notices.trial import POLL_SECONDS, Trial  # noqa: PLC0415

    with working("sending"):
        try:
            answered: list[dict[str, Any]] = control.ask(
                directory_of(config).control_socket, "notify-test", {"channel": channel}
            )
        except Unavailable as error:
            if error.code != "not-running":
                raise
        else:
            return answered
        trial = Trial(_channels(config), channel, c.read(config).daemon.name, version("cdcd"))
        while (found := trial.results()) is None:
            time.sleep(POLL_SECONDS)
    return [msgspec.to_builtins(one) for one in found]
