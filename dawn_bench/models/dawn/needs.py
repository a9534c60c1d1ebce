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
    """The speech encoder of the paper, and with settings the loss network, unless substitutes are allowed."""
    from dawn_bench.models.substitutes import loss_needs
    from dawn_bench.pipelines.extractors.base import EXTRACTORS

    encoder = EXTRACTORS[AUDIO].weights
    if settings is None:
        return encoder
    start = settings.lfg.start == "voxceleb" and settings.lfg.init is None
    return (
        *(encoder if settings.substitutes == "refuse" else ()),
        *loss_needs([settings.lfg.perceptual], substitutes=settings.substitutes),
        *(((VOXCELEB,),) if start else ()),
    )
