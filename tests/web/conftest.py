"""A real browser: Debian's Chromium, driven by Playwright; where there is none, its tests are skipped and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdcd.web import pages
from web.looking import Looking
from web.showcase import Showcase, put_trouble

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    driver = pytest.importorskip("playwright.sync_api", reason="there is no Playwright for this machine")
    with driver.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture
def looking(browser: Browser) -> Iterator[Looking]:
    """A person with a browser; nothing may go wrong in it, and nothing may be fetched from elsewhere."""
    made = Looking(browser)
    yield made
    made.close()


@pytest.fixture(scope="session")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showcase]:
    """A site on which all is well. Leave it so."""
    made = Showcase(tmp_path_factory.mktemp("well"))
    yield made
    made.site.close()


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showcase]:
    """A site on which much is not. Leave it so."""
    made = Showcase(tmp_path_factory.mktemp("troubled"))
    put_trouble(made)
    made.show_trouble()
    yield made
    made.site.close()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looking: Looking) -> Iterator[Showcase]:
    """A site of the test's own, with pages that are in a hurry."""
    monkeypatch.setattr(pages, "KEPT_SECONDS", -1.0)
    monkeypatch.setitem(pages.ENVIRONMENT.globals, "refresh_seconds", 0.2)
    monkeypatch.setitem(pages.ENVIRONMENT.globals, "retry_seconds", 1)
    made = Showcase(tmp_path)
    yield made
    looking.leave()
    made.site.close()
