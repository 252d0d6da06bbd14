"""The hosts' SwAV: codes of all ranks, and a queue that resumes, in both."""

import torch
from mmengine.dist import all_reduce

from ..processes import fork_ranks
from ..sinkhorn import SHARP, plain_sinkhorn, scores
from ..test_compat.swav import queue_of, swav_runner


def released(package):
    """The host's own function, from the text of its module."""
    path = package.module(package.sinkhorn).__file__
    with open(path, encoding='utf-8') as file:
        body = file.read().partition('def distributed_sinkhorn')[2]
    names = dict(torch=torch, all_reduce=all_reduce)
    exec('def distributed_sinkhorn' + body.split('\n\n\n')[0], names)
    return names['distributed_sinkhorn']


def test_codes_of_two_ranks_are_those_of_one_with_all_samples(package):
    patched = package.module(package.sinkhorn).distributed_sinkhorn
    original = released(package)

    def of_this_rank(rank):
        part = scores().chunk(2)[rank]
        return [f(part, 3, 2, SHARP).tolist() for f in (original, patched)]

    expected = plain_sinkhorn(scores(), 3, SHARP).float()
    upstream, ours = (
        torch.tensor(fork_ranks(of_this_rank)).transpose(0, 1).flatten(1, 2)
    )
    assert (upstream - expected).abs().max() > 1e-2, 'upstream needs no patch any more'
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)


def test_the_queue_resumes(package, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'cuda', None)
    whole = swav_runner(tmp_path / 'whole', 3, package=package)
    whole.train()
    swav_runner(tmp_path / 'parts', 1, package=package).train()
    parts = swav_runner(tmp_path / 'parts', 3, package=package, resume=True)
    parts.train()

    assert queue_of(whole).shape == (2, 12, 8)
    assert queue_of(whole).abs().sum() > 0
    assert torch.equal(queue_of(parts), queue_of(whole))
    for a, b in zip(parts.model.parameters(), whole.model.parameters()):
        assert torch.equal(a, b)
    assert not list(tmp_path.glob('*/queue*'))
