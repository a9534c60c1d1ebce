"""DAWN (arXiv 2410.13726) from a trained run: generates from a portrait and sound; PBNet adds head pose and blinks."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, MethodClass, check_fit
from dawn_bench.baselines.methods.shuffled_sound import looped, other_clip
from dawn_bench.clip import Clip
from dawn_bench.config import validated
from dawn_bench.errors import InputError, ItemError, nearest
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.options import SamplingOptions
from dawn_bench.models.dawn.released import load_generator
from dawn_bench.models.dawn.strategies import STRATEGIES
from dawn_bench.models.inputs import Portrait
from dawn_bench.pipelines.extractors.compatibility import face_backend
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.settings import AUTO
from dawn_bench.provenance import fingerprint

#: What segments of the semi-autoregressive strategy take as their face box; another rule makes other frames.
SAR_BOX = "face box of the last frame"
#: Row note of released weights: their authors publish no hashes, so a copy may be of something else.
UNPROVEN = "released weights by name and layout; no hash of them is published"


def source_of(clip: Clip, *, read: slice = slice(1)) -> Portrait:
    """The first frame of a clip as a portrait; raises `ItemError` where the tracks of the frames `read` hold NaN."""
    for name in ("pose", "blink", "bbox"):
        if not np.isfinite(clip[name][read]).all():
            raise ItemError("not_finite", f"{name} of {clip.id} has values in the cache that are not finite")
    return Portrait(clip["frames"][0], clip["pose"][0], clip["blink"][0], clip["bbox"][0])


class Dawn:
    """DAWN with one generation strategy (`models.dawn.strategies`); `nar` is the paper's own.

    `drive="truth"` uses pose and blinks of the true clip in place of PBNet's, as the tables' rows with true pose do.
    `swap_sound` drives it with another clip's sound, to show whether its lips follow the audio.
    """

    method_class: MethodClass = "portrait"
    licence = "Apache-2.0 (weights: of whoever trained them)"

    def __init__(
        self,
        generator: DawnGenerator,
        options: SamplingOptions,
        *,
        name: str,
        drive: str = "pbnet",
        swap_sound: bool = False,
        strategy: str = "nar",
    ) -> None:
        self.generator, self.options, self.name = generator, options, name
        self.drive, self.swap_sound, self.strategy = drive, swap_sound, strategy
        tracks, sounds = ("pose",) if drive == "truth" else (), ("others",) if swap_sound else ()
        self.uses = ("source", "audio", *tracks, *sounds)

    @property
    def reads(self) -> tuple[str, ...]:
        """The state of the head in the source frame, and the sound as the model hears it."""
        return "pose", "blink", "bbox", self.generator.audio_encoder

    @property
    def fingerprint(self) -> str:
        """Identifies checkpoint, options and strategy."""
        options = self.options.model_dump()
        if options.get("pass_seconds") is None:
            options.pop("pass_seconds", None)  # outputs that were generated before there were passes keep their key
        settings = [options, self.drive, self.swap_sound]
        if self.strategy != "nar":
            settings.append(self.strategy)
        if self.strategy == "sar":
            settings += [SAR_BOX, self.face_backend.fingerprint()]
        return f"dawn/1/{self.generator.identity}/{fingerprint(settings)}"

    @cached_property
    def face_backend(self) -> FaceBackend:
        """What detects the face in the source frame of each SAR segment: that of the training data, where it can."""
        return face_backend(self.generator.extractors, AUTO)[0]

    def check(self, clip: Clip) -> None:
        """Raise `InputError` for a clip of another size, without the model's features, or by other extractors."""
        self.remarks(clip)

    def remarks(self, clip: Clip) -> tuple[str, ...]:
        """What of the model is not known, and how the clip's cache differs from its data; raises as `check`."""
        differences = check_fit(
            clip,
            size=self.generator.size,
            encoder=self.generator.audio_encoder,
            width=self.generator.a2v.config.audio_dim,
            trained=self.generator.extractors,
            fields=("pose", "blink", "face"),
            published=self.generator.published,
        )
        return (UNPROVEN, *differences) if self.generator.published else differences

    def generate(self, item: Item) -> Generated:
        """Frames of the true clip's length, with the sound that they were generated from."""
        clip = item.clip
        speech = other_clip(item) if self.swap_sound else clip
        self.check(speech)
        encoder = self.generator.audio_encoder
        features = np.resize(speech[encoder], (clip.n_frames, speech[encoder].shape[1]))
        sound = looped(np.asarray(speech["audio"]), clip.n_frames) if self.swap_sound else np.asarray(clip["audio"])
        true_pose = self.drive == "truth"
        strategy, _ = STRATEGIES[self.strategy]
        detector = {"backend": self.face_backend} if self.strategy == "sar" else {}
        frames = strategy(
            self.generator,
            source_of(clip, read=slice(None if true_pose else 1)),
            features,
            seed=item.own_seed,
            options=self.options,
            pose=clip["pose"] if true_pose else None,
            blink=clip["blink"] if true_pose else None,
            **detector,
        )
        return Generated(frames, sound)


@METHODS.register("dawn")
def build(context: Context) -> Dawn:
    """Options: `steps`, `eta`, `cond_scale`, `solver`, `window` (frames to each side), `drive`
    (pbnet or truth), `stage` (a2v-1 or a2v-2; by default the last of the run), `pass_seconds` (cut longer clips)."""
    return dawn(context, name="dawn")


@METHODS.register("dawn-shuffled")
def build_shuffled(context: Context) -> Dawn:
    """DAWN with another clip's sound: shows whether its lips follow the audio."""
    return dawn(context, name="dawn-shuffled", swap_sound=True)


@METHODS.register("dawn-true-pose")
def build_driven(context: Context) -> Dawn:
    """DAWN with the true head pose and blinks in place of PBNet's."""
    options = {"drive": "truth", **context.options}
    return dawn(replace(context, options=options), name="dawn-true-pose")


@METHODS.register("dawn-sar")
def build_sar(context: Context) -> Dawn:
    """DAWN's models, semi-autoregressive; one more option: `segment`, in frames."""
    return dawn(context, name="dawn-sar", strategy="sar")


@METHODS.register("dawn-ttr")
def build_ttr(context: Context) -> Dawn:
    """DAWN's models, in two temporal resolutions; one more option: `stride`, in frames."""
    return dawn(context, name="dawn-ttr", strategy="ttr")


def dawn(context: Context, *, name: str, swap_sound: bool = False, strategy: str = "nar") -> Dawn:
    """Build DAWN under `name`; raises `InputError` without a trained run, or for options that are unknown or wrong."""
    if context.checkpoint is None:
        raise InputError(
            "DAWN needs a trained run.", hint="Give one with --checkpoint RUN; dawn-bench train trains one."
        )
    options = dict(context.options)
    drive, stage = str(options.pop("drive", "pbnet")), options.pop("stage", None)
    if drive not in ("pbnet", "truth"):
        raise InputError(f"option 'drive' is {drive!r}.", hint=nearest(drive, ("pbnet", "truth")))
    sampling = validated(STRATEGIES[strategy][1], options, what="option")
    generator = load_generator(context.checkpoint, device=context.device, stage=stage)
    return Dawn(generator, sampling, name=name, drive=drive, swap_sound=swap_sound, strategy=strategy)
