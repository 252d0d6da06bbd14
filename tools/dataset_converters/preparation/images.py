"""Telling whether an image file is whole."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from mmaccel.fileio import check_complete

T = TypeVar('T')


def image_fault(path: str | Path) -> str | None:
    """What keeps an image from being read to its end, None if nothing does.

    Decodes it, at reduced size where the format allows: every compressed byte is
    still read.
    """
    try:
        data = Path(path).read_bytes()
        check_complete(data)
        with Image.open(io.BytesIO(data)) as image:
            image.draft(image.mode, (image.width // 8, image.height // 8))
            image.load()
    except Exception as error:  # each decoder has its own
        return _reason(error)
    return None


def file_sizes(folder: str | Path) -> dict[str, int]:
    """By name, the bytes of each file in a folder; nothing where there is none."""
    sizes = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():  # a dangling link is not
                    sizes[entry.name] = entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        pass
    return sizes


def spread(items: Sequence[T], count: int | None) -> Sequence[T]:
    """At most ``count`` of the items, evenly spaced, the first and last among them.

    The same ones each time, so that a second look sees what the first one saw. All
    items for None.
    """
    if count is None or len(items) <= count:
        return items
    step = (len(items) - 1) / max(count - 1, 1)
    return [items[round(i * step)] for i in range(count)]


def _reason(error: Exception) -> str:
    text = getattr(error, 'strerror', None) or ' '.join(str(error).split())
    if 'BytesIO' in text:
        return 'not an image'
    return text or type(error).__name__
