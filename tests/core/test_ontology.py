"""Ancestors and descendants against a walk written out, and what is no ontology."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.ontology import Ontology

EDGES = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20)


def of(edges) -> Ontology:
    children = {str(node): tuple(str(low) for high, low in sorted(edges) if high == node) for node in range(8)}
    return Ontology({identity: f"class {identity}" for identity in children}, children)


@given(EDGES)
def test_what_is_below_has_what_it_is_below_above_it(edges) -> None:
    """Rings and several parents among them."""
    ontology = of(edges)
    below = {node: set(ontology.descendants(node)) for node in ontology.names}
    for node in ontology.names:
        reached = {node}
        while more := {str(low) for high, low in edges if str(high) in reached} - reached:
            reached |= more
        assert below[node] == reached
        assert set(ontology.ancestors(f"class {node}")) == {other for other in below if node in below[other]}
        assert len(ontology.ancestors(node)) == len(set(ontology.ancestors(node)))


@given(EDGES)
def test_what_is_dumped_is_read_again(edges) -> None:
    ontology = of(edges)
    again = Ontology.loads(b"\xef\xbb\xbf" + json.dumps(ontology.dump()).replace("\n", "\r\n").encode())
    assert (again.names, again.children) == (ontology.names, ontology.children)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON in UTF-8"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b"{}", "class 1 has no 'id' and 'name'"),
        (b'[{"id": "a", "name": "x", "child_ids": "bc"}]', "class 'a' has child_ids 'bc'; a list of ids"),
        (b'[{"id": "a", "name": "x", "child_ids": [1]}]', "class 'a' has child_ids"),
        (b'[{"id": "a", "name": "x"}, {"id": "a", "name": "y"}]', "class 'a' is there twice"),
        (b'[{"id": "a", "name": "x", "child_ids": ["b"]}]', "child 'b', which is not there"),
    ],
)
def test_what_is_no_ontology_is_told(data, message) -> None:
    with pytest.raises(InputError, match=message):
        Ontology.loads(data)


def test_a_name_of_two_classes_must_be_given_by_id() -> None:
    ontology = Ontology({"a": "x", "b": "x"}, {"a": ("b",), "b": ()})
    assert "x" in ontology
    assert "y" not in ontology
    assert ontology.descendants("a") == ("a", "b")
    with pytest.raises(InputError, match="'x' names 2 classes"):
        ontology.ancestors("x")
