import os

import pytest
import torch

from mmaccel.engine.checkpoints import find_newest, is_whole


def save(path, iteration=0):
    path.parent.mkdir(exist_ok=True)
    torch.save(dict(meta=dict(iter=iteration), state_dict=torch.rand(300)), path)
    return str(path)


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_whole_or_not(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    save(path)
    assert is_whole(path)
    damage(path)
    assert not is_whole(path)  # a flipped bit
    save(path)
    path.write_bytes(path.read_bytes()[:-50])
    assert not is_whole(path)
    path.write_bytes(b'')
    assert not is_whole(path) and not is_whole(tmp_path / 'none.pth')


def test_newest_goes_by_number_not_by_date_or_alphabet(tmp_path):
    newest = save(tmp_path / 'epoch_10.pth')
    for name in ('epoch_9.pth', 'epoch_2.pth', 'best_acc_epoch_99.pth', 'x.pth'):
        save(tmp_path / name)
    os.utime(newest, (0, 0))
    assert find_newest(tmp_path) == (newest, [])


@pytest.mark.parametrize('pointer', [None, '', 'gone/epoch_7.pth', 'epoch_1.pth'])
def test_newest_needs_no_pointer(tmp_path, pointer):
    save(tmp_path / 'epoch_1.pth')
    newest = save(tmp_path / 'epoch_2.pth')
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer and str(tmp_path / pointer))
    assert find_newest(tmp_path) == (newest, [])


def test_newest_follows_the_pointer_to_another_folder(tmp_path):
    newest = save(tmp_path / 'big_disk' / 'epoch_3.pth')
    work_dir = tmp_path / 'work'
    save(work_dir / 'epoch_1.pth')
    (work_dir / 'last_checkpoint').write_text(newest)
    assert find_newest(work_dir) == (newest, [])


def test_damaged_ones_are_passed_over(tmp_path):
    good = save(tmp_path / 'epoch_1.pth')
    bad = [save(tmp_path / f'epoch_{i}.pth') for i in (3, 2)]
    damage(tmp_path / 'epoch_2.pth')
    (tmp_path / 'epoch_3.pth').write_bytes(b'')
    assert find_newest(tmp_path) == (good, bad)
    os.remove(good)
    assert find_newest(tmp_path) == (None, bad)


def test_epoch_and_iteration_checkpoints_are_compared_by_their_iteration(tmp_path):
    newest = save(tmp_path / 'iter_40.pth', 40)
    save(tmp_path / 'epoch_3.pth', 30)
    assert find_newest(tmp_path)[0] == newest
    newest = save(tmp_path / 'epoch_5.pth', 50)
    assert find_newest(tmp_path)[0] == newest


def test_other_names_by_template(tmp_path):
    newest = save(tmp_path / 'moco-12.pth')
    save(tmp_path / 'epoch_99.pth')
    assert find_newest(tmp_path, 'moco-{}.pth')[0] == newest


def test_nothing_to_find(tmp_path):
    assert find_newest(tmp_path / 'none') == (None, [])
