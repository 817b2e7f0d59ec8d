"""Writes docs/cli.md from the commands themselves: `PYTHONPATH=tests/reference:. python -m cli_page`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from cdcd import cli

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
_HEAD = """# Every command

Made from the commands themselves (`tests/reference/cli_page.py`); `cdcd COMMAND --help` says the same. When to use which:
[handbook](handbook.md), [operating](operating.md).

## How all of them behave

Results go to stdout; errors, questions and progress go to stderr. An error is a code, what happened, its cause, and the next command:

    error [no-state] /var/lib/cdcd holds no state
      cause: the daemon has not run with this configuration yet
      next: start it, or name the right configuration with --config

`cdcd explain CODE` says what a code means, offline; all of them stand in [errors.md](errors.md).

| option | means |
|---|---|
| `--config FILE` | the configuration; else `CDCD_CONFIG`, else `/etc/cdcd/cdcd.toml` |
| `--json` | one object on stdout, whatever happens, and nothing else there |
| `-q`, `--quiet` | nothing but errors |
| `--dry-run` | says what would be done, and does nothing; every command that changes or sends much has it |
| `--yes` | answers the question beforehand; without a terminal a question is an error (`confirmation`) |
| `-h`, `--help` | what it does, its options, examples |

The object of `--json` always has the same keys:

```json
{
  "command": "pause",
  "ok": false,
  "summary": "the daemon is not running",
  "result": null,
  "error": {
    "code": "not-running",
    "what": "the daemon is not running",
    "cause": "nothing listens at /var/lib/cdcd/control.sock",
    "remedy": "start it: systemctl start cdcd (or 'cdcd run')",
    "exit_code": 1
  }
}
```

`ok` is the verdict: `true` exactly when the exit status is 0. `error` is there when the command could not do what it was asked; a verdict of no
(`cdcd check` with findings, `cdcd status` of a daemon that is not healthy) has `ok` false and its findings in `result`. What follows something
for ever (`events --follow`, `journal tail --follow`) writes one object per line instead, without the envelope.

| exit status | means |
|---|---|
| 0 | done; the verdict is good |
| 1 | something failed, or the verdict is not good: the daemon does not run, the time is over |
| 2 | the configuration or the command line is wrong |
| 3 | a server, or this machine, needs a person |
| 10 | `cdcd plan`: something would change |
| 130 | interrupted by Ctrl-C |

What takes longer than a second shows on a terminal what it is doing; never with `--json` or `--quiet`, in a pipe, or where `TERM` is `dumb`.
Colours are for terminals only, and `NO_COLOR=1` switches them off.

`cdcd completion bash | zsh | fish` prints what makes a shell complete commands, options, and the systems, entities and channels of the
configuration (`CDCD_CONFIG`):

    cdcd completion bash > /etc/bash_completion.d/cdcd
"""


def page() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *(_section(path, command) for path, command in _commands(cli.cdcd))])


def _commands(group: click.Group, path: str = "cdcd") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield f"{path} {name}", found
        if isinstance(found, click.Group):
            yield from _commands(found, f"{path} {name}")


def _section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    text = re.sub(r"\s*\n\s*(?!\n)", lambda found: "\n\n" if found[0].count("\n") > 1 else " ", command.help or "")
    parts = [f"## {path}", f"```text\n{usage}\n```", _without_quotes(text.strip())]
    rows = [_row(parameter, context) for parameter in command.params if _is_its_own(parameter)]
    if rows:
        parts.append("\n".join(["| option | means |", "|---|---|", *rows]))
    examples = (command.epilog or "").partition("Examples:\n")[2].splitlines()
    parts.append("\n".join(f"    {example.strip()}" for example in examples))
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def _without_quotes(text: str) -> str:
    """Commands as Markdown writes them."""
    return re.sub(r"'(cdcd [^']+)'", r"`\1`", text).replace("<", "&lt;")


def _is_its_own(parameter: click.Parameter) -> bool:
    """Not one that all commands have."""
    return isinstance(parameter, click.Option) and parameter.name not in {"config", "as_json", "quiet", "help"}


def _row(parameter: click.Parameter, context: click.Context) -> str:
    record = parameter.get_help_record(context)
    assert record is not None
    option, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{option}` | {_without_quotes(text)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(page(), "utf-8")
