"""Speed of the metrics, beside the canonical implementations that are installed. Run by hand:

    python benchmarks/metrics.py [--clips 20] [--frames 100] [--threads 1]

Times are processor time, the best of the runs, so that other work on the machine disturbs them little. Networks carry
stand-in weights: speed does not depend on them. `pytorch-fid`, `lpips` and scikit-image are timed where installed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy.linalg
import torch

from dawn_bench.clip import Clip
from dawn_bench.metrics.base import METRICS
from dawn_bench.metrics.extraction import Extraction
from dawn_bench.metrics.features import i3d, images, inception, lpips
from dawn_bench.metrics.frechet import Moments, frechet_by_clip, frechet_of_moments
from dawn_bench.metrics.networks.inference import exact_inference
from dawn_bench.metrics.scorer import score_method
from dawn_bench.weights import resolve

SIDE = 128


def seconds(work: Callable[[], object], *, runs: int = 3) -> float:
    """Processor time of `work`, the best of `runs`, after one run to warm up."""
    work()
    spent = []
    for _ in range(runs):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def show(what: str, ours: float, theirs: float | None = None, name: str = "") -> None:
    """One line in milliseconds."""
    if theirs is not None:
        beside = f"   {name} {theirs * 1e3:.2f} ms, {theirs / ours:.2f}x ours"
    else:
        beside = f"   {name}: not installed" if name else ""
    print(f"{what:42s} {ours * 1e3:10.2f} ms{beside}")


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Smooth moving noise, uint8 (count,128,128,3), no two frames equal."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, count // 8 + 2, 8, 8), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (count, SIDE, SIDE), mode="trilinear")[0].permute(1, 2, 3, 0)
    return (smooth.numpy() * 255).astype(np.uint8)


def networks() -> None:
    """Each network beside its canonical implementation, per frame or window."""
    some = frames(32)
    net = inception.load_inception(resolve("inception-fid", "seeded"), "cpu")
    ours = seconds(lambda: inception.inception_features(some, net), runs=2) / len(some)
    theirs = None
    if find_spec("pytorch_fid"):
        from pytorch_fid.inception import InceptionV3

        their_net = InceptionV3([3], use_fid_inception=False).eval()
        x = torch.from_numpy(some).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            theirs = seconds(lambda: [their_net(part) for part in x.split(16)], runs=2) / len(some)
    show("Inception, a frame", ours, theirs, "pytorch-fid")

    video = i3d.load_i3d(resolve("i3d", "seeded"), "cpu")
    for length in (16, 32):
        windows = i3d.cut_windows(some, length)[:1]
        spent = seconds(lambda w=windows: i3d.i3d_features(w, video), runs=2)
        show(f"I3D, a window of {length}", spent)

    noisy = np.clip(some.astype(np.int16) + 9, 0, 255).astype(np.uint8)
    alex = lpips.load_lpips("alex", resolve("lpips-alex", "seeded"), "cpu")
    ours = seconds(lambda: lpips.lpips_per_frame(some, noisy, alex)) / len(some)
    theirs = None
    if find_spec("lpips"):
        from lpips import LPIPS

        package = LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
        x, y = (torch.from_numpy(f).permute(0, 3, 1, 2).float() / 127.5 - 1 for f in (some, noisy))
        with torch.inference_mode():
            theirs = seconds(lambda: [package(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)]) / len(some)
    show("LPIPS alex, a pair", ours, theirs, "lpips")

    from skimage.metrics import structural_similarity

    settings = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
        "channel_axis": 2,
    }
    ours = seconds(lambda: images.ssim_per_frame(some, noisy)) / len(some)
    theirs = seconds(lambda: [structural_similarity(a, b, **settings) for a, b in zip(some, noisy, strict=True)]) / len(
        some
    )
    show("SSIM, a pair", ours, theirs, "scikit-image")


def distances() -> None:
    """The Fréchet distance at 2,048 dimensions beside scipy.linalg.sqrtm on the same covariances."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((2048, 2048)) / np.sqrt(2048)
    one, two = (np.maximum(rng.standard_normal((2600, 2048)) @ mix + shift, 0) for shift in (0.0, 0.1))
    both = [Moments(len(x), x.mean(axis=0), np.cov(x.T)) for x in (one, two)]

    def reference() -> float:
        root = scipy.linalg.sqrtm(both[0].covariance @ both[1].covariance)
        gap = both[0].mean - both[1].mean
        return float(gap @ gap + np.trace(both[0].covariance) + np.trace(both[1].covariance) - 2 * np.trace(root).real)

    ours = seconds(lambda: frechet_of_moments(*both), runs=1)
    began = time.process_time()
    wanted = reference()
    show("Fréchet, D 2048, from covariances", ours, time.process_time() - began, "sqrtm")
    print(f"{'':42s} relative difference {abs(frechet_of_moments(*both) / wanted - 1):.1e}")
    few = [one[60 * i : 60 * i + 60] for i in range(4)], [two[60 * i : 60 * i + 60] for i in range(4)]
    show("Fréchet with interval, 240 frames, D 2048", seconds(lambda: frechet_by_clip(*few)))


def suite(n_clips: int, n_frames: int) -> None:
    """One pass over generated and true clips for all of these metrics, beside the networks' forward passes alone."""
    names = ["fid", "fvd16", "fvd32", "dr25", "psnr", "ssim", "lpips"]
    truth = [Clip(f"{i:03d}", "s", "test", n_frames, {"frames": frames(n_frames, 2 * i)}) for i in range(n_clips)]
    made = [Clip(c.id, "s", "test", n_frames, {"frames": frames(n_frames, 2 * i + 1)}) for i, c in enumerate(truth)]
    Extraction([METRICS[n] for n in names], weights="seeded").arrays(METRICS["fid"], made[0], truth[0])

    picture = inception.load_inception(resolve("inception-fid", "seeded"), "cpu")
    video = i3d.load_i3d(resolve("i3d", "seeded"), "cpu")
    alex = lpips.load_lpips("alex", resolve("lpips-alex", "seeded"), "cpu")
    batch = torch.rand(16, 3, 299, 299).contiguous(memory_format=torch.channels_last)
    pair = torch.rand(16, 3, SIDE, SIDE)
    with exact_inference():
        forward = 2 * n_clips * n_frames * seconds(lambda: picture(batch), runs=1) / 16
        forward += n_clips * n_frames * seconds(lambda: alex(pair, pair), runs=1) / 16
        for length in (16, 32):
            window = torch.rand(1, 3, length, 224, 224)
            forward += 2 * n_clips * (n_frames // length) * seconds(lambda w=window: video(w), runs=1)
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            began = time.process_time()
            score_method(
                "made",
                made,
                truth,
                dataset="noise",
                split="test",
                metrics=names,
                weights="seeded",
                features_dir=Path(folder),
            )
            spent.append(time.process_time() - began)
    show(f"Suite, {n_clips} clips of {n_frames} frames", spent[0], forward, "networks alone")
    show("The same again, features on disk", spent[1])
    print(f"{'Peak memory':42s} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:10.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    networks()
    distances()
    suite(chosen.clips, chosen.frames)


if __name__ == "__main__":
    main()
