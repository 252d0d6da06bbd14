"""Judge a checkpoint's frozen features: kNN, a linear probe, a probe of every stage.

One pass over the labelled images computes the features after the stem and after every
stage and keeps them on disk; everything else works on those. A CPU will do.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

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
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmselfsup.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import DataLoader

from mmaccel.engine.cli import Command
from mmaccel.engine.config import load_config
from mmaccel.engine.preflight import check_work_dir
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
from mmaccel.evaluation.labelled_images import SPLITS, labelled_sets
from mmaccel.evaluation.probe import HELD_OUT, LinearResult, linear_probe
from mmaccel.evaluation.record import write_record
from mmaccel.models.utils.backbones import stage_names

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
_DTYPES = {None: None, 'fp16': torch.float16, 'bf16': torch.bfloat16}
_NAMES = {
    'cifar10': 'CIFAR-10',
    'fashion-mnist': 'Fashion-MNIST',
    'imagenet': 'ImageNet',
}


class Clock:
    """Says how long each part took."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def lap(self, name: str) -> None:
        """Print the seconds since the last lap."""
        now = time.perf_counter()
        print(f'{name}: {now - self.start:.0f} s', flush=True)
        self.start = now


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
        '--amp',
        choices=[name for name in _DTYPES if name],
        help='compute features in mixed precision: faster, rounded in the third digit',
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
        default=min(8, os.cpu_count() or 1),
        help='processes that load images; default one a core, up to 8',
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


def build_sets(configs: Dict[str, dict]) -> dict:
    """Open the labelled images."""
    sets = {}
    for split, config in configs.items():
        sets[split] = DATASETS.build(ConfigDict(config))
        sample_label(sets[split][0]['data_samples'])
    train, test = (sets[split].metainfo.get('classes') for split in SPLITS)
    if train and test and train != test:  # a list of labels does not name them
        odd = sorted(set(train) ^ set(test))[:3]
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
        logger = MMLogger.get_current_instance()
        logger.setLevel(logging.WARNING)  # it lists every parameter
        model.init_weights()
        logger.setLevel(logging.INFO)
    else:
        load_backbone(model.backbone, args.checkpoint, args.prefix)
    return model.to(args.device or get_device(), memory_format=torch.channels_last)


def get_features(
    model: nn.Module,
    configs: Dict[str, dict],
    stages: List[str],
    cfg: Config,
    args: argparse.Namespace,
) -> List[FeatureSet]:
    """Features to learn from and to classify, from disk where nothing changed."""
    sets = build_sets(configs)
    origin = f'seed {args.seed}' if args.untrained else hash_file(args.checkpoint)
    settings = [cfg.model.backbone, cfg.model.get('data_preprocessor'), configs]
    settings += [args.amp] * bool(args.amp)
    cache = FeatureCache(
        Path(args.work_dir, 'features'),
        dict(
            checkpoint=f'{origin} {args.prefix}',
            data=hash_text([hash_dataset(sets[split]) for split in SPLITS]),
            settings=hash_text(settings),
        ),
    )
    changed = cache.changed(stages)
    if changed:
        print(f'Features are computed anew, for another {", ".join(changed)}')
    if changed != []:
        for split in SPLITS:
            print(
                f'Computing features of {len(sets[split])} {split} images', flush=True
            )
            batches = named_features(model, sets[split], stages, args)
            cache.write(split, batches, len(sets[split]))
        cache.finish(stages)
    else:
        print(f'Features of the last run are used: {cache.folder}')
    return [cache.read(split) for split in SPLITS]


def named_features(
    model: nn.Module, dataset, stages: List[str], args: argparse.Namespace
) -> Iterator[Tuple[Dict[str, torch.Tensor], List[int]]]:
    """Features of the stages that are needed, batch by batch."""
    loader = DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        collate_fn=default_collate,
    )
    names = feature_names(model)
    for features, labels in extract_stage_features(model, loader, _DTYPES[args.amp]):
        named = dict(zip(names, features))
        yield {name: named[name] for name in stages}, labels


def feature_names(model: nn.Module) -> List[str]:
    """Feat1 is the stem's, as in OpenSelfSup and the paper's Table 8."""
    number = len(stage_names(model.backbone))
    return [*(f'Feat{i}' for i in range(1, number + 1)), 'Final']


def evaluate_knn(
    train: FeatureSet, test: FeatureSet, ks: List[int], device: str
) -> List[float]:
    """Accuracy of the nearest neighbours' weighted votes, for each number of them."""
    bank, bank_labels, queries, labels = (
        torch.tensor(array, device=device)
        for split in (train, test)
        for array in (split.stages['Final'], split.labels)
    )
    return [
        knn_top1(bank, bank_labels, queries, labels, k=k, temperature=TEMPERATURE)
        for k in ks
    ]


def evaluate_linear(
    train: FeatureSet, test: FeatureSet, stages: List[str], seed: int
) -> Dict[str, LinearResult]:
    """A linear classifier on the features of each of some stages."""
    return {
        name: linear_probe(
            train.stages[name], train.labels, test.stages[name], test.labels, seed
        )
        for name in stages
    }


def dataset_name(config: dict) -> str:
    """The folder's name, spelt as papers do."""
    path = config.get('data_root') or config.get('data_prefix') or ''
    parts = [
        p for p in Path(os.path.abspath(str(path))).parts if p not in (*SPLITS, 'val')
    ]
    return _NAMES.get(parts[-1].lower(), parts[-1])


def default_work_dir(args: argparse.Namespace, dataset: str) -> str:
    """Results lie beside the checkpoint they are of."""
    if args.untrained:
        return os.path.join('work_dirs', f'untrained_{Path(args.config).stem}', dataset)
    path = Path(args.checkpoint)
    return str(path.parent / 'probe' / path.stem / dataset)


class Report:
    """The records of an evaluation, and the table at its end."""

    def __init__(self, args: argparse.Namespace, dataset: str, n: int) -> None:
        self.args = args
        self.dataset = dataset
        self.n = n
        self.rows: List[Row] = []

    def record(
        self, task: str, metrics: Dict[str, float], protocol: str, rows: List[Row]
    ) -> None:
        """Write a task's record, and keep its lines of the table."""
        precision = f' in {self.args.amp}' if self.args.amp else ''
        write_record(
            Path(self.args.work_dir, task),
            task,
            metrics,
            config=self.args.config,
            dataset=self.dataset,
            protocol=f'{protocol}; average-pooled features{precision}',
            n=self.n,
            pretrained=self.args.checkpoint,
            seed=self.args.seed,
        )
        self.rows += rows

    def add_knn(self, values: List[float]) -> None:
        """The first number of neighbours counts."""
        ks = self.args.k
        metrics = {f'top1_k{k}': value for k, value in zip(ks, values)}
        self.record(
            'knn',
            dict(top1=values[0], **metrics),
            f'weighted kNN, cosine, k={ks[0]}, temperature {TEMPERATURE}',
            [Row(f'kNN top1, k={k}', value) for k, value in zip(ks, values)],
        )

    def add_linear(self, results: Dict[str, LinearResult]) -> None:
        """The final features' classifier, and those of all stages."""
        if 'linear' in self.args.metrics:
            final = {'Final': results['Final']}
            rows = self._linear_rows(final, '')
            metrics = dict(top1=results['Final'].top1)
            self.record('linear', metrics, self._linear_protocol(final), rows)
        if 'stages' in self.args.metrics:
            rows = self._linear_rows(results, ', {}')
            metrics = {name: result.top1 for name, result in results.items()}
            self.record('stages', metrics, self._linear_protocol(results), rows)

    def print(self) -> None:
        """Print what was measured."""
        print(f'\n{"dataset":16}{"n":>8}  {"metric":22}{"value":>8}')
        for row in self.rows:
            line = f'{self.dataset:16}{self.n:>8}  {row.metric:22}{row.value:>8.2f}'
            print(f'{line}  {row.remark}'.rstrip())

    def _linear_rows(self, results: Dict[str, LinearResult], suffix: str) -> List[Row]:
        return [
            Row(
                'linear top1' + suffix.format(name),
                result.top1,
                f'penalty {result.penalty:g}'
                + ('' if result.converged else ', NOT converged'),
            )
            for name, result in results.items()
        ]

    def _linear_protocol(self, results: Dict[str, LinearResult]) -> str:
        protocol = (
            'logistic regression to its optimum, L2 penalty chosen on '
            f'{HELD_OUT:.0%} of the training images'
        )
        unsolved = [name for name, result in results.items() if not result.converged]
        return protocol + (f' (NOT converged: {", ".join(unsolved)})' * bool(unsolved))


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

    clock = Clock()
    stages = feature_names(model) if 'stages' in args.metrics else ['Final']
    train, test = get_features(model, configs, stages, cfg, args)
    clock.lap('features')
    report = Report(args, dataset, len(test.labels))
    if 'knn' in args.metrics:
        device = str(next(model.parameters()).device)
        report.add_knn(evaluate_knn(train, test, args.k, device))
        clock.lap('kNN')
    if {'linear', 'stages'} & set(args.metrics):
        report.add_linear(evaluate_linear(train, test, stages, args.seed))
        clock.lap('linear')
    report.print()
    print(f'Records: {args.work_dir}/*/result.json')


def main(argv: Optional[List[str]] = None) -> int:
    """Evaluate; return the exit code."""
    args = parse_args(argv)
    return Command(args.debug).run(lambda command: evaluate(args))


if __name__ == '__main__':
    sys.exit(main())
