"""What does not change is computed once: a still picture, the same pictures under another sound, the same sound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scoring_keys import FakeFaces, Loads, light

from dawn_bench.clip import Clip
from dawn_bench.metrics.features import identity
from dawn_bench.metrics.functional.distinct import rows_of_distinct
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.inception import FidInception
from dawn_bench.metrics.networks.syncnet import SyncNet
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.feature_cache import content_sha256
from dawn_bench.metrics.scoring.matching import matched
from dawn_bench.pipelines.faces.repeated import once_per_picture

__all__ = ["light"]

T = 40
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (T, 40, 40, 3), dtype=np.uint8)
LOSSY = FRAMES ^ RNG.integers(0, 2, FRAMES.shape, dtype=np.uint8)
SOUND, OTHER = RNG.integers(-9000, 9000, (2, T * 640)).astype(np.int16)
STILL = np.repeat(FRAMES[:1], T, axis=0)


def clip(frames: np.ndarray, sound: np.ndarray = SOUND) -> Clip:
    return Clip("a", "s", "test", len(frames), {"frames": frames.copy(), "audio": sound[: len(frames) * 640].copy()})


#: The sanity rows in the order in which they are scored.
ROWS = {
    "ground-truth": clip(FRAMES),
    "ground-truth-reencoded": clip(LOSSY),
    "still": clip(STILL),
    "shuffled-sound": clip(FRAMES, OTHER),
}
NEEDED = ("fid", "fvd16", "fvd32", "lse-c", "csim", "bas", "psnr", "ssim", "lpips")


@pytest.fixture
def runs(light: Loads, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many frames, windows, pairs and faces went through each network."""
    from lpips import LPIPS

    counts: Counter[str] = Counter()

    def count(owner: Any, name: str, label: str, size: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def counted(self: Any, *given: Any, **named: Any) -> Any:
            counts[label] += size(*given)
            return real(self, *given, **named)

        monkeypatch.setattr(owner, name, counted)

    count(FidInception, "forward", "inception", len)
    count(I3D, "forward", "i3d", len)
    count(SyncNet, "lips", "lips", lambda frames: len(frames) - 4)
    count(SyncNet, "audio", "sound", len)
    count(LPIPS, "forward", "lpips", lambda x, y: len(x))
    count(FakeFaces, "detect", "detections", lambda frame: 1)
    count(FakeFaces, "landmarks", "landmarks", lambda frame, box: 1)
    embedder = identity._EMBEDDERS["arcface"]

    def counting(resolved: Any) -> identity.Embed:
        embed = embedder(resolved)
        return lambda frames, points: counts.update(faces=len(frames)) or embed(frames, points)  # type: ignore[func-returns-value]

    monkeypatch.setitem(identity._EMBEDDERS, "arcface", counting)
    return counts


def arrays_of(row: str, extraction: Extraction) -> dict[str, np.ndarray]:
    true, arrays = clip(FRAMES), dict[str, np.ndarray]()
    for name in NEEDED:
        arrays |= extraction.arrays(METRICS[name], ROWS[row], true)[0]
    extraction.flush()
    return arrays


def test_sanity_rows_run_the_networks_on_what_changes(runs: Counter[str], tmp_path: Path) -> None:
    seen = {}
    for row in ROWS:  # a process each, which shares the folder
        runs.clear()
        arrays_of(row, Extraction([METRICS[name] for name in NEEDED], features_dir=tmp_path))
        seen[row] = dict(runs)
    whole = {"inception": T, "i3d": 3, "lips": T - 5, "sound": T - 5, "faces": T}
    tracking = {name: seen["ground-truth"][name] for name in ("detections", "landmarks")}
    assert min(tracking.values()) >= T / 10
    # the true clip shares the first row's arrays; no pair of frames differs
    assert seen["ground-truth"] == whole | tracking
    del whole["sound"]
    assert seen["ground-truth-reencoded"] == whole | tracking | {"lpips": T}
    still = seen["still"]
    assert (still["inception"], still["i3d"], still["lips"], still["lpips"]) == (1, 2, 4, T)
    assert "sound" not in still and still["detections"] < 6 and max(still["faces"], still["landmarks"]) < T / 2
    assert seen["shuffled-sound"] == {"sound": T - 5}


@pytest.mark.parametrize("route", ["direct", "tracked"])
def test_arrays_of_a_still_picture_are_those_of_each_frame(route: str, light: Loads) -> None:
    rules = protocol("paper-dawn", (f"lse_route={route}", "lse_min_track=5", "lse_min_face=10"))
    whole = FEATURES["syncnet"](rules).run(clip(STILL), {})["syncnet.lip"]  # type: ignore[call-arg]
    part = FEATURES["syncnet"](rules).run(clip(STILL[:12]), {})["syncnet.lip"]  # type: ignore[call-arg]
    assert (whole == part[0]).all() and whole.shape == (T - 5, 1024)
    mixed = clip(np.concatenate([FRAMES[:9], STILL[:9], FRAMES[5:22]]))
    rows = FEATURES["syncnet"](rules).run(mixed, {})["syncnet.lip"]  # type: ignore[call-arg]
    for k in range(len(rows)):
        alone = clip(mixed["frames"][k : k + 6])
        assert np.allclose(lips_of(alone["frames"], rules), rows[k], atol=1e-4) or route == "tracked", k


def lips_of(frames: np.ndarray, rules: Any) -> np.ndarray:
    feature: Any = FEATURES["syncnet"](rules)
    return feature._lips(frames, 1)[0]


@pytest.mark.parametrize("route", ["direct", "tracked"])
def test_a_part_with_another_sound_gives_what_the_whole_gives(route: str, light: Loads, tmp_path: Path) -> None:
    rules = protocol("paper-dawn", (f"lse_route={route}", "lse_min_track=5", "lse_min_face=10"))
    extraction, metric = Extraction([METRICS["lse-c"]], rules, features_dir=tmp_path), METRICS["lse-c"]
    short = Clip("a", "s", "test", T, {"frames": FRAMES, "audio": SOUND[: 20 * 640]})
    for given in (clip(FRAMES), clip(FRAMES, OTHER), short, clip(LOSSY, OTHER)):
        ours = extraction.arrays(metric, given, given)[0]
        alone = FEATURES["syncnet"](rules).run(given, {})  # type: ignore[call-arg]
        assert ours.keys() == alone.keys()
        for name, array in alone.items():
            np.testing.assert_array_equal(ours[name], array)
    extraction.flush()
    kept = {path.parent.name.rpartition("-")[0] for path in tmp_path.glob("*/*.safetensors")}
    assert "syncnet.lip" in kept and ("syncnet" in kept) == (route == "tracked")


#: Outputs with frames of the true clip, how many frames they are scored over, and how many of these are new.
PARTLY = {
    "shorter": (FRAMES[:30], 30, 0),
    "longer": (np.concatenate([FRAMES, LOSSY[:3]]), T, 0),
    "half": (np.concatenate([FRAMES[:20], LOSSY[20:]]), T, 20),
    "in another order": (np.concatenate([FRAMES[:1], FRAMES[:0:-1]]), T, 0),
    "others": (LOSSY, T, T),
}


@pytest.mark.parametrize("kind", PARTLY)
def test_frames_of_the_true_clip_have_its_rows(kind: str, runs: Counter[str], tmp_path: Path) -> None:
    """Also where the true clip is cut to the length of the output: `fid` compares both."""
    true = Clip("a", "s", "test", T, dict(clip(FRAMES).arrays), meta={"frames_sha256": content_sha256(FRAMES)})
    before = Extraction([METRICS["fid"]], features_dir=tmp_path)
    before.arrays(METRICS["fid"], true, true)
    before.flush()
    frames, scored, new = PARTLY[kind]
    output, cut_true, _ = matched(clip(frames), true)
    extraction = Extraction([METRICS["fid"]], features_dir=tmp_path)
    runs.clear()
    ours, theirs = extraction.arrays(METRICS["fid"], output, cut_true)
    assert runs["inception"] == new and len(ours["inception"]) == scored
    alone = FEATURES["inception"]()
    for arrays, own in ((ours, output), (theirs, cut_true)):
        expected = alone.run(own, {})["inception"]  # type: ignore[call-arg]
        np.testing.assert_allclose(arrays["inception"], expected, atol=1e-6)


def test_rows_of_another_network_are_not_taken(runs: Counter[str], tmp_path: Path) -> None:
    true = Clip("a", "s", "test", T, dict(clip(FRAMES).arrays), meta={"frames_sha256": content_sha256(FRAMES)})
    before = Extraction([METRICS["fid"]], features_dir=tmp_path)
    before.arrays(METRICS["fid"], true, true)
    before.flush()
    other = protocol("paper-dawn", ("fid_resize=clean",))
    runs.clear()
    output, cut_true, _ = matched(clip(FRAMES[:30]), true)
    Extraction([METRICS["fid"]], other, features_dir=tmp_path).arrays(METRICS["fid"], output, cut_true)
    assert runs["inception"] == 30


def test_rows_are_those_of_each_part_and_batches_are_full() -> None:
    parts = [np.full((2, 2), value) for value in (3, 1, 3, 2, 1, 5, 3)]
    batches: list[list[int]] = []

    def run(batch: np.ndarray) -> np.ndarray:
        batches.append(batch[:, 0, 0].tolist())
        return np.stack([batch[:, 0, 0], -batch[:, 0, 0]], axis=1)

    rows = rows_of_distinct(iter(parts), run, size=3, count=7)
    assert batches == [[3, 1, 2], [5]] and rows[:, 0].tolist() == [3, 1, 3, 2, 1, 5, 3]
    assert (rows[:, 1] == -rows[:, 0]).all()


def test_a_face_back_end_is_asked_again_for_another_picture_box_or_search() -> None:
    calls: list[tuple[Any, ...]] = []

    class Backend:
        name, takes_gray = "b", False

        def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
            calls.append(("detect", int(frame[0, 0, 0]), expect))
            return np.full((1, 4), len(calls), np.float32)

        def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
            calls.append(("landmarks", int(frame[0, 0, 0]), float(box[0])))
            return np.full((68, 2), len(calls), np.float32)

    backend: Any = once_per_picture(Backend())  # type: ignore[arg-type]
    assert backend.name == "b" and not hasattr(backend, "search")
    one, two = np.zeros((2, 8, 8, 3), np.uint8)
    two = two + np.uint8(1)
    first = backend.detect(one)
    first += 99  # the caller may change what it gets
    assert (backend.detect(one) == 1).all() and (backend.detect(one, expect=4.0) == 2).all()
    assert (backend.landmarks(one, np.zeros(4)) == 3).all() and (backend.landmarks(one, np.zeros(4)) == 3).all()
    assert (backend.landmarks(one, np.ones(4)) == 4).all()
    assert (backend.detect(two) == 5).all() and (backend.detect(one) == 6).all()
    assert [name for name, *_ in calls] == ["detect", "detect", "landmarks", "landmarks", "detect", "detect"]


def test_pairs_of_equal_frames_are_exact_without_the_network(runs: Counter[str]) -> None:
    """Frames 16 to 31 are equal; the batches before and after them are run whole."""
    mixed = FRAMES.copy()
    mixed[:4], mixed[36:] = LOSSY[:4], LOSSY[36:]
    lpips, images = FEATURES["lpips"](), FEATURES["images"]()
    distance = lpips.run(clip(mixed), clip(FRAMES))["lpips"]  # type: ignore[call-arg,arg-type]
    assert runs["lpips"] == 24 and (distance[16:32] == 0).all()
    ours = images.run(clip(mixed), clip(FRAMES))  # type: ignore[call-arg,arg-type]
    alone = images.run(clip(mixed[:4]), clip(FRAMES[:4]))  # type: ignore[call-arg,arg-type]
    for name, equal in (("images.ssim", 1.0), ("images.mse", 0.0)):
        assert (ours[name][4:36] == equal).all() and (ours[name][:4] == alone[name]).all()
        assert (ours[name][36:] != equal).all()


def test_the_real_sound_network_agrees_with_itself_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    feature: Any = FEATURES["syncnet"](weights="seeded")
    whole = feature._audio(SOUND, 20)
    monkeypatch.setattr("dawn_bench.metrics.features.syncnet.AUDIO_BLOCK", 10)
    np.testing.assert_allclose(feature._audio(SOUND, 20), whole, atol=1e-5)
    assert torch.is_grad_enabled()
