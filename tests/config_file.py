"""Small pretraining configs as files, for tools that are given a path."""

from tests.test_analysis.test_cost import config


def write_config(path, cfg=None, **settings):
    """Write a config of Accel-MoCo, or another, with settings added; return its path.

    Not by ``Config.dump``: its formatter takes seconds.
    """
    values = {**(config() if cfg is None else cfg).to_dict(), **settings}
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in values.items()))
    return str(path)
