"""DiT-Head: a VQGAN of faces, a VQGAN of masked faces, then the transformer on the latents of both."""

from __future__ import annotations

from dawn_bench.models.spec import CheckpointKind, Lazy, ModelSpec, register

_HERE = "dawn_bench.models.dit_head"

SPEC = register(
    ModelSpec(
        name="dit-head",
        title="DiT-Head",
        modality="video",
        stages={
            "vqgan-face": Lazy(f"{_HERE}.stages.vqgan:face"),
            "vqgan-masked": Lazy(f"{_HERE}.stages.vqgan:masked"),
            "dit": Lazy(f"{_HERE}.stages.dit:DiTStage"),
        },
        after={"dit": "vqgan-masked"},
        presets=("tiny", "small", "paper"),
        preset=Lazy(f"{_HERE}.presets:preset"),
        fit_to_cache=Lazy(f"{_HERE}.presets:fit_to_cache"),
        facts=Lazy(f"{_HERE}.presets:facts"),
        checkpoints={
            "dit-head-vqgan": CheckpointKind(Lazy(f"{_HERE}.config:VQGANConfig"), Lazy(f"{_HERE}.vqgan:VQGAN")),
            "dit-head-dit": CheckpointKind(Lazy(f"{_HERE}.config:DiTConfig"), Lazy(f"{_HERE}.dit:DiT")),
        },
        options=Lazy(f"{_HERE}.generator:DubFileOptions"),
        load=Lazy(f"{_HERE}.generator:DitHeadGenerator.load"),
        released=lambda path: False,  # no official weights exist
        substitutes=Lazy(f"{_HERE}.presets:substitutes"),
        weights=Lazy(f"{_HERE}.needs:needs"),
        report_notes=Lazy(f"{_HERE}.presets:report_notes"),
    )
)
