"""Lip sync: known shifts, one pass against windows, short and silent clips, the tracked route."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features.syncnet import SyncNetFeature
from dawn_bench.metrics.functional.facetrack import tracks
from dawn_bench.metrics.lse import LseC, LseD, LseOffset
from dawn_bench.metrics.networks import s3fd, s3fd_wav2lip
from dawn_bench.metrics.networks.syncnet import LIP_WINDOW, SyncNet
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.weights import seeded_fill

TRACKED = protocol("paper-dawn-tracked")


def clip(frames: np.ndarray, sound: np.ndarray) -> Clip:
    return Clip("c", "s", "test", len(frames), {"frames": frames, "audio": sound})


def noise_clip(n_frames: int, *, size: int = 32) -> Clip:
    rng = np.random.default_rng(n_frames)
    sound = rng.integers(-3000, 3000, n_frames * SAMPLES_PER_FRAME).astype(np.int16)
    return clip(rng.integers(0, 256, (n_frames, size, size, 3), dtype=np.uint8), sound)


def talking(n_frames: int, *, delay: int) -> Clip:
    """A mouth that opens with the loudness of the sound, the sound delayed by some frames."""
    rng = np.random.default_rng(4)
    level = np.convolve(rng.random(n_frames + 40), np.ones(3) / 3, mode="same")
    frames = np.full((n_frames, 64, 64, 3), 200, np.uint8)
    for t, opening in enumerate(level[20 : 20 + n_frames]):
        frames[t, 32 : 32 + round(30 * opening), 16:48] = 30
    loud = np.repeat(level[20 - delay : 20 - delay + n_frames], SAMPLES_PER_FRAME)
    return clip(frames, (8000 * loud * rng.uniform(-1, 1, len(loud))).astype(np.int16))


def level_embedding(c: Clip) -> dict[str, np.ndarray]:
    """Mouth openings and sound levels, in place of SyncNet, whose stand-in weights cannot align anything."""
    opening = (c["frames"][..., 0] < 100).sum(axis=(1, 2)).astype(float)
    loud = c["audio"].astype(float).reshape(c.n_frames, -1).std(axis=1)
    windows = [np.lib.stride_tricks.sliding_window_view((x - x.mean()) / x.std(), 5)[:-1] for x in (opening, loud)]
    return {"syncnet.lip": windows[0], "syncnet.audio": windows[1]}


@pytest.mark.parametrize("delay", [-9, -2, 0, 1, 6, 13])
def test_delaying_the_sound_by_k_frames_lowers_the_offset_by_k(delay):
    offset, confidence, distance = LseOffset(), LseC(), LseD()
    for metric in (offset, confidence, distance):
        metric.update(level_embedding(talking(120, delay=delay)), {}, clip_id="shifted")
    assert offset.compute().value == -delay
    assert confidence.compute().value > distance.compute().value


def test_the_whole_clip_at_once_gives_the_embeddings_of_copied_windows():
    network = SyncNet().eval()
    seeded_fill(network, salt="test/")
    frames = torch.rand(9, 3, 224, 224) * 255
    with torch.inference_mode():
        at_once = network.lips(frames, batch=3)
        windows = torch.stack([frames[i : i + LIP_WINDOW].transpose(0, 1) for i in range(5)])
        alone = network.netfclip(network.netcnnlip(windows).flatten(1))
    assert (at_once - alone).abs().max() < 1e-5 * alone.abs().max()


def test_short_clips_are_scored_from_six_frames_on():
    feature = SyncNetFeature(weights="seeded")
    assert feature.weights_state == "seeded"
    assert feature.run(noise_clip(6), {})["syncnet.lip"].shape == (1, 1024)
    with pytest.raises(ItemError, match="too_short") as caught:
        feature.run(noise_clip(5), {})
    assert caught.value.reason == "too_short"
    long_picture = noise_clip(20)
    little_sound = clip(long_picture["frames"], long_picture["audio"][: 8 * SAMPLES_PER_FRAME])
    assert len(feature.run(little_sound, {})["syncnet.audio"]) == 3


def test_padding_is_mentioned_for_short_clips():
    metric = LseD()
    metric.update(level_embedding(talking(18, delay=0)), {}, clip_id="a")
    assert "1 clip has 15 windows or fewer" in metric.compute().note
    metric.update(level_embedding(talking(60, delay=0)), {}, clip_id="a")
    assert "windows" not in metric.compute().note


def test_silence_has_a_defined_score():
    c = noise_clip(12)
    features = SyncNetFeature(weights="seeded").run(clip(c["frames"], np.zeros_like(c["audio"])), {})
    assert all(np.isfinite(a).all() for a in features.values())
    for metric in (LseC(), LseD(), LseOffset()):
        metric.update(features, {}, clip_id="silent")
        assert np.isfinite(metric.compute().value)


def test_routes_have_different_fingerprints():
    direct, tracked = SyncNetFeature(weights="seeded"), SyncNetFeature(TRACKED, weights="seeded")
    assert direct.fingerprint != tracked.fingerprint
    with pytest.raises(ItemError) as caught:
        tracked.run(clip(np.zeros((6, 64, 64, 3), np.uint8), np.zeros(6 * SAMPLES_PER_FRAME, np.int16)), {})
    assert caught.value.reason == "no_face"


@pytest.mark.parametrize("n_frames", [6, 7])
def test_a_track_shorter_than_half_the_smoothing_costs_its_clip_only(n_frames: int, monkeypatch) -> None:
    """The median over 13 frames of a box that is seen in 6 is a box without a size."""
    feature, short = SyncNetFeature(TRACKED, weights="seeded"), noise_clip(n_frames)
    boxes = [np.array([[4.0, 4, 28, 28]])] * n_frames
    monkeypatch.setattr(feature, "_detect", lambda frames: boxes)
    if n_frames == 7:
        assert feature.run(short, {})["syncnet.track"].tolist() == [0, 6, 7]
        return
    with pytest.raises(ItemError, match="no_face"):
        feature.run(short, {})


def test_the_tracked_crop_of_a_face_is_another_picture_than_the_frame(embedded_clips):
    c = embedded_clips[0].clip
    part = clip(c["frames"][:10], c["audio"][: 10 * SAMPLES_PER_FRAME])
    whole = SyncNetFeature(weights="seeded").run(part, {})
    cropped = SyncNetFeature(TRACKED, weights="seeded").run(part, {})
    assert cropped["syncnet.lip"].shape == whole["syncnet.lip"].shape
    assert np.array_equal(cropped["syncnet.audio"], whole["syncnet.audio"])
    assert np.abs(cropped["syncnet.lip"] - whole["syncnet.lip"]).max() > 1


def test_tracks_join_across_gaps_and_split_where_faces_jump():
    here, there = np.array([[10.0, 10, 40, 40]]), np.array([[60.0, 60, 90, 90]])
    nobody = np.zeros((0, 4))
    people = tracks([here, here + 2, nobody, here + 6, here + 8, there, there, there], more_than=2, larger_than=0)
    assert [list(track.frames) for track in people] == [[0, 1, 2, 3, 4], [5, 6, 7]]
    assert np.allclose(people[0].boxes[:, 0], [10, 12, 14, 16, 18])
    assert tracks([here, nobody, nobody, nobody, here], more_than=1, larger_than=0, max_gap=2) == []
    assert tracks([here] * 5, more_than=2, larger_than=100) == []


#: Frames that are wider than high, and a cell (row, column) of each of the six maps that reports a face.
ROWS, COLUMNS = 128, 384
CELLS = ((5, 60), (3, 30), (2, 13), (1, 9), (0, 4), (0, 2))


class Hot(torch.nn.Module):
    """In place of a detector: one map reports one face of the size of its priors, exactly at one of its cells."""

    def __init__(self, number: int, kind: str) -> None:
        super().__init__()
        self.number, self.kind, self.device = number, kind, torch.nn.Parameter(torch.zeros(1))

    def forward(self, pictures: torch.Tensor) -> object:
        assert pictures.shape == (1, 3, ROWS, COLUMNS)
        shapes = [(ROWS // step, COLUMNS // step) for step in s3fd.STEPS]
        scores = [torch.tensor([9.0, -9.0]).reshape(1, 2, 1, 1).repeat(1, 1, *shape) for shape in shapes]
        row, column = CELLS[self.number]
        scores[self.number][0, :, row, column] = torch.tensor([-9.0, 9.0])
        offsets = [torch.zeros(1, 4, *shape) for shape in shapes]
        if self.kind == "wav2lip":
            return [part for pair in zip(scores, offsets, strict=True) for part in pair]
        flat = [torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in several], 1) for several in (offsets, scores)]
        return flat[0], flat[1].softmax(dim=2), s3fd._priors((ROWS, COLUMNS), shapes)


@pytest.mark.parametrize("kind", ["syncnet", "wav2lip"])
@pytest.mark.parametrize("number", range(len(CELLS)))
def test_a_detected_face_lies_at_the_cell_of_its_map(kind: str, number: int) -> None:
    """Both detectors of the tracked route, map by map, on frames whose sides differ."""
    frame, network = np.zeros((ROWS, COLUMNS, 3), np.uint8), Hot(number, kind)
    faces = s3fd_wav2lip.detect(network, frame) if kind == "wav2lip" else s3fd.detect(network, frame, scale=1.0)
    row, column = CELLS[number]
    step, half = s3fd.STEPS[number], s3fd.SIZES[number] / 2
    x, y = (column + 0.5) * step, (row + 0.5) * step
    assert faces[:, :4] == pytest.approx(np.array([[x - half, y - half, x + half, y + half]]), abs=1e-3)
    assert faces[0, 4] > 0.999
