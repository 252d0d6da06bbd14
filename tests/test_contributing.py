"""What contributors and citing authors read by machine is valid."""

import re
from pathlib import Path

import pytest
import yaml

from mmaccel import __version__

ROOT = Path(__file__).parents[1]
FORMS = ('bug_report', 'feature_request')


def load(file):
    return yaml.safe_load((ROOT / file).read_text(encoding='utf-8'))


def test_workflow_runs_what_contributors_run():
    workflow = load('.github/workflows/ci.yml')
    assert {'push', 'pull_request'} <= set(workflow[True])  # yaml reads `on` as true
    for job in workflow['jobs'].values():
        assert job['timeout-minutes']
        for command in (step['run'] for step in job['steps'] if 'run' in step):
            assert (ROOT / command.split()[0]).stat().st_mode & 0o111
        (python,) = [s['with'] for s in job['steps'] if 'python' in s.get('uses', '')]
        for pattern in python['cache-dependency-path'].split():
            assert any(ROOT.glob(pattern)), pattern


@pytest.mark.parametrize('form', FORMS)
def test_issue_form_is_complete(form):
    form = load(f'.github/ISSUE_TEMPLATE/{form}.yml')
    assert form['name'] and form['description']
    ids = [part['id'] for part in form['body']]
    assert len(ids) == len(set(ids))
    assert all(part['attributes']['label'] for part in form['body'])


def test_bug_report_asks_for_what_is_needed():
    parts = load('.github/ISSUE_TEMPLATE/bug_report.yml')['body']
    needed = {part['id'] for part in parts if part['validations']['required']}
    assert {'command', 'config', 'log', 'doctor'} <= needed
    assert not load('.github/ISSUE_TEMPLATE/config.yml')['blank_issues_enabled']


def test_citation_is_of_this_version_and_of_the_paper():
    citation = load('CITATION.cff')
    assert citation['cff-version'] == '1.2.0' and citation['message']
    assert citation['version'] == __version__
    assert [author['name'] for author in citation['authors']]
    paper = citation['preferred-citation']
    names = ' and '.join(
        f'{author["family-names"]}, {author["given-names"]}'
        for author in paper['authors']
    )
    bibtex = (ROOT / 'README.md').read_text(encoding='utf-8')
    fields = dict(re.findall(r'^  (\w+) += \{(.*)\}', bibtex, re.MULTILINE))
    assert fields == dict(
        title=paper['title'], author=names, year=str(paper['year']), url=paper['url']
    )
