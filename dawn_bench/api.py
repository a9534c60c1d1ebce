"""The public functions of dawn-bench, re-exported by `dawn_bench`: prepare, open, generate, score, evaluate and report.

All arguments after the first two are keyword-only. Paths are `str` or `Path`, and `~` is the home folder. Unusable
input raises `InputError`, whose one-line message ends with a hint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dawn_bench.arguments import as_names, as_optional_path, as_path

if TYPE_CHECKING:
    from dawn_bench.baselines.base import MethodClass
    from dawn_bench.cache import Cache
    from dawn_bench.executor import Engine
    from dawn_bench.metrics.scoring.clip_sets import ClipSetLike
    from dawn_bench.metrics.scoring.compare import MetricScore
    from dawn_bench.models.generator import Generator
    from dawn_bench.pipelines.preparation.prepare import PrepareReport
    from dawn_bench.weights import Policy
    from dawn_bench.workflow.evaluate import Evaluated
    from dawn_bench.workflow.generate_list import ListedClips


def prepare(
    root: str | Path,
    cache: str | Path,
    *,
    dataset: str | None = None,
    like: str | None = None,
    size: int | None = None,
    crop: Literal["auto", "face", "paper", "none"] | None = None,
    face: str | None = None,
    frames: Literal["raw", "lossless"] | None = None,
    pose: str | None = None,
    blink: str | None = None,
    extract: Sequence[str] | None = None,
    on_cut: Literal["split", "quarantine", "keep"] | None = None,
    max_gap: int | None = None,
    min_frames: int | None = None,
    max_frames: int | None = None,
    person: str | None = None,
    max_mouth_covered: float | None = None,
    max_yaw: float | None = None,
    min_face_height: int | None = None,
    min_face_in_frame: float | None = None,
    min_sharpness: float | None = None,
    require_audio: bool | None = None,
    audio_track: int | None = None,
    decoder: str | None = None,
    split: Literal["published", "identity"] | None = None,
    labels: str | Path | None = None,
    seed: int | None = None,
    jobs: int = 2,
    engine: Engine = "loky",
    address: str | None = None,
    device: str = "auto",
    devices: str | Sequence[str] = (),
    overwrite: bool = False,
    name: str | None = None,
) -> PrepareReport:
    """Prepare a cache from the videos below `root`: faces cropped, 25 fps, 16 kHz sound, pose, blinks, audio features.

    An interrupted run continues; new files and extractors are added. None: the recipe's (`like`), or the default.

    Args:
        root: folder with the videos.
        cache: folder to write to; an existing cache is continued.
        dataset: `folder` (default) for any videos, `crema`, `hdtf`, ..., or a registered name.
        like: a recipe, such as `dawn`: as a paper prepared its data. What is given beside it overrides it.
        size: side of the cached frames, pixels; default 128.
        crop: `face` a square around the face, `paper` a plain resize, `none` the centred square; `auto` (default) is
            `face`, but the whole frame of clips that the dataset has cropped to a square already.
        face: face back end, or a face, as `person` takes it; default `auto`.
        frames: `raw` (default); `lossless` takes less than half the bytes and reads slower.
        pose: head pose from the 68 `landmarks` (default), or by `3ddfa`, 3DDFA_V2 from its published files.
        blink: eye aspect ratio of `two-pairs` of lid points (default), or of `one-pair`, as DAWN's code has it.
        extract: extractors by name, default pose, blink, logmel, masks; adding a name adds its field to a cache.
        on_cut: scene cuts within a clip: `keep` (default), `split` or `quarantine`.
        max_gap: longest run of frames without a face that is interpolated; default 5.
        min_frames: shorter clips are left out; default 10.
        max_frames: only the first frames of each clip; default all.
        person: which of several faces: `speaking` (default), `largest`, `left`, `right` or a number from the left.
        max_mouth_covered: largest share of a clip in which the mouth is covered; default 0.8.
        max_yaw: largest turn of the head to a side, degrees; default 45.
        min_face_height: least height of the face in the source, pixels; default 20.
        min_face_in_frame: least share of the face that is in the picture; default 0.6.
        min_sharpness: least sharpness of the face: variance of its Laplacian over its variance; default 0.
        require_audio: leave out clips without sound; default True.
        audio_track: sound track of the videos, from 1; default: the one that a player plays.
        decoder: what decodes the pictures: `pyav` (default), `decord` or `torchcodec`.
        split: the `published` split (default), or `identity`: no person is in both parts (hdtf).
        labels: table with the columns file, speaker, split (`folder`).
        seed: seed of the split, where the dataset has none; default 0.
        jobs: worker processes; the bytes do not depend on their number.
        engine: `loky` on this machine, `dask` or `ray` on a cluster.
        address: the cluster's scheduler.
        device: of the networks: `auto` (every GPU of a worker's machine, else its CPU), `cpu`, `cuda:1`.
        devices: several, over which the workers are spread, at least one on each: `("cuda:0", "cuda:1")` or `all`.
        overwrite: replace an existing cache.
        name: what reports call the dataset; default: as before, else the name of the cache's folder.

    Returns:
        Counts of clips used and left out (by reason), and `cache`, the folder.

    Raises:
        InputError: there is no usable clip, a setting is wrong, or the cache was prepared with other settings.

    >>> report = prepare("my-videos", "new-cache", size=64, jobs=1)
    >>> report.ok, report.quarantined
    (2, {})
    """
    from dawn_bench.config import validated
    from dawn_bench.pipelines.preparation.prepare import prepare as run
    from dawn_bench.pipelines.settings import PrepareSettings

    extract, labels = None if extract is None else as_names(extract), as_optional_path(labels, "labels")
    arguments = locals()
    given = {name: arguments[name] for name in PrepareSettings.model_fields if arguments[name] is not None}
    settings = validated(PrepareSettings, given, what="argument")
    work: Any = {"jobs": jobs, "engine": engine, "address": address, "device": device, "devices": as_names(devices)}
    return run(as_path(root, "root"), as_path(cache, "cache"), settings, overwrite=overwrite, name=name, **work)


def open_cache(path: str | Path) -> Cache:
    """A prepared cache: a mapping of clips by id, each with named, memory-mapped arrays (see `Clip`).

    `cache.windows(...)` gives a PyTorch data set. Raises `InputError` when the folder is not a finished cache.

    >>> cache = open_cache("my-cache")
    >>> len(cache), cache.ids("test")
    (6, ['c4', 'c5'])
    >>> clip = cache["c4"]
    >>> clip["frames"].shape, clip["audio"].dtype, clip["pose"].shape
    ((30, 32, 32, 3), dtype('int16'), (30, 7))
    """
    from dawn_bench.cache import Cache

    return Cache(as_path(path, "path"))


def load_model(checkpoint: str | Path, *, device: str = "auto", model: str | None = None) -> Generator:
    """Load a generator of talking clips from a run folder, one of its files, released files, or `released-128`.

    The same call loads DAWN, DiT-Head, DiffSpeaker and registered models: `generate(image, audio, ...)` returns frames
    and sound, `save` writes an mp4 (see `Generator` and `TalkingClip`). The model's `options_class` lists its options
    and their ranges.

    Args:
        checkpoint: run folder, checkpoint file, or released files.
        device: `auto`, `cpu`, `cuda`.
        model: name of the model where the folder has several.

    Raises:
        InputError: the checkpoint is absent, damaged, incomplete or of no known model.

    >>> generator = load_model("runs/crema", device="cpu")
    >>> clip = generator.generate("portrait.png", "speech.wav", seed=1, steps=2)
    >>> clip.frames.shape, clip.frames.dtype, clip.audio.dtype, clip.fps
    ((12, 32, 32, 3), dtype('uint8'), dtype('int16'), 25)
    >>> print(clip.save("talk.mp4"))
    talk.mp4
    """
    from dawn_bench.models.loading import load_model as load

    return load(as_path(checkpoint, "checkpoint"), device=device, model=model)


def generate_list(
    items: str | Path,
    checkpoint: str | Path,
    *,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    jobs: int | None = None,
    device: str = "auto",
    devices: str | Sequence[str] = (),
) -> ListedClips:
    """Generate a clip for each row of a CSV file with the columns image, audio, out, and others of its settings.

    Clips that are there are kept. A row that fails is in `failed`. See `dawn-bench generate --help`.

    Args:
        items: the file; its relative paths are below its own folder.
        checkpoint: as in `load_model`.
        model: name of the model where the checkpoint has several.
        options: options of the model for all rows, such as `{"steps": 10}`.
        seed: of the rows without their own.
        jobs: worker processes, on which the clips do not depend; default: one for each device, on the CPU each core.
        device: `auto`, `cpu`, `cuda`.
        devices: several, over which the workers are spread, at least one on each: `("cuda:0", "cuda:1")` or `all`.

    Raises:
        InputError: the list or the checkpoint cannot be used, or none of the rows.

    >>> generate_list("items.csv", "runs/crema", options={"steps": 2}, device="cpu").summary
    '2 clips: 2 generated'
    """
    given = locals() | {"options": dict(options or {}), "devices": as_names(devices)}
    from dawn_bench.config import validated
    from dawn_bench.workflow.generate import Generation
    from dawn_bench.workflow.generate_list import generate_list as run

    return run(validated(Generation, given, what="argument"))


def compute_metrics(
    *,
    generated: ClipSetLike,
    reference: ClipSetLike | None = None,
    metrics: str | Sequence[str],
    paired: bool = True,
    protocol: str = "paper-dawn",
    protocol_set: Sequence[str] = (),
    weights: Policy = "auto",
    device: str = "auto",
    fps: float | None = None,
    features: str | Path | None = None,
    seed: int = 0,
) -> dict[str, MetricScore]:
    """Score existing clips; the result maps metric names to scores, with the same numbers as `evaluate`.

    Each side is a folder of videos, a list (of files; of arrays uint8 (T,H,W,3) RGB; of pairs (frames, sound) with
    sound int16 (n,) at 16 kHz mono; of mappings with `frames`, `audio` and `fps`; of generated clips; of clips of a
    cache), a mapping of these by name, frames (N,T,H,W,3), or a cache. Files are read at 25 fps by their timestamps.

    Paired, every generated clip is compared with its own reference: by name where both sides have names, by position
    where they are lists. A generated clip is cut to the shorter length and resized to the size of its reference; the
    score's note records this. Unpaired (`paired=False`), the sides are two sets with any number of clips: FID and FVD
    are distances between them; no-reference metrics (Blink/s, BAS, LSE) give the scores of both sides and the distance
    between the distributions of per-clip values. Without a `reference` only no-reference metrics can be computed.

    Args:
        generated: the clips to score.
        reference: the true clips.
        metrics: names, as in `dawn-bench report`: `fid`, `fvd16`, `psnr`, `lse-c`, ...
        paired: whether each generated clip has its own reference.
        protocol: a named protocol.
        protocol_set: changes to the protocol, as `field=value`.
        weights: `auto`: a metric without its files is None, `fetch` brings them; `files` refuses; `seeded`: stand-ins.
        device: `auto`, `cpu`, `cuda`.
        fps: frame rate of arrays without one of their own; they are resampled to 25 fps. Default: 25.
        features: folder in which features are cached between calls.
        seed: seed of the bootstrap.

    Raises:
        InputError: an unknown metric, frames that are not uint8 (T,H,W,3), sound that is not int16 (n,), sound of
            another length than the frames at 25 fps, clips without a counterpart, or a metric that needs pairs.

    The FVD of two lists of clips, in one line:

    >>> made, true = ["made/a.mp4", "made/b.mp4"], ["true/a.mp4", "true/b.mp4", "true/c.mp4"]
    >>> fvd = compute_metrics(generated=made, reference=true, metrics="fvd16", paired=False)["fvd16"]
    >>> bool(fvd.fetch) or fvd.value > 0  # `fetch` is the command that brings the network, where it is absent
    True

    PSNR and SSIM of two folders, paired by file name:

    >>> scores = compute_metrics(generated="made", reference="paired", metrics=["psnr", "ssim"])
    >>> print(f"{scores['psnr'].value:.1f} dB over {scores['psnr'].n_clips} clips")
    34.2 dB over 2 clips
    """
    arguments = locals()
    from dawn_bench.metrics.scoring.compare import compute_metrics as run

    return run(**arguments)


def evaluate(
    cache: str | Path,
    out: str | Path,
    *,
    methods: str | Sequence[str] = ("dawn",),
    checkpoint: str | Path | None = None,
    outputs: str | Path | None = None,
    mapping: str | Path | None = None,
    naming: str = "{clip}",
    method_class: MethodClass | None = None,
    installs: str | Path | None = None,
    min_coverage: float = 0.5,
    split: str = "test",
    metrics: str | Sequence[str] | None = None,
    max_clips: int | None = None,
    protocol: str = "paper-dawn",
    protocol_set: Sequence[str] = (),
    piece_length: int | Literal["whole"] | None = None,
    weights: Policy = "auto",
    options: Mapping[str, Any] | None = None,
    pass_seconds: float | Literal["none"] | None = None,
    sanity: bool = True,
    seed: int = 0,
    device: str = "auto",
    notes: Sequence[str] = (),
    jobs: int | None = None,
    engine: Engine = "loky",
    address: str | None = None,
    devices: str | Sequence[str] = (),
    only_fill: bool = False,
    part: str | None = None,
    fold: bool = False,
) -> Evaluated:
    """Generate the split's clips with each method, score all in one pass, keep the rows and write the report.

    Nothing is generated or computed twice in one results folder. See `dawn-bench evaluate --help`.

    Args:
        cache: the cache with the true clips.
        out: the results folder.
        methods: registered methods, or a name of your own for `outputs`.
        checkpoint: the run folder or released files of a method that needs them.
        outputs: a folder of your own method's videos, named like the clips.
        mapping: CSV with the columns clip, file, for files named differently.
        naming: name pattern of the files: `{clip}` is the id, `*` matches anything.
        method_class: `portrait`, `dub` or `static-lips`, for `outputs`.
        installs: YAML that says where external methods are installed.
        min_coverage: a method that solves a smaller share of the clips is not ranked.
        split: split of the cache to score.
        metrics: names; default: those of the protocol that apply.
        max_clips: only the first clips of the split.
        protocol: a named protocol.
        protocol_set: changes to the protocol, as `field=value`.
        piece_length: frames of the pieces that are generated and scored, or `whole`; default: 200 for hdtf, else whole.
        weights: `auto` leaves out metrics whose files are absent, `files` refuses, `seeded` computes with stand-ins.
        options: the methods' options, such as `{"steps": 10}`.
        pass_seconds: option of the methods: passes of at most so many seconds; default: a clip is one sample.
        sanity: score the sanity rows too.
        seed: seed of the generation.
        device: `auto`, `cpu`, `cuda`.
        notes: sentences for the report.
        jobs: worker processes, of one core each; default: as many as cores and memory allow where it is worth it. The
            outputs, features and rows do not depend on their number.
        engine: `loky` on this machine, `dask` or `ray` on a cluster.
        address: the cluster's scheduler.
        devices: GPUs of this machine with a worker each, `cuda:0`, `cuda:1`, or `all`.
        only_fill: generate and compute what metrics need, and score nothing.
        part: only one part of that, `2/8`.
        fold: score what `only_fill` or all parts have left.

    Raises:
        InputError: the cache, a method, its checkpoint or its outputs cannot be used.

    >>> done = evaluate("my-cache", "results", methods="still", metrics=["psnr", "ssim"], sanity=False)
    >>> [(row.method, row.metric, row.n_clips) for row in done.rows]
    [('still', 'psnr', 2), ('still', 'ssim', 2)]
    >>> done.report.name
    'report.html'
    """
    arguments = dict(locals())
    from dawn_bench.config import validated
    from dawn_bench.workflow.evaluate import evaluate_methods
    from dawn_bench.workflow.evaluation import Evaluation

    lists = {
        "methods": as_names(methods),
        "metrics": None if metrics is None else as_names(metrics),
        "protocol_set": tuple(protocol_set),
        "options": dict(options or {}),
        "notes": tuple(notes),
        "devices": as_names(devices),
    }
    return evaluate_methods(validated(Evaluation, arguments | lists, what="argument"))


def report(
    results: str | Path,
    out: str | Path | None = None,
    *,
    formats: str | Sequence[str] = ("html", "md", "csv", "json", "latex"),
    clips: int = 3,
    published: Sequence[int] = (1,),
) -> list[Path]:
    """Write the report of a results folder; returns the files. Scores are read, never computed again.

    Args:
        results: the results folder of `evaluate`.
        out: where to write; default: `<results>/report`.
        formats: `html` one self-contained page, `md`, `csv`, `json`, `latex`.
        clips: how many clips the gallery shows.
        published: tables of DAWN's paper whose rows are shown, unranked, below ours on the same dataset.

    Raises:
        InputError: there is no such folder, it has no results, or a format or table is unknown.

    >>> [path.name for path in report("results", formats=["md", "csv"])]
    ['report.md', 'leaderboard.csv']
    """
    from dawn_bench.reports.page import write_report

    folder = as_path(results, "results")
    return write_report(
        folder,
        as_optional_path(out, "out") or folder / "report",
        formats=as_names(formats),
        clips=clips,
        published=tuple(published),
    )
