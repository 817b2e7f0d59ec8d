"""`cdcd rekey`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdcd.cli.output import Verdict, answer, common, confirm

if TYPE_CHECKING:
    from cdcd.state_key import StateKey


@click.command("rekey")
@click.option(
    "--old-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file that holds the key which the state has now, where it is encrypted already.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def command(old_key_file: Path | None, dry_run: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Encrypt the state directory with daemon.state-key as the configuration has it now: a first key, or another one.

    Where the configuration has no daemon.state-key any more, the files are made plain. The daemon must be stopped. Each
    file is copied, which needs as much room as the largest. When it is interrupted, the daemon does not start until the
    same command has finished it.

    Examples: cdcd rekey --dry-run; cdcd rekey; cdcd rekey --old-key-file /root/old-state-key
    """
    answer("rekey", as_json, lambda: _rekey(config, old_key_file, dry_run, yes, as_json))


def _rekey(config: Path, old_key_file: Path | None, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd import config as c  # noqa: PLC0415 - the help does without it
    from cdcd import rekeying, state_key  # noqa: PLC0415
    from cdcd.cli.progress import working  # noqa: PLC0415
    from cdcd.state_directory import StateDirectory, lock_for_supervisor  # noqa: PLC0415

    daemon = c.read(config).daemon
    directory = StateDirectory(Path(daemon.state_dir))
    directory.require(directory.state)
    new = state_key.key_of(directory.path)
    lock = lock_for_supervisor(directory, note=False)
    try:
        files = rekeying.files_of(directory.path)
        result = {"files": [path.name for path in files], "key": None if new is None else new.fingerprint}
        lines = [f"  {path.name}" for path in files]
        what = "to be made plain" if new is None else "to be encrypted"
        if dry_run:
            return Verdict(f"{what} where they are not yet; nothing was done", result, lines)
        if not yes:
            confirm(f"the files of {directory.path} are {what}, which wants a confirmation", lines, as_json)
        with working("copying the files"):
            changed = rekeying.rekey(directory.path, new, _old(old_key_file))
    finally:
        lock.release()
    left = [f"{path} is as it was: remove it" for path in rekeying.unencrypted_copies(directory.path)]
    done = "plain" if new is None else f"encrypted, key {new.fingerprint}"
    result |= {"changed": [path.name for path in changed]}
    return Verdict(f"{len(changed)} of {len(files)} files changed; all are {done}", result, left)


def _old(file: Path | None) -> list[StateKey | None]:
    from cdcd import config as c  # noqa: PLC0415
    from cdcd import state_key  # noqa: PLC0415

    return [] if file is None else [state_key.parse(c.Secret(file=str(file)).reveal())]
