"""The documents: links lead somewhere, and both languages show the same programs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAIRS = [(p.with_name(p.name.replace(".zh-CN", "")), p) for p in PAGES if ".zh-CN" in p.name]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("english, chinese", PAIRS, ids=lambda p: p.name)
def test_both_languages_show_the_same_programs(english, chinese):
    def programs(page: Path) -> list[str]:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        return [re.sub(r"#.*", "#", block) for block in blocks]

    def headings(page: Path) -> list[str]:
        return re.findall(r"^#+", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert programs(english) == programs(chinese)
    assert headings(english) == headings(chinese)


def test_files_that_the_architecture_names_exist():
    """A name is a path from the root, from the package, or from one of its rooms."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = re.findall(r"`([\w./*]+(?:\.py|/))`", text)
    starts = [ROOT, *(p.parent for p in (ROOT / "facula").glob("**/__init__.py"))]
    missing = [name for name in names if not any(any(at.glob(name.rstrip("/"))) for at in starts)]
    assert len(names) > 50
    assert not missing


def test_the_architecture_names_every_stage_of_planning():
    """The room of the plan lists its files: the stages a tape goes through, in order."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = [p.name for p in (ROOT / "facula" / "schedule").glob("*.py") if p.stem != "__init__"]
    assert not [x for x in files if f"`{x}`" not in text and f"`schedule/{x}`" not in text]
