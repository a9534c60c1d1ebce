"""Speed and memory of the metrics, compared with installed canonical implementations. Run manually:

    python benchmarks/metrics.py networks                    each network against its canonical implementation
    python benchmarks/metrics.py frechet                     the Fréchet distance at 2,048 dimensions
    python benchmarks/metrics.py suite --folder DIR          all metrics over 20 clips of 4 s; can be resumed
    python benchmarks/metrics.py memory                      memory against the number of clips
    python benchmarks/metrics.py length --minutes 5 30       memory against the length of one clip (--side 64)

One thread. Times are CPU time, the best of several runs, to limit the effect of other load; ours and theirs alternate
on the same inputs and weights. Networks have seeded weights, since speed does not depend on them. `pytorch-fid`,
`torch-fidelity`, `clean-fid`, `torchmetrics`, `lpips`, scikit-image and `python_speech_features` are timed where
installed. Canonical code without a package (I3D, SyncNet, S3FD, ArcFace) is reimplemented here the way its authors run
it: unfused layers, windows copied, one image at a time.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the libraries count the machine's cores

import cv2
import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F

from dawn_bench.clip import Clip
from dawn_bench.files import sha256_file
from dawn_bench.lazy import LazyRows
from dawn_bench.metrics.features import i3d, identity, images, inception, lpips
from dawn_bench.metrics.features.syncnet import SyncNetFeature
from dawn_bench.metrics.functional import align
from dawn_bench.metrics.functional.frechet import Moments, frechet_by_clip, frechet_of_moments
from dawn_bench.metrics.functional.frechet import frechet as frechet_distance
from dawn_bench.metrics.functional.mfcc import mfcc
from dawn_bench.metrics.networks import i3d as i3d_network
from dawn_bench.metrics.networks import s3fd
from dawn_bench.metrics.networks.inference import exact_inference, for_inference
from dawn_bench.metrics.networks.iresnet import IResNet
from dawn_bench.metrics.networks.syncnet import SyncNet
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.extraction import Extraction
from dawn_bench.weights import Resolved, entry, resolve, seeded_fill

SIDE, SECONDS = 128, 4
SUITE = ("fid", "fvd16", "fvd32", "lse-c", "lse-d", "csim", "bas", "blink", "dr25", "dr50", "psnr", "ssim", "lpips")


def seconds(*work: Callable[[], object], runs: int = 3) -> list[float]:
    """CPU time of each function in `work`: the best of `runs` alternating rounds, after one warm-up round."""
    best = [float("inf")] * len(work)
    for turn in range(runs + 1):
        for i, function in enumerate(work):
            began = time.process_time()
            function()
            spent = time.process_time() - began
            best[i] = min(best[i], spent) if turn else best[i]
    return best


def show(what: str, ours: float, theirs: float | None = None, name: str = "") -> None:
    """Print one line in milliseconds."""
    if theirs is not None:
        comparison = f"   {name} {theirs * 1e3:.2f} ms, {theirs / ours:.2f}x ours"
    else:
        comparison = f"   {name}: not installed" if name else ""
    print(f"{what:44s} {ours * 1e3:10.2f} ms{comparison}", flush=True)


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Smooth moving noise, uint8 (count,128,128,3), with all frames different."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, count // 8 + 2, 8, 8), dtype=np.float32))
    smooth = F.interpolate(coarse, (count, SIDE, SIDE), mode="trilinear")[0].permute(1, 2, 3, 0)
    return (smooth.numpy() * 255).astype(np.uint8)


def networks(only: Sequence[str]) -> None:
    """Time each network (or those named in `only`) against its canonical implementation, per frame, pair or window."""
    for benchmark in (_inception, _i3d, _syncnet, _arcface, _s3fd, _lpips, _ssim, _mfcc):
        if not only or benchmark.__name__[1:] in only:
            benchmark()


def _inception() -> None:
    some = frames(16)
    net = inception.load_inception(resolve("inception-fid", "seeded"), "cpu")
    work: dict[str, Callable[[], object]] = {"ours": lambda: inception.inception_features(some, net)}
    plain = inception.FidInception()
    seeded_fill(plain, salt=resolve("inception-fid", "seeded").sha256, gain=inception.SEEDED_GAIN)
    pictures = torch.from_numpy(some).permute(0, 3, 1, 2)
    if find_spec("pytorch_fid"):
        from pytorch_fid import inception as theirs

        with patch.object(theirs, "load_state_dict_from_url", lambda *a, **k: plain.state_dict()):
            canonical = theirs.InceptionV3([3]).eval()
        with torch.inference_mode():
            wanted = canonical(pictures[:4].float() / 255)[0][:, :, 0, 0].numpy()
        off = np.abs(inception.inception_features(some[:4], net) - wanted).max() / np.abs(wanted).max()
        print(f"{'Inception':44s} largest difference from pytorch-fid, relative {off:.1e}")
        work["pytorch-fid"] = _inference(lambda: canonical(pictures.float() / 255))
    if find_spec("torch_fidelity"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            torch.save(plain.state_dict(), file.name)
            other = FeatureExtractorInceptionV3("i", ["2048"], feature_extractor_weights_path=file.name)
        work["torch-fidelity"] = _inference(lambda: other(pictures))
    if find_spec("cleanfid"):
        from cleanfid.resize import make_resizer

        resizer = make_resizer("PIL", False, "bicubic", (299, 299))
        ours, theirs_ = seconds(
            lambda: inception.resize_clean(torch.from_numpy(some)), lambda: [resizer(picture) for picture in some]
        )
        show("clean resize, a frame", ours / len(some), theirs_ / len(some), "clean-fid")
    _lines("Inception, a frame", work, len(some), ("pytorch-fid", "torch-fidelity"))


def _i3d() -> None:
    video = i3d.load_i3d(resolve("i3d", "seeded"), "cpu")
    plain = i3d_network.I3D().eval()
    seeded_fill(plain, salt=resolve("i3d", "seeded").sha256, gain=inception.SEEDED_GAIN)

    def unit(self: i3d_network.Unit, x: torch.Tensor) -> torch.Tensor:
        conv = self.conv3d
        pads = i3d_network.same_padding(tuple(x.shape[2:]), conv.kernel_size, conv.stride)  # type: ignore[arg-type]
        return F.relu(self.bn(F.conv3d(F.pad(x, pads), conv.weight, conv.bias, conv.stride)))

    def pool(self: i3d_network.MaxPool, x: torch.Tensor) -> torch.Tensor:
        pads = i3d_network.same_padding(tuple(x.shape[2:]), self.kernel, self.stride)
        return F.max_pool3d(F.pad(x, pads), self.kernel, self.stride)

    def canonical(window: np.ndarray) -> torch.Tensor:
        with patch.object(i3d_network.Unit, "forward", unit), patch.object(i3d_network.MaxPool, "forward", pool):
            return plain(i3d.prepare_window(torch.from_numpy(window))[None])

    for length in (16, 32):
        windows = i3d.cut_windows(frames(32), length)[:1]
        work = {
            "ours": lambda w=windows: i3d.i3d_features(w, video),
            "as published": _inference(lambda w=windows: canonical(w[0])),
        }
        _lines(f"I3D, a window of {length}", work, 1, ("as published",), runs=2)


def _syncnet() -> None:
    feature = SyncNetFeature(weights="seeded")
    plain: SyncNet = feature.network
    some, count = frames(24), 20
    sound = np.random.default_rng(0).integers(-9000, 9000, 26 * 640).astype(np.int16)

    def lips() -> torch.Tensor:
        x = torch.from_numpy(np.stack([cv2.resize(f, (224, 224)) for f in some])[..., ::-1].copy()).float()
        windows = torch.stack([x[i : i + 5].permute(3, 0, 1, 2) for i in range(count)])
        return plain.netfclip(plain.netcnnlip(windows).flatten(1))

    work = {"ours": _inference(lambda: feature._lips(some, count)), "as published": _inference(lips)}
    _lines("SyncNet, a lip window", work, count, ("as published",))

    def audio() -> torch.Tensor:
        spectrum = mfcc(sound).astype(np.float32).T
        windows = np.stack([spectrum[:, 4 * i : 4 * i + 20] for i in range(count)])[:, None]
        return plain.netfcaud(plain.netcnnaud(torch.from_numpy(windows)).flatten(1))

    work = {"ours": _inference(lambda: feature._audio(sound, count)), "as published": _inference(audio)}
    _lines("SyncNet, a sound window", work, count, ("as published",))


def _arcface() -> None:
    network = IResNet(50).eval()
    seeded_fill(network, salt="arcface/")
    if not find_spec("onnx"):
        print(f"{'ArcFace IResNet50, a face':44s} the package onnx is not installed: no file for OpenCV to run")
        return
    frames_ = np.random.default_rng(0).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)
    points = np.zeros((4, 68, 2), np.float32)  # faces aligned with the template
    for place, to in zip((slice(36, 42), slice(42, 48), 30, 48, 54), align.ARCFACE.points, strict=True):
        points[:, place] = to
    faces = torch.from_numpy(frames_).permute(0, 3, 1, 2) / 127.5 - 1
    with tempfile.TemporaryDirectory() as folder:
        file, free = Path(folder) / "r50.onnx", {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(
            network, (faces[:1],), str(file), dynamo=False, dynamic_axes=free, input_names=["x"], output_names=["y"]
        )
        embed = identity.arcface(Resolved(entry("arcface-r50"), "user", file, sha256_file(file)))
        work: dict[str, Callable[[], object]] = {"ours": lambda: embed(frames_, points)}
        if find_spec("onnxruntime"):  # insightface's own runtime
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            work["onnxruntime"] = lambda: [session.run(None, {"x": face[None].numpy()}) for face in faces]
    work["torch"] = _inference(lambda: [network(face[None]) for face in faces])
    with torch.inference_mode():
        wanted = network(faces).numpy()
    off = np.abs(embed(frames_, points) - wanted).max() / np.abs(wanted).max()
    print(f"{'ArcFace IResNet50':44s} largest difference from torch, relative {off:.1e}")
    _lines("ArcFace IResNet50, a face", work, 4, ("onnxruntime", "torch"), runs=6)


def _s3fd() -> None:
    network = s3fd.S3FD().eval()
    seeded_fill(network, salt="s3fd/")
    with torch.no_grad():  # few faces, as in a real image: with random scores every position would be a candidate
        for conf in network.conf:
            conf.bias[:-1] += 6
    folded = for_inference(copy.deepcopy(network), device="cpu")
    assert isinstance(folded, s3fd.S3FD)
    picture = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)

    def canonical() -> None:
        x = torch.from_numpy(picture).float().sub(torch.tensor(s3fd.MEAN)).permute(2, 0, 1)[None]
        offsets, probability, _ = network(x)
        priors = []
        for (rows, columns), step, size in zip(
            [(45, 80), (23, 40), (11, 20), (5, 10), (3, 5), (2, 3)], s3fd.STEPS, s3fd.SIZES, strict=True
        ):
            for i in range(rows):
                for j in range(columns):
                    priors.append([(j + 0.5) * step / 320, (i + 0.5) * step / 180, size / 320, size / 180])
        boxes = s3fd.decode(offsets[0], torch.tensor(priors)[: offsets.shape[1]])
        [torch.cat([box, p[1:]]) for box, p in zip(boxes[:750], probability[0, :750], strict=True)]

    work = {
        "ours": lambda: s3fd.detect(folded, picture, scale=1.0),
        "as published": _inference(canonical),
    }
    _lines("S3FD, a frame of 320 x 180", work, 1, ("as published",))


def _lpips() -> None:
    some = frames(16)
    noisy = np.clip(some.astype(np.int16) + 9, 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(f).permute(0, 3, 1, 2).float() / 127.5 - 1 for f in (some, noisy))
    for net in ("alex", "vgg"):
        network = lpips.load_lpips(net, resolve(f"lpips-{net}", "seeded"), "cpu")
        package = lpips.package_network(net).eval()
        count = 16 if net == "alex" else 4
        work = {
            "ours": lambda n=network, c=count: lpips.lpips_per_frame(some[:c], noisy[:c], n),
            "lpips": _inference(lambda p=package, c=count: p(x[:c], y[:c])),
        }
        _lines(f"LPIPS {net}, a pair", work, count, ("lpips",))


def _ssim() -> None:
    some = frames(8)
    work = {"ours": lambda: images.ssim_per_frame(some, some[::-1])}
    if find_spec("torchmetrics"):
        from torchmetrics.functional.image import structural_similarity_index_measure

        x, y = (torch.from_numpy(f.copy()).permute(0, 3, 1, 2).double() for f in (some, some[::-1]))
        work["torchmetrics"] = lambda: structural_similarity_index_measure(x, y, data_range=255.0)
    _lines("SSIM (scikit-image), a pair", work, len(some), ("torchmetrics",))


def _mfcc() -> None:
    sound = np.random.default_rng(0).integers(-9000, 9000, 48_000).astype(np.int16)
    work: dict[str, Callable[[], object]] = {"ours": lambda: mfcc(sound)}
    if find_spec("python_speech_features"):
        from python_speech_features import mfcc as canonical

        work["python_speech_features"] = lambda: canonical(sound, 16_000)
    _lines("MFCC, 3 s", work, 1, ("python_speech_features",), runs=10)


def _inference(work: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with exact_inference():
            return work()

    return run


def _lines(what: str, work: dict[str, Callable[[], object]], per: int, others: tuple[str, ...], runs: int = 3) -> None:
    spent = dict(zip(work, seconds(*work.values(), runs=runs), strict=True))
    for name in others:
        show(what, spent["ours"] / per, spent[name] / per if name in spent else None, name)


def frechet() -> None:
    """Time the Fréchet distance at 2,048 dimensions against scipy.linalg.sqrtm on the same covariances."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((2048, 2048)) / np.sqrt(2048)
    first, second = (np.maximum(rng.standard_normal((2600, 2048)) @ mix + shift, 0) for shift in (0.0, 0.1))
    for samples in (2600, 1000):
        few = first[:samples], second[:samples]
        both = [Moments(len(x), x.mean(axis=0), np.cov(x.T)) for x in few]
        gap = both[0].mean - both[1].mean
        began = time.process_time()
        root = scipy.linalg.sqrtm(both[0].covariance @ both[1].covariance)
        theirs = time.process_time() - began
        wanted = float(
            gap @ gap + np.trace(both[0].covariance) + np.trace(both[1].covariance) - 2 * np.trace(root).real
        )
        ways = {"covariances": lambda m=both: frechet_of_moments(*m), "samples": lambda x=few: frechet_distance(*x)}
        for way, ours in zip(ways, seconds(*ways.values(), runs=2), strict=True):
            show(f"Fréchet, D 2048, rank {min(samples - 1, 2048)}, from {way}", ours, theirs, "sqrtm")
            print(f"{'':44s} relative difference {abs(ways[way]() / wanted - 1):.1e}")
    if find_spec("torchmetrics"):
        from torchmetrics.image.fid import _compute_fid

        parts = [torch.from_numpy(a) for m in both for a in (m.mean, m.covariance)]
        began = time.process_time()
        off = abs(float(_compute_fid(*parts)) / wanted - 1)
        show("torchmetrics, the last covariances", time.process_time() - began)
        print(f"{'':44s} relative difference {off:.1e}")
    clips = tuple([x[60 * i : 60 * i + 60] for i in range(4)] for x in (first, second))
    show("Fréchet with interval, 240 frames, D 2048", seconds(lambda: frechet_by_clip(*clips))[0])


def talking_clips(folder: Path, count: int) -> list[tuple[Clip, Clip]]:
    """(generated, reference) clips of 4 s from the embedded dataset; the generated ones have added noise."""
    from dawn_bench.pipelines.media.audio import read_audio
    from dawn_bench.pipelines.media.video import read_frames
    from dawn_bench.pipelines.synthetic.write import write_embedded

    root = folder / "clips"
    if not (root / "done").exists():
        write_embedded(root, speakers=count // 2, clips=count, seconds=float(SECONDS), size=SIDE, seed=5)
        (root / "done").touch()
    pairs = []
    for i, video in enumerate(sorted(root.rglob("*.mp4"))[:count]):
        true = {"frames": read_frames(video), "audio": read_audio(video)}
        noise = np.random.default_rng(i).integers(-12, 13, true["frames"].shape)
        generated = {"frames": np.clip(true["frames"] + noise, 0, 255).astype(np.uint8), "audio": true["audio"]}
        n = len(true["frames"])
        pairs.append((Clip(video.stem, "s", "test", n, generated), Clip(video.stem, "s", "test", n, true)))
    return pairs


@contextmanager
def forward_time() -> Iterator[dict[str, float]]:
    """CPU time inside the networks, by network, while the context is active."""
    from dawn_bench.metrics.networks.inception import FidInception
    from dawn_bench.pipelines.faces.backends.dlib import DlibBackend

    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return work(*args, **options)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - began

        return run

    from lpips import LPIPS

    builders = dict(identity._EMBEDDERS)

    def embedder(name: str) -> Callable[[Path], Any]:
        return lambda path: timed(f"identity, {name}", builders[name](path))

    embedders = {name: embedder(name) for name in builders}
    with (
        patch.object(FidInception, "forward", timed("Inception", FidInception.forward)),
        patch.object(i3d_network.I3D, "forward", timed("I3D", i3d_network.I3D.forward)),
        patch.object(LPIPS, "forward", timed("LPIPS", LPIPS.forward)),
        patch.object(SyncNet, "lips", timed("SyncNet", SyncNet.lips)),
        patch.object(SyncNet, "audio", timed("SyncNet", SyncNet.audio)),
        patch.object(DlibBackend, "detect", timed("face detector", DlibBackend.detect)),
        patch.object(DlibBackend, "landmarks", timed("landmarks", DlibBackend.landmarks)),
        patch.object(identity, "_EMBEDDERS", embedders),
    ):
        yield spent


def suite(folder: Path, count: int, budget: float) -> None:
    """Run all metrics over `count` clips: total CPU time against the CPU time inside the networks, in the same run.

    Clips that an earlier run finished are read from `folder`; a run takes at most `budget` seconds.
    """
    log, began = folder / "suite.jsonl", time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    metrics = [METRICS[name]() for name in SUITE]
    clips = talking_clips(folder, count)
    with forward_time() as spent:
        extraction = Extraction(metrics, weights="seeded", features_dir=folder / "features")
        for generated, true in clips:
            if any(entry["clip"] == true.id for entry in done):
                continue
            if time.monotonic() - began > budget:
                break
            spent.clear()
            start = time.process_time()
            for metric in metrics:
                extraction.arrays(metric, generated, true)
            entry = {"clip": true.id, "cpu": time.process_time() - start, "forward": dict(spent)}
            done.append(entry)
            with log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(f"{true.id}: {entry['cpu']:.1f} s, in networks {sum(spent.values()):.1f} s", flush=True)
    if len(done) < len(clips):
        print(f"{len(done)} of {len(clips)} clips done; run again to resume")
        return
    start = time.process_time()
    for generated, true in clips:
        for metric in metrics:
            metric.update(*extraction.arrays(metric, generated, true), clip_id=true.id)
    scores = {metric.name: metric.compute().value for metric in metrics}
    again = time.process_time() - start
    forward: dict[str, float] = {}
    for entry in done:
        for name, value in entry["forward"].items():
            forward[name] = forward.get(name, 0.0) + value
    whole, inside = sum(e["cpu"] for e in done) + again, sum(forward.values())
    for name, value in sorted(forward.items(), key=lambda item: -item[1]):
        print(f"  {name:42s} {value:10.1f} s")
    print(f"{'networks together':44s} {inside:10.1f} s")
    print(f"{f'suite, {count} clips of {SECONDS} s':44s} {whole:10.1f} s   {whole / inside:.3f}x the networks")
    print(f"{'  of which scores from cached features':44s} {again:10.1f} s   {scores}")


def memory() -> None:
    """Measure peak and anonymous memory of a process that scores 5, 20 and 60 small clips."""
    code = (
        "import sys; import metrics as m, numpy as np\n"
        "from dawn_bench.clip import Clip\n"
        "from dawn_bench.metrics.scoring.scorer import score_method\n"
        "n = int(sys.argv[1]); shot = lambda i: m.frames(4, i)[:, ::2, ::2]\n"
        "true = [Clip(f'{i:03d}', 's', 'test', 4, m.Fresh(2 * i)) for i in range(n)]\n"
        "made = {c.id: (lambda c=c, i=i: Clip(c.id, 's', 'test', 4, m.Fresh(2 * i + 1))) for i, c in enumerate(true)}\n"
        "names = ['fid', 'psnr', 'ssim', 'lpips']\n"
        "score_method('m', made, true, dataset='d', split='test', metrics=names, weights='seeded')\n"
        "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('VmHWM', 'RssAnon'))])\n"
    )
    for count in (5, 20, 60):
        out = subprocess.run(
            [sys.executable, "-c", code, str(count)], capture_output=True, text=True, check=True
        ).stdout
        peak, anonymous = (int(text) / 1024 for text in json.loads(out.splitlines()[-1].replace("'", '"')))
        print(f"{count:3d} clips: peak {peak:.0f} MB, anonymous at the end {anonymous:.0f} MB", flush=True)


def length(minutes: Sequence[float], side: int) -> None:
    """Measure the memory of a process that scores one clip of so many minutes."""
    code = "import sys, metrics; metrics.one_length(*map(float, sys.argv[1:]))"
    for each in minutes:
        command = [sys.executable, "-c", code, str(each), str(side)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(out.splitlines()[-1], flush=True)


def one_length(minutes: float, side: float = 64) -> None:
    """Score one clip with every metric of video but LPIPS: arrays of their full size, without the networks' work."""
    from dawn_bench.baselines.formats import read_output
    from dawn_bench.metrics.features import syncnet
    from dawn_bench.metrics.functional.distinct import rows_of_distinct
    from dawn_bench.metrics.scoring.matching import FileLoad
    from dawn_bench.metrics.scoring.scorer import score_method
    from dawn_bench.pipelines.faces.backends.dlib import DlibBackend
    from dawn_bench.pipelines.media.video import write_video

    count, rng = round(minutes * 1500), np.random.default_rng(0)
    sound = rng.integers(-9000, 9000, count * 640).astype(np.int16)
    face, idle = np.array([[60, 60, 200, 200]], np.float32), np.stack([rng.uniform(70, 190, 68)] * 2, 1)

    def widths(size: int) -> Callable[..., np.ndarray]:
        def rows(parts: Any, *_: Any, count: int | None = None, **__: Any) -> np.ndarray:
            number = len(parts) if count is None else count
            return rows_of_distinct(
                iter(parts), lambda x: rng.random((len(x), size), np.float32), size=16, count=number
            )

        return rows

    lips, audio = (lambda self, x, k=k, **_: torch.rand(len(x) - k, 1024) for k in (4, 0))
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(inception, "inception_features", widths(2048)),
        patch.object(i3d, "i3d_features", widths(400)),
        patch.object(images, "ssim_per_frame", lambda a, b, window: np.ones(len(a))),
        patch.object(syncnet.SyncNet, "lips", lips),
        patch.object(syncnet.SyncNet, "audio", audio),
        patch.object(DlibBackend, "detect", lambda self, frame, expect=None: face),
        patch.object(DlibBackend, "landmarks", lambda self, frame, box: idle + rng.normal(0, 0.1, (68, 2))),
        patch.object(identity, "STRIDE", {"dlib": 1}),
        patch.dict(identity._EMBEDDERS, {"dlib": lambda weights: lambda f, p: rng.random((len(f), 512), np.float32)}),
    ):
        path = Path(folder) / "a.mp4"
        write_video(path, Walk(count, int(side), 1), audio=sound, lossless=True)
        arrays: Any = {"frames": Walk(count, int(side), 2), "audio": sound}
        true, seen, began = Clip("a", "s", "test", count, arrays), {"RssAnon": 0, "VmRSS": 0}, time.monotonic()
        names = [name for name in SUITE if name != "lpips"]
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.05):
                for line in Path("/proc/self/status").read_text().splitlines():
                    if (key := line.partition(":")[0]) in seen:
                        seen[key] = max(seen[key], int(line.split()[1]))

        threading.Thread(target=watch, daemon=True).start()
        load = {"a": FileLoad(path, lambda: read_output(path, true))}
        store = {"weights": "seeded", "features_dir": Path(folder) / "features"}
        rows = score_method("m", load, [true], dataset="d", split="test", metrics=names, **store)  # type: ignore[arg-type]
        stop.set()
    measured, spent = sum(row.value is not None for row in rows), time.monotonic() - began
    anonymous, resident = (seen[key] / 1024 for key in ("RssAnon", "VmRSS"))
    frames_alone = count * side * side * 3 / 1e6
    print(
        f"{minutes:g} minutes ({frames_alone:.0f} MB of frames), {measured} metrics: peak {resident:.0f} MB, "
        f"of it {anonymous:.0f} MB anonymous; {spent:.0f} s"
    )


class Walk(LazyRows):
    """A picture that moves, drawn when it is read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, count: int, side: int, seed: int) -> None:
        small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        self.picture = cv2.resize(small, (2 * side, 2 * side), interpolation=cv2.INTER_CUBIC)
        self.shape = (count, side, side, 3)

    def _rows(self, numbers: Sequence[int]) -> np.ndarray:
        side = self.shape[1]
        places = [(k // side % side, k % side) for k in numbers]
        return np.stack([self.picture[y : y + side, x : x + side] for y, x in places])


class Fresh(dict):
    """Frames that are generated on each access, so that the clips themselves take no memory."""

    def __init__(self, seed: int) -> None:
        super().__init__(frames=None)
        self.seed = seed

    def __getitem__(self, name: str) -> np.ndarray:
        return np.ascontiguousarray(frames(4, self.seed)[:, ::2, ::2])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("networks", "frechet", "suite", "memory", "length"))
    parser.add_argument("--folder", type=Path, default=Path("metrics-benchmark"))
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=(), help="some of the networks, by name: inception, i3d, ...")
    parser.add_argument(
        "--budget", type=float, default=1e9, help="seconds after which the suite stops; run again to resume"
    )
    parser.add_argument("--minutes", type=float, nargs="*", default=(5.0, 30.0))
    parser.add_argument("--side", type=int, default=64, help="of the frames, pixels")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    match chosen.what:
        case "networks":
            networks(chosen.only)
        case "frechet":
            frechet()
        case "suite":
            suite(chosen.folder, chosen.clips, chosen.budget)
        case "memory":
            memory()
        case "length":
            length(chosen.minutes, chosen.side)


if __name__ == "__main__":
    main()
