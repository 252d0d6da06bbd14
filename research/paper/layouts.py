"""The paper's tables: their rows, what each row was trained with, and its figures.

The figures are quoted from *Fast Training of Contrastive Learning with Intermediate
Contrastive Loss*, by the number of the table. They stand beside measurements in columns
of their own, on demand, and nowhere else.
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """A column: heading, metric of a record, and whether the backbone is frozen.

    The metrics ``'days'`` and ``'gpu_days'`` are the pretraining's, not a record's.
    """

    heading: str
    metric: str
    frozen: bool = True


class PaperRow(NamedTuple):
    """A row: its labels, the recipe it belongs to, and the paper's figures.

    ``method``, ``variant`` and ``views`` as in ``mmaccel.evaluation.recipe.Recipe``, of
    a ResNet-50 on ImageNet; ``figures`` in the order of the columns, ``''`` where the
    paper gives none.
    """

    labels: tuple[str, ...]
    method: str
    variant: str
    epochs: int | None
    figures: tuple[str, ...]
    views: str = '2×224'


class PaperTable(NamedTuple):
    """A table of the paper: ``task`` and ``dataset`` of the records it shows."""

    number: int
    title: str
    task: str
    dataset: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[PaperRow, ...]


FULL = 'PB + HP'
#: Training time, and that times the number of devices. The paper heads the same figures
#: "Days" in Table 1 and "GPU Days" in Tables 4 and 6: they are days on 8 GPUs.
DAYS = Column('days', 'days')
GPU_DAYS = Column('GPU-days', 'gpu_days')
_TOP1 = Column('top-1', 'top1')
_SMALL, _LARGE = '2×224', '2×160 + 4×96'
_SWAV = ('SwAV 2×224', 'Accel-SwAV 2×224')


def _variants(
    figures: dict[str, tuple], scheme: dict[str, str]
) -> tuple[PaperRow, ...]:
    """MoCo v2 and SimCLR, upstream's and as many forms of their Accel methods."""
    rows = []
    for method, of_method in figures.items():
        names = [('upstream', ''), *scheme.items()]
        for (name, variant), given in zip(names, of_method):
            trained = f'Accel-{method}' if variant else method
            rows.append(PaperRow((method, name), trained, variant, 200, given))
    return tuple(rows)


def _transfer(figures: dict[str, tuple]) -> tuple[PaperRow, ...]:
    """Supervised features and four methods with their Accel forms."""
    epochs = {'Supervised': None, 'MoCo v2': 800, 'SwAV': 400}
    rows = []
    for name, given in figures.items():
        family = name.replace('Accel-', '')
        method = name + (' 2×224' if family == 'SwAV' else '')
        views = '' if family == 'Supervised' else '2×224'
        variant = FULL if name != family else ''
        time = epochs.get(family, 200)
        rows.append(PaperRow((name,), method, variant, time, given, views))
    return tuple(rows)


PAPER_TABLES = (
    PaperTable(
        1,
        'ImageNet linear classification',
        'linear',
        'ImageNet',
        ('method', 'epochs'),
        (_TOP1, DAYS, GPU_DAYS),
        tuple(
            PaperRow((method, str(epochs)), method, variant, epochs, figures)
            for method, variant, epochs, figures in (
                ('SimCLR', '', 200, ('61.7 ± 0.2', '4.3')),
                ('Accel-SimCLR', FULL, 200, ('62.9 ± 0.2', '2.8')),
                ('MoCo', '', 200, ('60.6 ± 0.2', '4.3')),
                ('Accel-MoCo', FULL, 200, ('60.5 ± 0.1', '2.8')),
                ('MoCo v2', '', 200, ('67.5 ± 0.1', '4.3')),
                ('Accel-MoCo v2', FULL, 200, ('67.3 ± 0.1', '2.8')),
                ('MoCo v2', '', 800, ('71.1 ± 0.1', '17.2')),
                ('Accel-MoCo v2', FULL, 800, ('71.0 ± 0.2', '10.9')),
                (_SWAV[0], '', 400, ('70.1 ± 0.1', '8.1')),
                (_SWAV[1], FULL, 400, ('70.7 ± 0.1', '5.3')),
            )
        ),
    ),
    PaperTable(
        2,
        'VOC 2012 segmentation, PSPNet',
        'segmentation',
        'VOC12Aug',
        ('method',),
        (
            Column('mIoU, frozen', 'mIoU'),
            Column('accuracy, frozen', 'aAcc'),
            Column('mIoU', 'mIoU', False),
            Column('accuracy', 'aAcc', False),
        ),
        _transfer(
            {
                'Supervised': ('76.9 ± 0.1', '85.0 ± 0.0', '79.1 ± 0.1', '87.1 ± 0.2'),
                'SimCLR': ('72.4 ± 0.1', '82.0 ± 0.0', '74.8 ± 0.1', '83.4 ± 0.1'),
                'Accel-SimCLR': (
                    '72.9 ± 0.0', '82.3 ± 0.1', '75.2 ± 0.1', '83.7 ± 0.1'
                ),
                'MoCo': ('75.1 ± 0.1', '83.2 ± 0.1', '77.2 ± 0.1', '84.8 ± 0.1'),
                'Accel-MoCo': ('75.2 ± 0.2', '83.3 ± 0.1', '76.9 ± 0.1', '84.6 ± 0.1'),
                'MoCo v2': ('78.6 ± 0.2', '86.6 ± 0.2', '79.4 ± 0.2', '87.3 ± 0.2'),
                'Accel-MoCo v2': (
                    '78.6 ± 0.2', '86.5 ± 0.2', '79.3 ± 0.2', '87.3 ± 0.2'
                ),
                'SwAV': ('72.7 ± 0.1', '80.7 ± 0.0', '74.4 ± 0.2', '83.5 ± 0.1'),
                'Accel-SwAV': ('72.7 ± 0.1', '80.8 ± 0.0', '74.5 ± 0.2', '83.5 ± 0.1'),
            }
        ),
    ),
    PaperTable(
        3,
        'VOC 2007 detection, Faster R-CNN R50-C4',
        'detection',
        'VOC07',
        ('method',),
        (
            Column('AP50, frozen', 'AP50'),
            Column('AP, frozen', 'AP'),
            Column('AP50', 'AP50', False),
            Column('AP', 'AP', False),
        ),
        _transfer(
            {
                'Supervised': ('72.8 ± 0.0', '39.5 ± 0.1', '74.4 ± 0.0', '42.4 ± 0.1'),
                'SimCLR': ('71.2 ± 0.0', '37.4 ± 0.2', '73.3 ± 0.1', '40.1 ± 0.2'),
                'Accel-SimCLR': (
                    '71.4 ± 0.0', '37.8 ± 0.1', '73.6 ± 0.0', '40.6 ± 0.1'
                ),
                'MoCo': ('73.6 ± 0.1', '40.5 ± 0.1', '77.9 ± 0.0', '46.6 ± 0.1'),
                'Accel-MoCo': ('73.6 ± 0.0', '40.5 ± 0.1', '78.0 ± 0.1', '46.7 ± 0.1'),
                'MoCo v2': ('77.7 ± 0.1', '46.5 ± 0.2', '80.2 ± 0.0', '50.5 ± 0.1'),
                'Accel-MoCo v2': (
                    '77.5 ± 0.1', '46.2 ± 0.1', '80.1 ± 0.0', '50.2 ± 0.1'
                ),
                'SwAV': ('74.2 ± 0.1', '42.1 ± 0.2', '78.2 ± 0.0', '46.8 ± 0.1'),
                'Accel-SwAV': ('74.3 ± 0.1', '42.3 ± 0.2', '78.4 ± 0.1', '46.9 ± 0.1'),
            }
        ),
    ),
    PaperTable(
        4,
        'update schemes',
        'linear',
        'ImageNet',
        ('method', 'variant'),
        (_TOP1, DAYS, GPU_DAYS),
        _variants(
            {
                'MoCo v2': (
                    ('67.5 ± 0.1', '4.3'),
                    ('65.3 ± 0.2', '2.8'),
                    ('67.3 ± 0.1', '2.8'),
                    ('65.5 ± 0.2', '2.8'),
                ),
                'SimCLR': (
                    ('61.7 ± 0.2', '4.3'),
                    ('61.5 ± 0.3', '2.8'),
                    ('62.9 ± 0.2', '2.8'),
                    ('61.3 ± 0.2', '2.8'),
                ),
            },
            {
                'Skipping': 'Skipping + HP',
                'BP-to-Input': FULL,
                'Nearby-Block': 'Nearby-Block + HP',
            },
        ),
    ),
    PaperTable(
        5,
        'selections',
        'linear',
        'ImageNet',
        ('method', 'variant'),
        (_TOP1,),
        _variants(
            {
                'MoCo v2': (
                    ('67.5 ± 0.1',),
                    ('67.3 ± 0.1',),
                    ('65.3 ± 0.3',),
                    ('66.1 ± 0.2',),
                    ('',),
                ),
                'SimCLR': (
                    ('61.7 ± 0.2',),
                    ('62.9 ± 0.2',),
                    ('60.3 ± 0.4',),
                    ('61.6 ± 0.2',),
                    ('',),
                ),
            },
            {
                'Hard Pair': FULL,
                'Easy Pair': 'PB + Easy Pair',
                'Hard Example': 'PB + Hard Example',
                'random pair (not in the paper)': 'PB + Random Pair',
            },
        ),
    ),
    PaperTable(
        6,
        'ablation',
        'linear',
        'ImageNet',
        ('method', 'variant'),
        (_TOP1, DAYS, GPU_DAYS),
        _variants(
            {
                'MoCo v2': (
                    ('67.5 ± 0.1', '4.3'),
                    ('67.3 ± 0.2', '3.7'),
                    ('67.1 ± 0.1', '3.4'),
                    ('67.3 ± 0.1', '2.8'),
                ),
                'SimCLR': (
                    ('61.7 ± 0.2', '4.3'),
                    ('61.8 ± 0.1', '3.7'),
                    ('63.1 ± 0.2', '3.4'),
                    ('62.9 ± 0.2', '2.8'),
                ),
            },
            {'+ PB': 'PB', '+ HP': 'HP', '+ PB + HP': FULL},
        ),
    ),
    PaperTable(
        7,
        'number of candidate windows, SimCLR',
        'linear',
        'ImageNet',
        ('M',),
        (_TOP1,),
        tuple(
            PaperRow((m,), 'Accel-SimCLR', variant, 200, (figure,))
            for m, variant, figure in (
                ('1', f'{FULL} M=1', '62.4 ± 0.2'),
                ('2', FULL, '62.8 ± 0.1'),
                ('4', f'{FULL} M=4', '62.9 ± 0.2'),
                ('10', f'{FULL} M=10', '62.9 ± 0.2'),
            )
        ),
    ),
    PaperTable(
        8,
        'intermediate features, linear classification',
        'stages',
        'ImageNet',
        ('method',),
        tuple(Column(m, m) for m in ('Feat1', 'Feat2', 'Feat3', 'Feat4', 'Final')),
        (
            PaperRow(
                ('SimCLR',),
                'SimCLR',
                '',
                200,
                ('17.6 ± 0.2', '31.6 ± 0.2', '41.9 ± 0.2', '54.1 ± 0.2', '61.7 ± 0.2'),
            ),
            PaperRow(
                ('Accel-SimCLR',),
                'Accel-SimCLR',
                FULL,
                200,
                ('19.4 ± 0.2', '33.5 ± 0.3', '43.5 ± 0.2', '55.6 ± 0.2', '62.9 ± 0.2'),
            ),
        ),
    ),
    PaperTable(
        9,
        'multi-crop, SwAV',
        'linear',
        'ImageNet',
        ('views', 'epochs'),
        (_TOP1, DAYS, GPU_DAYS),
        tuple(
            PaperRow(
                (views + (', Accel' if variant else ''), '400'),
                f'{"Accel-" if variant else ""}SwAV {views}',
                variant,
                400,
                figures,
                views,
            )
            for views, variant, figures in (
                (_SMALL, '', ('70.1 ± 0.1', '8.1')),
                (_SMALL, FULL, ('70.7 ± 0.1', '5.3')),
                (_LARGE, '', ('74.2 ± 0.1', '8.8')),
                (_LARGE, FULL, ('74.1 ± 0.1', '5.7')),
            )
        ),
    ),
    PaperTable(
        10,
        'smaller input, upstream MoCo v2',
        'linear',
        'ImageNet',
        ('input',),
        (_TOP1,),
        tuple(
            PaperRow((size,), 'MoCo v2', '', 200, (figure,), f'2×{size}')
            for size, figure in (
                ('224', '67.3 ± 0.1'),
                ('196', '60.6 ± 0.2'),
                ('128', '53.5 ± 0.2'),
            )
        ),
    ),
)  # fmt: skip
