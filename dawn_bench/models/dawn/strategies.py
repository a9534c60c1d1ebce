"""The generation strategies that the paper compares (Table 2), with the same trained models: NAR, SAR, TTR.

A strategy is a function (networks, source, audio, seed, options, pose, blink) -> frames uint8 (T,S,S,3). SAR also takes
the face back end that detects the face in each of its source frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from dawn_bench.models.dawn.networks import DawnNetworks
from dawn_bench.models.dawn.options import PassOptions, SamplingOptions
from dawn_bench.models.dawn.passes import stream
from dawn_bench.models.inputs import Portrait
from dawn_bench.pipelines.faces.base import FaceBackend, pick_backend
from dawn_bench.pipelines.faces.choice import nearest

Strategy = Callable[..., np.ndarray]


class SarOptions(SamplingOptions):
    """Sampling options, and the length of a segment."""

    segment: int = Field(40, ge=2, description="frames per segment")


class TtrOptions(SamplingOptions):
    """Sampling options, and the coarse temporal resolution."""

    stride: int = Field(4, ge=2, description="frame stride of the coarse pass")


def nar(
    networks: DawnNetworks,
    source: Portrait,
    audio: np.ndarray,
    *,
    seed: int,
    options: SamplingOptions,
    pose: np.ndarray | None = None,
    blink: np.ndarray | None = None,
) -> np.ndarray:
    """Non-autoregressive, DAWN's own strategy: all frames of the clip in one sample, or in passes (`PassOptions`)."""
    if isinstance(options, PassOptions) and options.pass_frames is not None:
        scene = networks.scene(source, audio, seed=seed, pose=pose, blink=blink)
        return np.concatenate(list(stream(networks, scene, options, longest=options.pass_frames)))
    return networks.talk(source, audio, seed=seed, options=options, pose=pose, blink=blink)


def sar(
    networks: DawnNetworks,
    source: Portrait,
    audio: np.ndarray,
    *,
    seed: int,
    options: SarOptions,
    pose: np.ndarray | None = None,
    blink: np.ndarray | None = None,
    backend: FaceBackend | None = None,
) -> np.ndarray:
    """Semi-autoregressive, as in He et al. 2023: segments of fixed length, each conditioned on the previous segment.

    The last generated frame of a segment is the source of the next segment, with its own face box, which `backend`
    detects (None: the one that `auto` picks). Head pose and blinks are drawn once for the whole clip, so the strategies
    differ only in the frames.
    """
    if pose is None or blink is None:
        drawn_pose, drawn_blink = networks.tracks(source, audio, seed=seed)
        pose, blink = (drawn_pose if pose is None else pose), (drawn_blink if blink is None else blink)
    backend = backend or pick_backend(device=networks.device)
    parts: list[np.ndarray] = []
    for number, start in enumerate(range(0, len(audio), options.segment)):
        span = slice(start, start + options.segment)
        part = networks.talk(
            source, audio[span], seed=seed + number, options=options, pose=pose[span], blink=blink[span]
        )
        parts.append(part)
        if start + options.segment < len(audio):
            source = next_source(source, part[-1], pose[span][-1], blink[span][-1], backend=backend)
    return np.concatenate(parts)


def next_source(
    before: Portrait, frame: np.ndarray, pose: np.ndarray, blink: np.ndarray, *, backend: FaceBackend
) -> Portrait:
    """A generated frame uint8 (S,S,3) of the face `before` as the next source: its head state and its face box.

    The box is that of the landmarks, as in preparation, of the face nearest to where the face was; it stays where it
    was if none is detected.
    """
    moved = replace(before, frame=frame, pose=pose, blink=blink)
    height, width = before.hw or frame.shape[:2]
    size = len(frame)
    last = np.asarray(before.bbox, np.float32) * np.tile([size / width, size / height], 2)
    boxes = backend.detect(frame)
    place = nearest(boxes, last)
    points = np.full((68, 2), np.nan) if place is None else backend.landmarks(frame, boxes[place])
    if not np.isfinite(points).all():
        return moved
    return replace(moved, bbox=np.concatenate([points.min(0), points.max(0)]).astype(np.float32), hw=None)


def ttr(
    networks: DawnNetworks,
    source: Portrait,
    audio: np.ndarray,
    *,
    seed: int,
    options: TtrOptions,
    pose: np.ndarray | None = None,
    blink: np.ndarray | None = None,
) -> np.ndarray:
    """Two temporal resolutions, as in Harvey et al. 2022: key frames over the whole clip, then all between them.

    Key frames come from the run's coarse model (preset `NAME+ttr`), else from the same model as the other frames. The
    second pass samples all frames with the motion of the key frames fixed.
    """
    scene = networks.scene(source, audio, seed=seed, pose=pose, blink=blink)
    count = scene.cond_BFD.shape[1]
    keys = torch.unique(torch.tensor([*range(0, count, options.stride), count - 1], device=scene.cond_BFD.device))
    coarse = networks.coarse or networks.a2v
    z_keys = networks.sample(replace(scene, cond_BFD=scene.cond_BFD[:, keys]), options, model=coarse)
    with torch.no_grad():
        z_keys = networks.a2v.pack_motion(*coarse.unpack_motion(z_keys))
    motion = networks.sample(scene, options, fixed=(keys, z_keys))
    return networks.show(scene, motion, precision=options.precision)


#: Strategies by their names in the paper, each with its options class.
STRATEGIES: dict[str, tuple[Strategy, type[SamplingOptions]]] = {
    "nar": (nar, PassOptions),
    "sar": (sar, SarOptions),
    "ttr": (ttr, TtrOptions),
}
