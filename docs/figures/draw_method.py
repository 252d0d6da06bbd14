"""Draw the picture of the method that the README shows.

python docs/figures/draw_method.py docs/figures/method.png
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, Rectangle

INK, GREY, QUERY, KEY, LOSS = '#1f2933', '#b8c0c8', '#2f6fb0', '#7a8794', '#c2521f'
STAGE_X = (2.6, 5.3, 8.0, 10.7)
SIDES = (1.25, 0.85, 0.6, 0.45)  # of the maps, on paper
WINDOW = 0.75
EXIT = 3  # the exit drawn in this picture


def box(ax, x, y, text, color, width=1.05, height=0.72, fill='white', size=11):
    """A rounded box with its text in the middle."""
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle='round,pad=0.02,rounding_size=0.12',
        edgecolor=color,
        facecolor=fill,
        linewidth=1.6,
    )
    ax.add_patch(shape)
    ax.text(x, y, text, ha='center', va='center', color=color, fontsize=size)


def arrow(ax, start, end, color, width=1.6, style='-|>', **kwargs):
    """A straight arrow."""
    ax.annotate(
        '',
        xy=end,
        xytext=start,
        arrowprops=dict(
            arrowstyle=style, color=color, lw=width, shrinkA=0, shrinkB=0, **kwargs
        ),
    )


def feature_map(ax, x, y, side, color, windows):
    """A square map; with windows, the candidates and in full colour the chosen one."""
    ax.add_patch(
        Rectangle(
            (x - side / 2, y - side / 2),
            side,
            side,
            edgecolor=color,
            facecolor=color + '18',
            linewidth=1.4,
        )
    )
    for (dx, dy), chosen in windows:
        ax.add_patch(
            Rectangle(
                (x - side / 2 + dx * side, y - side / 2 + dy * side),
                WINDOW * side,
                WINDOW * side,
                edgecolor=LOSS if chosen else INK,
                facecolor=LOSS + '30' if chosen else 'none',
                linewidth=1.9 if chosen else 1.0,
                linestyle='-' if chosen else (0, (3, 2)),
            )
        )


def branch(ax, y, name, symbol, color, stop, windows):
    """One encoder: image, stages and maps; grey behind its stop."""
    box(ax, 0.75, y, name, color, width=1.15)
    end = 0.75 + 0.6
    for stage, (x, side) in enumerate(zip(STAGE_X, SIDES), 1):
        shade = color if stage <= stop else GREY
        arrow(ax, (end, y), (x - 0.55, y), shade)
        box(ax, x, y, f'${symbol}_{stage}$', shade, width=0.95, size=15)
        middle = x + 1.3
        arrow(ax, (x + 0.5, y), (middle - side / 2, y), shade)
        cuts = windows.get(stage, ()) if stage < stop else ()
        feature_map(ax, middle, y, side, shade, cuts)
        end = middle + side / 2


def main(path: str) -> None:
    """Draw and save."""
    fig, ax = plt.subplots(figsize=(13, 5.9))
    query_y, key_y, head_y = 4.9, 0.55, 2.75
    branch(
        ax,
        query_y,
        'view 1\nquery',
        'f',
        QUERY,
        EXIT,
        {
            1: (((0.02, 0.22), False), ((0.2, 0.03), True)),
            2: (((0.0, 0.0), True), ((0.22, 0.25), False)),
        },
    )
    branch(
        ax,
        key_y,
        'view 2\nkey',
        'k',
        KEY,
        4,
        {
            1: (((0.0, 0.0), False), ((0.22, 0.2), True)),
            2: (((0.23, 0.02), True), ((0.02, 0.22), False)),
        },
    )
    for stage, (x, side) in enumerate(zip(STAGE_X, SIDES), 1):
        middle = x + 1.3
        active = stage == EXIT
        color = LOSS if active else (KEY if stage < EXIT else GREY)
        label = f'$L_{stage}$' if stage >= EXIT else 'score\npairs'
        fill = LOSS + '18' if active else 'white'
        box(
            ax,
            middle,
            head_y,
            label,
            color,
            0.95,
            0.85,
            fill,
            15 if stage >= EXIT else 10,
        )
        top, bottom = query_y - side / 2, key_y + side / 2
        if stage <= EXIT:
            arrow(ax, (middle, top), (middle, head_y + 0.45), color)
        arrow(
            ax,
            (middle, bottom),
            (middle, head_y - 0.45),
            KEY if stage != EXIT else LOSS,
        )
        ax.text(
            middle - 0.62,
            head_y - 0.02,
            f'queue {stage}',
            ha='right',
            va='center',
            fontsize=9,
            color=KEY,
        )
        arrow(ax, (middle - 0.6, head_y), (middle - 0.49, head_y), KEY, 1.0)
    back_y = query_y + 1.0
    start = STAGE_X[EXIT - 1] + 1.3
    ax.plot([start, start], [query_y + 0.35, back_y], color=LOSS, lw=2.4)
    arrow(ax, (start, back_y), (STAGE_X[0] - 0.1, back_y), LOSS, 2.4)
    ax.text(
        (start + STAGE_X[0]) / 2,
        back_y + 0.12,
        f'the gradient of $L_{EXIT}$ reaches stages 1 to {EXIT}; '
        'the query stops here, later stages are not computed or updated',
        ha='center',
        va='bottom',
        fontsize=10.5,
        color=LOSS,
    )
    ax.text(
        STAGE_X[3] + 0.55,
        query_y - 1.0,
        'another update\ndraws another exit',
        ha='center',
        va='center',
        fontsize=9.5,
        color=KEY,
        style='italic',
    )
    ax.text(
        (STAGE_X[0] + STAGE_X[1]) / 2 + 1.3,
        key_y - 0.95,
        'of M × M pairs of random windows '
        'only the pair with the largest loss is passed on',
        ha='center',
        va='center',
        fontsize=10.5,
        color=LOSS,
    )
    ax.set_xlim(0, 12.8)
    ax.set_ylim(-0.65, 6.4)
    ax.set_aspect('equal')
    ax.axis('off')
    fig.savefig(path, dpi=110, bbox_inches='tight', facecolor='white')


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1 else 'docs/figures/method.png')
