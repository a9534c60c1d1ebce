"""What is remembered of a matched output, of a clip's content, and of a feature, and when it is computed again."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scoring_keys import FIELDS, changed, clip, reads, recorded, variants
from stored_features import stored_keys

from dawn_bench import metrics
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.files import sealed
from dawn_bench.metrics.protocols.base import PAPER_DAWN
from dawn_bench.metrics.scoring import extraction
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.feature_cache import FeatureCache, content_hash, content_sha256
from dawn_bench.metrics.scoring.matching import FileLoad, Matcher, cut, matched
from dawn_bench.metrics.scoring.shards import ShardFolder
from dawn_bench.provenance import FEATURE_LIBRARIES, NUMERIC_LIBRARIES, versions
from dawn_bench.workflow.pieces import cut_piece, repeated

TRUE = replace(clip("a", seed=1, n_frames=9), meta={})
VIDEO = replace(TRUE, arrays={k: TRUE[k] for k in ("frames", "audio")})
#: The fields of a protocol that change how an output is matched; see the first test.
MATCHING = {"skip_first", "transcode"}


class Output:
    """A file of an output, which counts how often it is read."""

    def __init__(self, folder: Path, *, seed: int = 5) -> None:
        self.path, self.read, self.clip = folder / "a.mp4", 0, clip("a", seed=seed, n_frames=8)
        self.path.write_bytes(b"one")

    def load(self, **facts: Any) -> FileLoad:
        def read() -> Clip:
            self.read += 1
            arrays = {"frames": self.clip["frames"][:, :20, :22], "audio": self.clip["audio"]}
            return Clip("a", "s", "test", 8, arrays, notes=facts.get("notes", ()))

        return FileLoad(self.path, read, **facts)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path)


def test_the_fields_of_a_protocol_that_matching_reads_are_known() -> None:
    with reads() as fields_read:
        matched(clip("a", n_frames=9), VIDEO, recorded(PAPER_DAWN))
    assert fields_read == MATCHING


@pytest.mark.parametrize("field", FIELDS)
def test_an_output_is_matched_again_under_another_protocol_where_that_matters(
    field: str, output: Output, tmp_path: Path
) -> None:
    other = changed(PAPER_DAWN, field, variants(field, tmp_path, PAPER_DAWN)[0])
    for chosen in (PAPER_DAWN, other, PAPER_DAWN, other):
        Matcher(chosen, tmp_path / "m")(output.load(), VIDEO)
    assert output.read == (2 if field in MATCHING else 1)


def edited(of: Clip, field: str) -> Clip:
    """The clip with the last value of one field changed."""
    array = of[field].copy()
    array.reshape(-1)[-1] += 1
    return replace(of, arrays={**of.arrays, field: array})


#: By fact on the true clip: the clip with another, and whether an output is matched again to it.
TRUE_CLIPS: dict[str, tuple[Clip, bool]] = {
    "id": (replace(VIDEO, id="b"), False),
    "speaker": (replace(VIDEO, speaker="t"), False),
    "split": (replace(VIDEO, split="train"), False),
    "n_frames": (replace(VIDEO, n_frames=8), True),
    "fps": (replace(VIDEO, fps=30), True),
    "meta": (replace(VIDEO, meta={"tracks": 2}), False),
    "notes": (replace(VIDEO, notes=("n",)), False),
    "extractors": (replace(VIDEO, extractors={}), False),
    "arrays": (edited(VIDEO, "frames"), True),
}


def test_every_fact_on_a_true_clip_is_classified() -> None:
    names = {field.name for field in fields(Clip)}
    assert set(TRUE_CLIPS) == names, "say in TRUE_CLIPS whether an output is matched again when the new field differs"


@pytest.mark.parametrize("fact", [*TRUE_CLIPS, "audio", "size"])
def test_an_output_is_matched_again_to_another_true_clip(fact: str, output: Output, tmp_path: Path) -> None:
    """Its notes say how it differs from the true pictures; a file without sound is scored with the true sound."""
    small = replace(VIDEO, arrays={**VIDEO.arrays, "frames": VIDEO["frames"][:, :32]})
    more = {"audio": (edited(VIDEO, "audio"), True), "size": (small, True)}
    other, again = (TRUE_CLIPS | more)[fact]
    matcher = Matcher(PAPER_DAWN, tmp_path / "m")
    matcher(output.load(), VIDEO)
    matcher.flush()
    result, true, notes = Matcher(PAPER_DAWN, tmp_path / "m")(output.load(), other)
    assert output.read == 1 + again
    fresh, fresh_true, fresh_notes = matched(output.load()(), other)
    assert (result.id, result.speaker, result.split, result.n_frames) == (other.id, other.speaker, other.split, 8)
    assert notes == fresh_notes and set(result.arrays) == set(fresh.arrays)
    for name in fresh.arrays:
        np.testing.assert_array_equal(result[name], fresh[name])
        assert content_hash(result, name) == content_hash(fresh, name)
        np.testing.assert_array_equal(true[name], fresh_true[name])


@pytest.mark.parametrize(
    ("change", "again"),
    [("nothing", False), ("content", True), ("name", False), ("start", True), ("notes", True), ("touched", False)],
)
def test_an_output_is_matched_again_where_its_file_or_its_loader_differs(
    change: str, again: bool, output: Output, tmp_path: Path
) -> None:
    Matcher(PAPER_DAWN, tmp_path / "m")(output.load(), VIDEO)
    facts: dict[str, Any] = {"start": {"start": 3}, "notes": {"notes": ("cut from a longer one",)}}.get(change, {})
    if change == "content":
        output.path.write_bytes(b"two")
    elif change == "name":
        output.path = output.path.rename(tmp_path / "b.mp4")
    elif change == "touched":
        output.path.touch()
    notes = Matcher(PAPER_DAWN, tmp_path / "m")(output.load(**facts), VIDEO)[2]
    assert output.read == 1 + again
    assert ("cut from a longer one" in notes) == (change == "notes")


def test_every_fact_on_a_file_is_tried() -> None:
    names = {field.name for field in fields(FileLoad)}
    assert names == {"path", "read", "start", "notes"}, "try the new field in the test above, and name it here"


def test_one_matcher_takes_no_piece_of_a_file_for_another(output: Output, tmp_path: Path) -> None:
    matcher = Matcher(PAPER_DAWN, tmp_path / "m")
    for start in (0, 3, 6, 3):
        matcher(output.load(start=start), VIDEO)
    assert output.read == 3


def test_records_of_earlier_versions_are_written_anew(output: Output, tmp_path: Path) -> None:
    """They do not say to which true clip their notes belong."""
    folder = tmp_path / "m"
    Matcher(PAPER_DAWN, folder)(output.load(), VIDEO)
    (key,) = stored_keys(folder)
    (entry,) = ShardFolder(folder).entries(key)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / f"{key}.json").write_text(json.dumps(sealed(dict(entry.facts))))
    Matcher(PAPER_DAWN, folder)(output.load(), VIDEO)
    assert output.read == 1  # of the version that had a file for each output
    facts = {k: v for k, v in entry.facts.items() if k != "against"}
    (folder / f"{key}.json").write_text(json.dumps(sealed(facts)))
    for _ in range(2):
        Matcher(PAPER_DAWN, folder)(output.load(), VIDEO)
    assert output.read == 2


HASHED = replace(TRUE, meta={f"{name}_sha256": content_sha256(TRUE[name]) for name in TRUE.arrays} | {"tracks": 2})
#: What makes another clip of a clip.
CHANGES: dict[str, Callable[[Clip], Clip]] = {
    "first frames": lambda c: cut(c, 0, 4),
    "later frames": lambda c: cut(c, 4, 8),
    "last frames": lambda c: cut(c, 5, 9),
    "first piece": lambda c: cut_piece(c, 0, 4),
    "second piece": lambda c: cut_piece(c, 4, 8),
    "last piece": lambda c: cut_piece(c, 5, 9),
    "looped": lambda c: repeated(c, 12, name="long"),
    "looped to as many": lambda c: repeated(cut(c, 1, 9), 9, name="long"),
}


@pytest.mark.parametrize("field", ["frames", "audio", "vertices"])
def test_clips_of_other_content_have_other_hashes(field: str) -> None:
    """Also where they were cut from a clip whose cache states its hash."""
    video = replace(HASHED, arrays={k: v for k, v in HASHED.arrays.items() if k in ("frames", "audio", "vertices")})
    clips = {"whole": video} | {name: change(video) for name, change in CHANGES.items()}
    hashes = {name: content_hash(one, field) for name, one in clips.items()}
    for name, one in clips.items():
        for other, two in clips.items():
            if not np.array_equal(one[field], two[field]):
                assert hashes[name] != hashes[other], (name, other)
    assert all(one.meta.get("tracks") == 2 for one in clips.values())
    assert content_hash(cut(cut_piece(video, 0, 8), 2, 6), field) == content_hash(cut(video, 2, 6), field)


@pytest.mark.parametrize("field", TRUE.arrays)
def test_the_hash_that_a_cache_states_is_that_of_its_field(field: str) -> None:
    own = {name: f"{k:064d}" for k, name in enumerate(TRUE.arrays)}
    stated = replace(TRUE, meta={f"{name}_sha256": digest for name, digest in own.items()})
    assert content_hash(stated, field) == f"{own[field]}-9"
    assert content_hash(TRUE, field) == f"{content_sha256(TRUE[field])}-9"
    assert content_hash(edited(TRUE, field), field) != content_hash(TRUE, field)


PLACE = {"name": "f", "fingerprint": "1", "key": "k"}


@pytest.mark.parametrize("part", PLACE)
def test_a_feature_is_kept_under_its_name_its_fingerprint_and_its_clip(part: str, tmp_path: Path) -> None:
    cache, other = FeatureCache(tmp_path), PLACE | {part: "other"}
    cache.put(**PLACE, arrays={"x": np.arange(3.0)})
    assert cache.get(**other) is None
    cache.put(**other, arrays={"x": np.arange(4.0)})
    assert [len(cache.get(**place)["x"]) for place in (PLACE, other)] == [3, 4]  # type: ignore[index]
    failures = FeatureCache(tmp_path / "failures")
    failures.put_failure(**PLACE, error=ItemError("no_face", "nobody"))
    assert failures.get(**other) is None
    with pytest.raises(ItemError, match="nobody"):
        failures.get(**PLACE)


def test_a_feature_of_other_libraries_or_another_device_is_computed_again(tmp_path: Path) -> None:
    """A row states the libraries and the device of all its numbers. What earlier versions kept is used as it is."""
    mine, others = (FeatureCache(tmp_path, by) for by in ("x", "y"))
    mine.put(**PLACE, arrays={"x": np.arange(3.0)})
    mine.put_failure("f", "1", "bad", ItemError("no_face", "nobody"))
    mine.flush()
    assert others.get(**PLACE) is None and others.get("f", "1", "bad") is None
    assert mine.get(**PLACE) is not None
    with pytest.raises(ItemError, match="nobody"):
        mine.get("f", "1", "bad")
    others.put(**PLACE, arrays={"x": np.arange(4.0)})
    others.flush()
    for cache, length in ((mine, 3), (others, 4), (FeatureCache(tmp_path, "x"), 3), (FeatureCache(tmp_path, "y"), 4)):
        assert len(cache.get(**PLACE)["x"]) == length  # type: ignore[index]
    assert FeatureCache(tmp_path, "z").get(**PLACE) is None
    save_file({"x": np.arange(5.0)}, tmp_path / "f-1" / "old.safetensors")
    (tmp_path / "f-1" / "older.json").write_text(json.dumps({"reason": "no_face", "detail": "in 2025"}))
    assert len(mine.get("f", "1", "old")["x"]) == 5  # type: ignore[index]
    with pytest.raises(ItemError, match="in 2025"):
        mine.get("f", "1", "older")
    careful = FeatureCache(tmp_path, "x", trusted=False)
    assert careful.get("f", "1", "old") is None and careful.get("f", "1", "older") is None


@pytest.mark.parametrize(("device", "counts"), [("cpu", True), ("cuda", False), ("cuda:1", False)])
def test_features_of_earlier_versions_count_on_the_processor_alone(device: str, counts: bool, tmp_path: Path) -> None:
    """On a GPU earlier versions rounded some of them to TF32."""
    (tmp_path / "f-1").mkdir()
    save_file({"x": np.arange(5.0)}, tmp_path / "f-1" / "old.safetensors")
    cache = Extraction([], device=device, features_dir=tmp_path).cache
    assert (cache.get("f", "1", "old") is not None) == counts


@pytest.mark.parametrize("ingredient", ["device", "device number", *FEATURE_LIBRARIES, "python"])
def test_extraction_keeps_features_apart_by_libraries_and_device(
    ingredient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Extraction([]).cache.computed_by
    device = {"device": "cuda", "device number": "cpu:1"}.get(ingredient, "cpu")
    if not ingredient.startswith("device"):
        monkeypatch.setattr(extraction, "versions", lambda names: versions(names) | {ingredient: "0.0.1"})
    same = ingredient in ("device number", "python")
    assert (Extraction([], device=device).cache.computed_by == own) == same


#: Libraries that scores use without computing anything with them.
WITHOUT_NUMBERS = {"pydantic", "safetensors"}


def test_the_libraries_that_the_metrics_compute_with_are_stated() -> None:
    """Each by the distribution that brings it; none is left out of what a kept feature was computed by."""
    trees = [ast.parse(path.read_text()) for path in (Path(metrics.__file__).resolve().parent).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
    modules = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"dawn_bench"}
    brought_by = packages_distributions()
    assert {"numpy", "torch", "scipy", "cv2", "skimage", "lpips", "dlib"} <= modules
    for module in modules - WITHOUT_NUMBERS:
        distributions = brought_by.get(module, [f"{module}-bin"])  # dlib's wheel does not say what it brings
        assert set(distributions) & set(FEATURE_LIBRARIES), f"{module}: add its distribution to FEATURE_LIBRARIES"
    assert (
        set(versions()) == {"python", "dawn-bench", *NUMERIC_LIBRARIES} <= {"python", "dawn-bench", *FEATURE_LIBRARIES}
    )
    decoding = {"av", "torchvision"}  # used below the metrics: pictures, and lpips' backbones
    assert decoding <= set(NUMERIC_LIBRARIES)
