"""Where the host may wait for the device, and how often. Each entry is a decision; a new wait is one too.

A wait stops the host from preparing the next kernels. Places are `file:function`. Counts are exact: a wait that is
gone is taken out here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

#: Places that wait once per run, for reading or writing weights, or for what all steps share.
ONCE = (
    "models/checkpoint.py:save_checkpoint",
    "training/loop.py:fit",
    "training/resume.py:restore",
    "models/dawn/stages/a2v.py:A2VStage.__init__",
    "models/dawn/stages/lfg.py:LFGStage.__init__",
    "models/dit_head/stages/dit.py:DiTStage.__init__",
    "models/dit_head/stages/dit.py:_frozen",
    "models/dit_head/dit.py:DiT._places_like",
)


def of_steps(waits: Mapping[str, int], *, steps: int) -> dict[str, float]:
    """Waits per step, without those of once a run."""
    return {place: count / steps for place, count in sorted(waits.items()) if place not in ONCE and count}


def without(waits: Mapping[str, int], others: Mapping[str, int]) -> Counter[str]:
    """The waits that are not among the others."""
    return Counter(waits) - Counter(others)


#: Float64 on the device: the levels of a sampler, once, and the sums of normalisation in the fast U-Net.
DOUBLES = {
    "models/diffusion/levels.py:sampling_steps",
    "models/dawn/fast/blocks.py:GroupStatistics.add",
    "models/dawn/fast/blocks.py:GroupStatistics.affine",
    "models/dawn/fast/blocks.py:GroupStatistics._of_parts",
}

#: Waits of one training step by model and stage; `_one_step` reads all logged values at once.
STEP_WAITS: dict[str, dict[str, float]] = {
    "dawn lfg": {
        "training/augment.py:flips": 1,
        "training/augment.py:jitter": 4,
        "training/loop.py:_one_step": 1,
    },
    "dawn a2v-1": {
        "training/augment.py:jitter": 4,
        "training/loop.py:_one_step": 1,
    },
    "dawn a2v-2": {
        "training/augment.py:jitter": 4,
        "training/loop.py:_one_step": 1,
    },
    "dawn a2v-ttr": {
        "training/augment.py:jitter": 4,
        "training/loop.py:_one_step": 1,
    },
    "dawn pbnet": {
        "models/dawn/pbnet.py:_range": 2,
        "models/dawn/pbnet_loss.py:score": 4,
        "models/dawn/stages/pbnet.py:PBNetStage.losses": 1,
        "training/loop.py:_one_step": 3,  # the masks of two losses in the backward pass
    },
    "diffspeaker diffspeaker": {
        "models/diffspeaker/schedule.py:add_noise": 1,
        "training/loop.py:_one_step": 1,
    },
    "dit-head vqgan-face": {
        "models/dit_head/stages/vqgan.py:VQGANStage.losses": 1,
        "models/dit_head/vqgan_loss.py:vqgan_losses": 1,
        "training/loop.py:_one_step": 1,
    },
    "dit-head vqgan-masked": {
        "models/dit_head/stages/vqgan.py:VQGANStage.losses": 1,
        "models/dit_head/vqgan_loss.py:vqgan_losses": 1,
        "training/loop.py:_one_step": 1,
    },
    "dit-head dit": {
        "training/loop.py:_one_step": 1,
    },
}

#: Waits of one validation of one clip, sampled in as few steps as the test takes.
VALIDATION_WAITS: dict[str, dict[str, float]] = {
    "dawn lfg": {
        "models/dawn/stages/lfg.py:LFGStage.validate": 2,
        "pixels.py:to_frames": 1,
    },
    "dawn a2v-1": {
        "models/dawn/a2v.py:A2VFDM._denoiser": 2,
        "models/dawn/stages/a2v.py:A2VStage._sample": 5,
        "models/diffusion/levels.py:sampling_steps": 1,
        "pixels.py:to_frames": 1,
    },
    "dawn a2v-2": {
        "models/dawn/a2v.py:A2VFDM._denoiser": 2,
        "models/dawn/stages/a2v.py:A2VStage._sample": 5,
        "models/diffusion/levels.py:sampling_steps": 1,
        "pixels.py:to_frames": 1,
    },
    "dawn a2v-ttr": {
        "models/dawn/a2v.py:A2VFDM._denoiser": 2,
        "models/dawn/stages/a2v.py:A2VStage._sample": 5,
        "models/diffusion/levels.py:sampling_steps": 1,
        "pixels.py:to_frames": 1,
    },
    "dawn pbnet": {
        "models/dawn/pbnet.py:_range": 6,
        "models/dawn/stages/pbnet.py:PBNetStage.validate": 6,
    },
    "diffspeaker diffspeaker": {
        "models/diffspeaker/stages/diffspeaker.py:DiffSpeakerStage.validate": 3,
    },
    "dit-head vqgan-face": {
        "models/dit_head/stages/vqgan.py:VQGANStage.validate": 1,
        "pixels.py:to_frames": 2,
    },
    "dit-head vqgan-masked": {
        "models/dit_head/stages/vqgan.py:VQGANStage.validate": 2,
        "pixels.py:to_frames": 2,
    },
    "dit-head dit": {
        "models/diffusion/levels.py:sampling_steps": 2,
        "models/dit_head/diffusion.py:sample": 20,
        "models/dit_head/dubbing.py:DitHeadNetworks._latents": 4,
        "models/dit_head/dubbing.py:DitHeadNetworks._picture": 4,
        "pixels.py:to_frames": 2,
    },
}

#: Waits of one clip of an extractor: the input comes from pageable memory, and the field goes to the host.
EXTRACTOR_WAITS: dict[str, dict[str, int]] = {
    "hubert": {"pipelines/extractors/hubert.py:hidden_states": 2},
    "wav2vec2": {"pipelines/extractors/hubert.py:hidden_states": 2},
    "pose-3ddfa": {"pipelines/extractors/tddfa.py:predict": 2},
}

#: Waits of a face back end for one detection and the landmarks of one face, those of its package included.
FACE_WAITS: dict[str, dict[str, int]] = {
    "face-alignment": {
        "pipelines/faces/backends/face_alignment.py:FaceAlignmentBackend.detect": 2,
        "pipelines/faces/backends/face_alignment.py:FaceAlignmentBackend.landmarks": 2,
    },
}
