"""How long the real applications are kept busy: `make test-real ARGS="--seconds 600"`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=float, default=60.0, help="how long both applications are kept busy (60)")
    parser.addoption("--seed", type=int, default=1, help="repeats the same choices (1)")
