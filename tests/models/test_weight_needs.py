"""Which published files each setting asks for, over all combinations of the settings that decide it."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from dawn_bench.models.dawn.needs import RELEASED
from dawn_bench.models.dawn.needs import needs as dawn_needs
from dawn_bench.models.dawn.presets import preset as dawn_preset
from dawn_bench.models.diffspeaker.config import EncoderName
from dawn_bench.models.diffspeaker.needs import PRETRAINED
from dawn_bench.models.diffspeaker.needs import needs as diffspeaker_needs
from dawn_bench.models.diffspeaker.presets import preset as diffspeaker_preset
from dawn_bench.models.dit_head.needs import needs as dit_head_needs
from dawn_bench.models.dit_head.presets import preset as dit_head_preset
from dawn_bench.models.substitutes import Substitutes, loss_needs
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.weights import Policy

POLICIES, CHOICES = get_args(Policy), get_args(Substitutes)
VGG = (("vgg19",),)


def loss(policy: str, choice: str) -> bool:
    """Whether a stage with a perceptual loss demands VGG-19."""
    return policy == "files" or (policy == "auto" and choice == "refuse")


def test_the_policies_are_those_that_these_tests_know() -> None:
    assert set(POLICIES) == {"auto", "files", "seeded"} and set(CHOICES) == {"allow", "refuse"}


@pytest.mark.parametrize(("first", "second", "choice"), list(product(POLICIES, POLICIES, CHOICES)))
def test_the_loss_network_is_needed_where_any_stage_demands_it(first: str, second: str, choice: str) -> None:
    demanded = loss(first, choice) or loss(second, choice)
    assert loss_needs([first, second], substitutes=choice) == (VGG if demanded else ())  # type: ignore[list-item]
    settings = dit_head_preset("tiny")
    changed = settings.model_copy(
        update={
            "substitutes": choice,
            "vqgan_face": settings.vqgan_face.model_copy(update={"perceptual": first}),
            "vqgan_masked": settings.vqgan_masked.model_copy(update={"perceptual": second}),
        }
    )
    sound = EXTRACTORS["wav2vec2"].weights if choice == "refuse" else ()
    assert tuple(dit_head_needs(changed)) == (*sound, *(VGG if demanded else ()))


@pytest.mark.parametrize(
    ("policy", "start", "init", "choice"),
    list(product(POLICIES, ("random", "voxceleb"), (None, Path("own.pth")), CHOICES)),
)
def test_dawn_needs_what_its_lfg_begins_and_learns_with(
    policy: str, start: str, init: Path | None, choice: str
) -> None:
    settings = dawn_preset("tiny")
    lfg = settings.lfg.model_copy(update={"perceptual": policy, "start": start, "init": init})
    needs = dawn_needs(settings.model_copy(update={"lfg": lfg, "substitutes": choice}))
    assert tuple(needs) == (
        *(EXTRACTORS["hubert"].weights if choice == "refuse" else ()),
        *(VGG if loss(policy, choice) else ()),
        *((("mraa-vox256",),) if start == "voxceleb" and init is None else ()),
    )


@pytest.mark.parametrize(("encoder", "pretrained"), list(product(get_args(EncoderName), (True, False))))
def test_diffspeaker_needs_the_encoder_that_it_starts_from(encoder: str, pretrained: bool) -> None:
    settings = diffspeaker_preset("tiny")
    model = settings.diffspeaker.model
    model = model.model_copy(update={"audio": model.audio.model_copy(update={"encoder": encoder})})
    training = settings.diffspeaker.model_copy(update={"model": model, "pretrained": pretrained})
    needs = diffspeaker_needs(settings.model_copy(update={"diffspeaker": training}))
    assert tuple(needs) == ((PRETRAINED[encoder],) if pretrained and encoder != "logmel" else ())


def test_generating_needs_the_sound_of_the_paper_and_the_files_of_a_size() -> None:
    assert dawn_needs(None) == EXTRACTORS["hubert"].weights
    assert dit_head_needs(None) == EXTRACTORS["wav2vec2"].weights and diffspeaker_needs(None) == ()
    for size, (lfg, a2v, pose, blink) in RELEASED.items():
        assert (lfg, a2v) == ((f"dawn-lfg-{size}",), (f"dawn-a2v-{size}",))
        assert (pose, blink) == (("pbnet-pose", "pbnet-both"), ("pbnet-blink", "pbnet-both"))
