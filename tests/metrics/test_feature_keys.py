"""A feature's fingerprint changes with every setting that its arrays depend on, and with no other.

Which settings these are is observed: the protocol fields that a feature reads while it computes the arrays of a clip,
and the arrays themselves. A new feature and a new field are covered as they are.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
from scoring_keys import FIELDS, Loads, Result, changed, clip, computed, reads, recorded, same, variants

from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES

GENERATED, TRUE = clip(seed=1), clip(seed=2)
NAMES = [name for name in FEATURES if FEATURES[name].name == name]


class Observed(NamedTuple):
    """A feature under one protocol: its fingerprint, the fields that computing reads, and what it computes."""

    print: str
    read: set[str]
    result: Result


def observed(name: str, protocol: ScoringProtocol, seen: dict[str, Observed]) -> Observed:
    key = protocol.model_dump_json()
    if key not in seen:
        with reads() as fields:
            result = computed(name, recorded(protocol), GENERATED, TRUE)
        seen[key] = Observed(FEATURES[name](protocol).fingerprint, fields, result)
    return seen[key]


@pytest.mark.parametrize("name", NAMES)
def test_a_fingerprint_moves_with_the_fields_that_are_read_and_no_other(
    name: str, light: Loads, tmp_path: Path
) -> None:
    """Under the default protocol, and under each other value of a field that is read.

    Some fields are read only beside another value of a field: the detector of the tracked route.
    """
    seen: dict[str, Observed] = {}
    waiting, known, effective = [PAPER_DAWN], set[str](), set[str]()
    while waiting:
        base = waiting.pop(0)
        own = observed(name, base, seen)
        under = f"{name} under {base.model_dump(exclude_defaults=True)}"
        others = {f: [changed(base, f, value) for value in variants(f, tmp_path, base)] for f in FIELDS}
        fields = known | own.read if known else set(FIELDS)  # all of them once: a feature may be slow to build
        moving = {f for f in fields if any(FEATURES[name](p).fingerprint != own.print for p in others[f])}
        assert moving == own.read, under
        for field in sorted(own.read - effective):
            several = [own, *(observed(name, protocol, seen) for protocol in others[field])]
            for one, other in combinations(several, 2):
                assert same(one.result, other.result) or one.print != other.print, f"{under}: two values of {field}"
            if not all(same(own.result, one.result) for one in several):
                effective.add(field)
        waiting += [protocol for field in sorted(own.read - known) for protocol in others[field]]
        known |= own.read
    assert effective == known, "fields in the fingerprint that never change an array"
