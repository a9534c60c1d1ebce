"""The learning signals on arrays whose answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from marked import marked_clip
from spies import Spies

from dawn_bench.baselines.base import Context
from dawn_bench.baselines.outputs import Output
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.models.checkpoint import load_checkpoint
from dawn_bench.models.dawn import signals as dawn_signals
from dawn_bench.models.dawn.signals import lfg_beats_copying
from dawn_bench.models.spec import MODELS, default_model
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.reports.store import LearningSignal
from dawn_bench.training.mouth import correlation, frame_landmarks, mouth_opening
from dawn_bench.training.signals import loss_falls, read_curve
from dawn_bench.workflow import learning, quickstart
from dawn_bench.workflow.learning import lips_follow_sound


def _log(run: Path, values: list[float]) -> Path:
    (run / "lfg").mkdir()
    lines = [json.dumps({"step": k + 1, "total": v}) for k, v in enumerate(values)]
    (run / "lfg" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return run


def test_a_falling_loss_passes_and_a_rising_one_does_not(tmp_path: Path) -> None:
    falling = loss_falls(_log(tmp_path, [5.0, 4, 3, 2, 1, 1, 1, 1, 1, 3]), "lfg")
    assert falling.passed and (falling.value, falling.baseline) == (2.0, 5.0)
    (tmp_path / "other").mkdir()
    assert not loss_falls(_log(tmp_path / "other", list(range(10))), "lfg").passed
    assert isinstance(falling, LearningSignal)


def test_too_short_or_absent_logs_do_not_pass(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "absent") == []
    signal = loss_falls(_log(tmp_path, [3.0, 1]), "lfg")
    assert not signal.passed and signal.value is None and "too few" in signal.note


def test_mouth_opening_is_the_inner_gap_over_the_face_width() -> None:
    points = np.zeros((3, 68, 2))
    points[:, 16, 0] = 40
    points[:, 65:68, 1] = np.array([0, 4, 8])[:, None]
    np.testing.assert_allclose(mouth_opening(points), [0, 0.1, 0.2])
    np.testing.assert_allclose(mouth_opening(points * 3 + 7), [0, 0.1, 0.2])
    points[1] = np.nan
    assert np.isnan(mouth_opening(points)).tolist() == [False, True, False]


def test_correlation_leaves_out_unknown_frames_and_gives_0_for_what_does_not_vary() -> None:
    a = np.array([0.0, 1, 2, 3, np.nan])
    assert correlation(a, 2 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, np.array([1.0, 2, 3, 4, 9])) == pytest.approx(1)
    assert correlation(a, np.ones(5)) == 0
    assert correlation(a[3:], a[3:]) == 0


class _Mouth:
    """Reads the mouth off the first pixel's red; sees no face in frames whose green is 255."""

    def detect(self, frame: np.ndarray) -> np.ndarray:
        return np.zeros((0, 4)) if frame[0, 0, 1] == 255 else np.zeros((1, 4))

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        points = np.zeros((68, 2))
        points[16, 0], points[65:68, 1] = 100, frame[0, 0, 0]
        return points


def test_a_missed_frame_uses_the_box_before_and_is_unknown_before_the_first() -> None:
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    frames[:, 0, 0, 0], frames[[0, 2], 0, 0, 1] = [10, 20, 30, 40], 255
    opening = mouth_opening(frame_landmarks(frames, _Mouth()))
    np.testing.assert_allclose(opening, [np.nan, 0.2, 0.3, 0.4])


def test_lips_that_follow_the_sound_pass(tiny_cache: Path, tmp_path: Path) -> None:
    """Red follows the true opening in one method's clips and its reverse in the other's."""
    clips = Cache(tiny_cache).clips("test")

    def outputs(name: str, reverse: bool) -> dict[str, Output]:
        generated = {}
        for clip in clips:
            opening = mouth_opening(clip["landmarks"])
            red = np.interp(opening, (opening.min(), opening.max()), (250, 10) if reverse else (10, 250))
            frames = np.zeros((30, 16, 16, 3), np.uint8)
            frames[..., 0] = red[:, None, None]
            path = tmp_path / f"{name}-{clip.id}.mp4"
            write_video(path, frames, lossless=True)
            generated[clip.id] = Output(clip.id, "ok", path, 0, "")
        return generated

    good, bad = outputs("good", False), outputs("bad", True)
    signal = lips_follow_sound(good, bad, clips, _Mouth())  # type: ignore[arg-type]
    assert (
        signal.passed and signal.value == pytest.approx(1, abs=1e-3) and signal.baseline == pytest.approx(-1, abs=1e-3)
    )
    assert not lips_follow_sound(bad, good, clips, _Mouth()).passed  # type: ignore[arg-type]
    none = {c.id: Output(c.id, "crash", None, 0, "") for c in clips}
    assert lips_follow_sound(good, none, clips, _Mouth()).value is None  # type: ignore[arg-type]


def test_clips_that_failed_either_way_are_left_out_and_an_equal_score_does_not_pass(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shorter output is compared with the beginning of the truth."""
    clips = Cache(tiny_cache).clips("test")[:2]
    tracks = {clip.id: mouth_opening(clip["landmarks"]) for clip in clips}

    def read(path: Path, clip: Clip) -> dict[str, np.ndarray]:
        opening = tracks[path.stem][:12] * (-1 if path.parent.name == "reversed" else 1)
        return {"frames": np.repeat(opening[:, None], 68, 1)}

    def landmarks(frames: np.ndarray, backend: object, truth: np.ndarray) -> np.ndarray:
        assert any(np.array_equal(truth, clip["landmarks"]) for clip in clips)
        points = np.zeros((len(frames), 68, 2))
        points[:, 16, 0], points[:, 65:68, 1] = 1, frames[:, :1]
        return points

    monkeypatch.setattr(learning, "read_output", read)
    monkeypatch.setattr(learning, "frame_landmarks", landmarks)
    # a norm has no sign: reversed lips are those of the other clip
    monkeypatch.setattr(learning, "mouth_opening", lambda p: p[:, 66, 1] if p[0, 16, 0] == 1 else mouth_opening(p))

    def outputs(folder: str, *failed: int) -> dict[str, Output]:
        return {
            c.id: Output(c.id, "crash" if k in failed else "ok", Path(folder, f"{c.id}.mp4"), 0, "")
            for k, c in enumerate(clips)
        }

    good, bad = outputs("right"), outputs("reversed")
    signal = lips_follow_sound(good, bad, clips, _Mouth())  # type: ignore[arg-type]
    assert (signal.value, signal.baseline) == (pytest.approx(1), pytest.approx(-1)) and signal.passed
    assert signal.note.startswith("2 held-out clips")
    equal = lips_follow_sound(good, good, clips, _Mouth())  # type: ignore[arg-type]
    assert equal.value == equal.baseline and not equal.passed
    for pair in ((outputs("right", 0), bad), (good, outputs("reversed", 0))):
        signal = lips_follow_sound(*pair, clips, _Mouth())  # type: ignore[arg-type]
        assert signal.note.startswith("1 held-out clip;") and signal.passed
    none = lips_follow_sound(outputs("right", 0), outputs("reversed", 1), clips, _Mouth())  # type: ignore[arg-type]
    assert none.value is None and not none.passed


def test_the_networks_of_a_run_rebuild_pairs_of_frames_of_one_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clips of two frames, which differ by 51 of 255: copying has a PSNR of 14 dB."""
    clips = [marked_clip(k, 2, size=4) for k in range(2)]
    for k, clip in enumerate(clips):
        clip.arrays["frames"][:] = (100 * k + 51 * np.arange(2, dtype=np.uint8))[:, None, None, None]  # type: ignore[index]
    calls: list[tuple[float, float]] = []

    class Lfg(torch.nn.Module):
        error = 0.1

        def forward(self, source: torch.Tensor, driving: torch.Tensor) -> SimpleNamespace:
            assert source.shape == driving.shape == (1, 3, 4, 4) and not self.training
            calls.append((round(255 * source.mean().item()), round(255 * driving.mean().item())))
            return SimpleNamespace(prediction_BCSS=driving + self.error * torch.where(driving > 0.3, -1, 1))

    loaded: list[tuple[Path, str]] = []
    monkeypatch.setattr(
        dawn_signals, "load_checkpoint", lambda path, kind: (loaded.append((path, kind)), (Lfg(), {}))[1]
    )
    (signal,) = dawn_signals.signals(tmp_path, clips, seed=3, device="cpu")
    assert loaded == [(tmp_path / "lfg/model.safetensors", "lfg")]
    assert len(calls) == 32 and {frozenset(pair) for pair in calls} == {frozenset((0, 51)), frozenset((100, 151))}
    assert len({*calls}) == 4  # both ways
    assert signal.value == pytest.approx(20) and signal.baseline == pytest.approx(13.9794, abs=1e-3) and signal.passed
    assert signal.note == "32 pairs of 2 held-out clips"
    first = list(calls)
    for seed, same in ((3, True), (4, False)):
        calls.clear()
        dawn_signals.signals(tmp_path, clips, seed=seed, device="cpu")
        assert (calls == first) == same
    monkeypatch.setattr(Lfg, "error", 0.2001)
    assert not lfg_beats_copying(Lfg(), clips, pairs=1).passed  # type: ignore[arg-type]


def test_an_lfg_is_compared_with_copying_its_source(
    micro_run: Path, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lfg, clips = load_checkpoint(micro_run / "lfg" / "model.safetensors", "lfg")[0], Cache(tiny_cache).clips("test")
    untrained = lfg_beats_copying(lfg, clips, pairs=4)
    assert not untrained.passed and untrained.value < untrained.baseline < 60  # never a frame with itself
    assert untrained == lfg_beats_copying(lfg, clips, pairs=4)

    class Perfect:
        def __init__(self, driving: torch.Tensor) -> None:
            self.prediction_BCSS = driving

    monkeypatch.setattr(type(lfg), "forward", lambda self, source, driving: Perfect(driving))
    assert lfg_beats_copying(lfg, clips, pairs=4).passed


def test_a_quickstart_compares_its_own_sound_with_anothers_on_the_scored_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage has its loss, in the order of their names; the model's own signals are on all held-out clips."""
    spies, clips, spec = Spies(monkeypatch), [marked_clip(k, 6) for k in range(4)], MODELS[default_model()]
    run = tmp_path / "run"
    for stage in ("lfg", "a2v-1"):
        (run / stage).mkdir(parents=True)
        (run / stage / "metrics.jsonl").touch()
    names = (spec.name, f"{spec.name}-shuffled")
    monkeypatch.setattr(quickstart, "METHODS", {n: lambda context, n=n: (n, context) for n in names})
    own = replace(spec, signals=lambda run, clips, *, seed, device: [("model", run, clips, seed, device)])
    monkeypatch.setattr(quickstart, "MODELS", {spec.name: own})
    spies.watch(quickstart, "produce", returns=lambda method, *_, **__: {"of": method[0]})
    spies.watch(quickstart, "loss_falls", returns=lambda run, stage: (run, stage))
    spies.watch(quickstart, "lips_follow_sound", returns="lips")
    spies.watch(quickstart, "pick_backend", returns="faces")
    plan = quickstart.PLANS["tiny"].model_copy(update={"seed": 9, "scored_clips": 2})
    cache = SimpleNamespace(clips=lambda split: clips if split == "test" else [])
    signals = quickstart._signals(tmp_path, cache, plan, device="meta")  # type: ignore[arg-type]
    assert signals == [(run, "a2v-1"), (run, "lfg"), ("model", run, clips, 9, "meta"), "lips"]
    lips = spies.one("lips_follow_sound")
    assert (lips["generated"], lips["shuffled"]) == ({"of": names[0]}, {"of": names[1]})
    assert lips["clips"] == clips[:2] and lips["backend"] == "faces"
    for call in spies.of("produce"):
        assert call["method"][1] == Context(run, "meta", 9, {"steps": plan.steps}) and call["clips"] == clips[:2]
        assert call["out"] == tmp_path / "results" / "outputs" and call["seed"] == 9


@pytest.mark.parametrize("passed", [True, False])
def test_a_summary_line_says_whether_a_signal_was_shown(passed: bool) -> None:
    signal = LearningSignal(signal="s", value=0.12345, baseline=None, passed=passed, note="n")
    assert quickstart._line(signal) == f"{'ok' if passed else 'NOT SHOWN'}: s: 0.123, baseline – (n)"
