"""What the indices of a dataset say together, gathered one index at a time: their rows are not kept."""

from dataclasses import dataclass, field

from shardkit.repair.evidence import Evidence


@dataclass(slots=True)
class Said:
    """What some indices say.

    Attributes:
        first: The first of them that can be read, which stands for the columns of all.
        labels, interval_names: Those that occur.
        extensions: Of each field's members.
        features: What the indices' notes have as the key of features; None among them: that there are none.
        tars: The tars they name.
        prefixed: Whether each key begins with its tar's name.
    """

    first: Evidence = field(default_factory=Evidence)
    labels: set[str] = field(default_factory=set)
    interval_names: set[str] = field(default_factory=set)
    extensions: dict[str, set[str]] = field(default_factory=dict)
    features: set[str | None] = field(default_factory=set)
    tars: list[str] = field(default_factory=list)
    prefixed: bool = True

    def add(self, evidence: Evidence) -> None:
        """Take in an index; one that can't be read says nothing."""
        if evidence.schema is None:
            return
        if self.first.schema is None:
            self.first = evidence
        tar = str(evidence.note.get("tar"))
        self.tars.append(tar)
        self.features.add(evidence.note.get("features"))
        prefix = f"{tar.rpartition('/')[2].removesuffix('.tar')}/"
        for row in evidence.rows:
            self.prefixed = self.prefixed and row["key"].startswith(prefix)
            self.labels.update(row["labels"] or ())
            self.interval_names.update(one["name"] for one in row["intervals"] or ())
            for name, facts in row["fields"].items():
                if facts is not None and facts.get("extension"):
                    self.extensions.setdefault(name, set()).add(facts["extension"])
