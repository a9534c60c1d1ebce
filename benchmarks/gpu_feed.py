"""Whether processors keep one GPU busy while outputs are scored; no GPU is needed. Run manually:

    python benchmarks/gpu_feed.py --clips 6 --workers 2

Each network is timed here on one thread, and then replaced by a sleep that is fifty times shorter: what it would take
on a GPU. Clips of the embedded dataset (4 s at 128 px) are scored. Printed are

* the processor's time a frame for what needs no device: matching, hashing, face points, SSIM, sound;
* the networks' share of the time of a process that runs the networks alone, with the former already stored: as it
  was, and against the processor's time of the thread that runs them, which other load on the machine does not change;
* their share where as many workers as said prepare clips at the same time, on the cores that there are.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the libraries count the machine's cores

import cv2
import numpy as np
import torch

import metrics as suite  # noqa: TID251  the script beside this one
from dawn_bench.ahead import ahead
from dawn_bench.baselines.formats import read_output
from dawn_bench.clip import Clip
from dawn_bench.metrics.features import i3d, identity, inception, lpips, syncnet
from dawn_bench.metrics.networks.i3d import I3D
from dawn_bench.metrics.networks.inception import FidInception
from dawn_bench.metrics.networks.inference import exact_inference, for_inference
from dawn_bench.metrics.networks.iresnet import IResNet
from dawn_bench.metrics.networks.syncnet import SyncNet
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.metrics.scoring.matching import FileLoad, Matcher
from dawn_bench.metrics.scoring.pictures import Pictures
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.video import read_frames, write_video

FASTER = 50
OF_PROCESSORS = ("psnr", "ssim", "bas", "blink")
OF_DEVICE = ("fid", "fvd16", "fvd32", "lse-c", "csim", "lpips")


def measured() -> dict[str, float]:
    """Seconds of one thread: a frame, frame of a window, lip window, sound window, face, pair."""
    pictures, faces, pair = torch.rand(2, 3, 299, 299), torch.rand(2, 3, 112, 112), torch.rand(2, 4, 3, 128, 128)
    window, lips, sound = torch.rand(1, 3, 16, 224, 224), torch.rand(12, 3, 224, 224), torch.rand(64, 1, 13, 20)
    networks: dict[str, tuple[torch.nn.Module, Callable[[Any], Any], int]] = {
        "inception": (FidInception(), lambda n: n(pictures, tap=2048), 2),
        "i3d": (I3D(), lambda n: n(window), 16),
        "lips": (SyncNet(), lambda n: n.lips(lips), 8),
        "sound": (SyncNet(), lambda n: n.audio(sound), 64),
        "faces": (IResNet(50), lambda n: n(faces), 2),
        "pairs": (lpips.package_network("alex"), lambda n: n(*pair), 4),
    }
    times = {}
    for name, (network, run, count) in networks.items():
        for_inference(network, device="cpu")
        with exact_inference():
            times[name] = suite.seconds(partial(run, network), runs=2)[0] / count
    return times


class Sleeping:
    """Networks that sleep; `spent` is for how long."""

    def __init__(self, times: dict[str, float]) -> None:
        self.times, self.spent = times, 0.0

    def sleep(self, name: str, count: int) -> None:
        """As long as a GPU would take for so many."""
        began = time.perf_counter()
        time.sleep(self.times[name] * count / FASTER)
        self.spent += time.perf_counter() - began

    def patches(self) -> Iterator[Any]:
        """In place of the networks; everything else is what scores take."""

        def answers(name: str, width: int, count: Callable[..., int]) -> Callable[..., torch.Tensor]:
            def answer(_: Any, *given: Any, **__: Any) -> torch.Tensor:
                number = count(*given)
                self.sleep(name, number * (given[0].shape[2] if name == "i3d" else 1))
                return torch.zeros(number, width)

            return answer

        def embed(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
            for frame, face in zip(frames, points, strict=True):
                identity.aligned(frame, identity.five_points(face), identity.align.ARCFACE)
            self.sleep("faces", len(frames))
            return np.ones((len(frames), 512), np.float32)

        def distance(_: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            self.sleep("pairs", len(x))
            return torch.zeros(len(x), 1, 1, 1)

        from lpips import LPIPS

        yield patch.object(FidInception, "forward", answers("inception", 2048, len))
        yield patch.object(I3D, "forward", answers("i3d", 400, len))
        yield patch.object(SyncNet, "lips", answers("lips", 1024, lambda frames: len(frames) - 4))
        yield patch.object(SyncNet, "audio", answers("sound", 1024, len))
        yield patch.object(LPIPS, "forward", distance)
        yield patch.dict(identity._EMBEDDERS, {"dlib": lambda weights: embed})
        yield patch.dict(identity.STRIDE, {"dlib": 1})
        for module in (inception, i3d, lpips, syncnet):  # as on a GPU: beside the processor, which resizes there
            yield patch.object(module, "beside", lambda device: True)
        yield patch.dict(inception._RESIZES, {"pytorch-fid": lambda frames: frames.float()})
        yield patch.object(i3d, "prepare_window", lambda frames, resize: frames.permute(3, 0, 1, 2).float())


class Faces(Pictures):
    """The face points of both clips."""

    needs = ("landmarks",)


def pair_of(folder: Path, number: int) -> tuple[FileLoad, Clip]:
    """The output in a file, and its true clip."""
    video = folder / f"true{number}.mp4"
    frames = read_frames(video)
    true = Clip(f"c{number}", "s", "test", len(frames), {"frames": frames, "audio": read_audio(video)})
    path = folder / f"output{number}.mp4"
    return FileLoad(path, lambda: read_output(path, true)), true


def prepare(folder: Path, number: int) -> tuple[int, float]:
    """What needs no device, for one clip, into the folder's features; processor seconds."""
    began = time.process_time()
    load, true = pair_of(folder, number)
    metrics = [*(METRICS[name] for name in OF_PROCESSORS), Pictures, Faces]
    extraction = Extraction(metrics, weights="seeded", features_dir=folder / "features")
    match = Matcher(folder=folder / "matched")
    output, true, _ = match(load, true)
    for metric in metrics:
        extraction.arrays(metric, output, true)
    extraction.flush()
    match.flush()
    return number, time.process_time() - began


@lru_cache(maxsize=1)
def _extraction(folder: Path) -> Extraction:
    """One for all clips, as in a worker: its networks are loaded once."""
    return Extraction([METRICS[name] for name in OF_DEVICE], weights="seeded", features_dir=folder / "features")


def feed(folder: Path, numbers: Iterator[int], sleeping: Sleeping) -> tuple[float, float, float]:
    """The networks of some clips: seconds asleep, seconds in all, and the processor's in the thread that runs them."""

    def pairs() -> Iterator[tuple[Clip, Clip]]:
        match = Matcher(folder=folder / "matched")
        for number in numbers:
            load, true = pair_of(folder, number)
            output, true, _ = match(load, true)
            output["frames"]  # decoded here, while another clip is scored
            yield output, true

    metrics = [METRICS[name] for name in OF_DEVICE]
    with ExitStack() as stack:
        for each in sleeping.patches():
            stack.enter_context(each)
        extraction = _extraction(folder)
        sleeping.spent, began, processor = 0.0, time.perf_counter(), time.thread_time()
        for output, true in ahead(pairs(), depth=1):
            for metric in metrics:
                extraction.arrays(metric, output, true)
        return sleeping.spent, time.perf_counter() - began, time.thread_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    times = measured()
    print(", ".join(f"{name} {spent * 1e3:.1f} ms" for name, spent in times.items()), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, frames = Path(name), 0
        for number, (output, true) in enumerate(suite.talking_clips(folder, chosen.clips + 2)):
            write_video(folder / f"true{number}.mp4", true["frames"], audio=true["audio"], lossless=True)
            write_video(folder / f"output{number}.mp4", output["frames"], audio=output["audio"], lossless=True)
            frames += true.n_frames
        sleeping, first, last = Sleeping(times), chosen.clips // 2 + 1, chosen.clips + 1
        prepare(folder, 0)
        feed(folder, iter([0]), sleeping)  # the first clip loads libraries and networks
        spent = sum(prepare(folder, number)[1] for number in range(1, first))
        asleep, whole, own = feed(folder, iter(range(1, first)), sleeping)
        share = (first - 1) / last
        per_frame = [1e3 * seconds / (frames * share) for seconds in (spent, asleep, own)]
        print(
            "a frame: {:.1f} ms of processors ahead, {:.1f} ms of networks, {:.1f} ms between them".format(*per_frame)
        )
        print(
            f"networks alone, the rest stored: {asleep / whole:.0%} of {whole:.1f} s, and "
            f"{asleep / (asleep + own):.0%} where the preparing thread has a core"
        )
        print(f"workers that keep them busy: {spent / asleep:.1f}", flush=True)
        with ProcessPoolExecutor(chosen.workers) as pool:
            list(pool.map(prepare, [folder] * chosen.workers, [0] * chosen.workers))
            began = time.perf_counter()
            tasks = [pool.submit(prepare, folder, number) for number in range(first, last)]
            asleep, _, _ = feed(folder, (task.result()[0] for task in as_completed(tasks)), sleeping)
            whole = time.perf_counter() - began
        print(f"with {chosen.workers} workers on {os.cpu_count()} cores: {asleep / whole:.0%} of {whole:.1f} s")


if __name__ == "__main__":
    main()
