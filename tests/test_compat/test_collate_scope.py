"""Only ``_scope_`` is kept from the collate function."""

import pytest
from mmengine.runner import FlexibleRunner, Runner


@pytest.mark.parametrize('runner', [Runner, FlexibleRunner])
def test_other_arguments_arrive_and_the_config_is_left_alone(runner):
    seen = []

    def collate(batch, scale):
        seen.append(scale)
        return batch

    config = dict(
        dataset=[1, 2],
        sampler=[0, 1],
        batch_size=2,
        collate_fn=dict(type=collate, scale=3, _scope_='mmselfsup'),
    )

    assert list(runner.build_dataloader(config)) == [[1, 2]]
    assert seen == [3]
    assert config['collate_fn'] == dict(type=collate, scale=3, _scope_='mmselfsup')
