"""Presets with the settings of the release and of the paper, at full size.

`dawn-128` and `dawn-256` have the released settings for HDTF, `dawn-128-crema` those for CREMA-D. `dawn-128-vox` starts
the LFG from VoxCeleb's weights as the authors did, `dawn-128-fixed` has none of the bugs of the released code, and
`dawn-128-paper` has the settings in the paper's text where they differ. All refuse to train without HuBERT and VGG-19,
unless `substitutes` is `allow`.
"""

from __future__ import annotations

from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import LFGConfig
from dawn_bench.models.dawn.pbnet import PBNetConfig
from dawn_bench.models.dawn.settings import A2VTraining, LFGTraining, PBNetTraining, TrainSettings
from dawn_bench.training.stage import LoopConfig


def dawn_128() -> TrainSettings:
    """The released training at 128 px, including the quirks of the released code, so that released weights fit.

    LFG 1000 epochs at 4e-4 (batch 82), A2V-FDM in two stages, PBNet 100,000 epochs. Steps are epochs times the
    released number of batches for HDTF's 369 training clips: an LFG epoch has each clip 100 times, a PBNet epoch has
    10 batches of up to 40. Mixed precision is bfloat16 where the released A2V-FDM has float16 with loss scaling.
    """
    stage = LoopConfig(
        steps=250_000,
        batch_size=20,
        learning_rate=2e-4,
        final_learning_rate=1e-6,
        betas=(0.9, 0.99),
        clip_norm=2.0,
        amp=True,
        save_every=5000,
        validate_every=5000,
        workers=4,
    )
    a2v = A2VTraining(model=A2VConfig.reference(), loop=stage, frames=20)
    return TrainSettings(
        preset="dawn-128",
        note="the released settings at 128 px",
        substitutes="refuse",
        lfg=LFGTraining(
            model=LFGConfig.reference(),
            loop=LoopConfig(
                steps=450_000,
                batch_size=82,
                learning_rate=4e-4,
                final_learning_rate=2e-6,
                betas=(0.5, 0.999),
                save_every=5000,
                validate_every=5000,
                workers=4,
            ),
        ),
        a2v_1=a2v,
        a2v_2=a2v.model_copy(
            update={
                "loop": stage.model_copy(update={"steps": 125_000, "batch_size": 40}),
                "frames": 40,
                "min_frames": 30,
                "random_source": True,
            }
        ),
        pbnet=PBNetTraining(
            model=PBNetConfig.reference(),
            loop=LoopConfig(
                steps=1_000_000,
                batch_size=40,
                learning_rate=4e-4,
                final_learning_rate=2e-5,
                betas=(0.9, 0.999),
                weight_decay=0.01,
                clip_norm=2.0,
                save_every=10_000,
                validate_every=10_000,
                workers=2,
            ),
            steps_per_epoch=10,
        ),
    )


def dawn_128_24gb() -> TrainSettings:
    """`dawn-128` for GPUs of 24 GB: the same batches, of which a2v-2 takes four micro-batches a step."""
    base = dawn_128()
    assert base.a2v_2 is not None
    loop = base.a2v_2.loop.model_copy(update={"accumulate": 4})
    return base.model_copy(
        update={
            "preset": "dawn-128-24gb",
            "note": "the released settings at 128 px, in micro-batches for GPUs of 24 GB",
            "a2v_2": base.a2v_2.model_copy(update={"loop": loop}),
        }
    )


def dawn_128_fixed() -> TrainSettings:
    """`dawn-128` without the bugs of the released code: for training from scratch."""
    return _with_models(
        dawn_128(),
        preset="dawn-128-fixed",
        note="the released settings at 128 px, with the bugs of the released code fixed",
        lfg=LFGConfig.fixed(),
        a2v=A2VConfig.fixed(x0_weight=0.15, lip_weight=0.15),
        pbnet=PBNetConfig.fixed(kl_weight=0.004, gan_weight=1.0, reg_weight=0.0005),
    )


def dawn_128_paper() -> TrainSettings:
    """`dawn-128-fixed` with the settings in the paper's text where they differ (Eq. 7, appendix A.2).

    Lip weight 1, averaged over the frame as Eq. 7 is printed, and no x0 term; LFG 400 epochs with each of the 369 clips
    25 times (released: 100 times); PBNet 1600 epochs of 25 passes, no KL term for 400 of them, then a warm-up to 0.01
    at the end; adversarial weight 0.6.
    """
    base = _with_models(
        dawn_128(),
        preset="dawn-128-paper",
        note="the paper's settings at 128 px",
        lfg=LFGConfig.fixed(),
        a2v=A2VConfig.fixed(x0_weight=0.0, lip_weight=1.0, lip_normalisation="frame"),
        pbnet=PBNetConfig.fixed(kl_weight=0.01, gan_weight=0.6, kl_start=10_000, kl_ramp=30_000),
    )
    assert base.pbnet is not None
    lfg = base.lfg.loop.model_copy(update={"steps": 45_000})
    pbnet = base.pbnet.loop.model_copy(update={"steps": 400_000})
    return base.model_copy(
        update={
            "lfg": base.lfg.model_copy(update={"loop": lfg}),
            "pbnet": base.pbnet.model_copy(update={"loop": pbnet}),
        }
    )


def dawn_256() -> TrainSettings:
    """The released 256 px training: LFG 400 epochs at 6e-4 (batch 20), A2V-FDM as at 128 px."""
    base = dawn_128()
    loop = base.lfg.loop.model_copy(update={"steps": 738_000, "batch_size": 20, "learning_rate": 6e-4})
    return base.model_copy(
        update={
            "preset": "dawn-256",
            "note": "the released settings at 256 px",
            "lfg": base.lfg.model_copy(update={"loop": loop}),
        }
    )


def dawn_128_crema() -> TrainSettings:
    """The released training for CREMA-D: LFG 600 epochs at 4e-4 (batch 100), each clip 100 times an epoch.

    The clips are those of Diffused Heads without its ten test actors, 6,615. The release has no settings of A2V-FDM and
    PBNet for CREMA-D: those for HDTF are kept, by number of steps.
    """
    base = dawn_128()
    loop = base.lfg.loop.model_copy(update={"steps": 600 * 6615, "batch_size": 100})
    return base.model_copy(
        update={
            "preset": "dawn-128-crema",
            "note": "the released settings for CREMA-D at 128 px",
            "lfg": base.lfg.model_copy(update={"loop": loop}),
        }
    )


def dawn_128_vox() -> TrainSettings:
    """`dawn-128` with an LFG that starts from VoxCeleb's weights, as in the release and in the paper (appendix A.1)."""
    base = dawn_128()
    return base.model_copy(
        update={
            "preset": "dawn-128-vox",
            "note": "the released settings at 128 px, LFG from VoxCeleb's weights",
            "lfg": base.lfg.model_copy(update={"start": "voxceleb"}),
        }
    )


def _with_models(
    base: TrainSettings, *, preset: str, note: str, lfg: LFGConfig, a2v: A2VConfig, pbnet: PBNetConfig
) -> TrainSettings:
    """`base` with other models; loops and data unchanged."""
    assert base.a2v_2 is not None and base.pbnet is not None
    return base.model_copy(
        update={
            "preset": preset,
            "note": note,
            "lfg": base.lfg.model_copy(update={"model": lfg}),
            "a2v_1": base.a2v_1.model_copy(update={"model": a2v}),
            "a2v_2": base.a2v_2.model_copy(update={"model": a2v}),
            "pbnet": base.pbnet.model_copy(update={"model": pbnet}),
        }
    )
