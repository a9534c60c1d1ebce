"""DiffSpeaker: one stage, on a mesh cache."""

from __future__ import annotations

from dawn_bench.models.spec import CheckpointKind, Lazy, ModelSpec, register

_HERE = "dawn_bench.models.diffspeaker"

SPEC = register(
    ModelSpec(
        name="diffspeaker",
        title="DiffSpeaker",
        modality="mesh",
        stages={"diffspeaker": Lazy(f"{_HERE}.stages.diffspeaker:DiffSpeakerStage")},
        presets=("tiny", "biwi-hubert", "biwi-wav2vec2", "vocaset-hubert", "vocaset-wav2vec2"),
        preset=Lazy(f"{_HERE}.presets:preset"),
        fit_to_cache=Lazy(f"{_HERE}.presets:fit_to_cache"),
        facts=Lazy(f"{_HERE}.presets:facts"),
        checkpoints={
            "diffspeaker": CheckpointKind(Lazy(f"{_HERE}.config:DiffSpeakerConfig"), Lazy(f"{_HERE}.model:DiffSpeaker"))
        },
        options=Lazy(f"{_HERE}.generator:DiffSpeakerOptions"),
        load=Lazy(f"{_HERE}.generator:load_generator"),
        released=Lazy(f"{_HERE}.released:is_released"),
        substitutes=Lazy(f"{_HERE}.presets:substitutes"),
        weights=Lazy(f"{_HERE}.needs:needs"),
        report_notes=Lazy(f"{_HERE}.presets:report_notes"),
    )
)
