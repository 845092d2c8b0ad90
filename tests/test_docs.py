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
