"""The generated half of the documentation site: complete, linked, and made from what the program says."""

from __future__ import annotations

import posixpath
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import site_pages  # noqa: E402

from strop.cli.main import VERBS  # noqa: E402
from strop.papers.catalogue import catalogue  # noqa: E402
from strop.search.methods import METHODS  # noqa: E402


@pytest.fixture(scope="module")
def site() -> dict[str, str]:
    """Every page of the site as mkdocs gets it, by its path."""
    own = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "docs").glob("*.md")}
    made = {name: text for name, text in own.items() if name not in site_pages.MOVED} | site_pages.pages()
    return {name: site_pages.loose(site_pages.relink(text, name)) for name, text in made.items()}


def test_one_page_a_verb_a_method_and_a_paper(site):
    assert {f"verbs/{verb}.md" for verb in VERBS} <= site.keys()
    assert {f"methods/search-{name}.md" for name in METHODS} <= site.keys()
    assert {f"papers/{one.slug}.md" for one in catalogue()} <= site.keys()
    assert "--budget" in site["verbs/search.md"]
    assert "strop search --compare" in site["verbs/search.md"], "examples come from the other pages"


def test_a_method_s_page_has_its_docstring_options_paper_and_results(site):
    page = site["methods/search-codetree.md"]
    assert "code:\n\n- Programs are drawn at" in page, "a list, not a paragraph"
    assert "| `policy` | dfs, bfs | `dfs` |" in page
    assert "At 20 programs the tree beats resampling." in page
    assert "(../papers/23-codetree.md)" in page
    measured = next(one for one in catalogue() if one.results and one.slug == "43-codedpo")
    for name in ("methods/data-codedpo.md", "papers/43-codedpo.md"):
        for found in measured.results.conditions:
            assert found.text in site[name]
            assert f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})" in site[name]
        assert "../results/43-codedpo.svg" in site[name]


def test_every_link_leads_to_a_page_of_the_site(site):
    files = {*site, *(f"results/{file.name}" for file in (ROOT / "results").glob("*.svg"))}
    files |= {f"images/{file.name}" for file in (ROOT / "docs/images").glob("*")}
    for name, text in site.items():
        text = re.sub(r"^( *)(`{3,}).*?^\1\2", "", text, flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if "://" not in target:
                path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                assert path in files, f"{name} links to {target}"


def test_the_contents_hold_every_page_once(site):
    def leaves(node):
        if isinstance(node, dict):
            node = list(node.values())
        return [leaf for one in node for leaf in leaves(one)] if isinstance(node, list) else [node]

    listed = leaves(site_pages.nav())
    assert len(listed) == len(set(listed))
    assert set(listed) == set(site)


def test_code_stays_as_it_is():
    text = "Words:\n- one\n\n```\nWords:\n- one\n```\n"
    assert site_pages.loose(text) == "Words:\n\n- one\n\n```\nWords:\n- one\n```\n"


@pytest.mark.slow
def test_mkdocs_builds_the_site_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site/papers/43-codedpo.html").read_text(encoding="utf-8")
    assert "results/43-codedpo.svg" in page
    outside = re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(https?://[^"]+)"', page)
    assert [address for address in outside if "squidfunk" not in address] == [], "nothing is fetched from elsewhere"
