"""The command answers before it imports the stack, and starts mmaccel everywhere."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import DictAction

from mmaccel import _startup
from mmaccel.cli import VERBS, command
from tests.config_file import write_config
from tests.processes import TOOLS, exit_code

SCRIPTS = [
    path.relative_to(TOOLS.parent).as_posix()
    for path in sorted(TOOLS.rglob('*.py'))
    if path.name[0] != '_' and not {'preparation', 'study'} & set(path.parts)
]
HEAVY = {'torch', 'mmengine', 'mmcv', 'matplotlib', 'mmaccel.engine'}


def answer(*words):
    """Exit code, output and the heavy modules that a command imported."""
    done = subprocess.run(
        [sys.executable, '-X', 'importtime', *words],
        cwd=TOOLS.parent,
        capture_output=True,
        text=True,
    )
    timed = [x for x in done.stderr.splitlines() if x.startswith('import time:')]
    modules = {line.rpartition('|')[2].strip() for line in timed}
    said = done.stdout + done.stderr.replace('\n'.join(timed), '')
    return done.returncode, said, modules & HEAVY


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_script_explains_itself_at_once(script):
    code, said, heavy = answer(script, '--help')
    assert code == 0 and 'example' in said
    assert not heavy


@pytest.mark.parametrize(
    'words',
    [
        '',
        'no-such-verb',
        'train',
        'train config.py --no-such-option',
        'train config.py --amp fp8',
        'train config.py --cfg-options lr',
        'train config.py --cfg-options a=[1,(2]',
        'step config.py --iters 0',
        'plot run --out f.png --labels A B',
        'batch-size config.py --device cpu',
        'probe config.py',
    ],
)
def test_wrong_arguments_are_told_at_once(words):
    code, said, heavy = answer('-m', 'mmaccel', *words.split())
    assert code == 2 and 'error: ' in said
    assert not heavy


def test_help_takes_less_than_a_second():
    def seconds():
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, '-m', 'mmaccel', '--help'], check=True, cwd=TOOLS.parent
        )
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 1


def test_help_lists_the_verbs_and_each_has_examples(capsys):
    assert exit_code('--help') == 0
    listed = capsys.readouterr().out
    for verb in VERBS:
        assert f'\n    {verb}' in listed
        assert exit_code(verb, '--help') == 0
        assert f'mmaccel {verb} ' in capsys.readouterr().out.partition('examples:')[2]


def test_processes_that_a_command_spawns_start_mmaccel(tmp_path):
    """What a loader worker under `spawn` does, of a script as of the command."""
    script = tmp_path / 'main.py'
    script.write_text("""
import multiprocessing, sys

def work():
    import mmaccel
    from mmselfsup.registry import MODELS
    sys.exit(7 if 'AccelMoCo' in MODELS else 1)

if __name__ == '__main__':
    import mmaccel_cli
    mmaccel_cli.running = True
    import mmaccel
    assert 'torch' not in sys.modules
    child = multiprocessing.get_context('spawn').Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
""")
    assert subprocess.run([sys.executable, str(script)]).returncode == 7


@pytest.mark.parametrize(
    ('argv', 'orig_argv', 'expected'),
    [
        (['-m'], 'python -m mmaccel train', True),
        (['-m'], 'python -u -m mmaccel.doctor --json', True),
        (['-m'], 'python -m mmaccel.other mmaccel', False),
        (['train.py', 'mmaccel'], 'python train.py -m mmaccel', False),
        (['-c'], 'python -c pass', False),
    ],
)
def test_the_command_is_recognised(monkeypatch, argv, orig_argv, expected):
    monkeypatch.delitem(sys.modules, 'mmaccel_cli', raising=False)
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.setattr(sys, 'orig_argv', orig_argv.split())
    assert _startup.is_command() is expected


def test_a_broken_stack_is_one_sentence(tmp_path):
    words = ['-S', '-m', 'mmaccel', 'train', 'config.py']  # no site-packages
    done = subprocess.run(
        [sys.executable, *words], cwd=TOOLS.parent, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert 'mmaccel doctor' in done.stderr


def test_settings_are_read_as_mmengine_reads_them(tmp_path):
    pairs = ['a.b=1', 'a.c=[(1, 2), x]', 'd=1, 2', 'e=None', 'f="x=y"', 'g=-1e-3']
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    expected = parser.parse_args(['--cfg-options', *pairs]).cfg_options

    parser = argparse.ArgumentParser()
    command.shared(parser, 'config', '--cfg-options')
    path = write_config(Path(tmp_path, 'c.py'))
    first, *rest = pairs
    argv = [path, '--cfg-options', first, '--cfg-options', *rest]
    cfg = command.load(parser.parse_args(argv))
    for key, value in expected.items():
        found = cfg
        for name in key.split('.'):
            found = found[name]
        assert found == value


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ('my photos/a', 'my photos/a'),
        ('my  photos (2020)/a', 'my  photos (2020)/a'),
        ('[my photos, b c]', ['my photos', 'b c']),
        ('( a b , 1 )', ('a b', 1)),
    ],
)
def test_spaces_in_values_are_kept(tmp_path, given, expected):
    path = write_config(Path(tmp_path, 'c.py'))
    args = argparse.Namespace(config=path, cfg_options=[f'a.b={given}'])
    assert command.load(args).a.b == expected


def test_errors_after_the_first_iteration_are_not_settings():
    class Loop:
        iter = 3

    def body(run):
        run.runner = argparse.Namespace(_train_loop=Loop())
        raise ValueError('a bug')

    with pytest.raises(ValueError):
        command.Command().run(body)
