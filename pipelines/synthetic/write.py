"""Writes the embedded dataset: files in CREMA-D's layout and naming, with ground truth."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor

from dawn_bench.clip import FPS
from dawn_bench.errors import InputError
from dawn_bench.files import replacing, write_atomic
from dawn_bench.pipelines.datasets.crema import SENTENCES, TEST_ACTORS
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.synthetic.face import Expression, rotation
from dawn_bench.pipelines.synthetic.identity import draw_look, make_portrait
from dawn_bench.pipelines.synthetic.motion import RATE, closure, draw_blinks, draw_head, draw_speech, draw_voice
from dawn_bench.pipelines.synthetic.render import Renderer
from dawn_bench.pipelines.synthetic.sound import synthesise
from dawn_bench.progress import Meter
from dawn_bench.stopping import children_without_ctrl_c, end_with

#: H.264 quality, close to visually lossless.
CRF = 16
#: Actor ids in CREMA-D's range, without the test actors.
TRAIN_ACTORS = tuple(a for a in range(1001, 1092) if a not in TEST_ACTORS)
README = """\
A synthetic talking-head dataset in the layout of CREMA-D, written by dawn-bench (seed {seed}).

No real recording is in it. Every frame is made from one photograph, `astronaut` of scikit-image: Eileen Collins,
NASA, 1993, public domain; reshaped, recoloured and warped. She did not say or do any of this. The sound is
synthesised. The actor ids, the sentence codes and VideoDemographics.csv only follow CREMA-D's format: the speakers are
not CREMA-D's actors, and no sentence is spoken. Use it to try out and test software, never to measure quality.

VideoFlash/*.mp4          {size}x{size}, {fps} fps, H.264 and AAC
AudioWAV/*.wav            16 kHz mono, the same sound before AAC
truth/*.npz               ground truth, one row for each of T frames:
  pose (T,3)              yaw, pitch, roll in degrees relative to the portrait, which counts as frontal, with 3DDFA's
                          signs: yaw > 0 turns the nose to the left of the image, pitch > 0 lowers it, roll > 0 is
                          anticlockwise
  sway (T,2)              head translation in pixels of the frame
  opening, rounding (T,)  mouth opening in face widths; lip rounding from -1 (spread) to 1 (round)
  closure (T,)            eyelid closure, 0 to 1
  blinks (n,), blink_frames (n,)    times of full closure in seconds, and the frames shown then
  syllables (m,2)         start and length in seconds
  landmarks (T,68,2)      x, y in pixels of the frame, iBUG order
  face_width ()           distance of landmarks 0 and 16 at rest, in pixels
  sound_offset ()         0: video and sound are in sync; frame k shows the face at second (k + 0.5) / {fps}

Licence: the photograph is in the public domain, and so is this set (CC0 1.0).
"""


@dataclass(frozen=True)
class ClipSpec:
    """One clip to write."""

    root: Path
    speaker: int  # index of the speaker, from 0
    actor: int
    sentence: str
    number: int  # index of the clip, from 0
    frames: int
    size: int
    seed: int

    @property
    def name(self) -> str:
        """The file name without suffix."""
        return f"{self.actor}_{self.sentence}_NEU_XX"


def write_embedded(
    root: Path,
    *,
    speakers: int,
    clips: int,
    seconds: float,
    size: int = 256,
    seed: int = 0,
    jobs: int = 1,
    progress: Meter | None = None,
) -> Path:
    """Write `clips` clips of `seconds` each, assigned round-robin to `speakers` speakers, and return `root`.

    Args:
        root: output folder; files of the same names in it are replaced.
        speakers: 1 to 43; the last quarter (at least one of two or more) are test actors.
        clips: total number of clips, at most twelve per speaker, one for each sentence of CREMA-D.
        seconds: length of each clip, rounded to whole frames; at least 1.
        size: side of the square frames in pixels, even, at least 96.
        seed: determines all content.
        jobs: number of processes; the files do not depend on it.
        progress: advanced by one for each clip.

    Raises `InputError` for values out of range.
    """
    actors = cast_actors(speakers)
    if not 1 <= clips <= len(SENTENCES) * speakers:
        raise InputError(f"{clips} clips for {speakers} speakers: a speaker has 1 to {len(SENTENCES)} clips.")
    if seconds < 1 or size < 96 or size % 2:
        raise InputError(
            f"clips of {seconds} s at {size} px cannot be written.",
            hint="Use at least 1 s and an even size of at least 96.",
        )
    for folder in ("VideoFlash", "AudioWAV", "truth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    specs = [
        ClipSpec(
            root,
            i % speakers,
            actors[i % speakers],
            SENTENCES[(i // speakers + 5 * (i % speakers)) % len(SENTENCES)],
            i,
            round(seconds * FPS),
            size,
            seed,
        )
        for i in range(clips)
    ]
    for _ in _run(specs, jobs):
        if progress is not None:
            progress.advance()
    with replacing(root / "VideoDemographics.csv") as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ActorID", "Age", "Sex", "Race", "Ethnicity"])
        table.writerows(
            [actor, 0, "Synthetic", "Synthetic", "Synthetic"] for actor in sorted({spec.actor for spec in specs})
        )
    write_atomic(root / "README.txt", README.format(seed=seed, size=size, fps=FPS).encode())
    return root


def cast_actors(speakers: int) -> list[int]:
    """The actor id of each speaker: training actors from 1001 up, then the last quarter from CREMA-D's test actors."""
    tests = max(1, speakers // 4) if speakers > 1 else 0
    if speakers < 1 or tests > len(TEST_ACTORS):
        raise InputError(f"{speakers} speakers: choose 1 to 43.")
    return [*TRAIN_ACTORS[: speakers - tests], *sorted(TEST_ACTORS)[:tests]]


def _run(specs: list[ClipSpec], jobs: int) -> Iterator[None]:
    if jobs == 1:
        yield from map(_write_clip, specs)
    else:
        parallel = joblib.Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered")
        with children_without_ctrl_c():
            written = parallel(joblib.delayed(_write_in_worker)(spec, os.getpid()) for spec in specs)
        yield from written
        get_reusable_executor().shutdown(wait=True)  # idle workers would keep half a gigabyte each


@lru_cache(maxsize=4)
def _renderer(seed: int, speaker: int, size: int) -> Renderer:
    look = draw_look(np.random.default_rng([seed, 1, speaker]), speaker)
    return Renderer(make_portrait(look, size=size))


def _write_in_worker(spec: ClipSpec, owner: int) -> None:
    end_with(owner)
    _write_clip(spec)


def _write_clip(spec: ClipSpec) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one core per process, and pixels that do not depend on the thread count
    try:
        _render_clip(spec)
    finally:
        cv2.setNumThreads(threads)


def _render_clip(spec: ClipSpec) -> None:
    renderer = _renderer(spec.seed, spec.speaker, spec.size)
    rng = np.random.default_rng([spec.seed, 2, spec.number])
    voice = draw_voice(np.random.default_rng([spec.seed, 3, spec.speaker]))
    seconds = spec.frames / FPS
    times = (np.arange(spec.frames) + 0.5) / FPS
    speech = draw_speech(rng, voice, seconds=seconds)
    blinks = draw_blinks(rng, seconds=seconds)
    pose, sway = draw_head(rng, speech, times)
    sway = sway * renderer.face.fw
    sound = synthesise(rng, speech, voice)
    grid = np.arange(len(speech.opening)) / RATE
    opening, rounding = (np.interp(times, grid, track) for track in (speech.opening, speech.rounding))
    shut = closure(times, blinks)

    expressions = [Expression(*map(float, row)) for row in zip(opening, rounding, shut, strict=True)]
    turns = [rotation(*angles) for angles in pose]
    frames = (renderer(e, turn, s) for e, turn, s in zip(expressions, turns, sway, strict=True))
    write_video(spec.root / "VideoFlash" / f"{spec.name}.mp4", frames, audio=sound, crf=CRF)
    write_wav(spec.root / "AudioWAV" / f"{spec.name}.wav", sound)
    moves = Expression(opening[:, None], rounding[:, None], shut[:, None])
    landmarks = renderer.face.landmarks(moves, np.stack(turns), sway)
    with replacing(spec.root / "truth" / f"{spec.name}.npz") as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            pose=pose.astype(np.float32),
            sway=sway.astype(np.float32),
            opening=opening.astype(np.float32),
            rounding=rounding.astype(np.float32),
            closure=shut.astype(np.float32),
            blinks=blinks,
            blink_frames=np.floor(blinks * FPS).astype(np.int64),
            syllables=np.array([(s.start, s.length) for s in speech.syllables]).reshape(-1, 2),
            landmarks=landmarks.astype(np.float32),
            face_width=np.float32(renderer.face.fw),
            sound_offset=np.int64(0),
        )
