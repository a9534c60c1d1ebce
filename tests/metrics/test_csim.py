"""Identity and landmarks: known cosines, frames without a face, networks that are named."""

from __future__ import annotations

import numpy as np
import pytest

from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.csim import Csim, cosines
from dawn_bench.metrics.features.identity import DlibIdentity, Identity
from dawn_bench.metrics.features.landmarks import FOUND, Landmarks, landmarks_of
from dawn_bench.metrics.functional.align import ARCFACE, DLIB, aligned, five_points, similarity
from dawn_bench.metrics.id_dlib import IdDlib
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.pipelines.media.video import iter_frames


def embedded(rows: list[list[float]], detected: list[bool] | None = None, *, network: str = "arcface"):
    table = np.array(rows, np.float32)
    return {f"identity.{network}": table, "identity.found": np.array(detected or [True] * len(rows))}


def still(frame: np.ndarray, count: int) -> Clip:
    return Clip("c", "s", "test", count, {"frames": np.repeat(frame[None], count, axis=0)})


def identity_of(clip: Clip, **options) -> tuple[Identity, dict[str, np.ndarray]]:
    feature = Identity(**options)
    return feature, feature.run(clip, Landmarks().run(clip, {}))


def test_mean_over_pairs_then_over_clips():
    metric = Csim()
    metric.update(embedded([[1, 0], [0, 2]]), embedded([[1, 0], [3, 0]]), clip_id="half")
    metric.update(embedded([[5, 5]]), embedded([[1, 1]]), clip_id="same")
    score = metric.compute()
    assert score.per_clip == pytest.approx({"half": 0.5, "same": 1.0})
    assert score.value == pytest.approx(0.75)
    assert score.note == ""


def test_missing_faces_are_left_out_and_counted():
    metric = Csim()
    ours = embedded([[1, 0], [0, 0], [0, 1]], [True, False, True])
    metric.update(ours, embedded([[1, 0], [1, 0], [0, 0]], [True, True, False]), clip_id="a")
    metric.update(embedded([[0, 0]], [False]), embedded([[1, 0]]), clip_id="b")
    score = metric.compute()
    assert (score.value, score.n_clips, score.n_frames) == (1.0, 1, 1)
    assert score.per_clip["b"] is None
    assert "undefined for 1 clip" in score.note
    assert "no face in 75.0% of the frames" in score.note


def test_source_reference_compares_with_the_first_true_face():
    metric = Csim(protocol("paper-dawn", ("csim_reference=source",)))
    metric.update(embedded([[1, 0], [0, 1]]), embedded([[9, 9], [1, 0]], [False, True]), clip_id="a")
    assert metric.compute().value == pytest.approx(0.5)


def test_another_network_is_named():
    metric = Csim()
    metric.update(embedded([[1, 0]], network="dlib"), embedded([[1, 0]], network="dlib"), clip_id="a")
    assert "dlib 128-d embedding, not ArcFace" in metric.compute().note


def test_without_arcface_dlib_is_used_and_the_score_is_not_comparable(embedded_clips, monkeypatch, tmp_path):
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    one, other = (still(known.clip["frames"][10], 3) for known in embedded_clips)
    feature, ours = identity_of(one)
    _, theirs = identity_of(other)
    assert feature.weights_state == "seeded"
    assert ours["identity.dlib"].shape == (1, 128)
    assert cosines(ours["identity.dlib"], ours["identity.dlib"])[0] == pytest.approx(1)
    assert cosines(ours["identity.dlib"], theirs["identity.dlib"])[0] < 0.995
    with pytest.raises(InputError, match=r"w600k_r50\.onnx"):
        Identity(weights="files")
    chosen = Identity(protocol("paper-dawn", ("csim_network=dlib",)))
    assert chosen.weights_state == "canonical"  # the requested file
    assert chosen.fingerprint != feature.fingerprint


@pytest.mark.real
def test_a_real_network_distinguishes_people(shared, clips_dir, monkeypatch):
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(shared / "data" / "nets"))
    embeddings = {}
    for name in ("WDA_KatieHill_000.mp4", "WDA_EdMarkey0_000.mp4"):
        if not (clips_dir / name).is_file():
            pytest.skip(f"{name} is absent")
        frames = [frame for _, frame in zip(range(26), iter_frames(clips_dir / name), strict=False)]
        clip = Clip(name, name, "test", 2, {"frames": np.stack([frames[0], frames[25]])})
        feature, arrays = identity_of(clip, protocol=protocol("paper-dawn", ("csim_network=mobilefacenet",)))
        assert feature.weights_state == "canonical"
        embeddings[name] = arrays["identity.mobilefacenet"]
    (a, b) = embeddings.values()
    assert cosines(a[:1], a[1:])[0] > 0.6 and cosines(b[:1], b[1:])[0] > 0.6
    assert cosines(a, b).max() < 0.4


def test_blank_frames_are_marked_and_bridged(embedded_clips):
    frames = embedded_clips[0].clip["frames"][:25].copy()
    frames[8:17] = 128
    detected = Landmarks().run(Clip("c", "s", "test", 25, {"frames": frames}), {})
    assert detected[FOUND][:8].all() and detected[FOUND][-3:].all()
    assert not detected[FOUND][10:16].any()
    model, points = landmarks_of(detected)
    assert model == Landmarks().backend.name and points.shape == (25, 68, 2)
    assert np.isfinite(points).all()


def test_no_face_at_all_is_one_reason():
    with pytest.raises(ItemError) as caught:
        Landmarks().run(still(np.full((64, 64, 3), 90, np.uint8), 6), {})
    assert caught.value.reason == "no_face"


def test_similarity_recovers_a_known_one():
    angle, scale, shift = 0.3, 1.7, np.array([4.0, -2.0])
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = ARCFACE.points @ linear.T + shift
    assert np.allclose(similarity(ARCFACE.points, moved), np.column_stack([linear, shift]), atol=1e-4)


def test_crops_map_the_points_to_the_template():
    points = np.zeros((68, 2), np.float32)
    points[36:42], points[42:48], points[30], points[48], points[54] = ARCFACE.points
    frame = np.zeros((112, 112, 3), np.uint8)
    frame[72, 56] = 255
    assert np.array_equal(five_points(points), ARCFACE.points)
    assert np.array_equal(aligned(frame, five_points(points)), frame)
    assert aligned(frame, DLIB.points, DLIB).shape == (150, 150, 3)


def test_missing_faces_may_count_zero():
    metric = Csim(protocol("paper-dawn", ("csim_missing=zero",)))
    metric.update(embedded([[1, 0], [0, 0]], [True, False]), embedded([[1, 0], [1, 0]]), clip_id="a")
    metric.update(embedded([[0, 0]], [False]), embedded([[1, 0]]), clip_id="b")
    assert metric.compute().per_clip == pytest.approx({"a": 0.5, "b": 0.0})


def test_id_dlib_is_dlibs_number_whatever_network_csim_has(embedded_clips, monkeypatch, tmp_path):
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    one, other = (still(known.clip["frames"][10], 2) for known in embedded_clips)
    feature = DlibIdentity(protocol("paper-dawn", ("csim_network=arcface-r100",)))
    assert [(r.weight.name, r.state) for r in feature.resolved] == [("dlib-face", "canonical")]
    ours, theirs = (feature.run(clip, Landmarks().run(clip, {})) for clip in (one, other))
    assert ours["id-dlib.dlib"].shape == (1, 128)
    assert np.array_equal(ours["id-dlib.dlib"], identity_of(one)[1]["identity.dlib"])
    metric = IdDlib()
    metric.update(ours, ours, clip_id="same")
    metric.update(theirs, ours, clip_id="other")
    score = metric.compute()
    assert score.per_clip["same"] == pytest.approx(1)
    assert score.per_clip["other"] < 0.99
    assert score.note == "" and metric.title == "ID (dlib)" and metric.optional and metric.group == "identity"
