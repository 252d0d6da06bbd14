"""Settings of the documentation site: ``sphinx-build docs docs/_build``."""

import os
import re
from pathlib import Path

from mmaccel.version import __version__

DOCS = Path(__file__).resolve().parent
#: Files outside of docs/ that are pages of the site: a page that is only a link to such
#: a file shows it.
PAGES = {
    'index': 'README.md',
    'paper_tables': 'configs/accel/README.md',
    'research': 'research/README.md',
    'report': 'research/report.md',
    'protocol': 'research/protocol.md',
    'contributing': 'CONTRIBUTING.md',
    'changelog': 'CHANGELOG.md',
}

project = 'mmaccel'
author = 'mmaccel contributors'
project_copyright = author
release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]
exclude_patterns = ['_build', 'figures']
html_theme = 'furo'
html_title = f'mmaccel {release}'
myst_heading_anchors = 3

autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def with_links_of_the_site(path: Path) -> str:
    """Text of a page whose links lead to other pages, and from symbols to their lines.

    A symbol in a link to a file of the package, ``[`Class.method`](../mmaccel/x.py)``,
    leads to where viewcode shows it.
    """
    pages = {DOCS.parent / file: f'{page}.md' for page, file in PAGES.items()}

    def link(match: re.Match) -> str:
        target = Path(os.path.normpath(path.parent / match[1]))
        return '](' + pages.get(target, os.path.relpath(target, DOCS))

    text = re.sub(
        r'\[`([\w.]+)`\]\((?:\.\./)*(mmaccel/[\w/]+)\.py\)',
        r'<a href="_modules/\2.html#\1"><code>\1</code></a>',
        path.read_text(encoding='utf-8'),
    )
    return re.sub(r'\]\((?!https?:|#)([^)#\s]+)', link, text)


def read_page(app: object, page: str, source: list[str]) -> None:
    """Put the files of ``PAGES`` where they are linked, and turn links to them."""
    if '/' in page:
        return
    text = with_links_of_the_site(DOCS / f'{page}.md')
    if page in PAGES:
        file = with_links_of_the_site(DOCS.parent / PAGES[page])
        text = re.sub(r'^\[.*\]\(.*\)$', lambda _: file, text, count=1, flags=re.M)
    source[0] = text


def setup(app) -> None:
    """Let Sphinx read pages through :func:`read_page`."""
    app.connect('source-read', read_page)
