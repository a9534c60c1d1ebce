"""DAWN: LFG, A2V-FDM in its stages, PBNet."""

from __future__ import annotations

from dawn_bench.models.dawn.needs import AUDIO, BLINK, POSE, RELEASED
from dawn_bench.models.spec import CheckpointKind, Lazy, ModelSpec, register

_HERE = "dawn_bench.models.dawn"

SPEC = register(
    ModelSpec(
        name="dawn",
        title="DAWN",
        modality="video",
        default=True,
        stages={
            "lfg": Lazy(f"{_HERE}.stages.lfg:LFGStage"),
            "a2v-1": Lazy(f"{_HERE}.stages.a2v:stage_one"),
            "a2v-2": Lazy(f"{_HERE}.stages.a2v:stage_two"),
            "a2v-ttr": Lazy(f"{_HERE}.stages.a2v:stage_coarse"),
            "pbnet": Lazy(f"{_HERE}.stages.pbnet:PBNetStage"),
        },
        after={"a2v-1": "lfg", "a2v-2": "lfg", "a2v-ttr": "lfg"},
        starts_from={"a2v-2": "a2v-1"},
        driven=("a2v-1", "a2v-2", "a2v-ttr", "pbnet"),
        presets=(
            "tiny",
            "small",
            "dawn-128",
            "dawn-128-24gb",
            "dawn-128-fixed",
            "dawn-128-paper",
            "dawn-256",
            "dawn-128-crema",
            "dawn-128-vox",
        ),
        variants=("only-stage-1", "only-stage-2", "no-pbnet", "ttr"),
        preset=Lazy(f"{_HERE}.presets:preset"),
        fit_to_cache=Lazy(f"{_HERE}.presets:fit_to_cache"),
        size=Lazy(f"{_HERE}.presets:frame_size"),
        facts=Lazy(f"{_HERE}.presets:facts"),
        checkpoints={
            "lfg": CheckpointKind(Lazy(f"{_HERE}.lfg_config:LFGConfig"), Lazy(f"{_HERE}.lfg:LFG")),
            "a2v": CheckpointKind(Lazy(f"{_HERE}.a2v_config:A2VConfig"), Lazy(f"{_HERE}.a2v:A2VFDM")),
            "pbnet": CheckpointKind(Lazy(f"{_HERE}.pbnet_config:PBNetConfig"), Lazy(f"{_HERE}.pbnet:PBNet")),
        },
        options=Lazy(f"{_HERE}.options:DawnOptions"),
        load=Lazy(f"{_HERE}.released:load_generator"),
        released=Lazy(f"{_HERE}.released:is_released"),
        substitutes=Lazy(f"{_HERE}.substitutes:substitutes"),
        report_notes=Lazy(f"{_HERE}.presets:report_notes"),
        weights=Lazy(f"{_HERE}.needs:needs"),
        released_weights={f"released-{size}": needs for size, needs in RELEASED.items()},
        released_extractors=(POSE, BLINK, AUDIO),
        signals=Lazy(f"{_HERE}.signals:signals"),
    )
)
