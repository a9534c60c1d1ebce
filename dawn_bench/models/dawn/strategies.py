"""The generation strategies that the paper compares (Table 2), with the same trained models: NAR, SAR, TTR.

A strategy is a function (talker, source, audio, seed, options, pose, blink) -> frames uint8 (T,S,S,3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from dawn_bench.models.dawn.generator import DawnGenerator, SamplingOptions, Source

Strategy = Callable[..., np.ndarray]


class SarOptions(SamplingOptions):
    """Sampling, and the length of a segment."""

    segment: int = Field(40, ge=2, description="frames of a segment")


class TtrOptions(SamplingOptions):
    """Sampling, and the coarse temporal resolution."""

    stride: int = Field(4, ge=2, description="every how many frames the coarse pass makes one")


def nar(
    talker: DawnGenerator,
    source: Source,
    audio: np.ndarray,
    *,
    seed: int,
    options: SamplingOptions,
    pose: np.ndarray | None = None,
    blink: np.ndarray | None = None,
) -> np.ndarray:
    """DAWN's own: every frame of the clip in one sample."""
    return talker.talk(source, audio, seed=seed, options=options, pose=pose, blink=blink)


def sar(
    talker: DawnGenerator,
    source: Source,
    audio: np.ndarray,
    *,
    seed: int,
    options: SarOptions,
    pose: np.ndarray | None = None,
    blink: np.ndarray | None = None,
) -> np.ndarray:
    """Semi-autoregressive, as in He et al. 2023: segments of fixed length, each conditioned on the one before.

    The last picture of a segment, as it was generated, is the source of the next. Head pose and blinks are drawn for
    the whole clip at once, so that the strategies differ in the frames alone.
    """
    if pose is None or blink is None:
        drawn_pose, drawn_blink = tracks(talker, source, audio, seed=seed)
        pose, blink = (drawn_pose if pose is None else pose), (drawn_blink if blink is None else blink)
    parts: list[np.ndarray] = []
    for number, start in enumerate(range(0, len(audio), options.segment)):
        span = slice(start, start + options.segment)
        part = talker.talk(source, audio[span], seed=seed + number, options=options, pose=pose[span], blink=blink[span])
        source = replace(source, frame=part[-1], pose=pose[span][-1], blink=blink[span][-1])
        parts.append(part)
    return np.concatenate(parts)


def ttr(
    talker: DawnGenerator,
    source: Source,
    audio: np.ndarray,
    *,
    seed: int,
    options: TtrOptions,
    pose: np.ndarray | None = None,
    blink: np.ndarray | None = None,
) -> np.ndarray:
    """Two temporal resolutions, as in Harvey et al. 2022: key frames over the whole clip, then all between them.

    Key frames come from the run's coarse model (preset `NAME+ttr`), else from the same model as the others. The second
    pass samples every frame with the key frames' motion held.
    """
    scene = talker.scene(source, audio, seed=seed, pose=pose, blink=blink)
    count = scene.cond_BFD.shape[1]
    keys = torch.unique(torch.tensor([*range(0, count, options.stride), count - 1], device=scene.cond_BFD.device))
    coarse = talker.coarse or talker.a2v
    z_keys = talker.sample(replace(scene, cond_BFD=scene.cond_BFD[:, keys]), options, model=coarse)
    with torch.no_grad():
        z_keys = talker.a2v.pack_motion(*coarse.unpack_motion(z_keys))
    return talker.show(scene, talker.sample(scene, options, held=(keys, z_keys)))


def tracks(talker: DawnGenerator, source: Source, audio: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Head pose (T,6) and blinks (T,2), float32, that `talk` with this seed would draw.

    The source's own at every frame where the model makes head pose and blinks by itself.
    """
    state = np.concatenate([np.asarray(source.pose, np.float32)[:6], np.asarray(source.blink, np.float32)])
    if talker.pbnet is None:
        drawn = np.repeat(state[None], len(audio), axis=0)
    else:
        first, heard = (torch.as_tensor(np.array(x, np.float32), device=talker.device)[None] for x in (state, audio))
        generator = torch.Generator(device=talker.device).manual_seed(seed)
        drawn = talker.pbnet.generate(first, heard, generator=generator)[0].cpu().numpy()
    return drawn[:, :6], drawn[:, 6:]


#: Strategies by the paper's names, each with its kind of options.
STRATEGIES: dict[str, tuple[Strategy, type[SamplingOptions]]] = {
    "nar": (nar, SamplingOptions),
    "sar": (sar, SarOptions),
    "ttr": (ttr, TtrOptions),
}
