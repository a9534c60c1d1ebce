"""Vertices and neutral face of a talking mesh, for methods that generate meshes instead of video."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dawn_bench.clip import Clip
from dawn_bench.metrics.functional.meshes import named_region, region_needs
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.base import FEATURES, Arrays, Feature
from dawn_bench.metrics.scoring.feature_cache import content_sha256
from dawn_bench.weights import Policy
from dawn_bench.weights_needs import Needs


@FEATURES.register("mesh")
class Mesh(Feature):
    """`mesh` float (T,V,3): the clip's `vertices`."""

    name, fields, version = "mesh", ("vertices",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The vertices of every frame."""
        return {self.name: np.asarray(clip["vertices"])}


@FEATURES.register("meshrest")
class MeshRest(Feature):
    """`meshrest` float (1,V,3): the clip's `template`, its subject's neutral face."""

    name, fields, version = "meshrest", ("template",), 1

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        """The neutral face."""
        return {self.name: np.asarray(clip["template"])}


class _Region(Feature):
    """Vertex indices: those of the protocol's file or named set where it has one, else the clip's own."""

    field: ClassVar[str]
    version = 1

    def __init__(
        self, protocol: ScoringProtocol = PAPER_DAWN, *, weights: Policy = "auto", device: str = "cpu"
    ) -> None:
        super().__init__(protocol, weights=weights, device=device)
        named = getattr(protocol, f"mesh_{self.field}")
        self.indices = named_region(named, self.field) if named is not None else None
        if self.indices is None:
            return
        self.fields = ("template",)  # type: ignore[misc]  # the clip's own indices are not needed

    @classmethod
    def weight_needs(cls, protocol: ScoringProtocol) -> Needs:
        """The file of the protocol's named set."""
        return region_needs({cls.field: getattr(protocol, f"mesh_{cls.field}")})

    def settings(self) -> dict[str, str]:
        return {"vertices": content_sha256(self.indices)} if self.indices is not None else {}

    def run(self, clip: Clip, given: Arrays) -> dict[str, np.ndarray]:
        if self.indices is not None:
            return {self.name: self.indices}
        return {self.name: np.asarray(clip[self.field][0], dtype=np.int64)}


@FEATURES.register("meshlips")
class MeshLips(_Region):
    """`meshlips` int64 (n,): the lip vertices."""

    name, field, fields = "meshlips", "lips", ("lips",)


@FEATURES.register("meshupper")
class MeshUpper(_Region):
    """`meshupper` int64 (n,): the upper-face vertices."""

    name, field, fields = "meshupper", "upper", ("upper",)
