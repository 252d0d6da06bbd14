"""Judge a checkpoint's frozen features: kNN, a linear probe, a probe of every stage.

One pass over the labelled images computes the features after the stem and after every
stage and keeps them on disk; everything else works on those. A CPU will do.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

try:
    import mmaccel  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmaccel':
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # a plain checkout

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmselfsup.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import DataLoader

from mmaccel.engine.checkpoints import remove_temporaries
from mmaccel.engine.cli import Command
from mmaccel.engine.config import dicts, load_config
from mmaccel.engine.preflight import check_data, check_work_dir
from mmaccel.engine.weights import PREFIX, load_backbone
from mmaccel.errors import ConfigError
from mmaccel.evaluation.cached_features import (
    FeatureCache,
    FeatureSet,
    hash_dataset,
    hash_file,
    hash_text,
)
from mmaccel.evaluation.features import extract_stage_features, sample_label
from mmaccel.evaluation.knn import knn_top1
from mmaccel.evaluation.probe import HELD_OUT, LinearResult, linear_probe
from mmaccel.evaluation.record import write_record
from mmaccel.models.utils.stages import stage_names

EXAMPLES = """
examples:
  # the labelled images of the config's kNN monitor; results beside the checkpoint
  python tools/benchmarks/classification/probe.py \\
      configs/small/accel-mocov2_r18_cifar10.py work_dirs/cifar10/epoch_200.pth

  # another labelled set: train/<class>/* and test/<class>/* (or val/<class>/*)
  python tools/benchmarks/classification/probe.py \\
      configs/accel/mocov2_r50_8xb32.py epoch_200.pth --data-root data/flowers

  # nearest neighbours alone, with 20 and with 200 of them
  python tools/benchmarks/classification/probe.py CONFIG CKPT --metrics knn --k 20 200

  # what the same network is worth without any training
  python tools/benchmarks/classification/probe.py CONFIG --untrained
"""

METRICS = ('knn', 'linear', 'stages')
TEMPERATURE = 0.07
_NAMES = {
    'cifar10': 'CIFAR-10',
    'fashion-mnist': 'Fashion-MNIST',
    'imagenet': 'ImageNet',
}
_SPLITS = ('train', 'test')


class Row(NamedTuple):
    """A line of the table."""

    metric: str
    value: float
    remark: str = ''


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='the config that the checkpoint was trained by')
    parser.add_argument('checkpoint', nargs='?', help='pretraining checkpoint')
    parser.add_argument(
        '--untrained',
        action='store_true',
        help='judge random weights instead of a checkpoint: the floor of every figure',
    )
    parser.add_argument(
        '--data-root',
        help='folder with train/<class>/* and test/<class>/* or val/<class>/*; by '
        "default the labelled images of the config's KNNHook",
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        choices=METRICS,
        default=list(METRICS),
        help='what to compute; default all',
    )
    parser.add_argument(
        '--k',
        nargs='+',
        type=int,
        default=[200, 20],
        help='neighbours that vote; the first is top1 in the record; default 200 20',
    )
    parser.add_argument(
        '--work-dir',
        help='folder for results and features; default probe/ beside the checkpoint',
    )
    parser.add_argument(
        '--prefix',
        default=PREFIX,
        help="what the names of the backbone's weights begin with; default backbone.",
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:0; default: what is there'
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of the held-out images, and of random weights; default 0',
    )
    parser.add_argument('--batch-size', type=int, default=256, help='default 256')
    parser.add_argument(
        '--num-workers',
        type=int,
        default=min(2, os.cpu_count() or 1),
        help='processes that load images; default 2',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as the pretraining had them',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of every error'
    )
    return parser.parse_args(argv)


def labelled_sets(cfg: Config, data_root: Optional[str]) -> Dict[str, dict]:
    """Configs of the images that are learnt from and of those to classify."""
    if data_root is None:
        for node in dicts([cfg.get('default_hooks'), cfg.get('custom_hooks')]):
            if str(node.get('type')).rpartition('.')[2] == 'KNNHook':
                return {s: node[f'{s}_dataloader']['dataset'] for s in _SPLITS}
        raise ConfigError(
            f'{cfg.filename} has no KNNHook that names labelled images; give '
            '--data-root FOLDER with train/<class>/* and test/<class>/*'
        )
    folders = {'train': 'train', 'test': 'test'}
    if not Path(data_root, 'test').is_dir() and Path(data_root, 'val').is_dir():
        folders['test'] = 'val'
    for folder in folders.values():
        if not Path(data_root, folder).is_dir():
            raise ConfigError(
                f'{data_root} has no folder {folder}/; --data-root needs '
                'train/<class>/* and test/<class>/* or val/<class>/*'
            )
    pipeline = test_pipeline(cfg)
    return {
        split: dict(
            type='mmcls.CustomDataset',
            data_prefix=str(Path(data_root, folder)),
            pipeline=pipeline,
        )
        for split, folder in folders.items()
    }


def test_pipeline(cfg: Config) -> List[dict]:
    """Upstream's test pipeline at the size of the pretraining's largest view.

    224 px are the middle of 256, as upstream has it; images of CIFAR's size have
    nothing to lose at their border and are used whole.
    """
    transforms = dicts(cfg.train_dataloader.dataset)
    sizes = [
        t['size'] for t in transforms if str(t.get('type')).endswith('ResizedCrop')
    ]
    size = max((s if isinstance(s, int) else max(s) for s in sizes), default=224)
    edge = round(size * 256 / 224) if size >= 96 else size
    grey = cfg.model.backbone.get('in_channels', 3) == 1
    return [
        dict(type='LoadImageFromFile', color_type='grayscale' if grey else 'color'),
        dict(type='mmcls.ResizeEdge', scale=edge, edge='short', backend='pillow'),
        dict(type='mmcls.CenterCrop', crop_size=size),
        dict(type='PackSelfSupInputs', algorithm_keys=['gt_label']),
    ]


def build_sets(configs: Dict[str, dict]) -> dict:
    """Open the labelled images."""
    sets = {}
    for split, config in configs.items():
        loader = f'{split}_dataloader'
        check_data(Config({loader: dict(dataset=config)}), loader)
        sets[split] = DATASETS.build(ConfigDict(config))
        sample_label(sets[split][0]['data_samples'])
    train, test = (sets[split].metainfo.get('classes') for split in _SPLITS)
    if train != test:
        odd = sorted(set(train or ()) ^ set(test or ()))[:3]
        raise ConfigError(
            'the images to learn from and those to classify have different classes '
            f'({", ".join(odd)}, ...); give both the same folders'
        )
    return sets


def build_model(cfg: Config, args: argparse.Namespace) -> nn.Module:
    """The pretraining's network with the checkpoint's backbone."""
    if cfg.get('model') is None or 'backbone' not in cfg.model:
        raise ConfigError(
            f'{cfg.filename} has no model with a backbone; give the config that the '
            'checkpoint was trained by'
        )
    torch.manual_seed(args.seed)
    model = MODELS.build(cfg.model)
    if args.untrained:
        model.init_weights()
    else:
        load_backbone(model.backbone, args.checkpoint, args.prefix)
    return model.to(args.device or get_device())


def get_features(
    model: nn.Module, configs: Dict[str, dict], cfg: Config, args: argparse.Namespace
) -> Dict[str, FeatureSet]:
    """Features of both sets, from disk where nothing changed."""
    sets = build_sets(configs)
    origin = f'seed {args.seed}' if args.untrained else hash_file(args.checkpoint)
    cache = FeatureCache(
        Path(args.work_dir, 'features'),
        dict(
            checkpoint=f'{origin} {args.prefix}',
            data=hash_text([hash_dataset(sets[split]) for split in _SPLITS]),
            settings=hash_text(
                [cfg.model.backbone, cfg.model.get('data_preprocessor'), configs]
            ),
        ),
    )
    changed = cache.changed()
    if changed == []:
        print(f'Features of {cache.folder} are up to date and used again')
    else:
        if changed:
            print(f'Changed since the last run: {", ".join(changed)}')
        stages = feature_names(model)
        for split in _SPLITS:
            loader = DataLoader(
                sets[split],
                batch_size=args.batch_size,
                num_workers=args.num_workers,
                collate_fn=default_collate,
            )
            print(
                f'Computing features of {len(sets[split])} {split} images', flush=True
            )
            batches = extract_stage_features(model, loader)
            cache.write(split, stages, batches, len(sets[split]))
        cache.finish(stages)
    return {split: cache.read(split) for split in _SPLITS}


def feature_names(model: nn.Module) -> List[str]:
    """Feat1 is the stem's, as in OpenSelfSup and the paper's Table 8."""
    number = len(stage_names(model.backbone))
    return [*(f'Feat{i}' for i in range(1, number + 1)), 'Final']


def evaluate_knn(
    train: FeatureSet, test: FeatureSet, ks: List[int], device: str
) -> Tuple[Dict[str, float], List[Row], str]:
    """Weighted votes of the nearest neighbours, on the final features."""
    bank, bank_labels, queries, labels = (
        torch.tensor(array, device=device)
        for split in (train, test)
        for array in (split.stages['Final'], split.labels)
    )
    values = [
        knn_top1(bank, bank_labels, queries, labels, k=k, temperature=TEMPERATURE)
        for k in ks
    ]
    metrics = {f'top1_k{k}': value for k, value in zip(ks[1:], values[1:])}
    rows = [Row(f'kNN top1, k={k}', value) for k, value in zip(ks, values)]
    protocol = f'weighted kNN, cosine, k={ks[0]}, temperature {TEMPERATURE}'
    return dict(top1=values[0], **metrics), rows, protocol


def evaluate_linear(
    train: FeatureSet, test: FeatureSet, names: List[str], seed: int
) -> Dict[str, LinearResult]:
    """A linear classifier on the features of each of some stages."""
    return {
        name: linear_probe(
            train.stages[name], train.labels, test.stages[name], test.labels, seed
        )
        for name in names
    }


def linear_row(metric: str, result: LinearResult) -> Row:
    """The line of a linear classifier."""
    remark = f'penalty {result.penalty:g}'
    if not result.converged:
        remark += ', NOT converged'
    return Row(metric, result.top1, remark)


def dataset_name(config: dict) -> str:
    """The folder's name, spelt as papers do."""
    path = config.get('data_root') or config.get('data_prefix') or ''
    parts = [p for p in Path(str(path)).resolve().parts if p not in (*_SPLITS, 'val')]
    return _NAMES.get(parts[-1].lower(), parts[-1])


def default_work_dir(args: argparse.Namespace, dataset: str) -> str:
    """Results lie beside the checkpoint they are of."""
    if args.untrained:
        return os.path.join('work_dirs', f'untrained_{Path(args.config).stem}', dataset)
    path = Path(args.checkpoint)
    return str(path.parent / 'probe' / path.stem / dataset)


def print_table(dataset: str, n: int, rows: List[Row]) -> None:
    """Print what was measured."""
    print(f'\n{"dataset":16}{"n":>8}  {"metric":22}{"value":>8}')
    for row in rows:
        line = f'{dataset:16}{n:>8}  {row.metric:22}{row.value:>8.2f}  {row.remark}'
        print(line.rstrip())


def evaluate(args: argparse.Namespace) -> None:
    """Everything from the command line to table and records."""
    cfg = load_config(args.config, args.cfg_options)
    if bool(args.checkpoint) == args.untrained:
        raise ConfigError('give either a checkpoint or --untrained')
    if min(args.k) < 1:
        raise ConfigError(f'--k {min(args.k)} is not possible; give numbers from 1')
    init_default_scope(cfg.get('default_scope') or 'mmselfsup')
    model = build_model(cfg, args)
    configs = labelled_sets(cfg, args.data_root)
    dataset = dataset_name(configs['test'])
    args.work_dir = args.work_dir or default_work_dir(args, dataset)
    check_work_dir(args.work_dir)
    remove_temporaries(args.work_dir)
    start = time.perf_counter()
    features = get_features(model, configs, cfg, args)
    train, test = (features[split] for split in _SPLITS)
    print(f'Features: {time.perf_counter() - start:.0f} s', flush=True)

    rows: List[Row] = []
    names = list(test.stages)

    def record(task: str, metrics: Dict[str, float], protocol: str) -> None:
        path = write_record(
            Path(args.work_dir, task),
            task,
            metrics,
            config=args.config,
            dataset=dataset,
            protocol=f'{protocol}; average-pooled features, seed {args.seed}',
            n=len(test.labels),
            pretrained=args.checkpoint,
            seed=args.seed,
        )
        print(f'{task}: {time.perf_counter() - start:.0f} s, {path}', flush=True)

    if 'knn' in args.metrics:
        start = time.perf_counter()
        device = str(next(model.parameters()).device)
        metrics, knn_rows, protocol = evaluate_knn(train, test, args.k, device)
        rows += knn_rows
        record('knn', metrics, protocol)

    wanted = names if 'stages' in args.metrics else names[-1:]
    if set(args.metrics) & {'linear', 'stages'}:
        start = time.perf_counter()
        results = evaluate_linear(train, test, wanted, args.seed)
        protocol = (
            'logistic regression on standardised features, L2 penalty chosen on '
            f'{HELD_OUT:.0%} of the training images'
        )
        unsolved = [name for name, result in results.items() if not result.converged]
        if unsolved:
            protocol += f' (not converged: {", ".join(unsolved)})'
        if 'linear' in args.metrics:
            final = results['Final']
            rows.append(linear_row('linear top1', final))
            record('linear', dict(top1=final.top1), protocol)
        if 'stages' in args.metrics:
            rows += [linear_row(f'linear top1, {n}', r) for n, r in results.items()]
            record('stages', {n: r.top1 for n, r in results.items()}, protocol)
    print_table(dataset, len(test.labels), rows)


def main(argv: Optional[List[str]] = None) -> int:
    """Evaluate; return the exit code."""
    args = parse_args(argv)
    return Command(args.debug).run(lambda command: evaluate(args))


if __name__ == '__main__':
    sys.exit(main())
