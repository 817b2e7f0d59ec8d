"""What must fit together where fields are marked as sensitive: there must be a key to encrypt them with."""

from __future__ import annotations

from collections.abc import Iterator

from cdcd import config as c
from cdcd.state_key import HOW_TO_MAKE_ONE


def problems(config: c.Config) -> Iterator[str]:
    """What does not fit, with the way out."""
    marked = next(_marked(config), None)
    if marked is not None and config.daemon.state_key is None:
        yield (
            f"{marked}: what is sensitive is kept only encrypted, and there is no daemon.state-key;"
            f' {HOW_TO_MAKE_ONE}, and set state-key = {{ file = "/etc/cdcd/state-key" }}'
        )


def _marked(config: c.Config) -> Iterator[str]:
    """Where something is marked."""
    for name, entity in config.entities.items():
        yield from (f"entities.{name}.fields.{n}.sensitive" for n, f in entity.fields.items() if f.sensitive)
        for child, collection in entity.children.items():
            at = f"entities.{name}.children.{child}.fields"
            yield from (f"{at}.{n}.sensitive" for n, f in collection.fields.items() if f.sensitive)
    yield from (f"replicate[{at}].sensitive" for at, copy in enumerate(config.replicate) if copy.sensitive)


def has_any(config: c.Config) -> bool:
    """Whether anything is marked as sensitive."""
    return next(_marked(config), None) is not None
