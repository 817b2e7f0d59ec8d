"""Somebody who looks at a page with a browser, and notices what goes wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


class Looking:
    """Pages of one browser. `wrong` collects what scripts complain about, `elsewhere` what was fetched from others."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.wrong: list[str] = []
        self.elsewhere: list[str] = []
        self.asked: list[str] = []
        self.may_fail = False

    def open(self, port: int, path: str = "/", **options: Any) -> Page:
        """Open a page of that port. `options` are those of a Playwright context."""
        context = self._browser.new_context(**{"viewport": DESKTOP, **options})
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on(
            "console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._note)
        scheme = "https" if options.get("ignore_https_errors") else "http"
        page.goto(f"{scheme}://127.0.0.1:{port}{path}")
        return page

    def _note(self, request: Request) -> None:
        address = urlsplit(request.url)
        self.asked.append(address.path)
        if address.hostname != "127.0.0.1":
            self.elsewhere.append(request.url)

    def leave(self) -> None:
        """Close all pages: from now on nobody asks."""
        while self._contexts:
            self._contexts.pop().close()

    def close(self) -> None:
        self.leave()
        assert self.elsewhere == []
        assert self.wrong == [] or self.may_fail, self.wrong


CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".unseen, .skip, noscript, svg")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
  }
  return poor;
}"""
"""Texts whose contrast with what is behind them is less than WCAG 2.2 AA asks for (4.5 : 1)."""
