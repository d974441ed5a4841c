"""What a detector of some classes is trained on: positive events, and negatives that are sure to be.

recording        labels           events           of the target "Dog"
a                Dog              Bark  Car        Bark is positive; nothing here is negative
b                Animal           Car              nothing: an animal may be a dog
c                Music            Car  Music       strong negatives: each event; weak negative: the recording
d                Music                             weak negative
e                                                  nothing: who knows
"""

from collections.abc import Sequence

from shardkit.stream.classes import OntologyLike, read_ontology
from shardkit.stream.events import Overlapping
from shardkit.stream.view import View


def targets(
    view: View,
    names: str | Sequence[str],
    *,
    relatives: bool | None = None,
    overlapping: Overlapping = "any",
    segments_s: float | None = None,
    ontology: OntologyLike | None = None,
) -> dict[str, View]:
    """Return what a detector of some classes is trained on, as sources of a stream.

    Args:
        view: Recordings of a dataset.
        names: The target: classes, or one.
        relatives: Whether events of what is below the target in the ontology are positive too, and recordings of what
            is below or above it are no negatives. None: where there is an ontology.
        overlapping: Which events of the target: ``any``, those that overlap other events (``only``), or the others.
        segments_s: Cut events into pieces of so many seconds; see ``View.events``. None: whole events.
        ontology: In place of the dataset's own: an ``Ontology``, or the place of an ``ontology.json``.

    Returns:
        ``positive``: events of the target; ``strong``: all events of recordings without it, by their labels and their
        events; ``weak``: these recordings, and those that have labels only.

    Raises:
        InputError: No event is called so, or there is no ontology.
    """
    read = None if ontology is None else read_ontology(ontology)
    below = (read or view.catalog.ontology) is not None if relatives is None else relatives
    others = view.lacking(names, relatives=below, ontology=read)
    return {
        "positive": view.events(
            names, descendants=below, overlapping=overlapping, segments_s=segments_s, ontology=read
        ),
        "strong": others.events(segments_s=segments_s),
        "weak": others,
    }
