"""`cdcd init`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cdcd.cli.output import Verdict, answer, json_and_quiet
from cdcd.errors import ConfigError

if TYPE_CHECKING:
    from cdcd.init.proposal import Proposal

_SAMPLE_ROWS: Final = 1000


@click.command("init")
@click.option("--erp", required=True, metavar="URL", help="postgres://user@host:port/database or mysql://…")
@click.option("--shop", required=True, metavar="URL", help="The other database, the same way.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write."
)
@click.option("--erp-password-file", metavar="FILE", type=click.Path(path_type=Path), help="Its password, on one line.")
@click.option(
    "--shop-password-file", metavar="FILE", type=click.Path(path_type=Path), help="Its password, on one line."
)
@click.option(
    "--password-in-url", is_flag=True, help="Accept passwords in the URLs, where 'ps' shows them to everybody."
)
@click.option("--sample", "sample_rows", default=_SAMPLE_ROWS, show_default=True, help="Rows looked at in each table.")
@click.option("--name", default="cdcd", show_default=True, help="The daemon's name in the file.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
@json_and_quiet
def command(as_json: bool, **given: Any) -> None:
    """Look at two databases and write a configuration to start from. Changes nothing in them.

    Passwords come from --erp-password-file, the environment (CDCD_ERP_PASSWORD, CDCD_SHOP_PASSWORD), or are asked for;
    the file only says where they are. What it proposes is explained line by line in it.

    Examples: cdcd init --erp postgres://cdcd@erp.internal/erp --shop mysql://cdcd@shop.internal/shop -o cdcd.toml
    """
    answer("init", as_json, lambda: _init(**given))


def _init(
    erp: str,
    shop: str,
    output: Path,
    erp_password_file: Path | None,
    shop_password_file: Path | None,
    password_in_url: bool,
    sample_rows: int,
    name: str,
    force: bool,
) -> Verdict:
    if output.exists() and not force:
        raise ConfigError(f"{output} exists", code="file-exists", remedy="choose another --output, or give --force")
    systems = {
        "erp": _options("erp", erp, erp_password_file, password_in_url),
        "shop": _options("shop", shop, shop_password_file, password_in_url),
    }
    proposal = _look(systems, sample_rows)
    _write(output, proposal, systems, name)
    return _verdict(proposal, output)


def _options(system: str, url: str, password_file: Path | None, in_url: bool) -> dict[str, Any]:
    """The options as they go into the file: a password is only named, and is in the environment by then or in its file."""
    from cdcd.init import addresses  # noqa: PLC0415 - loaded when it is called

    address = addresses.parse(url)
    variable = f"CDCD_{system.upper()}_PASSWORD"
    if password_file is not None:
        return {**address.options, "password": _kept(password_file.absolute())}
    if address.password is not None and not in_url:
        raise ConfigError(
            f"the URL of {system!r} holds a password, which every user of this machine can see now",
            code="password-in-url",
            remedy=f"leave it out and put it into {variable} or a file (--{system}-password-file); --password-in-url if it must be",
        )
    if address.password is not None:
        os.environ[variable] = address.password
    elif variable not in os.environ and sys.stdin.isatty():
        entered = click.prompt(f"Password for {system} (empty: none)", hide_input=True, default="", show_default=False)
        if entered:
            os.environ[variable] = entered
    return {**address.options, "password": {"env": variable}} if variable in os.environ else address.options


def _kept(path: Path) -> dict[str, str]:
    """Where root keeps the service's credentials, systemd hands them over: the service's account may not read the file."""
    from cdcd.config import CREDENTIALS  # noqa: PLC0415

    return {"credential": path.name} if str(path.parent) == CREDENTIALS else {"file": str(path)}


def _look(systems: dict[str, dict[str, Any]], sample_rows: int) -> Proposal:
    from cdcd import config as c  # noqa: PLC0415 - loads drivers
    from cdcd import plugins  # noqa: PLC0415
    from cdcd.adapter import Identity  # noqa: PLC0415
    from cdcd.cli.progress import working  # noqa: PLC0415
    from cdcd.init.looking import look  # noqa: PLC0415
    from cdcd.init.proposal import propose  # noqa: PLC0415

    config = c.convert({"daemon": {"name": "init", "state-dir": "/"}, "systems": systems}, c.Config, "init", "")
    with ExitStack() as readers, working("looking at the databases") as say:
        pictures = []
        for name in systems:
            adapter = plugins.find(config, "init", name).adapter
            options = plugins.options(config, "init", name, adapter)
            reader = readers.enter_context(closing(adapter.open_reader(Identity("init", name, ""), options)))
            pictures.append(look(name, reader, sample_rows, partial(_say, say, name)))
        return propose(pictures[0], pictures[1])


def _say(say: Callable[[str], None], system: str, table: str) -> None:
    say(f"{system}: {table}")


def _write(output: Path, proposal: Proposal, systems: dict[str, dict[str, Any]], name: str) -> None:
    from cdcd import config_rules  # noqa: PLC0415
    from cdcd.init import writing  # noqa: PLC0415

    text = writing.text(proposal, systems, name=name, state_dir=f"/var/lib/{name}")
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{output} cannot be written", cause=str(error.strerror), code="file-unwritable") from error
    config_rules.load(output)


def _verdict(proposal: Proposal, output: Path) -> Verdict:
    entities = {
        entity.name: {
            "tables": [side.table for side in entity.sides],
            "key": entity.key,
            "fields": {field.name: field.confidence for field in entity.fields},
            "children": [child.name for child in entity.children],
            "remarks": list(entity.remarks),
        }
        for entity in proposal.entities
    }
    alone = dict(zip(proposal.systems, map(list, proposal.alone), strict=True))
    lines = [f"  {name}: {' = '.join(e['tables'])}, {len(e['fields'])} fields" for name, e in entities.items()]
    summary = f"{output} written: {len(entities)} entities proposed; read it, then 'cdcd check --config {output}'"
    return Verdict(summary, {"file": str(output), "entities": entities, "alone": alone}, lines)
