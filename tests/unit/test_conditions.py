"""CEL without its command line."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdcd.conditions import compile_condition


def test_a_condition_looks_at_the_record():
    program = compile_condition("record.status in ['new', 'paid'] && record.total > 5")
    assert program.execute({"record": {"status": "new", "total": 6}}) is True
    assert program.execute({"record": {"status": "sent", "total": 6}}) is False
    assert program.variables() == ["record"]


def test_what_is_no_condition_is_a_value_error():
    with pytest.raises(ValueError, match="Syntax error"):
        compile_condition("record.status ==")


def test_the_libraries_command_line_is_not_loaded_and_the_library_still_can_be():
    program = (
        "import sys\nfrom cdcd.conditions import compile_condition\ncompile_condition('1 == 1')\n"
        "assert not {'typer', 'prompt_toolkit', 'rich'} & set(sys.modules)\n"
        "import cel\nassert cel.compile('1 + 1').execute({}) == 2\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "text",
    [
        "record.a == '" + "x" * 5000 + "'",
        "[1].map(a, [1].map(b, [1].map(c, a))) == record.a",
        "record.a . all (x, true) && record.a.exists(x, true) && record.a.exists_one(x, true)",
        "(" * 5_000 + "record.a" + ")" * 5_000,
        "[" * 2_000 + "]" * 2_000 + " == record.a",
    ],
)
def test_what_would_take_long_or_nest_deeply_is_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own, and ours
        compile_condition(text)


def test_a_regular_expression_takes_linear_time_and_bounded_room():
    started = time.monotonic()
    assert compile_condition("record.a.matches('^(a+)+$')").execute({"record": {"a": "a" * 5000 + "b"}}) is False
    with pytest.raises(RuntimeError, match="size limit"):
        compile_condition("record.a.matches('((a{100}){100}){100}')").execute({"record": {"a": "a"}})
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {file}')",
        "open('{file}', 'w')",
        'exec(\'open("{file}", "w")\')',
        "record.__class__.__mro__[1].__subclasses__()",
        "record.a.__class__.__base__",
        "record.f('{file}')",
        "getattr(record, 'a')",
        "env('HOME')",
        "record['__init__'].__globals__",
    ],
)
def test_a_condition_runs_no_code_and_reaches_nothing_but_the_record(text: str, tmp_path: Path):
    called: list[str] = []
    record = {"a": "x", "f": called.append}
    try:
        program = compile_condition(text.replace("{file}", str(tmp_path / "made")))
        program.execute({"record": record})
    except (ValueError, RuntimeError, KeyError, TypeError):
        pass
    else:
        pytest.fail("it had a value")
    assert called == []
    assert not (tmp_path / "made").exists()
