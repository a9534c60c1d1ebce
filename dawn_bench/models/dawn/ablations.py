"""The paper's ablations of training, as changes to a preset: `NAME+ABLATION`."""

from __future__ import annotations

from collections.abc import Callable

from dawn_bench.errors import InputError
from dawn_bench.models.dawn.settings import A2VTraining, TrainSettings

#: Frame stride of the coarse model of two temporal resolutions.
TTR_STRIDE = 4


def only_stage_1(settings: TrainSettings) -> TrainSettings:
    """The first stage alone, for as many training frames as both stages have together (paper, Section 4.5)."""
    first = settings.a2v_1
    steps = round(_frames(settings) / (_length(first) * first.loop.batch_size))
    loop = first.loop.model_copy(update={"steps": steps})
    return settings.model_copy(update={"a2v_1": first.model_copy(update={"loop": loop}), "a2v_2": None})


def only_stage_2(settings: TrainSettings) -> TrainSettings:
    """The second stage alone and from scratch, as stage `a2v-1`, for as many training frames as both have together."""
    second = _second(settings)
    steps = round(_frames(settings) / (_length(second) * second.loop.batch_size))
    loop = settings.a2v_1.loop.model_copy(update={"steps": steps, "batch_size": second.loop.batch_size})
    return settings.model_copy(update={"a2v_1": second.model_copy(update={"loop": loop}), "a2v_2": None})


def no_pbnet(settings: TrainSettings) -> TrainSettings:
    """A2V-FDM is conditioned on audio only and generates head pose and blinks itself; no PBNet (Table 4)."""
    audio_only = {"pose_scales": (0.0,) * settings.a2v_1.model.pose_dim, "eye_scale": 0.0}
    stages = {"a2v_1": settings.a2v_1, "a2v_2": settings.a2v_2}
    changed = {
        name: stage.model_copy(update={"model": stage.model.model_copy(update=audio_only)})
        for name, stage in stages.items()
        if stage is not None
    }
    return settings.model_copy(update={**changed, "pbnet": None})


def ttr(settings: TrainSettings) -> TrainSettings:
    """Another A2V-FDM at a quarter of the frame rate, for the strategy of two temporal resolutions (Table 2)."""
    coarse = settings.a2v_1.model_copy(update={"stride": TTR_STRIDE, "random_source": True})
    return settings.model_copy(update={"a2v_ttr": coarse})


#: The paper's ablations of training by name.
ABLATIONS: dict[str, Callable[[TrainSettings], TrainSettings]] = {
    "only-stage-1": only_stage_1,
    "only-stage-2": only_stage_2,
    "no-pbnet": no_pbnet,
    "ttr": ttr,
}


def _second(settings: TrainSettings) -> A2VTraining:
    if settings.a2v_2 is None:
        raise InputError(
            f"preset {settings.preset!r} has one stage of A2V-FDM, which cannot be left out.",
            hint="Use small or dawn-128.",
        )
    return settings.a2v_2


def _length(stage: A2VTraining) -> float:
    """Mean length of a window, frames."""
    return (stage.frames + (stage.min_frames or stage.frames)) / 2


def _frames(settings: TrainSettings) -> float:
    """Total number of training frames of both stages of A2V-FDM."""
    both = (settings.a2v_1, _second(settings))
    return sum(_length(stage) * stage.loop.batch_size * stage.loop.steps for stage in both)
