"""The pages: the site builds, and what they link to and name is there."""

import ast
import importlib
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from mmaccel.cli import VERBS
from tests.test_architecture import GROUND, ROOMS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ('*.md', 'docs/**/*.md', 'configs/**/*.md', 'research/*.md')
    for page in ROOT.glob(pattern)
    if page.name != 'CHANGELOG.md'  # it tells of what was
)
PACKAGES = ('models', 'datasets', 'engine', 'engine.hooks', 'evaluation', 'analysis')
#: Paths in prose and commands, from the repository's root or from configs/.
PATH = re.compile(
    r'(?<![\w/.-])(?:benchmarks|configs|docs|mmaccel|research|tests|tools|accel|ablations'
    r'|small)/(?:[\w./*-]|\{[^}]*\}|<\w+>)*'
)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site, with warnings as errors, in ten seconds."""
    for name in ('sphinx', 'myst_parser', 'furo'):
        pytest.importorskip(name, reason=f'{name} (pip install -e .[docs]) is missing')
    out = tmp_path_factory.mktemp('site')
    command = ['-m', 'sphinx', '-W', '--keep-going', '-q', '-d', out / 'trees', 'docs']
    done = subprocess.run(
        [sys.executable, *command, out], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out


def test_site_documents_every_public_name(site):
    inventory = zlib.decompress((site / 'objects.inv').read_bytes().split(b'\n', 4)[4])
    documented = {
        line.split()[0].rpartition('.')[2] for line in inventory.decode().splitlines()
    }
    for package in PACKAGES:
        names = importlib.import_module(f'mmaccel.{package}').__all__
        assert documented.issuperset(names), package


def test_site_shows_the_pages_of_other_folders(site):
    assert 'quickstart.sh' in (site / 'index.html').read_text()
    assert 'href="running.html#' in (site / 'index.html').read_text()
    assert 'Table 10' in (site / 'paper_tables.html').read_text()


def test_site_leads_from_symbols_to_their_lines(site):
    links = re.findall(
        r'href="(_modules/[\w/]+\.html)#([\w.]+)"',
        (site / 'architecture.html').read_text(),
    )
    assert len(links) > 15
    for file, symbol in links:
        assert f'id="{symbol}"' in (site / file).read_text(), f'{file}#{symbol}'


def anchors(page):
    """Anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    return {
        re.sub(r'[^\w\- ]', '', h).strip().lower().replace(' ', '-') for h in headings
    }


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page):
    text = page.read_text(encoding='utf-8')
    for file, anchor in re.findall(r'\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)', text):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f'{file}#{anchor}'
    for path in set(PATH.findall(text)) - {'docs/_build'}:
        pattern = re.sub(r'\{.*?\}|<\w+>', '*', path.rstrip('.'))
        assert any(any(root.glob(pattern)) for root in (ROOT, ROOT / 'configs')), path


def definitions(path):
    """Classes and functions of a module, and methods as ``Class.method``."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, kinds):
            yield node.name
            for inner in node.body:
                if isinstance(inner, kinds):
                    yield f'{node.name}.{inner.name}'


@pytest.mark.parametrize('page', ['docs/architecture.md', 'CONTRIBUTING.md'])
def test_linked_symbols_are_defined_where_the_link_leads(page):
    page = ROOT / page
    text = page.read_text(encoding='utf-8')
    for symbol, file in re.findall(r'\[`([\w.]+)`\]\(([^)]+\.py)\)', text):
        assert symbol in definitions(page.parent / file), f'{symbol} in {file}'


def test_every_verb_is_listed_with_its_script():
    text = (ROOT / 'docs/running.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| `([\w-]+)` \| (?:`(.*?)`)? ?\|', text, re.MULTILINE)
    assert sorted(verb for verb, _ in rows) == sorted(VERBS)
    for verb, script in rows:
        assert not script or f"'{verb}'" in (ROOT / script).read_text(), script


def test_architecture_lists_the_packages_in_the_order_of_their_imports():
    text = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8')
    ground = [text.index(f'`{name}`') for name in GROUND]
    rooms = [text.index(f'| `{name}/` |') for name in ROOMS]
    assert max(ground) < rooms[0] and rooms == sorted(rooms)


def test_step_times_of_the_readme_are_those_of_the_page_that_has_them():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    (line,) = [x for x in readme.splitlines() if x.startswith('Time per step')]
    table = (ROOT / 'docs/performance.md').read_text(encoding='utf-8')
    ratios = re.findall(r'\b0\.\d\d\b', line)
    assert len(ratios) >= 3
    for ratio in ratios:
        assert f'| {ratio} ' in table, ratio
