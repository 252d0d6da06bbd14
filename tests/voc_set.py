"""A small VOC devkit: textured shapes on real photographs, exact boxes and masks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.datasets import load_sample_images

#: The classes that occur, in order: striped discs, chequered squares and dotted
#: triangles of random colours, so that mean colour tells nothing.
CLASSES = ('bottle', 'car', 'tvmonitor')

VOC = [
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
]
VOID = 255


class Scene(NamedTuple):
    """``image (S, S, 3)``, ``labels (S, S)`` with VOC's numbers and 0 for background,
    and the objects as ``(name, (x1, y1, x2, y2))``, zero-based, ends excluded."""

    image: np.ndarray
    labels: np.ndarray
    objects: list


def make_voc(
    root: Path | str, train: int = 40, test: int = 12, size: int = 128, seed: int = 0
) -> Path:
    """Write ``<root>/VOCdevkit`` and return its path.

    VOC2007 has ``train`` images in trainval and ``test`` in test. VOC2012 has the same
    images: half of the first in segmentation's train, the rest in aug alone, the
    second as val. Masks have VOC's palette and void borders, those in
    SegmentationClassAug are grey and have none, as SBD's.
    """
    devkit = Path(root) / 'VOCdevkit'
    rng = np.random.default_rng(seed)
    scenes = [draw_scene(rng, size) for _ in range(train + test)]
    for year in ('2007', '2012'):
        base = devkit / f'VOC{year}'
        names = [
            f'{i:06d}' if year == '2007' else f'2007_{i:06d}'
            for i in range(1, len(scenes) + 1)
        ]
        for name, scene in zip(names, scenes):
            _write_image(base, name, scene.image)
            _write_boxes(base, name, scene)
        trainval, held_out = names[:train], names[train:]
        if year == '2007':
            _write_lists(base, 'Main', trainval=trainval, test=held_out)
            continue
        _write_lists(base, 'Main', trainval=trainval)
        half = train // 2
        _write_lists(
            base,
            'Segmentation',
            train=names[:half],
            val=held_out,
            trainval=names[:half] + held_out,
            aug=names[half:train],
        )
        for i, (name, scene) in enumerate(zip(names, scenes)):
            augmenting = half <= i < train
            folder = 'SegmentationClassAug' if augmenting else 'SegmentationClass'
            _write_mask(base / folder, name, scene.labels, sbd=augmenting)
    return devkit


def draw_scene(rng: np.random.Generator, size: int) -> Scene:
    """A photograph's crop with one to three objects that do not touch."""
    image = background(rng, size)
    labels = np.zeros((size, size), dtype=np.uint8)
    objects: list = []
    for _ in range(rng.integers(1, 4)):
        label = int(rng.integers(len(CLASSES)))
        extent = int(rng.uniform(0.27, 0.45) * size)
        patch, mask = draw_object(rng, label, extent)
        for _ in range(20):
            x, y = rng.integers(0, size - extent + 1, 2)
            around = np.s_[
                max(y - 3, 0) : y + extent + 3, max(x - 3, 0) : x + extent + 3
            ]
            if labels[around].any():
                continue
            inside = np.s_[y : y + extent, x : x + extent]
            image[inside][mask] = patch[mask]
            labels[inside][mask] = VOC.index(CLASSES[label]) + 1
            rows, columns = np.nonzero(mask)
            box = (
                int(x + columns.min()),
                int(y + rows.min()),
                int(x + columns.max() + 1),
                int(y + rows.max() + 1),
            )
            objects.append((CLASSES[label], box))
            break
    return Scene(image, labels, objects)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random square of one of scikit-learn's photographs, ``(size, size, 3)``."""
    photographs = _photographs()
    photograph = photographs[rng.integers(len(photographs))]
    edge = int(rng.uniform(0.4, 1.0) * photograph.height)
    x = int(rng.integers(0, photograph.width - edge + 1))
    y = int(rng.integers(0, photograph.height - edge + 1))
    return np.array(photograph.resize((size, size), box=(x, y, x + edge, y + edge)))


def draw_object(
    rng: np.random.Generator, label: int, extent: int
) -> tuple[np.ndarray, np.ndarray]:
    """One object of ``CLASSES[label]``: its colours and its mask, both a square."""
    y, x = (np.mgrid[:extent, :extent] + 0.5) / extent - 0.5
    turn = rng.uniform(0, np.pi)
    u = np.cos(turn) * x + np.sin(turn) * y
    v = np.cos(turn) * y - np.sin(turn) * x
    period = rng.uniform(0.16, 0.22)
    if label == 0:
        mask = x**2 + y**2 <= 0.25
        pattern = (u / period) % 1 < 0.5
    elif label == 1:
        mask = np.ones_like(x, dtype=bool)
        pattern = ((u / period) % 1 < 0.5) ^ ((v / period) % 1 < 0.5)
    else:
        mask = np.abs(x) <= (y + 0.5) / 2
        u, v = (u / period) % 1 - 0.5, (v / period) % 1 - 0.5
        pattern = u**2 + v**2 < 0.09
    dark, bright = rng.integers(0, 110, 3), rng.integers(145, 256, 3)
    if rng.random() < 0.5:
        dark, bright = bright, dark
    return np.where(pattern[..., None], bright, dark).astype(np.uint8), mask


def palette() -> list[int]:
    """VOC's 256 colours, whose bits are the label's, spread over the channels."""
    colours = np.zeros((256, 3), dtype=int)
    for label in range(256):
        for bit in range(8):
            colours[label, bit % 3] |= (label >> bit & 1) << (7 - bit // 3)
    return colours.ravel().tolist()


@lru_cache
def _photographs() -> list[Image.Image]:
    return [Image.fromarray(image) for image in load_sample_images().images]


def _write_image(base: Path, name: str, image: np.ndarray) -> None:
    path = base / 'JPEGImages' / f'{name}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95)


def _write_boxes(base: Path, name: str, scene: Scene) -> None:
    """VOC counts pixels from one and includes the last."""
    root = ElementTree.Element('annotation')
    _add(root, filename=f'{name}.jpg')
    height, width = scene.labels.shape
    _add(ElementTree.SubElement(root, 'size'), width=width, height=height, depth=3)
    for kind, (x1, y1, x2, y2) in scene.objects:
        node = ElementTree.SubElement(root, 'object')
        _add(node, name=kind, pose='Unspecified', truncated=0, difficult=0)
        box = ElementTree.SubElement(node, 'bndbox')
        _add(box, xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
    path = base / 'Annotations' / f'{name}.xml'
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path)


def _add(node: ElementTree.Element, **children: object) -> None:
    for tag, text in children.items():
        ElementTree.SubElement(node, tag).text = str(text)


def _write_mask(folder: Path, name: str, labels: np.ndarray, sbd: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if sbd:
        image = Image.fromarray(labels)
    else:
        inside = labels > 0
        image = Image.fromarray(
            np.where(binary_dilation(inside) & ~inside, VOID, labels).astype(np.uint8)
        )
        image.putpalette(palette())  # grey becomes a palette image of the same values
    image.save(folder / f'{name}.png')


def _write_lists(base: Path, task: str, **names: list[str]) -> None:
    folder = base / 'ImageSets' / task
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in names.items():
        (folder / f'{split}.txt').write_text(''.join(f'{line}\n' for line in lines))
