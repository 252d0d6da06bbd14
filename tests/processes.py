"""Commands and functions in forked processes, which need not import all anew."""

import multiprocessing
import os
import socket
import subprocess
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  for all children at once
import mmengine.runner.runner
import numpy as np
import torch
import torch.utils.tensorboard
from mmengine.config import Config

from mmaccel.cli import main

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / 'tools'
_FORK = multiprocessing.get_context('fork')


def load_tool(name):
    """Module of a script in tools/, such as ``dataset_converters/cifar10``."""
    return _load(TOOLS / f'{name}.py', 'tools_' + name.replace('/', '_'))


def load_benchmark(name):
    """Module of a script in benchmarks/."""
    return _load(ROOT / 'benchmarks' / f'{name}.py', f'benchmarks_{name}')


def _load(path, module_name):
    spec = spec_from_file_location(module_name, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exit_code(*argv):
    """Exit code of ``mmaccel argv`` in this process, of wrong arguments too."""
    try:
        return main([str(argument) for argument in argv])
    except SystemExit as error:
        return error.code


def run_tool(verb, *argv, log, ranks=1, timeout=120):
    """Exit code of ``mmaccel verb argv``, negative for a signal.

    The output is appended to ``log``. With several ranks the highest exit code.
    """
    environments = [{}] if ranks == 1 else _launch(ranks)
    argv = [*argv] if ranks == 1 else [*argv, '--launcher', 'pytorch']
    children = [
        _FORK.Process(target=_run_tool, args=([verb, *argv], str(log), environment))
        for environment in environments
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout)
    if any(child.is_alive() for child in children):
        for child in children:
            child.kill()
        raise AssertionError(f'{verb} {argv} hangs:\n{Path(log).read_text()}')
    return max((child.exitcode for child in children), key=abs)


def launch_training(config, out, log, ranks=1):
    """Process of ``tools/train.py --resume`` in its own interpreter and group.

    Several ranks are under torchrun. The output is appended to ``log``, a path.
    """
    command = [sys.executable, TOOLS / 'train.py']
    if ranks > 1:
        command[1:1] = ['-m', 'torch.distributed.run', '--standalone']
        command[4:4] = [f'--nproc_per_node={ranks}']
        command += ['--launcher', 'pytorch']
    command += [config, '--work-dir', out, '--seed', '5', '--resume']
    paths = f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    with log.open('a') as file:
        return subprocess.Popen(
            [str(part) for part in command],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(os.environ, PYTHONPATH=paths, OMP_NUM_THREADS='1'),
        )


def fork_ranks(function, ranks=2, timeout=60):
    """Results of ``function(rank)`` on gloo ranks, in their order."""
    results = _FORK.SimpleQueue()
    children = [
        _FORK.Process(target=_run_rank, args=(function, environment, results))
        for environment in _launch(ranks)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [0] * ranks, f'exit codes {codes}'
    return [result for _, result in sorted(results.get() for _ in children)]


def _launch(ranks):
    """Environment of each rank, as torchrun sets it."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    return [
        dict(
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(ranks),
            LOCAL_WORLD_SIZE=str(ranks),
        )
        for rank in range(ranks)
    ]


def _run_rank(function, environment, results):
    os.environ.update(environment)
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    results.put((rank, function(rank)))
    torch.distributed.destroy_process_group()


def _run_tool(argv, log, environment):
    os.environ.update(environment)
    _make_start_fast()
    np.random.seed()  # mmengine draws seeds from it; a fork would repeat its parent's
    with open(log, 'a', buffering=1) as file:
        sys.stdout = sys.stderr = file
        try:
            code = main(argv)
        except BaseException:
            traceback.print_exc()
            code = 2
    sys.exit(code)


def _make_start_fast():
    """Leave out what takes most of a second and changes nothing."""
    mmengine.runner.runner.collect_env = dict  # asks compilers for their version
    Config.pretty_text = property(
        lambda cfg: ''.join(f'{k} = {v!r}\n' for k, v in cfg.to_dict().items())
    )
