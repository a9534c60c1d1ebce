"""Protocols: every choice that a published number leaves open, as a field of a frozen object with an id.

Scores under different protocols are never ranked together. `paper-dawn` is the default; the docstring of each metric
gives the reasons for its choices. A variant such as `protocol("paper-dawn", ("fid_resize=clean",))` has its own id, and
so has the same protocol over pieces of clips, as the paper scores HDTF (`PIECE_LENGTHS`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from dawn_bench.config import Config, resolve_config
from dawn_bench.errors import unknown_name
from dawn_bench.provenance import fingerprint

#: Fewest frames of a piece.
MIN_PIECE_LENGTH = 2


#: What becomes of the rest of a clip: `ScoringProtocol.piece_remainder`.
Remainder = Literal["half", "keep", "drop"]


class ScoringProtocol(Config):
    """How each metric is computed. Distances in pixels, times in seconds unless a field says frames."""

    id: str = "paper-dawn"

    # clips
    piece_length: int | None = Field(
        None,
        ge=MIN_PIECE_LENGTH,
        description="frames of a piece: clips are generated and scored in pieces, each from its own first frame; "
        "null: whole clips. Default for hdtf: 200",
    )
    piece_remainder: Remainder = Field(
        "half",
        description="the rest of a clip: half: kept if at least half a piece; keep: always kept; drop: never kept; "
        "clips shorter than a piece stay whole, or are dropped (drop)",
    )
    skip_first: int = Field(
        0, ge=0, description="frames skipped at the start of each clip or piece; 1: the source, its frame 0"
    )
    transcode: Literal["none", "h264"] = Field(
        "none", description="none: generated frames as they are; h264: re-encoded as H.264 4:2:0, crf 18"
    )

    # FID, DR
    fid_resize: Literal["pytorch-fid", "clean", "torch-fidelity"] = Field(
        "pytorch-fid",
        description="pytorch-fid: bilinear without antialias, 2x-1; clean: PIL bicubic, (x-128)/128; "
        "torch-fidelity (torchmetrics too): TensorFlow 1's bilinear, (x-128)/128",
    )
    dr_reference: Literal["matching", "all"] = Field(
        "matching",
        description="true frames that both ends of a clip are compared with: the same ones, or all",
    )

    # FVD
    fvd_stride: int | None = Field(None, ge=1, description="frames between window starts; None: the window's length")
    fvd_first_n: bool = Field(False, description="only the first window of each clip")
    fvd_windows: int | None = Field(
        None, ge=2, description="number of windows drawn from all clips with seed 0 (StyleGAN-V: 2048); None: all"
    )
    fvd_resize: Literal["short-side", "squash"] = Field(
        "short-side", description="short-side: shorter side to 224, centred crop; squash: both sides to 224"
    )
    fvd_batch_norm: Literal["0.001", "0.00001"] = Field(
        "0.001", description="eps of I3D: TF-Hub's, or that of VideoGPT's copy (only weights with piergiaj's keys)"
    )
    fvd_covariance: Literal["unbiased", "biased"] = "unbiased"

    # pictures
    psnr_cap: float = Field(100.0, description="dB given to identical frames")
    psnr_mean: Literal["frames", "pooled"] = Field(
        "frames", description="frames: mean of the frames' dB; pooled: dB of the error over all frames (torchmetrics)"
    )
    ssim_window: Literal["gaussian", "uniform"] = Field(
        "gaussian", description="gaussian: 11x11, sigma 1.5, population covariance; uniform: scikit-image's default 7x7"
    )
    lpips_net: Literal["alex", "vgg", "squeeze"] = "alex"
    lpips_spatial: bool = Field(False, description="mean of the maps upsampled to the frame size (common_metrics)")

    # lip sync
    lse_route: Literal["direct", "tracked"] = Field(
        "direct", description="direct: the whole frame; tracked: the crop around the tracked face"
    )
    lse_detector: Literal["syncnet", "wav2lip"] = Field(
        "syncnet", description="tracked: the S3FD of syncnet_python, or Wav2Lip's copy of it"
    )
    lse_min_track: int = Field(
        5, ge=0, description="tracked: a face must be detected in more frames than this (canonical: 100)"
    )
    lse_min_face: float = Field(0.0, ge=0, description="tracked: least size of a face, pixels (canonical: 100)")
    lse_shift: int = Field(15, ge=1, description="largest shift of sound against picture, frames")

    # identity
    csim_reference: Literal["true", "source"] = Field(
        "true", description="true: frame t against true frame t; source: every frame against the first true frame"
    )

    csim_network: Literal["arcface", "arcface-r100", "mobilefacenet", "dlib"] = Field(
        "arcface", description="the identity network; dlib's replaces arcface where its file is absent, and is noted"
    )

    csim_missing: Literal["skip", "zero"] = Field(
        "skip", description="frames without a face: excluded, or counted as 0"
    )

    # beats
    bas_direction: Literal["audio", "motion"] = Field("audio", description="beats that the mean is over")
    bas_sigma: float = Field(3.0, gt=0, description="width of the match, frames")
    bas_smooth: float = Field(5.0, gt=0, description="width of the Gaussian over the motion signal, frames")
    bas_audio: Literal["beat", "onset"] = "beat"
    bas_hop: Literal[640, 512] = Field(
        640, description="samples between values of the onset envelope; 512: librosa's front end"
    )
    bas_points: Literal["rigid", "rotation"] = Field(
        "rigid", description="head points move with the whole pose, or with its rotation only"
    )

    # blinks
    blink_rule: Literal["closing-edge", "online", "threshold"] = Field(
        "closing-edge",
        description="closing-edge: sharp falls; online: the same authors' online rule; threshold: runs of shut frames",
    )
    blink_edge: float = Field(
        0.072, gt=0, description="closing-edge: minimum fall of the eye aspect ratio per frame at 25 fps"
    )
    blink_threshold: float = Field(
        0.2, gt=0, description="threshold, online: eye aspect ratio below which an eye is closed"
    )
    blink_frames: int = Field(2, ge=1, description="threshold, online: frames that an eye must stay closed")

    # meshes
    mesh_lips: str | None = Field(None, description="the lip vertices: biwi, vocaset, or a file of their indices")
    mesh_upper: str | None = Field(None, description="the upper-face vertices: biwi, vocaset, or a file")

    @field_validator("fvd_batch_norm", mode="before")
    @classmethod
    def _as_it_is_listed(cls, value: Any) -> Any:
        """The word for a number: YAML reads an eps without quotation marks as one."""
        words = get_args(cls.model_fields["fvd_batch_norm"].annotation)
        return next((word for word in words if isinstance(value, float) and float(word) == value), value)

    @property
    def fingerprint(self) -> str:
        """The hash of all fields; fields added later are left out at their old value, so that old scores stay valid."""
        fields = self.model_dump(mode="json")
        return fingerprint(
            {n: v for n, v in fields.items() if n not in _DEFAULTS_OF_LATER_FIELDS or v != _DEFAULTS_OF_LATER_FIELDS[n]}
        )

    def in_pieces(self, length: int | None, remainder: Remainder = "half") -> ScoringProtocol:
        """The same protocol over pieces of `length` frames, None for whole clips, with an id that says so.

        The id of whole clips is that of protocols from before there were pieces.
        """
        name, plus, changes = self.id.partition("+")
        name = name.partition(_ID_SUFFIX)[0]
        if length is None:
            remainder = "half"
        else:
            name += f"{_ID_SUFFIX}{length}" + (f"-{remainder}" if remainder != "half" else "")
        fields = {"id": name + plus + changes, "piece_length": length, "piece_remainder": remainder}
        return self.model_copy(update=fields)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are computed where none is named (`PROTOCOL_METRICS`); empty: all that are not optional."""
        return PROTOCOL_METRICS.get(self.id.partition("+")[0].partition(_ID_SUFFIX)[0], ())

    @property
    def pieces(self) -> str:
        """What is scored, in words: `whole clips`, or `pieces of 200 frames`."""
        return piece_words(self.piece_length)


#: What an id has before the length of pieces, and such an id without other changes.
_ID_SUFFIX = "-pieces-"
_SHOWN = re.compile(rf"(?P<name>.+){_ID_SUFFIX}(?P<length>[0-9]{{1,9}})(-(?P<remainder>keep|drop))?")
#: Fields that earlier versions lacked, with the value that is what these did.
_DEFAULTS_OF_LATER_FIELDS: Mapping[str, Any] = {"piece_length": None, "piece_remainder": "half"}
#: The metrics of a named protocol, where it does not compute all that are not optional.
PROTOCOL_METRICS: Mapping[str, tuple[str, ...]] = {
    "embedded": (
        *("mouth-corr", "m-lmd", "f-lmd", "av-corr", "av-lag", "silence-leak"),
        *("bas", "blink", "head-spread"),
        *("frechet-lite0", "kernel-lite0", "frechet-motion-lite0", "psnr", "ssim"),
        "id-dlib",
        *("lve", "mve", "fdd"),
    )
}
#: Frames of a piece by kind of dataset, as in DAWN's paper (Section 4.1): HDTF's clips last minutes, CREMA's seconds.
#: Clips of other datasets stay whole.
PIECE_LENGTHS: Mapping[str, int] = {"hdtf": 200}


def piece_words(length: int | None) -> str:
    """`pieces of 200 frames`; `whole clips` for None."""
    return "whole clips" if length is None else f"pieces of {length} frames"


PAPER_DAWN = ScoringProtocol()
#: The same with LSE on the tracked face crop: a second lip-sync number, never mixed with the first.
PAPER_DAWN_TRACKED = ScoringProtocol(id="paper-dawn-tracked", lse_route="tracked")
#: Metrics whose networks come with an installation: real numbers without a download, under names of their own.
EMBEDDED = ScoringProtocol(id="embedded")

#: Named protocols.
PROTOCOLS: dict[str, ScoringProtocol] = {p.id: p for p in (PAPER_DAWN, PAPER_DAWN_TRACKED, EMBEDDED)}


def protocol(
    name: str = PAPER_DAWN.id, /, overrides: tuple[str, ...] = (), *, dataset: str | None = None
) -> ScoringProtocol:
    """The protocol called `name`, for a kind of `dataset` (`PIECE_LENGTHS`), changed by `field=value` strings.

    Pieces are in the id (`name-pieces-200`), other changes as a hash (`name+1f2e3d4c`). An id with pieces, as reports
    show it, is taken as a name: its pieces go before those of the dataset, and `overrides` go before both. Raises
    `InputError` for an unknown name, field or value.
    """
    if name not in PROTOCOLS and (shown := _SHOWN.fullmatch(name)) is not None and shown["name"] in PROTOCOLS:
        name = shown["name"]
        fields = (f"piece_length={shown['length']}", f"piece_remainder={shown['remainder'] or 'half'}")
        overrides = (*fields, *overrides)
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    base = PROTOCOLS[name]
    usual = base.in_pieces(PIECE_LENGTHS.get(dataset or ""))
    given = resolve_config(usual.model_copy(update={"id": name}), overrides=overrides, where="--protocol-set")
    changed = given.in_pieces(None)
    if changed != base:
        changed = changed.model_copy(update={"id": f"{name}+{changed.fingerprint[:8]}"})
    if given.piece_length is not None:
        return changed.in_pieces(given.piece_length, given.piece_remainder)
    return changed if changed != base else base
