"""Which files VOC and SBD consist of, and whether a devkit has them in order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate

import numpy as np
from PIL import Image

from .finding import Finding
from .images import file_sizes, image_fault, spread

#: Files opened of each kind unless all are.
SAMPLE = 100

NAMES = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant',
    'sheep', 'sofa', 'train', 'tvmonitor',
)  # fmt: skip
CLASSES, VOID = len(NAMES), 255
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


@dataclass(frozen=True)
class Archive:
    """A file that the user has, or can get.

    Args:
        name (str): The file's official name.
        year (str): The folder of the devkit it fills.
        page (str): Where it is offered, by name.
    """

    name: str
    year: str
    page: str


@dataclass(frozen=True)
class Split:
    """A list of images and what each of them needs.

    Args:
        part (str): ``voc2007``, ``voc2012`` or ``sbd``.
        path (str): The list, below the devkit.
        count (int): Images in it.
        labels (str): The folder with an annotation or mask for each.
        archive (str): What gives the list and the labels.
        images (str): What gives the images.
    """

    part: str
    path: str
    count: int
    labels: str
    archive: str
    images: str

    @property
    def year(self) -> str:
        """The folder of the devkit the split lies in."""
        return self.path.partition('/')[0]

    @property
    def name(self) -> str:
        """The list's name without suffix."""
        return Path(self.path).stem


TRAINVAL_07 = 'VOCtrainval_06-Nov-2007.tar'
TEST_07 = 'VOCtest_06-Nov-2007.tar'
TRAINVAL_12 = 'VOCtrainval_11-May-2012.tar'
SBD = 'benchmark.tgz'

ARCHIVES = (
    Archive(
        TRAINVAL_07,
        'VOC2007',
        'the PASCAL VOC 2007 challenge page, "training/validation data"',
    ),
    Archive(
        TEST_07, 'VOC2007', 'the PASCAL VOC 2007 challenge page, "annotated test data"'
    ),
    Archive(
        TRAINVAL_12,
        'VOC2012',
        'the PASCAL VOC 2012 challenge page, "training/validation data"',
    ),
    Archive(
        SBD,
        'VOC2012',
        'the Semantic Boundaries Dataset and Benchmark page, "dataset and benchmark"',
    ),
)

_SEGMENTATION = 'VOC2012/ImageSets/Segmentation'

#: 1,464 + 9,118 = 10,582 images, the usual "trainaug".
SPLITS = (
    Split(
        'voc2007',
        'VOC2007/ImageSets/Main/trainval.txt',
        5011,
        'Annotations',
        TRAINVAL_07,
        TRAINVAL_07,
    ),
    Split(
        'voc2007',
        'VOC2007/ImageSets/Main/test.txt',
        4952,
        'Annotations',
        TEST_07,
        TEST_07,
    ),
    Split(
        'voc2012',
        f'{_SEGMENTATION}/train.txt',
        1464,
        'SegmentationClass',
        TRAINVAL_12,
        TRAINVAL_12,
    ),
    Split(
        'voc2012',
        f'{_SEGMENTATION}/val.txt',
        1449,
        'SegmentationClass',
        TRAINVAL_12,
        TRAINVAL_12,
    ),
    Split(
        'sbd',
        f'{_SEGMENTATION}/aug.txt',
        9118,
        'SegmentationClassAug',
        SBD,
        TRAINVAL_12,
    ),
)

PARTS = ('voc2007', 'voc2012', 'sbd')


def check_voc(
    devkit: Path,
    parts: Sequence[str] = PARTS,
    splits: Sequence[Split] = SPLITS,
    full: bool = False,
) -> list[Finding]:
    """Look at every file that the parts need; write nothing.

    Args:
        devkit (Path): The folder with ``VOC2007`` and ``VOC2012``.
        parts (Sequence): Of :data:`PARTS`, which to look at.
        splits (Sequence): The lists with their counts.
        full (bool): Whether to open every file, not a sample. All files are looked
            for in either case.
    """
    findings = []
    for split in splits:
        if split.part in parts:
            findings += _check_split(devkit, split, None if full else SAMPLE)
    if 'sbd' in parts:
        findings.append(_check_union(devkit, splits))
    return findings


def read_ids(path: Path) -> list[str]:
    """The image names in a list, one a line.

    None if there is no such file, or a line is not one name alone: training would take
    the whole line for a name.
    """
    lines = _lines(path)
    return [] if _list_fault(lines) else lines


def _lines(path: Path) -> list[str]:
    """The lines of a list, without those that are empty."""
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [line.strip(' ') for line in text.splitlines() if line.strip()]


def _list_fault(lines: Sequence[str]) -> str | None:
    if not lines:
        return 'missing or empty'
    for number, line in enumerate(lines, 1):
        if not re.fullmatch(r'[\w-]+', line):
            why = (
                'a byte-order mark stands before it' if '\ufeff' in line else line[:80]
            )
            return f'line {number} is not the name of an image alone: {why}'
    return None


def _check_split(devkit: Path, split: Split, sample: int | None) -> list[Finding]:
    lines = _lines(devkit / split.path)
    fault = _list_fault(lines)
    ids = [] if fault else lines
    unique = list(dict.fromkeys(ids))
    listed = Finding(
        f'{split.year} {split.name}.txt', len(unique), split.count, source=split.archive
    )
    if fault:
        listed.faults[split.path] = fault
    elif len(unique) < len(ids):
        double = next(name for name in unique if ids.count(name) > 1)
        listed.faults[split.path] = f'lists {double} more than once'
    findings = [listed]
    # nothing can be said of the files while there is no list: its source comes first
    images = split.images if ids else split.archive
    for folder, source in (('JPEGImages', images), (split.labels, split.archive)):
        faults = _faults(devkit / split.year, folder, unique, sample)
        findings.append(
            Finding(
                f'{split.year} {split.name} {folder}',
                len(unique) - len(faults),
                split.count,
                {f'{split.year}/{path}': fault for path, fault in faults.items()},
                source,
            )
        )
    return findings


def _faults(
    base: Path, folder: str, ids: Sequence[str], sample: int | None
) -> dict[str, str]:
    suffix = {'JPEGImages': '.jpg', 'Annotations': '.xml'}.get(folder, '.png')
    sizes = file_sizes(base / folder)
    faults, present = {}, []
    for name in ids:
        size = sizes.get(name + suffix)
        if size:
            present.append(name)
        else:
            faults[f'{folder}/{name}{suffix}'] = (
                'missing' if size is None else 'the file is empty'
            )
    for name in spread(present, sample):
        path = base / folder / (name + suffix)
        fault: str | None
        if folder == 'JPEGImages':
            fault = image_fault(path)
        elif folder == 'Annotations':
            fault = annotation_fault(path)
        else:
            fault = mask_fault(path, base / 'JPEGImages' / f'{name}.jpg')
        if fault:
            faults[f'{folder}/{path.name}'] = fault
    return faults


def annotation_fault(path: Path) -> str | None:
    """What keeps MMDetection from training with an annotation, None if nothing does.

    Reads what ``mmdet.datasets.XMLDataset`` reads, and compares the boxes' corners.
    """
    try:
        root, lines = _parse(path)
    except (ExpatError, ValueError, LookupError) as error:  # the latter of encodings
        return f'not a readable annotation: {error}'
    if root.tag != 'annotation':
        return f'not a readable annotation: its root is {root.tag!r}'

    def number(parent: Element, tag: str, kind: Callable[[str], float]) -> float:
        node = parent.find(tag)
        where = lines[parent if node is None else node]
        if node is None:
            raise ValueError(f'line {where}: <{parent.tag}> has no <{tag}>')
        try:
            return kind(node.text or '')
        except (ValueError, OverflowError):  # the latter for int(float('inf'))
            what = 'a number' if kind is _corner else 'a whole number'
            raise ValueError(
                f'line {where}: <{tag}> is {node.text!r}, not {what}'
            ) from None

    extent = dict(width=math.inf, height=math.inf)
    try:
        size = root.find('size')
        if size is not None:
            for tag in extent:
                extent[tag] = number(size, tag, int)
                node = size.find(tag)
                # MMDetection drops such images without a word
                if node is not None and extent[tag] <= 0:
                    raise ValueError(f'line {lines[node]}: <{tag}> is {extent[tag]}')
        for node in root.iterfind('object'):
            name = node.findtext('name')
            if name not in NAMES:
                raise ValueError(
                    f'line {lines[node]}: <name> is {name!r}, no VOC class'
                )
            if node.find('difficult') is not None:
                number(node, 'difficult', int)
            box = node.find('bndbox')
            if box is None:
                raise ValueError(f'line {lines[node]}: the {name} has no <bndbox>')
            corners = {tag: number(box, tag, _corner) for tag in CORNERS}
            for axis, side in ('x', 'width'), ('y', 'height'):
                low, high = corners[f'{axis}min'], corners[f'{axis}max']
                if low >= high:
                    raise ValueError(
                        f'line {lines[box]}: the box of the {name} is empty or '
                        f'inverted: {axis}min {low}, {axis}max {high}'
                    )
                if low < 0 or high > extent[side]:
                    raise ValueError(
                        f'line {lines[box]}: the box of the {name} leaves the image: '
                        f'{axis}min {low}, {axis}max {high}, {side} {extent[side]}'
                    )
    except ValueError as error:
        return str(error)
    return None


def _corner(text: str) -> int:
    return int(float(text))


def _parse(path: Path) -> tuple[Element, dict[Element, int]]:
    """The root of an XML file, and by element the line on which it begins."""
    builder, parser = TreeBuilder(), ParserCreate()
    lines = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        lines[builder.start(tag, attributes)] = parser.CurrentLineNumber

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(path.read_bytes(), True)
    return builder.close(), lines


def mask_fault(path: Path, image: Path) -> str | None:
    """What keeps a file from being a mask of class numbers, None if nothing does.

    Args:
        path (Path): The mask: one number a pixel, 0 to 20, or 255 for void. Its
            palette, where it has one, is VOC's or grey: with another, the numbers
            stand for other classes than the colours show.
        image (Path): Its image, of the same size. Not looked at if it cannot be read.
    """
    fault = image_fault(path)
    if fault:
        return fault
    with Image.open(path) as mask:
        if mask.mode not in ('P', 'L'):
            return f'is of mode {mask.mode}, not of class numbers in 8 bits (P or L)'
        size, values = mask.size, np.unique(np.asarray(mask))
        palette = mask.getpalette('RGB') if mask.mode == 'P' else None
    wrong = values[(values > CLASSES) & (values != VOID)]
    if len(wrong):
        return f'holds the value {wrong[0]}; only 0 to {CLASSES} and {VOID} are classes'
    if palette is not None:
        shown = np.resize(palette, (256, 3))[values]
        grey = np.repeat(values[:, None], 3, axis=1)
        if not (shown == grey).all() and (shown != voc_colours()[values]).any():
            odd = values[(shown != voc_colours()[values]).any(axis=1)][0]
            return (
                f"shows the class {odd} in another colour than VOC's: its palette was "
                'changed, and its numbers may stand for other classes'
            )
    try:
        with Image.open(image) as photo:
            expected = photo.size
    except OSError:  # told of the image itself
        return None
    if size != expected:
        return (
            f'is {size[0]} x {size[1]} pixels, its image {expected[0]} x {expected[1]}'
        )
    return None


def voc_colours() -> np.ndarray:
    """VOC's colour of each number, ``(256, 3)``: its bits, spread over the channels."""
    bits = np.arange(256)[:, None] >> np.arange(9) & 1  # the ninth is 0
    return (bits.reshape(256, 3, 3) << np.array([[7], [6], [5]])).sum(axis=1)


def _check_union(devkit: Path, splits: Sequence[Split]) -> Finding:
    """Train and aug, which training concatenates: no image twice, none of val."""
    by_name = {split.name: split for split in splits if split.year == 'VOC2012'}
    train, aug, val = (
        read_ids(devkit / by_name[name].path) for name in ('train', 'aug', 'val')
    )
    archive = by_name['aug'] if train and val else by_name['train']
    union = set(train) | set(aug)
    finding = Finding(
        'VOC2012 train + aug',
        len(union),
        by_name['train'].count + by_name['aug'].count,
        source=archive.archive,
    )
    path = by_name['aug'].path
    for others, which in ((train, 'train'), (val, 'val')):
        shared = sorted(set(aug) & set(others))
        if shared:
            finding.faults[path] = (
                f'lists {len(shared)} images of {which}.txt, such as {shared[0]}'
            )
    if not train or not val:
        finding.faults[path] = 'train.txt and val.txt of VOC2012 are needed beside it'
    trainaug = devkit / Path(path).with_name('trainaug.txt')
    if trainaug.exists() and union != set(read_ids(trainaug)):
        finding.faults[Path(path).with_name('trainaug.txt').as_posix()] = (
            'is not train.txt and aug.txt together'
        )
    return finding
