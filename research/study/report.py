"""A report whose figures come from the records, its words from a person.

The report is markdown with blocks of Python, which cog runs (cogapp): what a block
prints stands between it and the next ``[[[end]]]``. The methods of :class:`Report` that
:data:`BLOCKS` names are functions there, and so is what a block before defined::

    <!-- [[[cog
    table('n, knn, ratio', '''
    mocov2/baseline-200e: MoCo v2
    mocov2/paper-*: Accel-MoCo v2, {epochs} epochs
    ''', reference='mocov2/baseline-200e')
    ]]] -->
    <!-- [[[end]]] -->

Rows are groups of runs, METHOD/VARIANT or a pattern, each with a label if it likes: one
per line in this order, those of a pattern by name, each group once.
"""

from __future__ import annotations

import difflib
import fnmatch
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from cogapp import Cog
from cogapp.cogapp import CogError, CogUserException

from mmaccel.errors import ConfigError
from mmaccel.fileio import write_atomically

from .gradients_plot import cosine, gradients_plot, read_gradients
from .plots import Plot, curves_plot, epochs_plot, frontier_plot, mean_curves
from .presets_table import presets_table
from .speedup import StepCosts
from .summary import Group, Groups
from .tables import entry, epochs_table, groups_table, notes, runs_list, stages_table

Cosine = Callable[..., float | None]

#: Functions of a report's blocks.
BLOCKS = (
    'labels',
    'table',
    'stages',
    'runs',
    'curves',
    'epochs',
    'frontier',
    'gradients',
    'figure',
    'presets',
)


class Report:
    """A report and what it should say.

    Figures are means ± sample standard deviation over the seeds; one of fewer runs than
    its row has says so, "(n=1)". Failed runs are named below a table and count nowhere.

    Args:
        path (str or Path): Markdown with blocks; pictures are named from where it is.
        records (Sequence[dict]): From :func:`research.study.records.read_runs`.
        costs (StepCosts, optional): Of variants' steps, for speed-ups. Defaults to
            none.

    Raises:
        ConfigError: With the line, if a block cannot be read or filled.
    """

    def __init__(
        self, path: str | Path, records: list[dict], costs: StepCosts | None = None
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ConfigError(f'there is no report {path}')
        self.text = self.path.read_text(encoding='utf-8')
        self.groups = Groups(records, costs)
        self.plots: dict[str, Plot] = {}
        self._labels: dict[str, str | None] = {}
        self.filled = self._fill()

    def outdated(self) -> list[str]:
        """What does not show the records: pictures, and lines of the text as a diff."""
        lines = difflib.unified_diff(
            self.text.splitlines(),
            self.filled.splitlines(),
            f'{self.path}',
            'what the records say',
            n=0,
            lineterm='',
        )
        pictures = [
            f'{name} shows other numbers'
            for name, plot in self.plots.items()
            if not plot.is_drawn(self.path.parent / name)
        ]
        return [*pictures, *lines]

    def write(self) -> None:
        """Draw every picture, then fill every block.

        The text comes last: one that was interrupted is known to be out of date.
        """
        for name, plot in self.plots.items():
            plot.draw(self.path.parent / name)
        write_atomically(self.path, self.filled.encode())

    def labels(self, rows: str) -> None:
        """Labels of groups for all blocks that follow and give none of their own."""
        self._labels.update(_rows(rows))

    def table(
        self,
        columns: str,
        rows: str,
        reference: str | None = None,
        heading: str = 'run',
    ) -> None:
        """A table with a row per group.

        Args:
            columns (str): Some of these, with commas between them: ``epochs``, ``n``;
                ``knn`` (on held-out images, the curve's last point), ``held-out-knn``,
                ``held-out-linear``, ``test-knn``, ``test-linear`` (final features; a
                probe of all stages counts as linear); each of these with ``-diff``,
                points more than the reference has; ``equal-time``, points of ``knn``
                more than the method's own baselines have in the same time;
                ``speedup-knn``, ``speedup-linear`` (at equal accuracy, by the step's
                relative cost), ``step`` (this cost), ``by`` (what it is from, ``time``
                or ``operations``); ``seconds``
                (of training), ``ratio`` (to the reference's), ``end-to-end`` (of
                ``tools/train.py``), ``step-ms``, ``data-ms`` (a step, and its wait for
                data); ``neg-sim``, ``rank`` (projections after the last stage: mean
                cosine of different images, effective rank).
            rows (str): Groups and their labels, one per line.
            reference (str, optional): A group; ``'*/baseline-200e'`` is the baseline of
                each row's method.
            heading (str): Of the first column. Defaults to ``'run'``.
        """
        names = [name.strip() for name in columns.split(',')]
        _say(groups_table(self.groups, self._select(rows), names, reference, heading))

    def stages(self, rows: str, split: str, heading: str = 'run') -> None:
        """Linear accuracy of every stage's features on ``'held_out'`` or ``'test'``."""
        _say(stages_table(self._select(rows), split, heading))

    def runs(self, rows: str = '*') -> None:
        """How many runs, for how long, on what."""
        _say(runs_list(self.groups.select(_rows(rows))))

    def curves(self, picture: str, rows: str, alt: str) -> None:
        """A picture of kNN accuracy on held-out images against training time.

        Seeds are drawn as mean and range; X and Accel-X share a colour.

        Args:
            picture (str): Its file.
            rows (str): As of :meth:`table`.
            alt (str): What it shows, for those who do not see it.
        """
        selected = self._select(rows)
        self._picture(picture, curves_plot(selected), alt, selected)

    def epochs(
        self,
        picture: str,
        rows: str,
        alt: str,
        published: Mapping[str, Sequence[float]],
        heading: str = 'kNN at epoch',
    ) -> None:
        """A picture and a table of kNN accuracy by epoch, beside curves of others.

        Args:
            picture (str): Its file.
            rows (str): As of :meth:`table`.
            alt (str): As of :meth:`curves`.
            published (Mapping): Label to percents after epoch 1, 2 and so on.
            heading (str): As of :meth:`table`.
        """
        selected = self._select(rows)
        points = {
            label: {float(i): float(x) for i, x in enumerate(percents, 1)}
            for label, percents in published.items()
        }
        table = epochs_table(mean_curves(selected), points, heading)
        plot = epochs_plot(selected, points)
        self._picture(picture, plot, alt, selected, table, timed=False)

    def frontier(
        self,
        picture: str,
        rows: str,
        alt: str,
        reference: str,
        line: str = '',
        accuracy: str = 'knn',
    ) -> None:
        """A picture of final accuracy against training time relative to a reference's.

        Args:
            picture (str): Its file.
            rows (str): As of :meth:`table`.
            alt (str): As of :meth:`curves`.
            reference (str): As of :meth:`table`.
            line (str): Groups to join, with commas between them, such as baselines of
                several lengths. Defaults to none.
            accuracy (str): A column of :meth:`table`. Defaults to ``'knn'``.
        """
        joined = [name.strip() for name in line.split(',') if name.strip()]
        selected = self._select(rows)
        plot = frontier_plot(
            self.groups, selected, [self.groups.select(joined)], reference, accuracy
        )
        others = [self.groups.reference(reference, group) for group, _ in selected]
        shown = [*selected, *((group, '') for group in others)]
        self._picture(picture, plot, alt, shown)

    def gradients(self, picture: str, file: str, alt: str) -> Cosine:
        """A picture of what ``research/gradients.py`` measured.

        Args:
            picture (str): Its file.
            file (str): The JSON it is drawn from.
            alt (str): As of :meth:`curves`.

        Returns:
            Callable: One of its cosines for a sentence, such as
            ``cosine('epoch_1', 'exit 2', stage=1)``.
        """
        found = read_gradients(self.path.parent / file)
        versions = ', '.join(f'{k} {v}' for k, v in found['versions'].items())
        self._picture(
            picture,
            gradients_plot(found),
            alt,
            [],
            f'{found["model"]}, {found["batches"]} batches of {found["batch_size"]} '
            f'images; {found["device"]}, {versions}.',
        )
        return partial(cosine, found)

    def figure(self, group: str, column: str, reference: str | None = None) -> str:
        """One figure for a sentence: ``f'{figure("mocov2/paper-200e", "knn")}'``."""
        (one,) = self.groups.select([group])
        return entry(self.groups, one, column, reference)

    def presets(self, file: str) -> None:
        """What presets cost and keep, from what ``benchmarks/presets.py`` wrote."""
        _say(*presets_table(self.path.parent / file))

    def _picture(
        self,
        name: str,
        plot: Plot,
        alt: str,
        rows: Sequence[tuple[Group, str]],
        *more: str,
        timed: bool = True,
    ) -> None:
        if not name.endswith('.png') or name in self.plots:
            raise ConfigError(f'{name!r} is no .png, or another block draws it')
        self.plots[name] = plot
        words = notes((group for group, _ in rows), timed)
        _say(f'![{alt}]({name})', *more, *words, f'<!-- numbers {plot.hash} -->')

    def _select(self, text: str) -> list[tuple[Group, str]]:
        """Groups and their labels: the block's own, else the report's."""
        rows = _rows(text)
        groups = self.groups.select(rows)
        if not groups:
            raise ConfigError('it names no group; give lines "METHOD/VARIANT: LABEL"')
        return [(group, self._label(group, rows)) for group in groups]

    def _label(self, group: Group, rows: Mapping[str, str | None]) -> str:
        """A group's own name goes before patterns."""
        for labels in (rows, self._labels):
            for pattern in (group.name, *labels):
                template = labels.get(pattern)
                if template and fnmatch.fnmatchcase(group.name, pattern):
                    return group.label(template)
        return group.name

    def _fill(self) -> str:
        cog = Cog()
        cog.options.print_output = True
        filled = io.StringIO()
        try:
            cog.process_file(
                io.StringIO(self.text),
                filled,
                fname=str(self.path),
                globals={name: getattr(self, name) for name in BLOCKS},
            )
        except (CogUserException, SyntaxError) as error:
            line = cog.cogmodule.firstLineNum
            reason = error.__context__ or error
            kind = (
                '' if isinstance(reason, ConfigError) else f'{type(reason).__name__}: '
            )
            raise ConfigError(
                f'{self.path}, block in line {line}: {kind}{reason}'
            ) from error
        except CogError as error:
            raise ConfigError(str(error)) from error
        return filled.getvalue()


def _rows(text: str) -> dict[str, str | None]:
    """Groups or patterns and their labels, one pair per line."""
    rows: dict[str, str | None] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, label = line.partition(':')
        rows[name.strip()] = label.strip() or None
    return rows


def _say(*parts: str) -> None:
    """Print paragraphs, with empty lines around them."""
    print('\n' + '\n\n'.join(parts) + '\n')
