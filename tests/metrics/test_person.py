"""Two faces in frame: every method is measured on the face that the true clip is about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_features import stored_keys

from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.landmarks import Landmarks, landmarks_of
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.person import OTHERS, TRACKS, Face, Person, which
from dawn_bench.metrics.scoring.scorer import score_method

N = 25
SIDE = 128


@pytest.fixture(scope="module")
def people(embedded_clips) -> tuple[np.ndarray, np.ndarray]:
    """Two people who speak, uint8 (N,SIDE,SIDE,3) each."""
    first = embedded_clips[0].clip["frames"]
    other = next(c.clip["frames"] for c in embedded_clips if c.clip.speaker != embedded_clips[0].clip.speaker)
    return np.asarray(first[10 : 10 + N]), np.asarray(other[10 : 10 + N])


def still(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames[:1], len(frames), axis=0)


def beside(left: np.ndarray, right: np.ndarray, **fields: np.ndarray) -> Clip:
    """A clip of two people; the lower half of the picture is empty, so that it is square."""
    row = np.concatenate([left, right], axis=2)
    return shown(np.concatenate([row, np.full_like(row, 90)], axis=1), **fields)


def shown(frames: np.ndarray, **fields: np.ndarray) -> Clip:
    return Clip("c", "s", "test", len(frames), {"frames": frames, **fields}, 25, {})


def side_of(extraction: Extraction, generated: Clip, true: Clip) -> tuple[str, str]:
    """On which side the faces lie that CSIM compares: of the output, and of the true clip."""
    extraction.arrays(METRICS["csim"], generated, true)
    places = [landmarks_of(extraction._of("landmarks", clip))[1][..., 0].mean() for clip in (generated, true)]
    return tuple("left" if x < SIDE else "right" for x in places)  # type: ignore[return-value]


@pytest.fixture
def extraction(tmp_path: Path) -> Extraction:
    return Extraction([METRICS["csim"]], features_dir=tmp_path)


def test_the_output_is_measured_on_the_speaker_of_the_true_clip(people, extraction) -> None:
    one, other = people
    true = beside(still(one), other)
    assert side_of(extraction, true, true) == ("right", "right")
    assert side_of(extraction, beside(one, still(other)), true) == ("right", "right")  # lips move elsewhere
    assert side_of(extraction, shown(still(true["frames"])), true) == ("right", "right")
    assert side_of(extraction, beside(other, one), true) == ("right", "right")  # the place counts, not the person


def test_the_cache_says_who_is_meant(people, extraction) -> None:
    one, other = people
    plain = beside(still(one), other)
    left = extraction_of_left(plain)
    true = beside(still(one), other, landmarks=left)
    assert side_of(extraction, plain, true) == ("left", "left")
    assert side_of(extraction, plain, plain) == ("right", "right")  # another true clip in the same folder of features
    ours, _ = extraction.arrays(METRICS["csim"], plain, true)
    alone, _ = extraction.arrays(METRICS["csim"], *[shown(np.asarray(still(one)))] * 2)
    np.testing.assert_allclose(ours["identity.dlib"][0], alone["identity.dlib"][0], atol=0.1)


def extraction_of_left(clip: Clip) -> np.ndarray:
    arrays = Landmarks().run(clip, {})
    points = [landmarks_of(arrays)[1], *arrays[OTHERS]]
    return min(points, key=lambda p: p[..., 0].mean())


def test_an_output_without_that_face_fails(people, extraction) -> None:
    one, other = people
    true = beside(still(one), other)
    without = beside(one, np.full_like(other, 90))
    with pytest.raises(ItemError, match="no face at the place of the true clip's; 1 elsewhere") as caught:
        extraction.arrays(METRICS["csim"], without, true)
    assert caught.value.reason == "no_face"
    rows = score_method("m", [without], [true], dataset="d", split="test", metrics=["csim", "blink"],
                        weights="seeded")  # fmt: skip
    assert [row.failures for row in rows] == [{"c": "no_face"}] * 2 and [row.coverage for row in rows] == [0, 0]


def test_one_face_is_measured_wherever_a_method_places_it(people, extraction) -> None:
    one, _ = people
    true, empty = beside(np.full_like(one, 90), one), np.full_like(one, 90)
    assert side_of(extraction, beside(one, empty), true) == ("left", "right")


def test_files_of_single_faces_keep_their_names(people, extraction, tmp_path: Path) -> None:
    true = shown(people[0])
    before = Landmarks().run(true, {})
    assert TRACKS in before and OTHERS not in before
    extraction.arrays(METRICS["csim"], shown(people[0][::-1]), true)
    extraction.flush()
    assert all(len(key) == 64 for key in stored_keys(tmp_path))
    two = beside(still(people[0]), people[1])
    extraction.arrays(METRICS["csim"], beside(people[0], still(people[1])), two)
    extraction.flush()
    (identity,) = tmp_path.glob("identity-*")
    names = sorted(key[64:] for key in stored_keys(identity))
    assert names == ["", "", "", "-face1"]


def test_features_of_earlier_versions_are_listed_again(people, extraction) -> None:
    one, other = people
    true, output = beside(still(one), other), beside(one, still(other))
    arrays = {
        k: v for k, v in Landmarks().run(output, {}).items() if k not in (TRACKS, OTHERS, "landmarks.others_found")
    }
    put = extraction.cache.put
    extraction.arrays(METRICS["csim"], output, output)
    extraction.flush()
    (folder,) = extraction.cache.folder.glob("landmarks-*")
    put("landmarks", folder.name.removeprefix("landmarks-"), stored_keys(folder)[0], arrays)
    assert side_of(extraction, output, true) == ("right", "right")


def test_the_tracked_lip_sync_follows_the_same_face(people, monkeypatch) -> None:
    from dawn_bench.metrics.features import syncnet

    one, other = people
    sound = np.zeros(N * 640, np.int16)
    places: list[float] = []
    monkeypatch.setattr(
        syncnet, "crop", lambda frame, x, y, half: places.append(x) or np.zeros((224, 224, 3), np.uint8)
    )
    route = protocol("paper-dawn-tracked").model_copy(update={"lse_min_track": 10, "lse_min_face": 30})
    extraction = Extraction([METRICS["lse-c"]], route, weights="seeded")
    true = beside(still(one), other, audio=sound)
    for output in (beside(one, still(other), audio=sound), beside(one, other, audio=sound)):
        places.clear()
        extraction.arrays(METRICS["lse-c"], output, true)
        assert min(places) > SIDE
    with pytest.raises(ItemError, match="at the place of the true clip"):
        extraction.arrays(METRICS["lse-c"], beside(one, np.full_like(other, 90), audio=sound), true)


def face(x: float, *, n: int = 10, seen: slice = slice(None), step: float = 0.0) -> Face:
    boxes = np.tile(np.array([x - 50, 0, x + 50, 100], np.float32), (n, 1))
    boxes[:, ::2] += step * np.arange(n)[:, None]
    detected = np.zeros(n, bool)
    detected[seen] = True
    return Face(boxes, detected)


@pytest.mark.parametrize(
    ("faces", "person", "expected"),
    [
        ([face(300)], Person(face(100)), 0),
        ([face(100), face(300)], Person(face(300)), 1),
        ([face(100), face(300)], Person(face(310), [face(100)]), 1),
        ([face(300), face(110), face(100, seen=slice(2))], Person(face(100), [face(300)]), 1),
        ([face(160), face(220)], Person(face(100), [face(230)]), 0),
        ([face(100), face(420)], Person(face(100, step=30), [face(700)]), 0),  # a still head where it walks away
        ([face(300)], Person(face(100), [face(300)]), None),
        ([face(160)], Person(face(100), [face(170)]), None),
        ([face(500), face(900)], Person(face(100)), 0),
    ],
)
def test_which_face(faces: list[Face], person: Person, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(ItemError):
            which("c", faces, person)
    else:
        assert which("c", faces, person) == expected
