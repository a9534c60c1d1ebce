"""Writes the embedded mesh dataset: fully synthetic files in the layout and naming of BIWI or VOCASET."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Literal

import numpy as np

from dawn_bench.errors import InputError
from dawn_bench.files import is_temporary, write_atomic
from dawn_bench.pipelines.datasets import biwi, vocaset
from dawn_bench.pipelines.media.audio import write_wav
from dawn_bench.pipelines.meshes.face import MeshFace, draw_shape, make_face
from dawn_bench.pipelines.meshes.files import write_npy
from dawn_bench.pipelines.synthetic.motion import RATE, closure, draw_blinks, draw_speech, draw_voice
from dawn_bench.pipelines.synthetic.sound import synthesise
from dawn_bench.progress import Meter

README = """\
Synthetic talking meshes in the layout of {layout}, written by dawn-bench (seed {seed}). No recording is in them: the
face is parametric, the sound is synthesised, and subjects and sentences only follow {layout}'s names. Use them to try
out and test software, never to measure quality. The face is one unit wide; frames are stored at {fps} fps.
"""
#: A file that is there while the dataset is being written.
UNFINISHED = ".unfinished"
#: Stored frame rate by layout.
_STORED_FPS = {"biwi": 25, "vocaset": 60}


def write_meshes(
    root: Path,
    *,
    subjects: int = 3,
    train: int = 6,
    test: int = 2,
    seconds: float = 3.0,
    seed: int = 0,
    layout: Literal["biwi", "vocaset"] = "biwi",
    progress: Meter | None = None,
) -> Path:
    """Write `train` + `test` sequences of `seconds` per subject below `root`, and return `root`.

    In BIWI's layout the same subjects train and test, with one validation sequence each; in VOCASET's layout two
    further subjects are for validation and test. `subjects` is 1-6, `train` 1-32, `test` 1-4, `seconds` at least 1;
    `seed` determines all content.

    Raises `InputError` for values out of range.
    """
    if not (1 <= subjects <= 6 and 1 <= train <= 32 and 1 <= test <= 4) or seconds < 1:
        raise InputError(
            f"{subjects} subjects with {train} + {test} sequences of {seconds} s cannot be written.",
            hint="Use 1-6 subjects, 1-32 training and 1-4 test sequences of at least 1 s.",
        )
    root.mkdir(parents=True, exist_ok=True)
    write_atomic(root / UNFINISHED, b"")
    for folder in ("wav", "vertices_npy", "regions"):
        (root / folder).mkdir(exist_ok=True)
    templates = {}
    for k, (subject, sentences) in enumerate(_cast(layout, subjects, train, test)):
        face = make_face(draw_shape(np.random.default_rng([seed, 11, k])))
        templates[subject] = face.rest.astype(np.float32)
        for sentence in sentences:
            name = f"{subject}_{sentence:02d}" if layout == "biwi" else f"{subject}_sentence{sentence:02d}"
            vertices, sound = _sequence(face, seconds, _STORED_FPS[layout], seed=seed, subject=k, sentence=sentence)
            write_npy(root / "vertices_npy" / f"{name}.npy", vertices.reshape(len(vertices), -1))
            write_wav(root / "wav" / f"{name}.wav", sound)
            if progress is not None:
                progress.advance()
    write_atomic(root / "templates.pkl", pickle.dumps(templates, protocol=4))
    write_atomic(root / "regions" / "lve.txt", ", ".join(map(str, face.lips)).encode())
    write_atomic(root / "regions" / "fdd.txt", ", ".join(map(str, face.upper)).encode())
    _write_ply(root / "mesh.ply", face.rest, face.triangles)
    readme = README.format(layout=layout.upper(), seed=seed, fps=_STORED_FPS[layout])
    write_atomic(root / "README.txt", readme.encode())
    (root / UNFINISHED).unlink()
    return root


def is_to_be_written(root: Path) -> bool:
    """Whether the dataset does not exist yet, or `write_meshes` was interrupted while it wrote it."""
    if not root.is_dir():
        return not root.exists()
    return (root / UNFINISHED).is_file() or all(is_temporary(path.name) for path in root.iterdir())


def _cast(layout: str, subjects: int, train: int, test: int) -> list[tuple[str, list[int]]]:
    """Subjects with their sentence numbers, chosen so that the published split gives the requested counts."""
    train_sentences, test_sentences = list(range(1, train + 1)), list(range(37, 37 + test))
    if layout == "biwi":
        return [(name, [*train_sentences, 33, *test_sentences]) for name in biwi.TRAIN_SUBJECTS[:subjects]]
    train_subjects = [(name, train_sentences) for name in vocaset.TRAIN_SUBJECTS[:subjects]]
    return [*train_subjects, (vocaset.VAL_SUBJECTS[0], [21]), (vocaset.TEST_SUBJECTS[0], test_sentences)]


def _sequence(
    face: MeshFace, seconds: float, fps: int, *, seed: int, subject: int, sentence: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 (T,V,3) and sound int16 (n,) of one sequence; frame k shows second (k + 0.5) / fps."""
    rng = np.random.default_rng([seed, 12, subject, sentence])
    voice = draw_voice(np.random.default_rng([seed, 13, subject]))
    speech = draw_speech(rng, voice, seconds=seconds)
    times = (np.arange(round(seconds * fps)) + 0.5) / fps
    grid = np.arange(len(speech.opening)) / RATE
    opening, rounding = (np.interp(times, grid, track) for track in (speech.opening, speech.rounding))
    brows = np.zeros(len(times))
    for syllable in speech.syllables:
        if syllable.stress > 0.95:
            brows = np.maximum(brows, np.clip(1 - ((times - syllable.peak) / 0.3) ** 2, 0, 1) ** 2)
    vertices = face.move(opening, rounding, brows, closure(times, draw_blinks(rng, seconds=seconds)))
    return vertices.astype(np.float32), synthesise(rng, speech, voice)


def _write_ply(path: Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    header = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header"]
    rows = [" ".join(f"{value:.6f}" for value in row) for row in vertices]
    rows += [f"3 {' '.join(map(str, row))}" for row in triangles]
    write_atomic(path, "\n".join([*header, *rows, ""]).encode())
