"""Outputs of methods with their own crop, aligned to the true framing.

A method that crops more tightly around the face loses in every metric that compares pictures, because of its framing
and not of its faces. Such a method is scored twice: as generated, and (`<method>-aligned`) after one similarity
transform per clip, without rotation, that maps the median face box of the output onto that of the true clip. A single
transform for the whole clip leaves the motion unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from dawn_bench.baselines.base import Generated, Item, MethodClass
from dawn_bench.baselines.formats import read_output
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.faces.base import FaceBackend, box_around, pick_backend
from dawn_bench.pipelines.faces.choice import distance
from dawn_bench.provenance import fingerprint

#: Frames of a clip in which faces are detected.
SAMPLED_FRAMES = 15


class Reframed:
    """`<method>-aligned`: outputs of a method, read from `files` by clip id, with faces aligned to the true ones.

    `starts` are as in `GivenOutputs`.
    """

    licence = "of the method"
    uses: tuple[str, ...] = ("truth",)
    reads: tuple[str, ...] = ("landmarks",)

    def __init__(
        self,
        method: str,
        method_class: MethodClass,
        files: Mapping[str, Path],
        key: str,
        *,
        starts: Mapping[str, int] | None = None,
    ) -> None:
        self.starts = starts or {}
        self.name, self.method_class, self.files = aligned_name(method), method_class, files
        self.backend = pick_backend()
        self.fingerprint = f"aligned/1/{self.backend.fingerprint()}/{key}"
        self.further_inputs = {"starts": fingerprint(self.starts)}

    def generate(self, item: Item) -> Generated:
        """Raises `ItemError`: `no_face` where output or true clip show none, `bad_output` where there is no output."""
        clip = item.clip
        if clip.id not in self.files:
            raise ItemError("bad_output", "there is no output to align")
        output = read_output(self.files[clip.id], clip, start=self.starts.get(clip.id))
        frames = output["frames"]
        points = np.asarray(clip["landmarks"], np.float32)
        if not (known := np.isfinite(points).all(axis=(1, 2))).any():
            raise ItemError("no_face", "the cache has no landmarks of the true clip")
        target = np.median([box_around(p) for p in points[known]], axis=0)
        ours = face_of_output(frames, self.backend, near=target * (frames.shape[2] / clip["frames"].shape[2]))
        placed = place(frames, ours, target, size=clip["frames"].shape[2])
        facts = {"face_box": ours.round(1).tolist(), "true_face_box": target.round(1).tolist()}
        return Generated(placed, output["audio"], notes=("faces aligned to the true ones",), facts=facts)


def aligned_name(method: str) -> str:
    """The name of the outputs of `method` with aligned faces."""
    return f"{method}-aligned"


def face_of_output(frames: np.ndarray, backend: FaceBackend, *, near: np.ndarray | None = None) -> np.ndarray:
    """The median face box (4,), x0, y0, x1, y1 in pixels, over some frames of (T,H,W,3).

    Of several faces the one nearest to `near` (4,), in pixels of these frames, is taken, else the largest.
    Raises `ItemError("no_face")` where none of them shows a face.
    """
    boxes = []
    for k in np.unique(np.linspace(0, len(frames) - 1, SAMPLED_FRAMES).astype(int)):
        faces = backend.detect(frames[k])
        chosen = 0 if near is None or not len(faces) else int(distance(faces, near).argmin())
        if len(faces) and np.isfinite(points := backend.landmarks(frames[k], faces[chosen])).all():
            boxes.append(box_around(points))
    if not boxes:
        raise ItemError("no_face", f"no face in {SAMPLED_FRAMES} frames of the output")
    return np.median(boxes, axis=0)


def place(frames: np.ndarray, box: np.ndarray, target: np.ndarray, *, size: int) -> np.ndarray:
    """Frames uint8 (T,H,W,3) scaled and moved so that `box` falls on `target`: uint8 (T,size,size,3).

    Boxes are x0, y0, x1, y1 in pixels. The border of the picture is repeated outwards.
    """
    scale = float(np.hypot(*(target[2:] - target[:2])) / np.hypot(*(box[2:] - box[:2])))
    move = (target[:2] + target[2:]) / 2 - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.stack(
        [cv2.warpAffine(f, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE) for f in frames]
    )
