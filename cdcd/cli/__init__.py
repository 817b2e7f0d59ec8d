"""The command line: `cdcd COMMAND`, a file per command, loaded when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

COMMANDS: Final = {
    "init": "Look at two databases and propose a configuration to start from.",
    "run": "Start the daemon and stay in the foreground.",
    "check": "Check the configuration and every server, and say how to mend what is missing.",
    "plan": "Say what a configuration would do, and do nothing.",
    "status": "Show what the daemon is doing: positions, lag, queues, errors.",
    "history": "Show what happened to a record: changes, decisions and why, and who was told when.",
    "pause": "Stop delivering to a system; everything waits in the outbox.",
    "resume": "Deliver again, and retry at once what stopped or waits.",
    "deliver": "Tell now what a schedule has told later.",
    "resync": "Compare and mend an entity, whole or in part, while changes flow.",
    "reposition": "Read a system's log from now on where its place is lost, and compare all its tables.",
    "parked": "List what a target refuses; try it again, correct it, or let it go.",
    "conflicts": "List what lost against its owner; accept it, or have the owner's value written back.",
    "wait": "Wait until everything committed by now has arrived everywhere.",
    "reload": "Have the running daemon take over the changed configuration file.",
    "rewind": "Send a system the present value of all that changed since a moment.",
    "replay": "Fill an empty or lost target with everything that is known.",
    "recover": "Take systems over whose state directory is lost, with a new one.",
    "journal": "Look into the journal, make room in it, check and mend it.",
    "support-bundle": "Put together what a bug report needs: no values, no secrets.",
}


class _Commands(click.Group):
    """Knows the commands' names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the parent's signature
        """In the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the one that is called."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cdcd.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a suggestion for a near miss."""
        import difflib  # noqa: PLC0415

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `cdcd --help`, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415

        click.echo(f"cdcd {version('cdcd')}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cdcd() -> None:
    """Keeps an ERP database and a storefront database in step.

    Exit codes: 0 fine, 1 something failed, 2 the configuration or the command line is wrong, 3 a server or this machine
    needs a person; of 'cdcd plan' 10: something would change.
    """


def main() -> None:
    """The entry point of the `cdcd` command."""
    sys.exit(cdcd(prog_name="cdcd"))
