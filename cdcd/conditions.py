"""CEL, the language of `when` conditions: the library's compiled core, without the command line it imports along.

`import cel` loads that command line with typer, rich and prompt_toolkit: 25 MB and a third of a second in each process.
The core registers itself under the name it has in the library, so that both ways may be mixed.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

_CORE: Final = "cel.cel"


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
    """A program whose `execute({"record": {...}})` gives the condition's value. Raises ValueError."""
    return _library.compile(text)
