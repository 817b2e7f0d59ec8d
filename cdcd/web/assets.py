"""What the page needs beside itself: its style, its script and its icons, from the package, known by their content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(msgspec.Struct, frozen=True):
    """A file that does not change while the process runs."""

    body: bytes
    media_type: str
    version: str


@cache
def _all() -> dict[str, Asset]:
    found = {}
    for file in resources.files("cdcd.web").joinpath("assets").iterdir():
        media_type = _MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            body = file.read_bytes()
            found[file.name] = Asset(body, media_type, hashlib.sha256(body).hexdigest()[:16])
    return found


def find(name: str) -> Asset | None:
    """The asset of that name."""
    return _all().get(name)


def address(name: str) -> str:
    """Where it is, in this version: it may be kept for ever."""
    return f"/assets/{name}?v={_all()[name].version}"
