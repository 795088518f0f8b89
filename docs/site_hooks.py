"""Hooks of the documentation's site: the README is its first page, and GitHub's links hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages beside the folder of the others, by their place in the site."""
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie beside the folder."""
    for name, target in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_LINK.sub(_moved, text)))
    return files


def _moved(link: re.Match[str]) -> str:
    """A link of such a page, from its place in the site; what is not in the site is no link."""
    picture, text, target = link.groups()
    if "://" in target or target.startswith("#"):
        return link[0]
    name, hash_, anchor = target.partition("#")
    if name in PAGES:
        return f"{picture}[{text}]({PAGES[name]}{hash_}{anchor})"
    if name.startswith("docs/"):
        return f"{picture}[{text}]({name.removeprefix('docs/')}{hash_}{anchor})"
    return text


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lists begin without an empty line before them on GitHub, and nest by two spaces."""
    return re.sub(r"^( {2,})(?=[-*] )", lambda found: found[1] * 2, markdown, flags=re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors of headings are those of GitHub, and no page is left out of the navigation."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    nav = list(config.nav or [])
    named = str(nav)
    others = [path.name for path in sorted((ROOT / "docs").glob("*.md"))]
    more = [name for name in others if f"'{name}'" not in named]
    config.nav = [*nav, {"More": more}] if more else nav
    return config


def slug(text: str, separator: str) -> str:
    """The anchor of a heading.

    Args:
        text: the heading.
        separator: in place of spaces.
    """
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", separator)
