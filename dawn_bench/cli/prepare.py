"""`dawn-bench prepare`: from videos to a cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dawn_bench.pipelines.preparation.prepare import PrepareReport
    from dawn_bench.pipelines.settings import PrepareSettings


def prepare(
    root: Annotated[Path, typer.Option(help="Folder with the videos.")],
    cache: Annotated[
        Path | None, typer.Option(help="Folder to write the cache to; an existing one is continued.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="crema, hdtf, or folder for any videos (default); meshes: biwi, vocaset, embedded-mesh."),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the cached frames, pixels. Default: 128.")] = None,
    crop: Annotated[
        str | None, typer.Option(help="face: square around the face; paper: plain resize; none: centred square.")
    ] = None,
    face: Annotated[
        str | None, typer.Option(help="Face back end: auto, dlib, face-alignment, insightface, mediapipe.")
    ] = None,
    pose: Annotated[
        str | None, typer.Option(help="Head pose from landmarks, or by the network 3ddfa. Default: landmarks.")
    ] = None,
    frames: Annotated[str | None, typer.Option(help="How frames are kept: raw, or lossless in half the bytes.")] = None,
    extract: Annotated[
        list[str] | None,
        typer.Option(help="Also compute this: hubert, ... (repeat it, or commas). On an existing cache: only this."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: one a core.")] = None,
    engine: Annotated[str, typer.Option(help="loky: this machine; dask or ray: a cluster.")] = "loky",
    address: Annotated[str | None, typer.Option(help="Scheduler of the cluster, as tcp://host:8786.")] = None,
    on_cut: Annotated[str | None, typer.Option(help="Scene cuts within a clip: keep, split or quarantine.")] = None,
    require_audio: Annotated[
        bool | None, typer.Option("--require-audio/--allow-silent", help="Whether clips without sound are left out.")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Only the first frames of each clip.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split where the dataset has none.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Table file,speaker,split for --dataset folder.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when a clip could not be used.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make the cache anew.")] = False,
    list_missing: Annotated[
        bool, typer.Option("--list-missing", help="Only list which published clips are not here, and why.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting as key=value; repeat it.")] = None,
) -> None:
    """Turn videos into a cache: faces found, cropped, 25 fps, 16 kHz sound, pose, blinks, audio features.

    Clips that cannot be used are left out, each with its reason. Run the same command again to go on where it stopped.

    Example: dawn-bench prepare --root my-videos --cache my-cache --jobs 4

    CREMA-D: dawn-bench prepare --dataset crema --root CREMA-D --cache crema --size 128 --jobs 8

    Synthetic meshes, written where --root is not there yet: dawn-bench prepare --dataset embedded-mesh --root MESHES
    --cache CACHE
    """
    from dawn_bench.errors import EXIT_STRICT, InputError
    from dawn_bench.pipelines.settings import PrepareSettings

    settings = _settings(
        PrepareSettings(),
        config,
        flags={
            "dataset": dataset,
            "size": size,
            "crop": crop,
            "face": face,
            "pose": pose,
            "frames": frames,
            "on_cut": on_cut,
            "require_audio": require_audio,
            "max_frames": max_frames,
            "seed": seed,
            "labels": None if labels is None else str(labels.resolve()),
        },
        overrides=set_ or [],
        extract=[name.strip() for text in extract or [] for name in text.split(",") if name.strip()],
    )
    if list_missing:
        _list_missing(root, settings)
        return
    if cache is None:
        raise InputError("--cache is needed: the folder to write to.", hint="Example: --cache my-cache")
    if engine not in ("loky", "dask", "ray"):
        raise InputError(f"there is no engine {engine!r}.", hint="Known: loky, dask, ray.")
    from joblib import cpu_count

    from dawn_bench.pipelines.preparation.prepare import prepare as run

    if settings.dataset == "embedded-mesh" and not root.exists():
        from dawn_bench.pipelines.meshes.write import write_meshes

        write_meshes(root, seed=settings.seed)

    jobs = jobs or cpu_count()
    report = run(root, cache, settings, jobs=jobs, engine=engine, address=address, overwrite=overwrite)  # type: ignore[arg-type]
    _show(report)
    if strict and report.quarantined:
        raise typer.Exit(EXIT_STRICT)


def _settings(
    default: PrepareSettings,
    file: Path | None,
    *,
    flags: dict[str, object],
    overrides: list[str],
    extract: list[str],
) -> PrepareSettings:
    """Defaults, then the file, then the flags, then `--set`; `--extract` adds to the extractors of all these."""
    import yaml

    from dawn_bench.config import resolve_config, validated

    given = [
        f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in flags.items() if value is not None
    ]
    settings = resolve_config(default, file=file, overrides=[*given, *overrides])
    return validated(type(settings), {**settings.model_dump(), "extract": (*settings.extract, *extract)})


def _list_missing(root: Path, settings: PrepareSettings) -> None:
    """Print id, reason and detail of every published clip that is not below `root`, and the counts."""
    from collections import Counter

    from dawn_bench.errors import InputError
    from dawn_bench.pipelines.datasets.base import DATASETS
    from dawn_bench.progress import console

    if not root.is_dir():
        raise InputError("does not exist.", path=root, hint="Check --root.")
    rows = DATASETS[settings.dataset]().missing(root.resolve(), settings)
    for row in rows:
        typer.echo("\t".join(row))
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(reason for _, reason, _ in rows).items())
    console().print(
        f"{len(rows)} clips of the published list are not here" + (f": {counts}" if counts else ""), markup=False
    )


def _show(report: PrepareReport) -> None:
    """The table at the end of a run: clips by reason, frames, time."""
    from rich.table import Table

    from dawn_bench.progress import console

    screen = console()
    table = Table("clips", "", box=None, pad_edge=False)
    table.add_row(str(report.ok), f"ready, {report.frames} frames, {report.seconds / 60:.1f} min")
    for reason, count in report.quarantined.items():
        table.add_row(str(count), f"left out: {reason}")
    for name, count in report.incomplete.items():
        if count:
            table.add_row(str(count), f"without {name}")
    screen.print(table)
    screen.print(f"{report.cache}  in {report.wall:.0f} s, {report.resumed} clips were there before", markup=False)
    if report.quarantined:
        screen.print(f"Each one's reason: dawn-bench cache stats {report.cache}", markup=False)
