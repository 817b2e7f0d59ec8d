"""The command line: `cdcd COMMAND`, a file per command, loaded when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from cdcd.cli import examples, failing

COMMANDS: Final = {
    "init": "Look at two databases and propose a configuration to start from.",
    "run": "Start the daemon and stay in the foreground.",
    "check": "Check the configuration and every server, and say how to mend what is missing.",
    "grants": "Print the SQL for a database role that can do its part, and no more.",
    "plan": "Say what a configuration would do, and do nothing.",
    "status": "Show what the daemon is doing: positions, lag, queues, errors.",
    "events": "List what happened: servers away, workers stopped, records parked, pauses, reloads.",
    "history": "Show what happened to a record: changes, decisions and why, and who was told when.",
    "pause": "Stop delivering to a system; everything waits in the outbox.",
    "resume": "Deliver again, and retry at once what stopped or waits.",
    "deliver": "Tell now what a schedule has told later.",
    "resync": "Compare and mend an entity, whole or in part, while changes flow.",
    "verify": "Say whether the data is in step, record by record, while changes flow.",
    "reposition": "Read a system's log from now on where its place is lost, and compare all its tables.",
    "parked": "List what a target refuses; try it again, correct it, or let it go.",
    "conflicts": "List what lost against its owner; accept it, or have the owner's value written back.",
    "wait": "Wait until everything committed by now has arrived everywhere.",
    "reload": "Have the running daemon take over the changed configuration file.",
    "rewind": "Send a system the present value of all that changed since a moment.",
    "replay": "Fill an empty or lost target with everything that is known.",
    "recover": "Take systems over whose state directory is lost, with a new one.",
    "journal": "Look into the journal, make room in it, check and mend it.",
    "forget": "Erase what is kept of a record that is deleted everywhere, and note that it was done.",
    "rekey": "Encrypt the state directory, change its key, or make it plain again.",
    "install": "Make a systemd service of this cdcd: account, directories, units.",
    "notify": "List who is told what happens, and send a test message.",
    "explain": "Say what an error's code means, and what to do.",
    "completion": "Print what makes a shell complete commands and names.",
    "support-bundle": "Put together what a bug report needs: no values, no secrets.",
}


class _Commands(click.Group):
    """Knows the commands' names without importing them, and answers for what is wrong before a command runs."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As ever, but that a wrong command line is an error like any other."""
        words = sys.argv[1:] if args is None else list(args)
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            sys.exit(super().main(args, prog_name, complete_var, False, **extra))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            failing.usage(error, words)
        except click.Abort:
            failing.interrupted(words)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the parent's signature
        """In the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the one that is called."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"cdcd.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return examples.shown(command)

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
    needs a person, 130 interrupted; of 'cdcd plan' and 'cdcd grants --diff' 10: something would change.

    With --json a command answers with one object {command, ok, summary, result, error}, and nothing else on stdout; with
    --quiet it says nothing but errors. What an error's code means: cdcd explain CODE. Colours follow NO_COLOR and TERM.
    """


def main() -> None:
    """The entry point of the `cdcd` command."""
    sys.excepthook = failing.defect
    cdcd(prog_name="cdcd")
