"""Writes the embedded dataset: files laid out and named as CREMA-D's, with the truth beside them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import joblib
import numpy as np

from dawn_bench.clip import FPS
from dawn_bench.errors import InputError
from dawn_bench.pipelines.datasets.crema import SENTENCES, TEST_ACTORS
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.media.video import write_video
from dawn_bench.pipelines.synthetic.face import Expression, rotation
from dawn_bench.pipelines.synthetic.identity import draw_look, make_portrait
from dawn_bench.pipelines.synthetic.motion import RATE, closure, draw_blinks, draw_head, draw_speech, draw_voice
from dawn_bench.pipelines.synthetic.render import Renderer
from dawn_bench.pipelines.synthetic.sound import synthesise
from dawn_bench.progress import Meter

#: Quality of the H.264 files: hardly any visible loss.
CRF = 16
#: Actor ids in CREMA-D's range, test actors apart.
TRAIN_ACTORS = tuple(a for a in range(1001, 1092) if a not in TEST_ACTORS)
README = """\
A synthetic talking-head dataset in the layout of CREMA-D, written by dawn-bench (seed {seed}).

No real recording is in it. Every frame is made from one photograph, `astronaut` of scikit-image: Eileen Collins,
NASA, 1993, public domain; reshaped, recoloured and warped. She did not say or do any of this. The sound is
synthesised. The actor ids, the sentence codes and VideoDemographics.csv only follow CREMA-D's form: the speakers are
not CREMA-D's actors, and no sentence is spoken. Use it to try and to test software, never as a benchmark of quality.

VideoFlash/*.mp4          {size}x{size}, {fps} fps, H.264 and AAC
AudioWAV/*.wav            16 kHz mono, the same sound before AAC
truth/*.npz               what is really in the clip, a row for each of T frames:
  pose (T,3)              yaw, pitch, roll in degrees against the portrait, which counts as frontal, with 3DDFA's
                          signs: yaw > 0 turns the nose to the left of the picture, pitch > 0 lowers it, roll > 0 is
                          anticlockwise
  sway (T,2)              shift of the head in pixels of the frame
  opening, rounding (T,)  mouth opening in face widths; rounding from -1 (wide) to 1 (round)
  closure (T,)            how far the lids are shut, 0 to 1
  blinks (n,), blink_frames (n,)    seconds of full closure, and the frame on screen then
  syllables (m,2)         start and length in seconds
  landmarks (T,68,2)      x, y in pixels of the frame, iBUG order
  face_width ()           distance of landmarks 0 and 16 at rest, in pixels
  sound_offset ()         0: picture and sound are in step; frame k shows the face at second (k + 0.5) / {fps}

Licence: the photograph is in the public domain, and so is this set (CC0 1.0).
"""


@dataclass(frozen=True)
class Job:
    """One clip to write."""

    root: Path
    speaker: int  # its place among the speakers, from 0
    actor: int
    sentence: str
    number: int  # its place among all clips
    frames: int
    size: int
    seed: int

    @property
    def name(self) -> str:
        """The file name without its ending."""
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
    """Write `clips` clips in all, dealt in turn to `speakers` speakers, each of `seconds`, and return `root`.

    Args:
        root: folder to make; files of the same names in it are replaced.
        speakers: the last quarter of them (at least one where there are two or more) are test actors.
        clips: at most twelve a speaker, one for each sentence of CREMA-D.
        seconds: length of each clip, rounded to whole frames; at least 1.
        size: side of the square frames in pixels, even.
        seed: decides everything; `jobs`, the number of processes, changes nothing in the files.
        progress: advanced by one for each clip.

    Raises `InputError` where these numbers do not go together.
    """
    actors = cast_actors(speakers)
    if not 1 <= clips <= len(SENTENCES) * speakers:
        raise InputError(f"{clips} clips for {speakers} speakers: there are 1 to {len(SENTENCES)} a speaker.")
    if seconds < 1 or size < 96 or size % 2:
        raise InputError(
            f"clips of {seconds} s at {size} px.", hint="Use at least 1 s and an even size of at least 96."
        )
    for folder in ("VideoFlash", "AudioWAV", "truth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    work = [
        Job(
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
    for _ in _run(work, jobs):
        if progress is not None:
            progress.advance()
    with (root / "VideoDemographics.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ActorID", "Age", "Sex", "Race", "Ethnicity"])
        table.writerows(
            [actor, 0, "Synthetic", "Synthetic", "Synthetic"] for actor in sorted({job.actor for job in work})
        )
    (root / "README.txt").write_text(README.format(seed=seed, size=size, fps=FPS))
    return root


def cast_actors(speakers: int) -> list[int]:
    """The actor id of each speaker: training actors from 1001 up, then the last quarter from CREMA-D's test actors."""
    tests = max(1, speakers // 4) if speakers > 1 else 0
    if speakers < 1 or tests > len(TEST_ACTORS):
        raise InputError(f"{speakers} speakers: there can be 1 to 43.")
    return [*TRAIN_ACTORS[: speakers - tests], *sorted(TEST_ACTORS)[:tests]]


def _run(work: list[Job], jobs: int) -> Iterator[None]:
    if jobs == 1:
        yield from map(_write_clip, work)
    else:
        parallel = joblib.Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered")
        yield from parallel(joblib.delayed(_write_clip)(job) for job in work)


@lru_cache(maxsize=4)
def _renderer(seed: int, speaker: int, size: int) -> Renderer:
    return Renderer(make_portrait(draw_look(np.random.default_rng([seed, 1, speaker]), speaker), size=size))


def _write_clip(job: Job) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one process is one core, and the same pixels everywhere
    try:
        _make_clip(job)
    finally:
        cv2.setNumThreads(threads)


def _make_clip(job: Job) -> None:
    renderer = _renderer(job.seed, job.speaker, job.size)
    rng = np.random.default_rng([job.seed, 2, job.number])
    voice = draw_voice(np.random.default_rng([job.seed, 3, job.speaker]))
    seconds = job.frames / FPS
    times = (np.arange(job.frames) + 0.5) / FPS
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
    write_video(job.root / "VideoFlash" / f"{job.name}.mp4", frames, audio=sound, crf=CRF)
    write_wav(job.root / "AudioWAV" / f"{job.name}.wav", sound)
    moves = Expression(opening[:, None], rounding[:, None], shut[:, None])
    landmarks = renderer.face.landmarks(moves, np.stack(turns), sway)
    np.savez(
        job.root / "truth" / f"{job.name}.npz",
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
