"""Every field of the protocol tells protocols apart, reaches a number, and is set by its name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scoring_keys import FIELDS, Loads, changed, clip, reads, recorded, run, variants

from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PIECE_LENGTHS, PROTOCOLS, ScoringProtocol, protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, PairFeature
from dawn_bench.metrics.scoring.matching import matched
from dawn_bench.workflow.pieces import cut_pieces

#: Long enough for DR25.
GENERATED, TRUE = clip("a", seed=1, n_frames=50), clip("a", seed=2, n_frames=50)


def given(field: str, value: Any) -> str:
    return f"{field}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_field_makes_another_protocol_with_an_id_of_its_own(name: str, tmp_path: Path) -> None:
    base = PROTOCOLS[name]
    ids, prints = {name}, {base.fingerprint}
    count = 1
    for field in FIELDS:
        for value in variants(field, tmp_path, base):
            pieces = ("piece_length=9",) if field == "piece_remainder" else ()  # there is no rest of a whole clip
            other = protocol(name, (given(field, value), *pieces))
            assert getattr(other, field) == value
            same = {f for f in FIELDS if getattr(other, f) == getattr(base, f)}
            assert set(FIELDS) - same == {field, *(["piece_length"] if pieces else [])}
            ids.add(other.id)
            prints.add(other.fingerprint)
            count += 1
            assert other.id.startswith(name)
            twice = protocol(name, (given(field, value), *pieces, given("psnr_cap", 77.0)))
            assert field == "psnr_cap" or twice.id not in ids
    assert len(ids) == len(prints) == count


def test_pieces_are_in_the_id_and_an_id_is_read_back_as_it_was(tmp_path: Path) -> None:
    for field in [*FIELDS, ""]:
        changes = () if field in ("", "piece_length", "piece_remainder") else (
            given(field, variants(field, tmp_path, PAPER_DAWN)[0]),)  # fmt: skip
        whole = protocol(overrides=changes)
        for length in (None, 2, 200):
            for remainder in ("half", "keep", "drop"):
                cut = whole.in_pieces(length, remainder)
                assert (cut.piece_length, cut.piece_remainder) == (length, remainder if length else "half")
                assert cut.in_pieces(None) == whole and (cut == whole) == (length is None)
                assert cut == protocol(overrides=(*changes, *([f"piece_length={length}"] if length else []),
                                                  *([f"piece_remainder={remainder}"] if length else [])))  # fmt: skip
                assert changes or protocol(cut.id) == cut
    assert [protocol(dataset=kind).piece_length for kind in ("hdtf", "crema", None)] == [
        PIECE_LENGTHS["hdtf"],
        None,
        None,
    ]
    assert protocol(overrides=("piece_length=null",), dataset="hdtf") == PAPER_DAWN
    assert protocol("paper-dawn-pieces-50", dataset="hdtf").piece_length == 50


@pytest.fixture
def sides(light: Loads) -> list[dict[str, Any]]:
    """The arrays of every feature, of a generated clip and of its true one, which is the same here."""
    both: list[dict[str, Any]] = [{}, {}]
    for name in FEATURES:
        extractor = FEATURES[name](PAPER_DAWN)
        arrays = run(extractor, PAPER_DAWN, GENERATED, TRUE)
        both[0] |= arrays
        both[1] |= {} if isinstance(extractor, PairFeature) else arrays
    return both


def readers(sides: list[dict[str, Any]]) -> dict[str, Callable[[ScoringProtocol], Any]]:
    """Everything that is given a protocol, by name."""

    def score(name: str, chosen: ScoringProtocol) -> None:
        metric = METRICS[name](chosen)
        metric.update(*sides, clip_id="a")
        metric.update(*sides, clip_id="b")
        metric.compute()

    features = {f"feature {n}": lambda p, n=n: FEATURES[n](p).settings() for n in FEATURES}
    metrics = {f"metric {n}": lambda p, n=n: score(n, p) for n in METRICS}
    pair = clip("a", n_frames=4), clip("a", n_frames=5)
    video = replace(pair[1], arrays={"frames": pair[1]["frames"], "audio": pair[1]["audio"]})
    return features | metrics | {
        "matching": lambda p: matched(*pair, p),
        "pieces": lambda p: cut_pieces([video], p),
    }  # fmt: skip


def test_every_field_is_read_by_something_that_scores(sides: list[dict[str, Any]], tmp_path: Path) -> None:
    """A field that nothing reads makes protocols differ in name alone."""
    known: set[str] = set()
    for name, use in readers(sides).items():
        waiting, own = [PAPER_DAWN], set[str]()
        while waiting:
            base = waiting.pop()
            with reads() as fields, suppress(ItemError, InputError):
                use(recorded(base))
            new = fields - own - {"id"}
            own |= fields
            waiting += [changed(base, f, v) for f in sorted(new) for v in variants(f, tmp_path, base)]
        known |= own
        if name.startswith("metric"):
            assert own <= set(FIELDS), f"{name} depends on the name of the protocol"
    assert not set(FIELDS) - known, f"no feature or metric reads {sorted(set(FIELDS) - known)}: use it, or leave it out"
    assert known - {"id"} == set(FIELDS)
