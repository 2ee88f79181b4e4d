"""Show files of the repository on the site without a second copy of them."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


SHARED = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "images/grid.jpg": "cyclegan_hf/pretrained/grid.jpg",
    "images/page.jpg": "space/screenshots/desktop.jpg",
    "images/phone.jpg": "space/screenshots/phone.jpg",
}
"""Path on the site to path in the repository."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the shared files to the site."""
    root = Path(config.docs_dir).parent
    for address, path in SHARED.items():
        files.append(File.generated(config, address, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links into the repository, which work where the Markdown is read directly, to the files on the site."""
    for address, path in SHARED.items():
        markdown = markdown.replace(f"](../{path})", f"]({address})")
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Show the docstrings' references, such as [`ImageProcessor`], without their brackets."""
    return re.sub(r"\[(<code>[^<]+</code>)\]", r"\1", html)
