"""CEL, the language of `when` conditions: the library's compiled core, without the command line it imports along.

`import cel` loads that command line with typer, rich and prompt_toolkit: 25 MB and a third of a second in each process.
The core registers itself under the name it has in the library, so that both ways may be mixed.
"""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

CHARACTERS_MAX: Final = 4096
LOOPS_MAX: Final = 2
_CORE: Final = "cel.cel"
_LOOP: Final = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(")


def _load() -> ModuleType:
    if _CORE in sys.modules:
        return sys.modules[_CORE]
    package = find_spec("cel")
    core = PathFinder.find_spec(_CORE, package.submodule_search_locations) if package is not None else None
    if core is None or core.loader is None:
        raise ModuleNotFoundError("no CEL library: pip install common-expression-language", name="cel")
    module = module_from_spec(core)
    sys.modules[_CORE] = module
    core.loader.exec_module(module)
    return module


_library: Final = _load()


def compile_condition(text: str) -> Any:
    """A program whose `execute({"record": {...}})` gives the condition's value, in bounded time. Raises ValueError.

    The library refuses deep nesting and large regular expressions itself, and these take linear time; but loops over lists
    in loops over lists multiply.
    """
    if len(text) > CHARACTERS_MAX:
        raise ValueError(f"it has more than {CHARACTERS_MAX} characters")
    if len(_LOOP.findall(text)) > LOOPS_MAX:
        raise ValueError(f"it has more than {LOOPS_MAX} of all(), exists(), exists_one(), filter() and map()")
    return _library.compile(text)
