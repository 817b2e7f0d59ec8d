"""`cdcd completion bash | zsh | fish`."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from cdcd.cli.output import Verdict, answer, json_and_quiet

VARIABLE: Final = "_CDCD_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_and_quiet
def command(shell: str, as_json: bool) -> None:
    """Print what makes a shell complete commands, options, systems and entities.

    bash: into /etc/bash_completion.d/cdcd, or ~/.local/share/bash-completion/completions/cdcd. zsh: into a file _cdcd in a
    directory of $fpath. fish: into ~/.config/fish/completions/cdcd.fish.

    Examples: cdcd completion bash > /etc/bash_completion.d/cdcd; cdcd completion zsh > ~/.zfunc/_cdcd
    """
    found = script(shell)
    answer("completion", as_json, lambda: Verdict(f"# cdcd in {shell}", {"shell": shell, "script": found}, [found]))


def script(shell: str) -> str:
    """The script of a shell."""
    from cdcd.cli import cdcd  # noqa: PLC0415 - it is what loads us

    found = get_completion_class(shell)
    assert found is not None, shell
    completion = found(cdcd, {}, "cdcd", VARIABLE)
    return completion.source_template % completion.source_vars()
