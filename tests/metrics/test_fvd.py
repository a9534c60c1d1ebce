"""FVD: windows, weights files, the network's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dawn_bench import weights
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import sha256_file
from dawn_bench.metrics.features.i3d import cut_windows, i3d_features, prepare_window
from dawn_bench.metrics.functional.frechet import frechet
from dawn_bench.metrics.networks.i3d import I3D, same_padding
from dawn_bench.metrics.protocols.base import protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS


def clip(n_frames: int) -> Clip:
    return Clip("a", "s", "test", n_frames, {"frames": np.zeros((n_frames, 16, 16, 3), np.uint8)})


@pytest.mark.parametrize(
    ("length", "stride", "starts"), [(16, None, [0, 16]), (16, 8, [0, 8, 16, 24]), (32, None, [0])]
)
def test_windows_are_consecutive_and_drop_the_tail(length: int, stride: int | None, starts: list[int]) -> None:
    frames = np.arange(47)
    windows = cut_windows(frames, length, stride=stride)
    assert windows[:, 0].tolist() == starts
    assert (np.diff(windows, axis=1) == 1).all()
    assert cut_windows(frames, length, stride=stride, first=True)[:, 0].tolist() == [0]


def test_a_clip_shorter_than_a_window_is_refused() -> None:
    assert len(cut_windows(np.arange(15), 16)) == 0
    with pytest.raises(ItemError, match="too_short"):
        FEATURES["i3d.16"](weights="seeded").run(clip(15), {})  # type: ignore[call-arg]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 224])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 2)])
def test_same_padding_gives_ceil_of_size_over_stride(n: int, kernel: int, stride: int) -> None:
    before, after = same_padding((n, n, n), (kernel,) * 3, (stride,) * 3)[:2]
    assert (n + before + after - kernel) // stride + 1 == -(-n // stride)
    assert 0 <= after - before <= 1


def test_frames_reach_the_network_in_minus_1_to_1_with_their_aspect_ratio() -> None:
    frames = torch.zeros((9, 20, 40, 3), dtype=torch.uint8)
    frames[:, :, 10:30] = 255  # the centre square that is cut out
    x_CTHW = prepare_window(frames)
    assert x_CTHW.shape == (3, 9, 224, 224)
    assert x_CTHW[..., 10:-10].min() == pytest.approx(1)
    assert prepare_window(frames, resize="squash")[..., 0].max() == -1.0


class Script(torch.nn.Module):
    """Has the calling convention of the published TorchScript."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        assert return_features and not rescale and not resize
        return x.mean(dim=[1, 2, 3, 4])[:, None].repeat(1, 400)


def test_a_torchscript_file_is_run_and_a_foreign_file_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    torch.jit.script(Script()).save(str(tmp_path / "i3d_torchscript.pt"))
    published = replace(weights.entry("i3d"), sha256=sha256_file(tmp_path / "i3d_torchscript.pt"))
    monkeypatch.setattr(weights, "WEIGHTS", (published,))
    feature = FEATURES["i3d.16"]()
    assert feature.weights_state == "canonical"
    arrays = feature.run(clip(33), {})  # type: ignore[call-arg,arg-type]
    assert arrays["i3d.16"].shape == (2, 400) and (arrays["i3d.16"] == -1).all()

    (tmp_path / "i3d_torchscript.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match="i3d_torchscript"):
        FEATURES["i3d.16"]().run(clip(33), {})  # type: ignore[call-arg,arg-type]


class WritingScript(torch.nn.Module):
    """A hostile file: its code writes where it likes."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        torch.save(x, self.target)
        return x.mean(dim=[1, 2, 3, 4])[:, None].repeat(1, 400)


def test_torchscript_of_another_hash_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAWN_BENCH_WEIGHTS", str(tmp_path))
    target = tmp_path / "written"
    torch.jit.script(WritingScript(str(target))).save(str(tmp_path / "i3d_torchscript.pt"))
    with pytest.raises(InputError, match="not the published file"):
        FEATURES["i3d.16"]().run(clip(33), {})  # type: ignore[call-arg,arg-type]
    assert not target.exists()


def test_repeated_windows_are_computed_once() -> None:
    calls = []

    def network(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x.mean(dim=(2, 3, 4)).repeat(1, 134)[:, :400]

    windows = np.zeros((5, 16, 8, 8, 3), np.uint8)
    windows[3] = 200
    features = i3d_features(windows, network)
    assert len(calls) == 2 and features.shape == (5, 400)
    assert (features[0] == features[4]).all() and (features[3] != features[0]).all()


def test_fvd_pools_windows_and_counts_frames() -> None:
    rng = np.random.default_rng(0)
    generated, true = rng.standard_normal((2, 4, 3, 20))
    for name, biased in (("unbiased", False), ("biased", True)):
        metric = METRICS["fvd16"](protocol("paper-dawn", (f"fvd_covariance={name}",)))
        for i in range(4):
            metric.update({"i3d.16": generated[i]}, {"i3d.16": true[i]}, clip_id=str(i))
        score = metric.compute()
        assert score.value == pytest.approx(frechet(generated.reshape(12, 20), true.reshape(12, 20), biased=biased))
        assert (score.n_clips, score.n_frames) == (4, 192)
        assert "12 windows, at least 401" in score.note


def test_the_network_needs_nine_frames() -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError):
        I3D().eval()(torch.zeros(1, 3, I3D.MIN_FRAMES - 1, 224, 224))


def test_a_protocol_may_draw_a_number_of_windows() -> None:
    rng = np.random.default_rng(0)
    generated, true = rng.standard_normal((10, 6, 4)) + 1, rng.standard_normal((10, 6, 4))
    notes, values = {}, {}
    for wanted in (None, 20, 60, 100):
        metric = METRICS["fvd16"](protocol("paper-dawn", (f"fvd_windows={wanted}",) if wanted else ()))
        for i in range(10):
            metric.update({"i3d.16": generated[i]}, {"i3d.16": true[i]}, clip_id=str(i))
        score = metric.compute()
        values[wanted], notes[wanted] = (score.value, score.n_frames), score.note
    assert values[20][1] == 320 and "20 of 60 windows drawn" in notes[20] and values[20][0] != values[None][0]
    assert values[60] == values[100] == values[None] and "60 windows, 100 requested" in notes[100]
    with pytest.raises(InputError, match="running"):
        METRICS["fvd16"](protocol("paper-dawn", ("fvd_windows=20",)), running=True)
