"""A hook of mkdocs: pages at the top of the repository become pages of the site, and links between both work."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ADDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(
    r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)]*)?\)|(?<=\]\()docs/(?P<image>images/)"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages at the top of the repository."""
    for name, added in ADDED.items():
        files.append(File.generated(config, added, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links to files of the repository at their pages.

    A file without a page is linked below `repo_url`; as long as mkdocs.yml has none, only the text of the link stays.
    """
    here = page.file.src_uri
    name = next((name for name, added in ADDED.items() if added == here), f"docs/{here}")

    def pointed(link: re.Match[str]) -> str:
        if link["image"]:
            return link["image"]
        path = os.path.normpath(Path(name).parent / link["path"])
        target = ADDED.get(path, path.removeprefix("docs/"))
        if target != path or path.startswith("docs/"):
            return f"[{link['text']}]({os.path.relpath(target, Path(here).parent)}{link['anchor'] or ''})"
        return f"[{link['text']}]({config.repo_url}/blob/main/{path})" if config.repo_url else link["text"]

    return LINK.sub(pointed, markdown)
