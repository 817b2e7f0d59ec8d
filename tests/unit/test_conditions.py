"""CEL without its command line."""

import subprocess
import sys

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
