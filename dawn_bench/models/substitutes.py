"""What a stage trains with in place of what its paper uses: logged before training, noted in reports, or refused.

A model lists its substitutes in `ModelSpec.substitutes`. Presets with published settings have `substitutes: refuse`:
they do not train without the paper's audio features and pretrained networks, which would take days to find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from dawn_bench import weights
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.weights_needs import Needs, fetch_command, missing_needs, preferred

Substitutes = Literal["allow", "refuse"]
#: The field `substitutes` of a model's settings; models without it allow everything.
SUBSTITUTES_FIELD: Any = Field(
    "allow",
    description="refuse: do not train without the paper's audio features and pretrained networks; allow: train with "
    "what takes their place, with a note before training and in reports",
)


@dataclass(frozen=True)
class Substitute:
    """One thing that takes the place of the paper's: a sentence before training, and one for reports.

    `refused` says whether settings with `substitutes: refuse` refuse it. The paper's needs the files `needs`, and the
    extractor `extract` where it is a feature.
    """

    announcement: str
    report_note: str
    refused: bool = False
    needs: Needs = ()
    extract: str = ""


def refusal_hint(substitutes: Sequence[Substitute]) -> str:
    """A hint on refused substitutes: how to get the paper's, and the setting that allows the substitutes."""
    extract = " ".join(f"--extract {name}" for name in dict.fromkeys(s.extract for s in substitutes) if name)
    missing = dict.fromkeys(preferred(need).name for s in substitutes for need in missing_needs(s.needs))
    steps = [fetch_command(*missing)] if missing else []
    steps += [f"prepare the cache with {extract}"] if extract else []
    return f"To train as the paper did: {'; then '.join(steps)}; to train with the substitutes: --set substitutes=allow"


def audio_substitute(title: str, encoder: str, width: int, *, paper: str, name: str) -> list[Substitute]:
    """A model that is trained on features of another audio encoder than its paper's.

    Args:
        title: the model's.
        encoder: the extractor whose features the cache has.
        width: values of a frame's features.
        paper: the extractor of the paper's features.
        name: the paper's name for it, for sentences.
    """
    if encoder == paper:
        return []
    return [
        Substitute(
            announcement=f"{title} trains on {encoder} features ({width} values a frame) instead of the paper's "
            f"{name}.",
            report_note=audio_note(title, encoder, name=name),
            refused=True,
            needs=EXTRACTORS[paper].weights,
            extract=paper,
        )
    ]


def audio_note(title: str, encoder: str, *, name: str) -> str:
    """The report's sentence on a model that was trained on features of `encoder` instead of the paper's `name`."""
    return f"{title} uses {encoder} features instead of the paper's {name}."


def picture_substitute(stage: str, policy: weights.Policy) -> list[Substitute]:
    """A stage with a perceptual loss whose VGG-19 is absent or not the published one.

    The stand-in that `seeded` asks for by name is noted, but not refused. Raises `InputError` if `policy` is `files`
    and the file is missing.
    """
    from dawn_bench.models.perceptual import PixelLoss

    resolved = weights.resolve("vgg19", policy)
    if resolved.path is None:
        return [
            Substitute(
                announcement=f"Stage {stage} trains without VGG-19's weights, on a {PixelLoss.identity}.",
                report_note=picture_note(stage, PixelLoss.identity),
                refused=policy != "seeded",
                needs=(("vgg19",),),
            )
        ]
    if resolved.state == "canonical":
        return []
    note = picture_note(stage, resolved.identity)
    return [Substitute(announcement=note, report_note=note)]


def loss_needs(policies: Sequence[weights.Policy], *, substitutes: Substitutes) -> Needs:
    """VGG-19's file, where one of these policies demands it (`files`) or no substitute is allowed; else nothing."""
    needed = any(p == "files" or (p == "auto" and substitutes == "refuse") for p in policies)
    return (("vgg19",),) if needed else ()


def picture_note(stage: str, identity: str) -> str:
    """The report's sentence on a stage by the identity of its perceptual loss; empty for the published VGG-19."""
    if "substitute" in identity:
        return f"Stage {stage} was trained without VGG-19's weights, on a {identity}."
    return f"Stage {stage}: its VGG-19 is not the published file." if ":user:" in identity else ""
