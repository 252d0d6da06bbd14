"""Evaluating a checkpoint's frozen features: kNN, a linear probe, one of each stage."""

import argparse
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch.utils.data import DataLoader, Dataset

from mmaccel import host
from mmaccel.engine.preflight import check_writable
from mmaccel.engine.weights import PREFIX, load_backbone
from mmaccel.errors import ConfigError
from mmaccel.models.utils.backbones import stage_names

from .cached_features import (
    FeatureCache,
    FeatureSet,
    hash_dataset,
    hash_file,
    hash_text,
)
from .features import check_labels, extract_stage_features, sample_label
from .knn import knn_top1
from .labelled_images import SPLITS, labelled_sets
from .probe import HELD_OUT, LinearResult, linear_probe
from .record import write_record

TEMPERATURE = 0.07
_DTYPES = {None: None, 'fp16': torch.float16, 'bf16': torch.bfloat16}
_NAMES = {
    'cifar10': 'CIFAR-10',
    'fashion-mnist': 'Fashion-MNIST',
    'imagenet': 'ImageNet',
}


@contextmanager
def _timed(name: str) -> Iterator[None]:
    """Print how long a part took."""
    start = time.perf_counter()
    yield
    print(f'{name}: {time.perf_counter() - start:.0f} s', flush=True)


def build_sets(configs: dict[str, dict]) -> dict:
    """Open the labelled images."""
    sets = {}
    for split, config in configs.items():
        sets[split] = host.build(DATASETS, ConfigDict(config))
        sample_label(sets[split][0]['data_samples'])
    check_labels(*(sets[split] for split in SPLITS))
    train, test = (sets[split].metainfo.get('classes') for split in SPLITS)
    if train and test and train != test:  # a list of labels does not name them
        odd = sorted(set(train) ^ set(test))[:3]
        raise ConfigError(
            'the images to learn from and those to classify have different classes '
            f'({", ".join(odd)}, ...); give both the same folders'
        )
    return sets


def build_model(cfg: Config, args: argparse.Namespace) -> BaseModel:
    """The pretraining's network with the checkpoint's backbone."""
    if cfg.get('model') is None or 'backbone' not in cfg.model:
        raise ConfigError(
            f'{cfg.filename} has no model with a backbone; give the config that the '
            'checkpoint was trained by'
        )
    torch.manual_seed(args.seed)
    model = host.build(MODELS, cfg.model)
    if args.untrained:
        logger = MMLogger.get_current_instance()
        logger.setLevel(logging.WARNING)  # it lists every parameter
        model.init_weights()
        logger.setLevel(logging.INFO)
    else:
        load_backbone(model.backbone, args.checkpoint, args.prefix)
    return model.to(args.device or get_device(), memory_format=torch.channels_last)


def get_features(
    model: BaseModel,
    configs: dict[str, dict],
    stages: list[str],
    cfg: Config,
    args: argparse.Namespace,
) -> list[FeatureSet]:
    """Features to learn from and to classify, from disk where nothing changed."""
    sets = build_sets(configs)
    origin = f'seed {args.seed}' if args.untrained else hash_file(args.checkpoint)
    settings = [cfg.model.backbone, cfg.model.get('data_preprocessor'), configs]
    settings += [args.amp] * bool(args.amp)
    cache = FeatureCache(
        Path(args.work_dir, 'features'),
        dict(
            checkpoint=f'{origin} {args.prefix}',
            settings=hash_text(settings),
        ),
        {split: hash_dataset(sets[split]) for split in SPLITS},
    )
    changed = cache.changed(stages)
    if changed:
        print(f'Features are computed anew, for another {", ".join(changed)}')
    if changed != []:
        for split in SPLITS:
            if cache.has(split, stages):
                print(f'Features of the {split} images were computed before')
                continue
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
    model: BaseModel, dataset: Dataset, stages: list[str], args: argparse.Namespace
) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
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


def feature_names(model: BaseModel) -> list[str]:
    """Feat1 is the stem's, as in OpenSelfSup and the paper's Table 8."""
    number = len(stage_names(model.get_submodule('backbone')))
    return [*(f'Feat{i}' for i in range(1, number + 1)), 'Final']


def evaluate_knn(
    train: FeatureSet, test: FeatureSet, ks: list[int], device: str
) -> list[float]:
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
    # a checkpoint may hold several backbones
    other = args.prefix.strip('.').replace('.', '-') if args.prefix != PREFIX else ''
    stem = f'{path.stem}-{other}' if other else path.stem
    return str(path.parent / 'probe' / stem / dataset)


def linear_protocol(results: Iterable[LinearResult]) -> str:
    """How the classifiers were fitted, and whether all of them are at their optimum."""
    wrong = '' if all(result.converged for result in results) else ' (NOT converged)'
    return (
        'logistic regression to its optimum, L2 penalty chosen on '
        f'{HELD_OUT:.0%} of the training images{wrong}'
    )


def probe(cfg: Config, args: argparse.Namespace) -> None:
    """Everything from a config and the arguments of ``mmaccel probe`` to the records.

    Args:
        cfg (Config): The config that the checkpoint was trained by.
        args (argparse.Namespace): See ``mmaccel probe --help``.

    Raises:
        ConfigError: If model, checkpoint or images do not fit.

    Note:
        Prints its progress and a table.
    """
    init_default_scope(host.default_scope(cfg))
    model = build_model(cfg, args)
    configs = labelled_sets(cfg, args.data_root)
    dataset = dataset_name(configs['test'])
    args.work_dir = args.work_dir or default_work_dir(args, dataset)
    check_writable(args.work_dir)

    stages = feature_names(model) if 'stages' in args.metrics else ['Final']
    with _timed('features'):
        train, test = get_features(model, configs, stages, cfg, args)
    rows: list[tuple[str, float, str]] = []  # metric, value, remark

    def record(task: str, metrics: dict[str, float], protocol: str) -> None:
        precision = f' in {args.amp}' if args.amp else ''
        write_record(
            Path(args.work_dir, task),
            task,
            metrics,
            config=args.config,
            dataset=dataset,
            protocol=f'{protocol}; average-pooled features{precision}',
            n=len(test.labels),
            pretrained=args.checkpoint,
            prefix='' if args.untrained else args.prefix,
            seed=args.seed,
        )

    if 'knn' in args.metrics:
        device = str(next(model.parameters()).device)
        ks = _voting(args.k, len(train.labels))
        with _timed('kNN'):
            values = evaluate_knn(train, test, ks, device)
        metrics = {f'top1_k{k}': value for k, value in zip(ks, values)}
        first = f'k={ks[0]}, temperature {TEMPERATURE}'
        record('knn', dict(top1=values[0], **metrics), f'weighted kNN, cosine, {first}')
        rows += [(f'kNN top1, k={k}', x, '') for k, x in zip(ks, values)]
    if {'linear', 'stages'} & set(args.metrics):
        with _timed('linear'):
            found = {
                name: linear_probe(
                    *(train.stages[name], train.labels),
                    *(test.stages[name], test.labels),
                    seed=args.seed,
                )
                for name in stages
            }
        final, every = found['Final'], list(found.values())
        if 'linear' in args.metrics:
            record('linear', dict(top1=final.top1), linear_protocol([final]))
            rows.append(('linear top1', final.top1, _remark(final)))
        if 'stages' in args.metrics:
            metrics = {name: result.top1 for name, result in found.items()}
            record('stages', metrics, linear_protocol(every))
            rows += [
                (f'linear top1, {n}', r.top1, _remark(r)) for n, r in found.items()
            ]

    print(f'\n{"dataset":16}{"n":>8}  {"metric":22}{"value":>8}')
    for metric, value, remark in rows:
        line = f'{dataset:16}{len(test.labels):>8}  {metric:22}{value:>8.2f}  {remark}'
        print(line.rstrip())
    print(f'Records: {args.work_dir}/*/result.json')


def _voting(ks: list[int], images: int) -> list[int]:
    """Neighbours that can vote: there are no more of them than images."""
    if max(ks) > images:
        print(f'kNN: all {images} training images vote where --k asks for more')
    return list(dict.fromkeys(min(k, images) for k in ks))


def _remark(result: LinearResult) -> str:
    return f'penalty {result.penalty:g}' + ', NOT converged' * (not result.converged)
