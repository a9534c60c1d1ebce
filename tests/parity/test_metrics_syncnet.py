"""SyncNet, its MFCC, its distance curve and its crop pipeline against the reference implementation's outputs."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import golden_cases
from metric_goldens import arrays, assert_keys, facts, fill, make, relative

from dawn_bench.clip import Clip
from dawn_bench.metrics.features.syncnet import SyncNetFeature
from dawn_bench.metrics.functional.facetrack import crop, smoothed, tracks
from dawn_bench.metrics.functional.mfcc import mfcc
from dawn_bench.metrics.functional.sync import distances, sync, window_count
from dawn_bench.metrics.networks.syncnet import SyncNet

EMBEDDINGS = [(path, name) for path in golden_cases("metrics", "syncnet.json") for name in facts(path)]
PIPELINES = golden_cases("metrics", "syncnet_pipeline.json")
CURVES = [(path, name) for path in PIPELINES for name in facts(path) if name.startswith("emb")]
CROPS = [(path, name) for path in PIPELINES for name in facts(path) if name.startswith("crop")]


def ids(case):
    return f"{case[0].parent}:{case[1]}"


@pytest.mark.parametrize("path", golden_cases("metrics", "keys_syncnet_v2.json"), ids=str)
def test_published_keys(path):
    assert_keys(SyncNet(), path)


@pytest.mark.parametrize("path", golden_cases("metrics", "syncnet.npz"), ids=str)
def test_mfcc(path):
    case, names = arrays(path), []
    for name in case.files:
        if name.startswith("mfcc_len"):
            names.append((case["mfcc_src_wav"][: int(name.removeprefix("mfcc_len"))], name))
        elif name.endswith("_mfcc"):
            names.append((case[name.removesuffix("_mfcc") + "_wav"], name))
    assert names
    for sound, name in names:
        assert relative(mfcc(sound), case[name]) < 1e-12, name


@pytest.mark.parametrize("case", EMBEDDINGS, ids=ids)
def test_embeddings_distances_and_scores(case):
    path, name = case
    stored, fact = arrays(path), facts(path)[name]
    frames = make(path.parent, fact["frames_recipe"])
    assert int(frames.sum(dtype=np.int64)) == fact["sum"]
    feature = SyncNetFeature(weights="seeded")
    fill(feature.network, path.parent)
    # The reference reads BGR pictures; clips are RGB.
    clip = Clip(name, "", "", len(frames), {"frames": frames[..., ::-1], "audio": stored[f"{name}_wav"]})
    features = feature.run(clip, {})
    for ours, theirs in (("syncnet.lip", "lip"), ("syncnet.audio", "aud")):
        some = stored[f"{name}_{theirs}"]  # all windows, or a few of them in order
        nearest = [int(np.abs(features[ours] - row).max(axis=1).argmin()) for row in some]
        assert all(np.diff(nearest) > 0)
        assert relative(features[ours][nearest], some) < 1e-5
    table = distances(features["syncnet.lip"], features["syncnet.audio"])
    if f"{name}_dists" in stored.files:
        assert relative(table, stored[f"{name}_dists"]) < 1e-5
    score = sync(table.mean(axis=0))
    for who in ("joon", "wav2lip"):
        if who in fact:
            assert len(table) == fact[who]["n_windows"]
            assert score.offset == fact[who]["offset"]
            assert score.distance == pytest.approx(fact[who]["min_dist"], rel=1e-5)
            assert score.confidence == pytest.approx(fact[who]["confidence"], abs=1e-5 * fact[who]["min_dist"])


@pytest.mark.parametrize("case", CURVES, ids=ids)
def test_curve_of_given_embeddings(case):
    path, name = case
    stored, fact = arrays(path), facts(path)[name]
    assert window_count(fact["frames"], fact["wav_samples"]) == fact["n_windows"]
    table = distances(stored[f"{name}_lip"], stored[f"{name}_aud"])
    assert relative(table, stored[f"{name}_dists"]) < 1e-6
    assert relative(table.mean(axis=0), stored[f"{name}_mdist"]) < 1e-6
    score = sync(table.mean(axis=0))
    assert score.offset == fact["offset"]
    assert score.distance == pytest.approx(fact["min_dist"], rel=1e-6)
    assert score.confidence == pytest.approx(fact["confidence"], abs=1e-6 * fact["median"])


@pytest.mark.parametrize("case", CROPS, ids=ids)
def test_track_and_crops(case):
    path, name = case
    stored, fact = arrays(path), facts(path)[name]
    detections = []
    for t, box in enumerate(stored[f"{name}_boxes"]):
        boxes = [] if t in fact["missing"] else [box]
        boxes += [np.array([5.0, 5, 40, 45])] if 20 <= t < 60 else []
        detections.append(np.array(boxes).reshape(-1, 4))
    people = tracks(detections)
    assert len(people) == fact["n_tracks"]
    track = people[0]
    assert (track.frames[0], track.frames[-1]) == (fact["track_first"], fact["track_last"])
    assert relative(track.boxes, stored[f"{name}_track_bbox"]) < 1e-12
    places = smoothed(track.boxes)
    for ours, axis in zip(places, "xys", strict=True):
        assert relative(ours, stored[f"{name}_proc_{axis}"]) < 1e-12
    frames = make(path.parent, fact["frames_recipe"])
    crops = [crop(frames[t], *place) for t, place in zip(track.frames, zip(*places, strict=True), strict=True)]
    assert [int(c.sum(dtype=np.int64)) for c in crops] == fact["crop_sums"]
    for sample in stored[f"{name}s_sample"]:
        assert any(np.array_equal(sample, c) for c in crops)
