"""What makes a view of another: choosing rows, cutting them, repeating them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.content import Content, checked_interval_names
from shardkit.core.crops import check_content
from shardkit.core.cuts import Cut, Segments, Slots, Windows
from shardkit.core.errors import InputError
from shardkit.core.kept import kept_windows
from shardkit.core.rows import MAX_FACTOR
from shardkit.format.index import PRIMARY
from shardkit.stream.balance import SEVERAL, Several, repeat_factors, values_of
from shardkit.stream.classes import Classes, OntologyLike
from shardkit.stream.events import Overlapping, events_of, having, kept_by_chance, labelled
from shardkit.stream.query import matching_rows
from shardkit.stream.selection import Selection
from shardkit.stream.targets import IntervalRows

if TYPE_CHECKING:
    from shardkit.stream.view import View


class Narrowing:
    """The methods of a view that return another one."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection

    def _like(self, selection: Selection) -> "View":
        """Return the view of another selection."""
        raise NotImplementedError

    def where(self, condition: str) -> "View":
        """Return the rows that meet a condition over the index's columns, in Python's syntax.

        Example: ``ds.where("duration_s >= 2 and lang in ['en', 'de'] and 'dog' in labels")``. A missing value
        makes a comparison false. After ``events`` the labels are the event's name, and there are the columns ``event``,
        ``event_start_s`` and ``event_duration_s``.

        Raises:
            InputError: Not a condition, or no such column.
        """
        if not isinstance(condition, str):
            raise InputError(f"where({condition!r}): give the condition as text, such as 'duration_s >= 2'")
        self._not_after_each("where")
        return self._like(self.selection.take(np.flatnonzero(matching_rows(self.selection.columns, condition))))

    def having(
        self, names: str | Sequence[str], *, descendants: bool = False, ontology: OntologyLike | None = None
    ) -> "View":
        """Return the recordings that have one of some classes, as a label or as an event.

        Args:
            names: Of classes, or of one: labels, or what the ontology calls them.
            descendants: Whether what lies below them in the ontology counts too.
            ontology: In place of the dataset's own: an ``Ontology``, or the place of an ``ontology.json``.

        Raises:
            InputError: Nothing is labelled so, there is no ontology, or rows are events.
        """
        self._not_of_events("having")
        self._not_after_each("having")
        wanted = Classes(self.selection.catalog, ontology).labels(names, "having", descendants=descendants)
        found = having(self.selection.catalog, wanted)
        return self._like(self.selection.take(np.flatnonzero(found[self.selection.items])))

    def lacking(
        self, names: str | Sequence[str], *, relatives: bool | None = None, ontology: OntologyLike | None = None
    ) -> "View":
        """Return the recordings that have none of some classes, neither as a label nor as an event.

        Recordings without any label or event are left out: what they hold, nobody knows.

        Args:
            names: Of classes, or of one: labels, or what the ontology calls them.
            relatives: Whether they must lack what is below and above these classes in the ontology too: who hears an
                animal may hear a dog. None: where there is an ontology.
            ontology: In place of the dataset's own: an ``Ontology``, or the place of an ``ontology.json``.

        Raises:
            InputError: No class is called so, there is no ontology, or rows are events.
        """
        self._not_of_events("lacking")
        self._not_after_each("lacking")
        catalog = self.selection.catalog
        classes = Classes(catalog, ontology)
        related = classes.ontology is not None if relatives is None else relatives
        unwanted = classes.related(names, "lacking") if related else classes.labels(names, "lacking")
        found = labelled(catalog) & ~having(catalog, unwanted)
        return self._like(self.selection.take(np.flatnonzero(found[self.selection.items])))

    def events(
        self,
        names: str | Sequence[str] = (),
        *,
        descendants: bool = False,
        overlapping: Overlapping = "any",
        segments_s: float | None = None,
        ontology: OntologyLike | None = None,
    ) -> "View":
        """Return events as rows: the intervals of the recordings, each once in a pass.

        A row's audio is exactly its event's, its one label the event's name, and all else its recording's.

        Args:
            names: Of events or classes, or one; empty: all events.
            descendants: Whether events of what lies below these classes in the ontology are rows too.
            overlapping: ``only`` events that share samples with another event of their recording, whatever its name;
                ``never``: only events that do not; ``any``.
            segments_s: Cut events into pieces of so many seconds, as ``shardkit.core.cuts.Segments`` says: what is left
                over is a piece if it is half of one or more, else the last piece reaches back. None: whole events.
            ontology: In place of the dataset's own: an ``Ontology``, or the place of an ``ontology.json``.

        Raises:
            InputError: No event is called so, there is no ontology, or the view is cut or repeated already.
        """
        chosen = self.selection
        if chosen.spans is not None or chosen.cut is not None or chosen.factors is not None or chosen.turns is not None:
            raise InputError("events of whole recordings only: take ds.events(...) first, then cut or repeat them")
        known = chosen.catalog.manifest.interval_names
        if PRIMARY not in chosen.catalog.fields or not known:
            raise InputError(f"{chosen.catalog.location}: events: no recording has intervals; pack them with the data")
        names = checked_interval_names(names, "events")
        wanted = None
        if names:
            classes = Classes(chosen.catalog, ontology)
            wanted = classes.labels(names, "events", descendants=descendants) & set(known)
        if wanted is not None and not wanted:
            said = ", ".join(map(repr, names))
            some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
            raise InputError(f"{chosen.catalog.location}: events: no event is called {said}; there is {some}")
        items, spans = events_of(chosen.catalog, chosen.items, wanted, overlapping)
        view = self._like(Selection(chosen.catalog, items, spans=spans))
        return view if segments_s is None else view._cut(Segments(segments_s))

    def thin(self, labels: str | Sequence[str], keep: float, *, seed: int = 0) -> "View":
        """Return the rows without those of some labels, but for a share of them that chance keeps.

        For the few labels that most recordings of a long tail have. What is kept of a row is a hash of the seed and its
        key (and of an event's name and bounds), so that it does not depend on which others there are.

        Args:
            labels: Rows with any of these are thinned out; or one label.
            keep: Share of them that is kept, from 0 to 1.
            seed: Of the hash.

        Raises:
            InputError: No row can have such a label, or ``keep`` is no share.
        """
        self._not_after_each("thin")
        if not is_number(keep) or not 0 <= keep <= 1:
            raise InputError(f"thin keep {keep!r} is not a share from 0 to 1; 0.1 keeps one in ten")
        chosen = self.selection
        wanted = Classes(chosen.catalog).labels(labels, "thin")
        kept = kept_by_chance(chosen.catalog, chosen.items, chosen.spans, wanted, keep=keep, seed=seed)
        return self._like(chosen.take(np.flatnonzero(kept)))

    def take(self, num_rows: int) -> "View":
        """Return the first ``num_rows`` rows (in packed order, which is random unless packed otherwise).

        Raises:
            InputError: The number is negative, or rows are repeated: take first, then repeat.
        """
        num_rows = checked_whole(num_rows, "take", least=0, most=2**62)
        self._not_after_each("take")
        chosen = self.selection
        if chosen.factors is not None:
            raise InputError("take after repeat or balance has no first rows; take first: ds.take(n).repeat(k)")
        if chosen.num_parts is None:
            return self._like(chosen.take(np.arange(min(num_rows, len(chosen.items)))))
        before = np.cumsum(chosen.num_parts) - chosen.num_parts
        num_parts = np.clip(num_rows - before, 0, chosen.num_parts)
        return self._like(chosen.changed(num_parts=num_parts).take(np.flatnonzero(num_parts)))

    def windows(
        self, size_s: float, hop_s: float | None = None, *, partial: bool = False, content: Content | None = None
    ) -> "View":
        """Return windows of the recordings as rows: a stream crops inside a window, or delivers all of it.

        A window starts at each multiple of the hop from which a full window fits; a recording shorter than that is
        one window. Its start and length are rounded to samples at the stored rate.

        Args:
            size_s: Length of a window, in seconds.
            hop_s: From the start of one to the start of the next, in seconds; None: ``size_s``.
            partial: Add a last, shorter window for what the full ones leave over.
            content: Keep only windows that hold this of their intervals: ``shardkit.content("speech", ratio=0.5)``.
                The share is that of a full window, also where a recording is shorter. None: all windows.

        Raises:
            InputError: A length is not positive, the view is cut already, or no interval has such a name.
        """
        windows = Windows(size_s, size_s if hop_s is None else hop_s, partial=partial)
        view = self._cut(windows)
        check_content(content)
        return view if content is None else view._holding(content, windows)

    def draws(self, size_s: float, power: float = 0.5) -> "View":
        """Return long recordings as several rows, so that a pass draws from them more than once.

        A recording that holds n crops becomes round(n ** power) rows. Each is a stretch of it in which a crop may
        start, so that draws from one recording are spread over it. Give the stream a crop of ``size_s``.

        Args:
            size_s: Length of the stream's crop, in seconds.
            power: 0: one row a recording; 1: as many as it holds crops; between, long ones count for more but less
                than in proportion.

        Raises:
            InputError: The length is not positive, the power is out of range, or the view is cut already.
        """
        return self._cut(Slots(size_s, power))

    def repeat(self, times: float) -> "View":
        """Return the rows ``times`` times in a pass; of the fractional part, each pass repeats other rows.

        Raises:
            InputError: The number is not positive or too large.
        """
        if not is_number(times) or not 0 < times <= MAX_FACTOR:
            raise InputError(f"repeat({times!r}): not a number above 0 and at most {MAX_FACTOR}")
        self._not_after_each("repeat")
        return self._like(self.selection.repeated(np.full(len(self.selection.items), float(times))))

    def balance(
        self, column: str, power: float = 0.5, *, rare: int | None = None, several: Several = "rarest"
    ) -> "View":
        """Return the rows with those of rare values repeated: in proportion to frequency ** -power.

        The rows of the most frequent value come once in a pass, those of a value a hundred times rarer 100 ** power
        times; of the fractional part, each pass repeats other rows. No row comes less than once. No value is a value of
        its own.

        Args:
            column: A column of the index, such as ``labels`` or ``speaker``.
            power: 0 changes nothing; 1 draws all values equally often; 0.5 draws a value in proportion to the square
                root of its frequency, which is usual for long tails.
            rare: Values of fewer rows than this count as one value together; None: each for itself.
            several: What counts where a row has several values (labels). ``rarest``: only its rarest. ``all``: the sum
                over all of them, so that a pass is as if one drew a value in proportion to frequency ** (1 - power),
                and then any of its rows.

        Raises:
            InputError: No such column, or an option can't be.

        Source:
            Gupta, Dollar, Girshick (2019), "LVIS", section 5, with the most frequent value as threshold.
        """
        self._not_after_each("balance")
        if not is_number(power) or power < 0:
            raise InputError(f"balance power {power!r} is not a number of at least 0; 0.5 is usual")
        if several not in SEVERAL:
            raise InputError(f"balance several {several!r} is unknown; choose {' or '.join(SEVERAL)}")
        chosen = self.selection
        values = values_of(chosen.columns, column, "balance", mass=chosen.mass, rare=rare)
        return self._like(chosen.repeated(repeat_factors(values, chosen.mass, power=float(power), several=several)))

    def each(self, column: str, *, rare: int | None = None) -> "View":
        """Return one row for each value of a column: the values take turns, and so do the rows of each.

        A pass has each value once, by another of its rows in each pass until all have had their turn. Passes keep one
        order of the values, so any ``len`` consecutive draws have them all: what ``Stream.coverage`` counts. Rows
        without a value are never drawn.

        Args:
            column: A column of the index, such as ``labels`` or ``speaker``.
            rare: Values of fewer rows than this take one turn together; None: each for itself.

        Raises:
            InputError: No such column, no row has a value, or rows are repeated.
        """
        self._not_after_each("each")
        chosen = self.selection
        if chosen.factors is not None:
            raise InputError("each after repeat or balance has nothing to repeat; leave one of them out")
        values = values_of(chosen.columns, column, "each", mass=chosen.mass, rare=rare).without_none()
        if not len(values.rows):
            raise InputError(f"each: no row has a value in column {column!r}")
        order = np.lexsort((values.rows, values.codes))
        ends = np.flatnonzero(np.diff(values.codes[order], append=-1)) + 1
        return self._like(chosen.changed(turns=(values.rows[order], ends)))

    def _not_after_each(self, what: str) -> None:
        if self.selection.turns is not None:
            raise InputError(f"{what} after each: its rows are values; narrow first: ds.where(...).each(...)")

    def _not_of_events(self, what: str) -> None:
        if self.selection.spans is not None:
            raise InputError(f"{what} after events: choose recordings first: ds.{what}(...).events(...)")

    def _cut(self, cut: Cut) -> "View":
        self._not_after_each("windows or draws")
        chosen = self.selection
        if chosen.cut is not None:
            raise InputError(f"the view is cut into {chosen.cut} already; cut the dataset itself instead")
        if PRIMARY not in chosen.catalog.fields:
            raise InputError(f"{chosen.catalog.location}: no field {PRIMARY!r} to cut")
        return self._like(chosen.changed(cut=cut, num_parts=cut.num_parts(chosen.lengths, chosen.rates)))

    def _holding(self, content: Content, windows: Windows) -> "View":
        """Return only the windows that hold some content, of the items that have such windows."""
        chosen = self.selection
        known = chosen.catalog.manifest.interval_names
        for name in content.of:
            if name not in known:
                raise InputError(
                    f"{chosen.catalog.location}: no interval is called {name!r}; there is {', '.join(known) or 'none'}"
                )
        events, items = IntervalRows(chosen.catalog, content.of or known).of_rows(chosen.items)
        if chosen.spans is not None:
            events = events - chosen.spans.starts[items, None]
        kept = kept_windows(
            windows,
            content,
            frames=chosen.lengths,
            sample_rate=chosen.rates,
            events=events,
            recordings=items,
        )
        return self._like(chosen.changed(kept=kept, num_parts=kept.num_parts).take(np.flatnonzero(kept.num_runs)))
