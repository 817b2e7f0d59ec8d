"""Writes that are too many for memory, made page by page and gone through again as often as is needed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from cdcd.folding.folded import Grouped


class AnyPage(Protocol):
    """What is folded at once. `after` is the place behind which its step can be gone on with, None at its beginning."""

    @property
    def after(self) -> Any:
        """See the class."""
        ...


_Step = TypeVar("_Step")
_Page = TypeVar("_Page", bound=AnyPage)


class PagedGroups(Generic[_Step, _Page]):
    """The writes of several steps, each read page by page (see `Groups`). Remembers of each page only where it begins."""

    def __init__(
        self,
        steps: Sequence[_Step],
        pages: Callable[[_Step, Any], Iterator[_Page]],
        groups: Callable[[_Step, _Page], list[Grouped]],
    ) -> None:
        """`pages` gives those of a step behind a place (None: all), `groups` the same writes of a page each time."""
        self._steps = steps
        self._pages = pages
        self._groups = groups
        self._starts = [0]
        self._places: list[tuple[int, Any]] = [(0, None)]

    def between(self, first: int, last: int | None = None) -> Iterator[Grouped]:
        """See `Groups`."""
        known = bisect_right(self._starts, first) - 1
        number, (step, after) = self._starts[known], self._places[known]
        for at in range(step, len(self._steps)):
            for page in self._pages(self._steps[at], after):
                self._note(number, at, page.after)
                for group in self._groups(self._steps[at], page):
                    if last is not None and number >= last:
                        return
                    if number >= first:
                        yield group
                    number += 1
            after = None

    def _note(self, number: int, step: int, after: Any) -> None:
        if number > self._starts[-1]:
            self._starts.append(number)
            self._places.append((step, after))
        elif number == self._starts[-1]:
            self._places[-1] = (step, after)

    def at(self, number: int) -> Grouped:
        """See `Groups`."""
        return next(self.between(number, number + 1))
