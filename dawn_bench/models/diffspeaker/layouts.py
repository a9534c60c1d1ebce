"""How DiffSpeaker's released network is recognised: by the number of vertices of its dataset's mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from dawn_bench.weights_kinds import LAYOUTS, Kind, Layout

if TYPE_CHECKING:
    import torch

#: The tensor that only this network has: a number a coordinate.
MARK = "denoiser.motion_decoder.bias"
#: Dataset by the number of coordinates of its mesh: three a vertex.
DATASETS: dict[int, Literal["biwi", "vocaset"]] = {70110: "biwi", 15069: "vocaset"}
_ENCODERS = ("hubert", "wav2vec2")


def _diffspeaker(state: Mapping[str, torch.Tensor], content: Any) -> Kind:
    width = len(state[MARK])
    dataset = DATASETS.get(width)
    if dataset is None:
        return Kind(f"a DiffSpeaker of {width // 3} vertices")
    return Kind(f"DiffSpeaker for {dataset.upper()}", tuple(f"diffspeaker-{e}-{dataset}" for e in _ENCODERS))


LAYOUTS.register("diffspeaker")(
    Layout(MARK, _diffspeaker, tuple(f"diffspeaker-{e}-{d}" for e in _ENCODERS for d in DATASETS.values()))
)
