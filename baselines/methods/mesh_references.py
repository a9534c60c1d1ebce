"""The floor and the ceiling of the mesh track: the true vertices, the face at rest, and another clip's motion."""

from __future__ import annotations

import numpy as np

from dawn_bench.baselines.base import Context, Item, MethodClass
from dawn_bench.baselines.meshes import MESH_METHODS
from dawn_bench.baselines.methods.shuffled_sound import other_clip


class _Reference:
    method_class: MethodClass = "sanity"
    licence = "of the dataset"
    name: str
    uses: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        return f"mesh-{self.name}/1"


class TrueMesh(_Reference):
    """The true vertices: zero error."""

    name = "ground-truth"
    uses: tuple[str, ...] = ("truth",)

    def speak(self, item: Item) -> tuple[np.ndarray, tuple[str, ...]]:
        return np.asarray(item.clip["vertices"])[None], ()


class StillMesh(_Reference):
    """The face at rest in every frame: what each metric gives to no motion at all."""

    name = "still"
    uses: tuple[str, ...] = ("source",)

    def speak(self, item: Item) -> tuple[np.ndarray, tuple[str, ...]]:
        return np.repeat(item.clip["template"], item.clip.n_frames, axis=0)[None], ()


class OtherMotion(_Reference):
    """The true motion of another clip on this face, as if it spoke to the wrong sound."""

    name = "shuffled-sound"
    uses: tuple[str, ...] = ("truth", "others")

    def speak(self, item: Item) -> tuple[np.ndarray, tuple[str, ...]]:
        other = other_clip(item)
        offsets = other["vertices"] - other["template"]
        places = np.arange(item.clip.n_frames) % len(offsets)
        return (item.clip["template"] + offsets[places])[None], ()


@MESH_METHODS.register("ground-truth")
def ground_truth(context: Context) -> TrueMesh:
    return TrueMesh()


@MESH_METHODS.register("still")
def still(context: Context) -> StillMesh:
    return StillMesh()


@MESH_METHODS.register("shuffled-sound")
def shuffled_sound(context: Context) -> OtherMotion:
    return OtherMotion()
