"""What a feature's arrays depend on beside the protocol is in the key under which they are kept, and nothing else is.

Observed again: the weights that are loaded, the fields of the clip that are read, and the features that it comes after.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scoring_keys import FIELDS, Everything, FakeFaces, Loads, behind, changed, clip, run, variants

from dawn_bench import weights
from dawn_bench.clip import Clip, LazyArrays
from dawn_bench.metrics.features import headpose, identity, lpips
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, PairFeature
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.feature_cache import FeatureCache
from dawn_bench.weights import Resolved

GENERATED, TRUE = clip("a", seed=1), clip("a", seed=2)
NAMES = [name for name in FEATURES if FEATURES[name].name == name]
TRACKED = changed(PAPER_DAWN, "lse_route", "tracked")
#: What a feature may know of a clip beside the fields that it declares: the key has its length, messages name it.
OPEN = {"id", "n_frames"}
#: Features that state no weights: `pictures` is behind no score of its own.
UNSTATED = {"pictures"}


def protocols(name: str, folder: Path) -> list[ScoringProtocol]:
    """The default protocol, and those under which the feature uses other weights."""
    chosen: dict[Any, ScoringProtocol] = {}
    for base in (PAPER_DAWN, TRACKED):
        others = (changed(base, field, value) for field in FIELDS for value in variants(field, folder, base))
        for protocol in (base, *others):
            chosen.setdefault(FEATURES[name].weight_needs(protocol), protocol)
    return list(chosen.values())


def prints(name: str, protocol: ScoringProtocol) -> list[str]:
    """The fingerprints of a feature and of those that it comes after."""
    return [FEATURES[n](protocol).fingerprint for n in sorted(behind(name))]


def loaded(name: str, protocol: ScoringProtocol, light: Loads) -> set[Resolved]:
    """The weights that are loaded for the arrays of one clip, also those of the features that it comes after."""
    light.forget()
    run(FEATURES[name](protocol), protocol, GENERATED, TRUE)
    return {resolved for _, resolved in light.calls}


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_that_are_loaded_are_those_that_are_recorded(name: str, light: Loads, tmp_path: Path) -> None:
    """Each file that is loaded moves the key, a file that is not loaded does not, and the record names them all."""
    for protocol in protocols(name, tmp_path):
        files = loaded(name, protocol, light)
        recorded = {r for n in behind(name) for r in FEATURES[n](protocol).resolved}
        declared = {entry for n in behind(name) for need in FEATURES[n].weight_needs(protocol) for entry in need}
        assert {r.weight.name for r in files} <= declared | {"dlib-face"}
        assert recorded == files or (name in UNSTATED and recorded <= files)
        before = prints(name, protocol)
        for entry in {"inception-fid", "s3fd", "dlib-68", *declared, *(r.weight.name for r in files)}:
            path = weights.folder() / weights.entry(entry).file
            content = path.read_text()
            path.write_text(f"another {entry}")
            is_used = entry in {r.weight.name for r in files}
            assert (prints(name, protocol) != before) == is_used, entry
            if is_used:  # and no network that was loaded before is used in its place
                light.calls.clear()
                run(FEATURES[name](protocol), protocol, GENERATED, TRUE)
                assert weights.resolve(entry) in {resolved for _, resolved in light.calls}
            path.write_text(content)
        assert prints(name, protocol) == before


@pytest.mark.parametrize("name", NAMES)
def test_each_word_of_a_field_that_chooses_weights_chooses_others(name: str, tmp_path: Path) -> None:
    """Of four networks, no two are read from one file."""
    for base in (PAPER_DAWN, TRACKED):
        for field in FIELDS:
            values = [getattr(base, field), *variants(field, tmp_path, base)]
            needs = {value: FEATURES[name].weight_needs(changed(base, field, value)) for value in values}
            assert len(set(needs.values())) in (1, len(values)), f"{field}: {needs}"


@pytest.mark.parametrize("part", ["lips", "upper"])
def test_the_vertices_of_a_region_are_those_of_its_own_file(part: str, tmp_path: Path) -> None:
    for field in ("mesh_lips", "mesh_upper"):
        (tmp_path / "own.txt").write_text("1 4")
        arrays = run(FEATURES[f"mesh{part}"](p := changed(PAPER_DAWN, field, str(tmp_path / "own.txt"))), p, TRUE, TRUE)
        own = [1, 4] if field == f"mesh_{part}" else TRUE[part][0].tolist()
        assert arrays[f"mesh{part}"].tolist() == own
    before = FEATURES[f"mesh{part}"](q := changed(PAPER_DAWN, f"mesh_{part}", str(tmp_path / "own.txt"))).fingerprint
    (tmp_path / "own.txt").write_text("1 5")
    assert FEATURES[f"mesh{part}"](q).fingerprint != before, "the same name, another content"


@pytest.mark.parametrize("name", NAMES)
def test_each_fact_on_the_weights_moves_the_fingerprint(name: str, light: Loads) -> None:
    extractor = FEATURES[name]()
    before = extractor.fingerprint
    for k, own in enumerate(extractor.resolved):
        others = {
            "weight": weights.entry("mraa-vox256"),
            "state": "seeded" if own.state != "seeded" else "user",
            "sha256": "0" * 64,
        }
        for field, value in others.items():
            extractor.resolved[k] = replace(own, **{field: value})
            assert extractor.fingerprint != before, field
        extractor.resolved[k] = replace(own, path=Path("elsewhere"))
        assert extractor.fingerprint == before, "the place of a file is no part of the number"
        extractor.resolved[k] = own
    extractor.version = 99  # type: ignore[misc]
    assert extractor.fingerprint != before
    assert len({FEATURES[n]().fingerprint for n in NAMES}) == len(NAMES)


@pytest.mark.parametrize("protocol", [PAPER_DAWN, TRACKED], ids=["direct", "tracked"])
def test_another_face_back_end_moves_the_keys_of_what_it_detects(protocol: ScoringProtocol, light: Loads) -> None:
    """On the tracked route also SyncNet's, where the file of its own detector is absent."""
    (weights.folder() / weights.entry("s3fd").file).unlink()
    detecting = {name for name in NAMES if FakeFaces.name in calls_of(name, protocol, light)}
    before = {name: prints(name, protocol) for name in NAMES}
    assert light.faces is not None
    light.faces.version = "2"
    assert {name for name in NAMES if prints(name, protocol) != before[name]} == detecting
    assert ("syncnet" in detecting) == (protocol is TRACKED) and {"landmarks", "pictures", "identity"} <= detecting


def calls_of(name: str, protocol: ScoringProtocol, light: Loads) -> set[str]:
    """What is loaded or asked for the arrays of one clip."""
    light.calls.clear()
    run(FEATURES[name](protocol), protocol, GENERATED, TRUE)
    return {called for called, _ in light.calls}


def test_what_is_no_field_and_no_weights_moves_the_keys_too(
    light: Loads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The pose fit, the stride of the identity network, and the linear weights that LPIPS' package brings."""
    (tmp_path / "lins").write_bytes(b"others")
    before = {name: FEATURES[name]().fingerprint for name in NAMES}
    monkeypatch.setattr(headpose, "FRAME_FIT", "another fit")
    monkeypatch.setitem(identity.STRIDE, "arcface", 2)
    monkeypatch.setattr(lpips, "package_lins", lambda net: tmp_path / "lins")
    assert {n for n in NAMES if FEATURES[n]().fingerprint != before[n]} == {"headpose", "identity", "lpips"}


#: Fingerprints under the default protocol, with stand-in weights. Kept features are found by them.
KEPT = {
    "i3d.16": "7366d174f71b76be",
    "i3d.32": "0e15ff8eccdb53e0",
    "images": "95a2c6ab31222e1f",
    "inception": "6add405439e07fc2",
    "lpips": "3dbd56748bc887bf",
    "mesh": "40487f32bbd22d86",
    "meshlips": "2a761641457a0f04",
    "meshrest": "767d27f985d01e65",
    "meshupper": "bea986ced62d9269",
    "onset": "3b7957e9c0efdc4b",
    "syncnet": "73c0102259e4ad39",
}


def test_features_that_users_have_kept_are_found_again() -> None:
    """A fingerprint changes only together with the arrays: then raise the feature's version, and change it here."""
    assert {name: FEATURES[name](weights="seeded").fingerprint for name in KEPT} == KEPT


class _Watched(Clip):
    """A clip that notes which of its facts are read."""

    def __getattribute__(self, name: str) -> Any:
        if name in Clip.__dataclass_fields__ and name != "arrays":
            _facts.add(name)
        return super().__getattribute__(name)


_facts: set[str] = set()


def watched(of: Clip, fields: set[str]) -> Clip:
    """The clip, which adds the names of the fields that are read to `fields`."""
    arrays = LazyArrays(of.arrays, lambda name: fields.add(name) or of.arrays[name])  # type: ignore[func-returns-value]
    return _Watched(of.id, of.speaker, of.split, of.n_frames, arrays, of.fps, {"tracks": 2})


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_reads_the_fields_of_the_clip_that_it_declares(name: str, light: Loads, tmp_path: Path) -> None:
    """The key has the content of these, and the number of frames; nothing else of a clip may change the arrays."""
    own_region = [changed(PAPER_DAWN, f, variants(f, tmp_path, PAPER_DAWN)[0]) for f in ("mesh_lips", "mesh_upper")]
    for protocol in (PAPER_DAWN, TRACKED, *(own_region if name.startswith("mesh") else ())):
        read: set[str] = set()
        extractor, generated, true = FEATURES[name](protocol), watched(GENERATED, read), watched(TRUE, read)
        given = {} if isinstance(extractor, PairFeature) else upstream(extractor.after, protocol)
        _facts.clear()
        pair = isinstance(extractor, PairFeature)
        arrays = extractor.run(generated, true) if pair else extractor.run(generated, given)
        assert read <= set(extractor.fields)
        assert read == set(extractor.fields) or protocol in own_region, "a field that is not read moves the key"
        assert _facts <= OPEN, f"{name} reads facts on the clip that are not in its key"
        assert all(key == name or key.startswith(f"{name}.") for key in arrays), "arrays of another feature's name"


def upstream(names: tuple[str, ...], protocol: ScoringProtocol) -> dict[str, np.ndarray]:
    return {k: v for n in names for k, v in run(FEATURES[n](protocol), protocol, GENERATED, TRUE).items()}


@pytest.mark.parametrize("name", [name for name in NAMES if getattr(FEATURES[name], "after", ())])
def test_a_feature_reads_arrays_of_the_features_that_it_comes_after(name: str, light: Loads) -> None:
    read: set[str] = set()
    arrays = upstream(FEATURES[name].after, PAPER_DAWN)  # type: ignore[union-attr]
    given = LazyArrays(arrays, lambda key: read.add(key) or arrays[key])  # type: ignore[func-returns-value]
    FEATURES[name](PAPER_DAWN).run(GENERATED, given)  # type: ignore[arg-type]
    assert {key.partition(".")[0] for key in read} == set(FEATURES[name].after)  # type: ignore[union-attr]


class Keys:
    """The keys under which `Extraction` looks for the arrays of a pair of clips, by feature; nothing is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.faces = {"landmarks.found": np.ones(36, bool), "landmarks.tracks": np.array([1])}
        self.faces["landmarks.fake"] = face(20)
        monkeypatch.setattr(FeatureCache, "get", self._get)

    def _get(self, name: str, print_: str, key: str) -> dict[str, np.ndarray]:
        self.asked[name].append((print_, key))
        return self.faces if name == "landmarks" else {}

    def of(self, extraction: Extraction, generated: Clip, true: Clip) -> dict[str, list[tuple[str, str]]]:
        """(fingerprint, hash of the clip) by feature: for the generated clip, then for the true one."""
        self.asked.clear()
        extraction.arrays(Everything, replace(generated), replace(true))  # whatever is remembered of these objects
        return {name: asked[:2] for name, asked in sorted(self.asked.items())}


def face(x: float) -> np.ndarray:
    """Points (36,68,2) of a face around `x` in every frame."""
    return (np.random.default_rng(0).normal(size=(68, 2)) * 3 + (x, 20)).astype(np.float32)[None].repeat(36, axis=0)


@pytest.fixture
def keys(light: Loads, monkeypatch: pytest.MonkeyPatch) -> Keys:
    return Keys(monkeypatch)


@pytest.fixture
def extraction(keys: Keys) -> Extraction:
    return Extraction([Everything])


def moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    assert before.keys() == after.keys() == set(NAMES)
    return {name for name in before if before[name] != after[name]}


def test_the_arrays_of_a_feature_are_kept_under_the_fingerprints_of_all_behind_it(
    extraction: Extraction, keys: Keys
) -> None:
    before = keys.of(extraction, GENERATED, TRUE)
    for changed_one, extractor in extraction.extractors.items():
        extractor.version = 99  # type: ignore[misc]
        after = keys.of(extraction, GENERATED, TRUE)
        assert moved(before, after) == {name for name in NAMES if changed_one in behind(name)}
        assert {k: [key for _, key in v] for k, v in before.items()} == {
            k: [key for _, key in v] for k, v in after.items()
        }
        del extractor.version


@pytest.mark.parametrize("field", GENERATED.arrays)
@pytest.mark.parametrize("side", ["generated", "true"])
def test_arrays_are_kept_under_the_content_of_the_fields_behind_them(
    side: str, field: str, extraction: Extraction, keys: Keys
) -> None:
    before = keys.of(extraction, GENERATED, TRUE)
    pair = {"generated": GENERATED, "true": TRUE}
    arrays = dict(pair[side].arrays)
    arrays[field] = arrays[field].copy()
    arrays[field].reshape(-1)[-1] += 1
    after = keys.of(extraction, **(pair | {side: replace(pair[side], arrays=arrays)}))
    assert moved(before, after) == {n for n in NAMES if any(field in FEATURES[u].fields for u in behind(n))}
    own = 0 if side == "generated" else 1
    for name in moved(before, after):  # the other clip of the pair keeps its arrays
        if not issubclass(FEATURES[name], PairFeature):
            assert before[name][1 - own] == after[name][1 - own] and before[name][own] != after[name][own]


@pytest.mark.parametrize(("fact", "value"), [("id", "b"), ("speaker", "t"), ("split", "train"), ("notes", ("n",))])
def test_the_name_of_a_clip_is_no_part_of_the_key(fact: str, value: Any, extraction: Extraction, keys: Keys) -> None:
    """Methods share the arrays of true clips, and pieces those of equal content."""
    before = keys.of(extraction, GENERATED, TRUE)
    for pair in ((replace(GENERATED, **{fact: value}), TRUE), (GENERATED, replace(TRUE, **{fact: value}))):
        assert not moved(before, keys.of(extraction, *pair))


def test_the_length_of_a_clip_is_part_of_every_key(extraction: Extraction, keys: Keys) -> None:
    """A mesh's regions and a sound that was not cut are the same arrays for clips of two lengths."""
    before = keys.of(extraction, GENERATED, TRUE)
    assert moved(before, keys.of(extraction, replace(GENERATED, n_frames=35), TRUE)) == set(NAMES)


def test_the_arrays_of_one_pair_are_not_taken_for_another(extraction: Extraction, keys: Keys) -> None:
    """One output against two true clips, as objects that the extraction has seen before."""
    generated, other = replace(GENERATED), clip("b", seed=3)
    asked = []
    for true in (TRUE, other, TRUE):
        keys.asked.clear()
        extraction.arrays(Everything, generated, true)
        asked.append({name: list(several) for name, several in keys.asked.items()})
    pairs = {name for name in NAMES if issubclass(FEATURES[name], PairFeature)}
    for name in pairs:
        assert len({key for one in asked for _, key in one[name]}) == 2 and asked[0][name] == asked[2][name]


def place(x: float, *, tracks: int) -> Clip:
    """The true clip, whose cache says where its face is and how many there were in view."""
    return replace(TRUE, arrays={**TRUE.arrays, "landmarks": face(x)}, meta={"tracks": tracks})


def test_the_face_that_is_meant_is_part_of_the_keys_of_what_is_measured_on_it(keys: Keys) -> None:
    """Two faces are in view. The true clip says which one is meant; what sees both is kept once for either."""
    keys.faces |= {"landmarks.others": face(60)[None], "landmarks.others_found": np.ones((1, 36), bool)}
    keys.faces["landmarks.tracks"] = np.array([2])
    extraction = Extraction([Everything], TRACKED)
    first, second, near = (keys.of(extraction, GENERATED, place(x, tracks=2)) for x in (20, 60, 24))
    after_landmarks = {name for name in NAMES if "landmarks" in behind(name)} - {"landmarks"}
    following = {name for name, extractor in extraction.extractors.items() if getattr(extractor, "follows", "")}
    assert moved(first, second) == after_landmarks | following
    assert moved(first, near) == following  # the same face, looked for at another place
    later = place(20, tracks=2)
    later.arrays["landmarks"][20:] += 4  # type: ignore[index]
    assert moved(first, keys.of(extraction, GENERATED, later)) == following
    alone = [keys.of(extraction, GENERATED, place(x, tracks=1)) for x in (20, 60)]
    told_by_index = {n for n in following if getattr(extraction.extractors[n], "follows", "") == "index"}
    assert moved(*alone) == (after_landmarks | following) - told_by_index
