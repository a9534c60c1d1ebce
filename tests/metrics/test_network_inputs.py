"""What reaches each network: the right frames in the right order, channels, range and place, and their own sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toy_world import HEIGHT, WIDTH, boxes, draw, install, points_of, talk, written

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip
from dawn_bench.errors import ItemError
from dawn_bench.metrics.features import i3d as i3d_module
from dawn_bench.metrics.features import inception as inception_module
from dawn_bench.metrics.features.identity import STRIDE
from dawn_bench.metrics.features.pictures import MOMENTS, motion
from dawn_bench.metrics.functional.beats import onset_envelope
from dawn_bench.metrics.functional.mfcc import mfcc
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS, TARGET
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.person import boxes_of
from dawn_bench.metrics.scoring.pictures import Pictures

RED, GREEN, BLUE = 30, 120, 220


@pytest.fixture
def used() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        yield install(patch)


def numbered(n: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Frames of one colour, in which frame t is 3 levels of green above frame t - 1."""
    frames = np.full((n, height, width, 3), (RED, 0, BLUE), np.uint8)
    frames[..., 1] = np.arange(n, dtype=np.uint8)[:, None, None] * 3
    return frames


def clip(frames: np.ndarray, sound: np.ndarray | None = None) -> Clip:
    sound = np.zeros(len(frames) * SAMPLES_PER_FRAME, np.int16) if sound is None else sound
    return Clip("c", "s", "test", len(frames), {"frames": frames, "audio": sound})


def corners() -> np.ndarray:
    """One frame (48,40) whose four quarters differ: dark, red; green, blue."""
    frame = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    frame[:, :24, 20:, 0], frame[:, 24:, :20, 1], frame[:, 24:, 20:, 2] = 255, 255, 255
    return frame


LEVELS = {
    "pytorch-fid": lambda v: 2 * v / 255 - 1,
    "clean": lambda v: (v - 128) / 128,
    "torch-fidelity": lambda v: (v - 128) / 128,
}


@pytest.mark.parametrize("resize", LEVELS)
def test_every_frame_reaches_inception_once_in_rgb(used: dict[str, Any], resize: str) -> None:
    rules = protocol("paper-dawn", (f"fid_resize={resize}",))
    features = FEATURES["inception"](rules).run(clip(numbered(37)), {})["inception"]
    seen, level = torch.cat(used["inception"].seen), LEVELS[resize]
    assert seen.shape[1] == 3 and len(seen) == 37 and max(map(len, used["inception"].seen)) <= 16
    for channel, value in ((0, np.full(37, RED)), (1, 3.0 * np.arange(37)), (2, np.full(37, BLUE))):
        assert seen[:, channel].mean(dim=(1, 2)).numpy() == pytest.approx(level(value), abs=1e-5)
    assert features[:, 9] == pytest.approx(level(3.0 * np.arange(37)), abs=1e-5)  # row t is frame t
    order = [3, 1, 3, 0, 1]  # equal frames pass the network once
    again = FEATURES["inception"](rules).run(clip(numbered(5)[order]), {})["inception"]
    assert again[:, 9] == pytest.approx(level(3.0 * np.array(order)), abs=1e-5) and len(used["inception"].seen[-1]) == 3


@pytest.mark.parametrize("resize", LEVELS)
def test_inceptions_picture_is_299_pixels_wide_and_upright(
    used: dict[str, Any], resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception_module, "SIDE", 299)
    FEATURES["inception"](protocol("paper-dawn", (f"fid_resize={resize}",))).run(clip(corners()), {})
    (seen,) = used["inception"].seen
    assert seen.shape == (1, 3, 299, 299)
    low, high = LEVELS[resize](0.0), LEVELS[resize](255.0)
    for (y, x), colour in {(20, 20): (low,) * 3, (20, 270): (high, low, low), (270, 20): (low, high, low)}.items():
        assert seen[0, :, y, x].numpy() == pytest.approx(colour, abs=0.02)


def test_torch_fidelity_samples_pixel_i_at_i_in_over_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception_module, "SIDE", 8)
    frames = np.zeros((1, 4, 2, 3), np.uint8)
    frames[0, :, 0, 0], frames[0, :, 1, 0] = (0, 40, 80, 120), (100, 140, 180, 220)
    x = inception_module.resize_torch_fidelity(torch.from_numpy(frames))[0, 0]
    assert x[:, 0].tolist() == [0, 20, 40, 60, 80, 100, 120, 120]
    assert x[0].tolist() == [0, 25, 50, 75, 100, 100, 100, 100]


@pytest.mark.parametrize(("name", "length"), [("i3d.16", 16), ("i3d.32", 32)])
@pytest.mark.parametrize(("settings", "step"), [((), None), (("fvd_stride=5",), 5), (("fvd_first_n=true",), None)])
def test_windows_reach_i3d_in_time_order(
    used: dict[str, Any], name: str, length: int, settings: tuple[str, ...], step: int | None
) -> None:
    FEATURES[name](protocol("paper-dawn", settings)).run(clip(numbered(70)), {})
    starts = list(range(0, 70 - length + 1, step or length))[: 1 if "fvd_first_n=true" in settings else None]
    assert len(used["i3d"]) == len(starts)
    for window, start in zip(used["i3d"], starts, strict=True):
        assert window.shape[:3] == (1, 3, length)
        wanted = 2 * 3.0 * np.arange(start, start + length) / 255 - 1
        assert window[0, 1].mean(dim=(1, 2)).numpy() == pytest.approx(wanted, abs=1e-5)
        assert window[0, 0].unique().numpy() == pytest.approx(2 * RED / 255 - 1, abs=1e-6)
        assert window[0, 2].unique().numpy() == pytest.approx(2 * BLUE / 255 - 1, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40)])
def test_i3d_sees_the_middle_of_the_longer_side(height: int, width: int) -> None:
    """A ramp along each side: 40 pixels are cut out of 60, from the tenth on."""
    frames = np.zeros((9, height, width, 3), np.uint8)
    frames[..., 0], frames[..., 1] = 4 * np.arange(width), 4 * np.arange(height)[:, None]
    x = (i3d_module.prepare_window(torch.from_numpy(frames)) + 1) * 255 / 2
    assert x.shape == (3, 9, 224, 224)
    for channel, side, along in ((0, width, x[0, 4, 100]), (1, height, x[1, 4, :, 100])):
        first = 4 * (side - 40) / 2
        assert along.mean().item() == pytest.approx(first + 4 * 19.5, abs=0.5), channel
        assert along[0].item() == pytest.approx(first, abs=2.5) and along[-1].item() == pytest.approx(
            first + 156, abs=2.5
        )
    squashed = (i3d_module.prepare_window(torch.from_numpy(frames), resize="squash") + 1) * 255 / 2
    assert squashed[0, 0, 100, -1].item() == pytest.approx(4 * (width - 1), abs=2)
    assert squashed[1, 0, -1, 100].item() == pytest.approx(4 * (height - 1), abs=2)


def test_lpips_compares_output_with_truth_frame_by_frame(used: dict[str, Any]) -> None:
    ours, theirs = numbered(35), numbered(35)[::-1]
    extraction, metric = Extraction([METRICS["lpips"]]), METRICS["lpips"]()
    values = extraction.arrays(metric, clip(ours), clip(theirs))[0]["lpips"]
    (network,) = used["lpips"]
    one, other = (torch.cat(side) for side in zip(*network.seen, strict=True))
    green = 3.0 * np.arange(35) / 127.5 - 1
    assert one[:, 1].mean(dim=(1, 2)).numpy() == pytest.approx(green, abs=1e-5)
    assert other[:, 1].mean(dim=(1, 2)).numpy() == pytest.approx(green[::-1], abs=1e-5)
    assert one[:, 0].mean().item() == pytest.approx(RED / 127.5 - 1, abs=1e-5)
    assert one.shape[2:] == (HEIGHT, WIDTH) and len(values) == 35 and values.dtype == np.float64
    assert values == pytest.approx(np.abs(green - green[::-1]) / 3, abs=1e-5)


def test_errors_are_of_each_frame_over_pixels_and_channels() -> None:
    """An error of 3, 0 and -9 levels in red, green and blue, in the left quarter of frame 1 alone."""
    true = np.full((3, 24, 32, 3), 100, np.uint8)
    ours = true.copy()
    ours[1, :, :8] += np.array([3, 0, 247], np.uint8)
    arrays = FEATURES["images"]().run(clip(ours), clip(true))  # type: ignore[call-arg]
    assert arrays["images.mse"] == pytest.approx([0, (9 + 81) / 3 / 4, 0])
    assert arrays["images.ssim"][[0, 2]] == pytest.approx([1, 1]) and arrays["images.ssim"][1] < 0.999


def test_syncnet_sees_five_frames_in_bgr_and_the_sound_during_them(used: dict[str, Any]) -> None:
    """Forty frames need two blocks; window i is frames i to i + 4, and mfcc 4 i to 4 i + 19."""
    rng = np.random.default_rng(0)
    sound = (rng.normal(0, 1, 40 * 640) * np.repeat(np.arange(1, 41) * 100, 640)).astype(np.int16)
    feature = FEATURES["syncnet"]()
    arrays = feature.run(clip(numbered(40), sound), {})
    (network,) = used["syncnet"]
    seen = [np.round(x[:, 1].mean(dim=(1, 2)).numpy() / 3).astype(int).tolist() for x in network.frames]
    assert seen == [list(range(36)), list(range(32, 39))] and arrays["syncnet.lip"].shape == (35, 5)
    first = network.frames[0]
    assert first.shape[1:] == (3, 224, 224)
    assert first[:, 0].unique().tolist() == [BLUE] and first[:, 2].unique().tolist() == [RED]
    energy = (mfcc(sound)[:, 0] - 17.8) / 2
    wanted = [[energy[4 * (i + k) : 4 * (i + k) + 4].mean() for k in range(5)] for i in range(35)]
    assert arrays["syncnet.audio"] == pytest.approx(np.array(wanted), abs=1e-3)


def test_the_tracked_route_takes_the_longest_track_and_its_own_sound(used: dict[str, Any]) -> None:
    """A face in frames 3 to 12 and, after more than a track bridges, in 45 to 69; frame 50 misses it."""
    shown = np.zeros(70)
    shown[3:13], shown[45:70], shown[50] = 1, 1, 0
    code = {"x": np.full(70, 15.0), "y": np.full(70, 30.0), "eyes": np.full(70, 0.3), "face": shown}
    code |= {"half": np.full(70, 8.0), "person": np.full(70, 99.0)} | dict.fromkeys(
        ("yaw", "pitch", "roll"), np.zeros(70)
    )
    frames = draw(code, np.linspace(0, 1, 70), seed=0)
    sound = np.repeat(np.arange(70, dtype=np.int16) * 100, 640)
    feature = FEATURES["syncnet"](protocol("paper-dawn-tracked"))
    arrays = feature.run(clip(frames, sound), {})
    assert arrays["syncnet.track"].tolist() == [45, 69, 70] and arrays["syncnet.lip"].shape == (20, 5)
    energy = mfcc(np.repeat(np.arange(45, 70, dtype=np.int16) * 100, 640))[:, 0]
    assert arrays["syncnet.audio"][3, 0] == pytest.approx((energy[12:16].mean() - 17.8) / 2, abs=1e-3)
    red = used["syncnet"][0].frames[0][:, 2, 112, 112].numpy()
    assert red[-1] - red[0] == pytest.approx(180 * 23 / 69, abs=12)  # the mouth of frames 45 to 68
    late = FEATURES["syncnet"](protocol("paper-dawn-tracked", ("lse_min_track=24",)))
    with pytest.raises(ItemError, match="no face that can be tracked"):
        late.run(clip(frames, sound), {})  # 24 detections, and more are needed
    near = np.tile(boxes(frames[45], 1.0), (70, 1))
    assert feature.run(clip(frames, sound), {TARGET: near})["syncnet.track"].tolist() == [45, 69, 70]
    with pytest.raises(ItemError, match="at the place of the true clip's"):
        feature.run(clip(frames, sound), {TARGET: near + np.array([0, 16, 0, 16])})


@pytest.mark.parametrize("network", STRIDE)
def test_faces_are_embedded_with_their_own_points(used: dict[str, Any], network: str) -> None:
    """Only frames with a face, and of every n-th frame: frame k n with the points of frame k n."""
    frames = talk("a", 33, seed=2, damage=0.4)["frames"]
    found = written(frames)["face"]
    given = {"landmarks.toy": points_of(frames), "landmarks.found": found}
    arrays = FEATURES["identity"](protocol("paper-dawn", (f"csim_network={network}",))).run(clip(frames), given)
    every = np.arange(0, 33, 5 if network == "dlib" else 1)
    chosen = every[found[every]]
    ((seen, points),) = used["identity"]
    assert np.array_equal(seen, frames[chosen]) and np.array_equal(points, points_of(frames)[chosen])
    assert 0 < len(chosen) < len(every) == len(arrays["identity.found"])
    rows = arrays[f"identity.{network}"]
    assert np.array_equal(np.flatnonzero(rows.any(axis=1)) * (every[1] - every[0]), chosen)
    assert rows[np.searchsorted(every, chosen[1]), 0] == pytest.approx(
        frames[chosen[1], ..., 0].mean() - 30 - 10 * list(STRIDE).index(network), abs=0.01
    )


@pytest.mark.parametrize(
    ("hop", "audio", "median"), [(640, "beat", 0), (640, "onset", 0), (512, "beat", 1), (512, "onset", 0)]
)
def test_the_envelope_has_the_hop_and_the_average_of_its_beats(hop: int, audio: str, median: int) -> None:
    """librosa's beat tracker takes the median over bands at its own hop; its onsets, and ours, the mean."""
    one = talk("a", 30, seed=0)
    rules = protocol("paper-dawn", (f"bas_hop={hop}", f"bas_audio={audio}"))
    wanted = onset_envelope(one["audio"], hop=hop, median=bool(median))
    assert np.array_equal(FEATURES["onset"](rules).run(one, {})["onset"], wanted)
    assert not np.array_equal(wanted, onset_envelope(one["audio"], hop=hop, median=not median))


def test_a_clip_is_looked_at_from_its_first_frame_to_its_last(used: dict[str, Any]) -> None:
    frames = talk("a", 100, seed=0)["frames"].copy()
    at = [0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99]
    for k in (0, 27, 99):
        frames[k, 8:16, 8:16] = 0  # the block that says whether there is a face
    arrays = FEATURES["pictures"]().run(clip(frames), {})
    assert arrays["pictures.face"].tolist() == [k not in (0, 27, 99) for k in at]
    assert arrays["pictures.motion"][0] == pytest.approx(motion([frames[k] for k in at]))
    assert arrays["pictures.motion"][0] > 1.5


def test_only_the_face_that_is_meant_is_looked_for(used: dict[str, Any]) -> None:
    frames = talk("a", 12, seed=0)["frames"]
    there = np.concatenate([boxes(frame, 1.0) for frame in frames]).astype(np.float32)
    away = there.copy()
    away[4] += 40
    assert FEATURES["pictures"]().run(clip(frames), {TARGET: there})["pictures.face"].all()
    seen = FEATURES["pictures"]().run(clip(frames), {TARGET: away})["pictures.face"]
    assert np.flatnonzero(~seen).tolist() == [4]


def test_a_feature_is_given_the_place_of_the_face_in_each_frame(used: dict[str, Any]) -> None:
    """The true clip's index tells of two faces, and its landmarks say where the one that is meant is."""
    given: list[np.ndarray] = []

    def record(self: Any, clip: Clip, arrays: Any) -> dict[str, np.ndarray]:
        given.append(arrays[TARGET])
        return {"pictures.face": np.zeros(1)}

    frames = talk("a", 12, seed=0)["frames"]
    true = clip(frames)
    points = points_of(frames)
    true = replace(true, arrays={**true.arrays, "landmarks": points}, meta={"tracks": 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FEATURES["pictures"], "run", record)
        Extraction([Pictures]).arrays(Pictures, clip(frames[::-1].copy()), true)
    assert len(given) == 2 and all(np.array_equal(place, boxes_of(points)) for place in given)


def test_the_head_pose_is_that_of_the_points_in_the_frame(used: dict[str, Any]) -> None:
    frames = talk("a", 40, seed=1)["frames"]
    square = np.pad(frames, ((0, 0), (0, 0), (0, HEIGHT - WIDTH), (0, 0)))
    code = written(frames)
    pose = FEATURES["headpose"]().run(clip(square), {"landmarks.toy": points_of(frames)})["headpose"]
    for column, name in enumerate(("yaw", "pitch", "roll")):
        assert np.corrcoef(pose[:, column], code[name])[0, 1] > 0.98, name
        assert np.abs(pose[:, column] - code[name]).mean() < 2.5, name
    across, up = np.polyfit(code["x"], pose[:, 4], 1)[0], np.polyfit(code["y"], pose[:, 5], 1)[0]
    assert across == pytest.approx(120 / HEIGHT, rel=0.1) and up == pytest.approx(-120 / HEIGHT, rel=0.1)


@pytest.mark.parametrize("n", [MOMENTS - 4, MOMENTS, 3 * MOMENTS + 1])
def test_the_face_that_is_meant_is_looked_for_where_it_is_at_that_moment(n: int, used: dict[str, Any]) -> None:
    """Of fewer, as many and more frames than moments; the target is elsewhere at every other moment only."""
    frames = talk("a", n, seed=0)["frames"]
    at = np.unique(np.linspace(0, n - 1, MOMENTS).round().astype(int))
    target = np.concatenate([boxes(frame, 1.0) for frame in frames]).astype(np.float32)
    target[at[1::2]] += 40
    seen = FEATURES["pictures"]().run(clip(frames), {TARGET: target})["pictures.face"]
    assert at[~seen].tolist() == at[1::2].tolist()


def test_what_stands_beside_the_head_does_not_change_its_pose(used: dict[str, Any]) -> None:
    """Frames higher than wide, square, and wider than high: the unit of the pose is their height."""
    frames = talk("a", 12, seed=1)["frames"]
    poses = [
        FEATURES["headpose"]().run(
            clip(np.pad(frames, ((0, 0), (0, 0), (0, more), (0, 0)))), {"landmarks.toy": points_of(frames)}
        )["headpose"]
        for more in (0, HEIGHT - WIDTH, 2 * WIDTH)
    ]
    assert HEIGHT > WIDTH and all(np.array_equal(poses[0], pose) for pose in poses)
