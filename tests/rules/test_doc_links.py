"""Links between documents lead somewhere, and a reader who starts at the README can come to every page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "cdcd/DESIGN.md", *(ROOT / "docs").rglob("*.md")])
PAGES += sorted((ROOT / "config").rglob("*.md"))
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def links(page: Path) -> list[tuple[Path, str]]:
    """File and anchor of each relative link."""
    text = re.sub(r"^(    |```).*$", "", page.read_text("utf-8"), flags=re.MULTILINE)
    found = [one or other for one, other in _LINK.findall(re.sub(r"`[^`]*`", "", text))]
    parts = [link.partition("#") for link in found if not re.match(r"[a-z]+:", link)]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    assert [str(path) for path, _ in links(page) if not path.exists()] == []
    assert [f"{path.name}#{anchor}" for path, anchor in links(page) if anchor and anchor not in anchors(path)] == []


def test_every_page_can_be_reached_from_the_readme():
    seen: set[Path] = set()
    coming = [ROOT / "README.md"]
    while coming:
        page = coming.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            coming += [path for path, _ in links(page) if path.is_file()]
    docs = {page for page in PAGES if (ROOT / "docs") in page.parents}
    assert sorted(str(page.relative_to(ROOT)) for page in docs - seen) == []
