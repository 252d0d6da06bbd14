import pytest

from mmaccel.models.layers import HardPairCropLayer
from mmaccel.renamed import renamed
from tests.builders import build, moco_config


@renamed(old='new')
def function(*, new=1):
    return new


def test_an_old_name_works_with_a_warning_that_names_the_new_one():
    with pytest.warns(FutureWarning, match='old.*new'):
        assert function(old=2) == 2
    assert function(new=3) == 3
    with pytest.raises(TypeError, match='new'):
        function(old=2, new=3)


def test_old_config_keys_still_work():
    with pytest.warns(FutureWarning, match='loss_on'):
        assert build(moco_config(supervision='cumulative')).loss_on == 'cumulative'
    with pytest.warns(FutureWarning, match='prefer'):
        assert HardPairCropLayer(select='easy').prefer == 'easy'
