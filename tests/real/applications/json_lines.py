"""Commands to an application: one JSON line in on stdin, one JSON line out on stdout.

In: {"do": name, "with": {…}}. Out: {"ok": true, "result": …}, or {"ok": false, "refused": class, "why": first line} where
the application itself said no. Whatever the application prints goes to stderr.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable


def serve(commands: dict[str, Callable], refusals: tuple[type[BaseException], ...]) -> None:
    """Answer commands until stdin ends. `refusals` are what the application raises when it says no."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps({"ok": True, "result": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"ok": True, "result": commands[command["do"]](**command.get("with", {}))}
        except refusals as error:
            answer = {"ok": False, "refused": type(error).__name__, "why": (str(error).splitlines() or [""])[0][:300]}
        except Exception as error:  # noqa: BLE001 (told to the test, which fails)
            traceback.print_exc()
            answer = {"ok": False, "refused": None, "why": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, ensure_ascii=False, default=str), file=answers, flush=True)
