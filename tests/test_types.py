"""The values that travel between the layers."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from liveedit.types import ExpertTrace, ExpertTraces, RoutingTrace

EAGER = (
    ExpertTrace("a", True, 3.0, 2.0, 1.0, True, 0.5, 0.6, 0.7, 0.42),
    ExpertTrace("b", False, 1.0, 2.0, -1.0, False, 0.1, 0.5, 0.0, 0.0),
    ExpertTrace("c", True, 4.0, 2.0, 2.0, True, 0.9, 0.7, 0.3, 0.9),
)
LAZY = ExpertTraces([list(column) for column in zip(*(asdict(row).values() for row in EAGER), strict=True)])


def test_traces_made_when_looked_at_equal_those_made_at_once() -> None:
    assert LAZY == EAGER
    assert list(LAZY) == list(EAGER)
    assert (len(LAZY), LAZY[-1], tuple(LAZY[1:])) == (3, EAGER[2], EAGER[1:])
    assert LAZY[:2] != LAZY
    with pytest.raises(IndexError):
        LAZY[3]


def test_a_routing_trace_reads_the_same_either_way() -> None:
    eager, lazy = (RoutingTrace(rows, 2.0, routed=True) for rows in (EAGER, LAZY))
    assert eager == lazy
    assert [row.expert_id for row in lazy.passed] == ["c", "a"], "heaviest first"
    assert lazy.to_json() == asdict(eager) | {"experts": [asdict(row) for row in EAGER]}
