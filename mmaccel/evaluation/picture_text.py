"""Names of the user's in a picture: shown as they are, with any characters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

_LONGEST = 28  # characters
_FONT = 'DejaVu Sans'  # matplotlib brings it
_BOXES = 'Last Resort'  # a font that has every character, as a box


def text_style(texts: Iterable[str]) -> dict[str, Any]:
    """matplotlib's settings under which texts are shown as they are.

    ``$`` is a character, not mathematics, and characters that matplotlib's own font
    lacks come from an installed one that has them.

    Args:
        texts (Iterable[str]): All that will be written in the picture.

    Note:
        Warns where no installed font has a character.
    """
    families = [_FONT]
    missing = _missing(set(''.join(texts)), _path_of(_FONT))
    for name, path in _installed() if missing else ():
        left = _missing(missing, path)
        if left != missing:
            families.append(name)
            missing = left
        if not missing:
            break
    if missing:
        warnings.warn(
            f'no installed font has {"".join(sorted(missing))!r}, shown as boxes; '
            'install one that has (Chinese, Japanese and Korean: fonts-noto-cjk)',
            stacklevel=2,
        )
    return {'text.parse_math': False, 'font.family': families}


def legend_text(name: str) -> str:
    """A name for a legend: in one line, not too wide, and not left out.

    Of a long one the middle is left out, since its ends tell it from others. A legend
    leaves out what begins with an underscore; an invisible character then comes first.
    """
    name = ' '.join(name.split()) or '(no name)'
    if len(name) > _LONGEST:
        half = _LONGEST // 2
        name = f'{name[: half - 1]}…{name[-half:]}'
    return f'\u200b{name}' if name.startswith('_') else name


def _path_of(family: str) -> str:
    from matplotlib import font_manager

    return font_manager.findfont(family)


def _installed() -> Iterable[tuple[str, str]]:
    from matplotlib import font_manager

    fonts = {entry.name: entry.fname for entry in font_manager.fontManager.ttflist}
    return [(name, fonts[name]) for name in sorted(fonts) if _BOXES not in name]


def _missing(characters: set[str], path: str) -> set[str]:
    """Characters that a font lacks."""
    from matplotlib import font_manager

    font = font_manager.get_font(path)
    shown = {c for c in characters if c.isprintable()}
    return {c for c in shown if not font.get_char_index(ord(c))}
