"""`dawn-bench generate`: one talking clip from a portrait and a sound file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def generate(
    image: Annotated[
        Path, typer.Option(help="Portrait: PNG or JPEG, one face. For dit-head also a video, whose lips are made anew.")
    ],
    audio: Annotated[Path, typer.Option(help="Speech: any sound or video file, of any length.")],
    out: Annotated[Path, typer.Option(help="The mp4 to write.")],
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="Folder of a trained run or of DAWN's published files, or released-128 or released-256: the published "
            "files in the weights folder."
        ),
    ],
    method: Annotated[str, typer.Option(help="Which model: dawn or dit-head.")] = "dawn",
    crop: Annotated[str, typer.Option(help="face: square around the face; paper: all of it, resized.")] = "face",
    drive: Annotated[Path | None, typer.Option(help="Take head pose and blinks from this video.")] = None,
    pose: Annotated[Path | None, typer.Option(help="Take them from a .npz with `pose` and `blink`.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Diffusion steps.")] = 20,
    eta: Annotated[
        float | None, typer.Option(help="DDIM noise: 0 deterministic, 1 most; dawn 1 as released, dit-head 0.")
    ] = None,
    cond_scale: Annotated[float, typer.Option(help="Guidance scale.")] = 1.0,
    solver: Annotated[str, typer.Option(help="ddim (as released) or dpm2m (good in fewer steps).")] = "ddim",
    precision: Annotated[str, typer.Option(help="fp32, or bf16 or fp16 where the device has it.")] = "fp32",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the U-Net (long clips on CUDA).")] = False,
    max_seconds: Annotated[float | None, typer.Option(help="Use only the first seconds of the sound.")] = None,
    face: Annotated[str, typer.Option(help="Face back end.")] = "auto",
    seed: Annotated[int, typer.Option(help="The same seed gives the same clip.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Make a talking clip from a portrait and speech.

    Example: dawn-bench generate --image me.png --audio speech.wav --checkpoint demo/run --out talk.mp4

    Another head's motion: add --drive video.mp4. DAWN's published weights: --checkpoint released-128
    """
    from typing import cast

    from dawn_bench.config import validated
    from dawn_bench.errors import InputError
    from dawn_bench.models.dawn.generator import SamplingOptions
    from dawn_bench.models.dawn.passes import passes, stream
    from dawn_bench.models.dawn.released import load_generator
    from dawn_bench.models.inputs import Crop, read_drive, read_portrait, read_speech, read_tracks
    from dawn_bench.pipelines.faces.base import pick_backend
    from dawn_bench.pipelines.media.video import write_video
    from dawn_bench.progress import console, meter
    from dawn_bench.provenance import pick_device

    if method not in ("dawn", "dit-head"):
        raise InputError(f"there is no generator called {method!r}.", hint="Known: dawn, dit-head.")
    if crop != "face" and crop != "paper":
        raise InputError(f"--crop {crop!r} is not known.", hint="Known: face, paper.")
    if drive is not None and pose is not None:
        raise InputError("--drive and --pose both say where the head goes.", hint="Give one of them.")
    if out.suffix.lower() != ".mp4":
        raise InputError("is not the name of an mp4 file.", path=out, hint="Example: --out talk.mp4")
    if method == "dit-head":
        from dawn_bench.models.dit_head.dub_files import dub_file
        from dawn_bench.models.dit_head.generator import DubOptions

        if drive is not None or pose is not None:
            hint = "Give the video itself: --image VIDEO"
            raise InputError("dit-head moves no head: --drive and --pose are dawn's.", hint=hint)
        dubbing = {"steps": steps, "eta": eta or 0.0, "guidance": cond_scale}
        frames, sound = dub_file(
            image,
            audio,
            run=checkpoint,
            backend=pick_backend(face),
            options=validated(DubOptions, dubbing, what="option"),
            seed=seed,
            device=pick_device(device),
            max_seconds=max_seconds,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        write_video(out, frames, audio=sound)
        console().print(f"wrote {out}: {len(frames)} frames, {len(frames) / 25:.1f} s", markup=False)
        return
    sampling = {"steps": steps, "eta": 1.0 if eta is None else eta, "cond_scale": cond_scale, "solver": solver}
    options = validated(SamplingOptions, sampling | {"precision": precision, "compile": compiled}, what="option")
    talker = load_generator(checkpoint, device=pick_device(device))
    backend = pick_backend(face)
    source, found = read_portrait(image, size=talker.size, backend=backend, crop=cast(Crop, crop))
    if not found:
        console().print(f"{image}: no face found; goes on as if a frontal one filled the middle", markup=False)
    sound, features = read_speech(audio, encoder=talker.audio_encoder, max_seconds=max_seconds)
    n_frames = len(features)
    tracks = {}
    if drive is not None:
        given = read_drive(drive, size=talker.size, backend=backend, n_frames=n_frames)
        tracks = dict(zip(("pose", "blink"), given, strict=True))
    elif pose is not None:
        tracks = dict(zip(("pose", "blink"), read_tracks(pose, n_frames=n_frames), strict=True))
    parts = passes(n_frames)
    if len(parts) > 1:
        console().print(
            f"{n_frames / 1500:.1f} minutes of sound: {len(parts)} passes of a minute at most", markup=False
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    scene = talker.scene(source, features, seed=seed, **tracks)
    with meter("sample", total=steps * len(parts), unit="steps") as progress:
        pieces = stream(talker, scene, options, progress=progress)
        write_video(out, (frame for piece in pieces for frame in piece), audio=sound)
    console().print(f"wrote {out}: {n_frames} frames, {n_frames / 25:.1f} s", markup=False)
