"""The published files that DAWN takes: HuBERT for its sound, VGG-19 for LFG's loss, and the released models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dawn_bench.weights_needs import Needs

if TYPE_CHECKING:
    from dawn_bench.models.dawn.settings import TrainSettings

#: The extractors behind the release's conditions, by field (the recipe `dawn` states the same).
POSE, BLINK, AUDIO = "pose-3ddfa", "blink-one-pair", "hubert"
#: The weights that the authors' LFG started from (appendix A.1).
VOXCELEB = "mraa-vox256"
#: Needs of the released models by image size: LFG, A2V-FDM, PBNet for pose and for blinks, or one for both.
RELEASED: dict[int, Needs] = {
    size: ((f"dawn-lfg-{size}",), (f"dawn-a2v-{size}",), ("pbnet-pose", "pbnet-both"), ("pbnet-blink", "pbnet-both"))
    for size in (128, 256)
}


def needs(settings: TrainSettings | None) -> Needs:
    """The speech encoder of the paper, and with settings the loss network; the small presets do without."""
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    encoder = EXTRACTORS["hubert"].weights
    if settings is None:
        return encoder
    if not settings.preset.startswith("dawn-"):
        return ()
    start = settings.lfg.start == "voxceleb" and settings.lfg.init is None
    return (
        *encoder,
        *((("vgg19",),) if settings.lfg.perceptual != "seeded" else ()),
        *(((VOXCELEB,),) if start else ()),
    )
