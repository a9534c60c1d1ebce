"""A generator from DAWN's published weight files, located by name, with the released behaviour.

The files are those of huggingface.co/Hanbo-Cheng/DAWN: LFG_128_1000ep.pth or LFG_256_400ep.pth, DAWN_128.pth or
DAWN_256.pth, and PBNet's pbnet_seperate/pose and pbnet_seperate/blink (or pbnet_both) checkpoint_*.pth.tar. The folder
is also spelled `pbnet-seperate`. A file that holds another network than its name says is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dawn_bench import weights
from dawn_bench.errors import InputError, nearest
from dawn_bench.extractor_record import KEY, Extracted, to_json
from dawn_bench.files import sha256_file
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.generator import DawnGenerator
from dawn_bench.models.dawn.lfg import LFGConfig
from dawn_bench.models.dawn.needs import AUDIO, BLINK, POSE, RELEASED
from dawn_bench.models.dawn.pbnet import PBNet, SeparatePBNets
from dawn_bench.models.dawn.published import load_published_a2v, load_published_lfg, load_published_pbnet
from dawn_bench.provenance import fingerprint
from dawn_bench.weights_kinds import check_kind
from dawn_bench.weights_needs import by_hand, missing_needs, preferred

#: `--checkpoint released-128`: the files come from the weights folder.
_NAMED = re.compile(r"released-(128|256)")
_MOTION = re.compile(r"DAWN_(128|256).*\.pth")
#: The extractors of their training data; which versions is not published.
_TRAINED_ON = {
    "pose": Extracted(POSE),
    "blink": Extracted(BLINK),
    AUDIO: Extracted(AUDIO),
}


@dataclass(frozen=True)
class ReleasedFiles:
    """The files of one image size. `pbnet` is one file for pose and blinks, or a file for each."""

    size: int
    lfg: Path
    a2v: Path
    pbnet: tuple[Path, ...]

    def check(self) -> None:
        """Raise `InputError` for a file that holds another network than it stands for, such as pose for blinks."""
        pbnet = ("pbnet-both",) if len(self.pbnet) == 1 else ("pbnet-pose", "pbnet-blink")
        names = (f"dawn-lfg-{self.size}", f"dawn-a2v-{self.size}", *pbnet)
        for path, name in zip((self.lfg, self.a2v, *self.pbnet), names, strict=True):
            check_kind(path, weights.entry(name))


def load_generator(checkpoint: Path, *, device: str = "cpu", stage: str | None = None) -> DawnGenerator:
    """The generator of a run folder, a folder of published files, one `DAWN_*.pth` in it, or `released-128`/`-256`.

    Raises `InputError` naming what is missing.
    """
    files = find_released(checkpoint)
    if files is None:
        if not checkpoint.exists():
            hint = nearest(str(checkpoint), [f"released-{size}" for size in RELEASED], label="Released")
            raise InputError("there is no such run folder.", path=checkpoint, hint=hint)
        return DawnGenerator.load(checkpoint, device=device, stage=stage)
    if stage is not None:
        raise InputError(f"option 'stage' is {stage!r}, but published weights have one stage.", path=checkpoint)
    return load_released(files, device=device)


def is_released(path: Path) -> bool:
    """Whether a path names published files: a released name, a `DAWN_*.pth` file, or a folder with one."""
    if _NAMED.fullmatch(str(path)) or _MOTION.fullmatch(path.name):
        return True
    return any(_MOTION.fullmatch(file.name) for file in path.rglob("DAWN_*.pth"))


def load_released(
    files: ReleasedFiles,
    *,
    device: str = "cpu",
    lfg_config: LFGConfig | None = None,
    a2v_config: A2VConfig | None = None,
) -> DawnGenerator:
    """The published networks with the released behaviour; the configurations allow other widths.

    Raises `InputError` naming missing, unexpected and misshapen keys.
    """
    files.check()
    motion = [load_published_pbnet(path) for path in files.pbnet]
    pbnet: PBNet | SeparatePBNets = motion[0] if len(motion) == 1 else SeparatePBNets(*motion)
    return DawnGenerator(
        load_published_lfg(files.lfg, lfg_config),
        load_published_a2v(files.a2v, a2v_config),
        pbnet,
        device=device,
        identity=fingerprint([sha256_file(path) for path in (files.lfg, files.a2v, *files.pbnet)]),
        facts={
            "lfg": {"size": files.size},
            "a2v": {"audio_encoder": AUDIO, "published": True, KEY: to_json(_TRAINED_ON)},
            "pbnet": {},
        },
    )


def find_released(checkpoint: Path) -> ReleasedFiles | None:
    """The published files that `checkpoint` names; None for any other path.

    Raises `InputError` naming the file that is missing, or when a folder holds both sizes.
    """
    if named := _NAMED.fullmatch(str(checkpoint)):
        return _registered(int(named[1]))
    if named := _MOTION.fullmatch(checkpoint.name):
        if not checkpoint.is_file():
            raise InputError("there is no such checkpoint.", path=checkpoint)
        return _group(checkpoint, int(named[1]), checkpoint.parent)
    files = sorted(path for path in checkpoint.rglob("DAWN_*.pth") if _MOTION.fullmatch(path.name))
    if not files:
        return None
    if len(files) > 1:
        listed = " and ".join(path.name for path in files)
        raise InputError(f"holds {listed}.", path=checkpoint, hint=f"Choose a file: --checkpoint {files[0]}")
    size = _MOTION.fullmatch(files[0].name)
    assert size is not None
    return _group(files[0], int(size[1]), checkpoint)


def _group(a2v: Path, size: int, folder: Path) -> ReleasedFiles:
    lfg = _first(folder, f"LFG_{size}*.pth")
    if lfg is None:
        raise InputError(f"holds {a2v.name}, but no LFG_{size}*.pth.", path=folder, hint=_origin(size))
    pose, blink, both = (
        _first(folder, f"{name}/checkpoint_*.pth.tar")
        for name in ("pbnet[-_]sep[ae]rate/pose", "pbnet[-_]sep[ae]rate/blink", "pbnet[-_]both")
    )
    return ReleasedFiles(size, lfg, a2v, _pbnet(pose, blink, both, folder=folder, size=size))


def _pbnet(pose: Path | None, blink: Path | None, both: Path | None, *, folder: Path, size: int) -> tuple[Path, ...]:
    """The separate networks where both are there, else the one for both; raises `InputError` naming what is missing."""
    if pose is not None and blink is not None:
        return pose, blink
    if both is not None:
        return (both,)
    absent = [name for name, path in (("pose", pose), ("blink", blink)) if path is None]
    wanted = " and ".join(f"pbnet_seperate/{name}" for name in absent)
    what = f"holds no checkpoint_*.pth.tar of PBNet in {wanted}, nor in pbnet_both."
    raise InputError(what, path=folder, hint=_origin(size))


def _first(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.rglob(pattern))), None)


def _registered(size: int) -> ReleasedFiles:
    if absent := missing_needs(RELEASED[size]):
        files = ", ".join(preferred(need).file for need in absent)
        raise InputError(f"lacks {files}.", path=weights.folder(), hint=_origin(size))
    (lfg,), (a2v,), *_ = RELEASED[size]
    pose, blink, both = (weights.locate(weights.entry(name)) for name in ("pbnet-pose", "pbnet-blink", "pbnet-both"))
    lfg_file, a2v_file = (weights.folder() / weights.entry(name).file for name in (lfg, a2v))  # present, see above
    pbnet = _pbnet(pose, blink, both, folder=weights.folder(), size=size)
    return ReleasedFiles(size, lfg_file, a2v_file, pbnet)


def _origin(size: int) -> str:
    return f"By hand: {by_hand(weights.entry(f'dawn-a2v-{size}'))}"
