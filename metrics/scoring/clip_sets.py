"""Sets of clips as a user supplies them: a folder, a list of files, arrays with or without sound, or clips of a cache.

A set is checked when it is given and read clip by clip when it is scored, so that it may be larger than memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dawn_bench.baselines.formats import FORMATS, read_output
from dawn_bench.cache import Cache
from dawn_bench.clip import FPS, SAMPLE_RATE, Clip, whole_frames
from dawn_bench.errors import InputError, UnknownNameError, nearest
from dawn_bench.files import user_path, walk
from dawn_bench.lists import folded, shape_of
from dawn_bench.models.generator import TalkingClip
from dawn_bench.pipelines.media.audio import fit_length
from dawn_bench.pipelines.meshes.checks import other_rate

#: One clip: a video file; frames uint8 (T,H,W,3) RGB; (frames, sound); a mapping with the keys `frames`, `audio`
#: (int16 (n,), 16 kHz mono) and `fps`, or with a mesh's fields; a generated clip; or a clip of a cache.
ClipLike = str | Path | np.ndarray | tuple[np.ndarray, np.ndarray] | Mapping[str, Any] | TalkingClip | Clip
#: Several: a folder, a file, frames (T,H,W,3) or (N,T,H,W,3), a list, a mapping by name, or a whole cache.
ClipSetLike = str | Path | np.ndarray | Sequence[ClipLike] | Mapping[str, ClipLike] | Cache

#: What a mapping may hold besides `fps`.
_OF_MESHES = ("template", "lips", "upper", "triangles")
FIELDS = ("frames", "audio", "vertices", *_OF_MESHES)
#: Picture and sound that differ by more than both were not recorded at the rate that they are given with.
_SLACK_SECONDS, _SLACK_SHARE = 0.15, 0.02
#: Sample rates at which sound is often given by mistake.
_OTHER_RATES = (8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000)
_KINDS = "a video file, uint8 frames (T,H,W,3), (frames, sound), a mapping with frames and audio, or a clip of a cache"


@dataclass(frozen=True)
class SetClip:
    """One clip of a set: its name, and a file, a clip, or arrays at `fps` from which it is read."""

    name: str
    source: Path | Clip | Mapping[str, np.ndarray]
    fps: float = FPS

    def read(self, truth: Clip | None = None) -> tuple[Clip, list[str]]:
        """The clip at 25 fps, and notes on what was changed. Raises `ItemError` for a file that cannot be read.

        A clip without sound takes that of `truth`, where there is one, as in an evaluation.
        """
        blank = Clip(self.name, "", "", 0, {}) if truth is None else truth
        if isinstance(self.source, Path):
            return read_output(self.source, blank), []
        if isinstance(self.source, Clip):
            return self.source, []
        arrays, notes = dict(self.source), []
        shown = next(name for name in ("frames", "vertices") if name in arrays)
        if shown == "frames" and self.fps != FPS:
            count = max(1, whole_frames(len(arrays["frames"]), self.fps))
            # as files are read: the picture on screen just before the middle of each frame
            on_screen = np.ceil((np.arange(count) + 0.5) * self.fps / FPS - 1e-6).astype(int) - 1
            arrays["frames"] = arrays["frames"][on_screen.clip(0, len(arrays["frames"]) - 1)]
            notes.append(f"{self.fps:.2f} fps, taken at {FPS}")
        if shown == "vertices":  # the subject's face and regions are the reference's, as in an evaluation
            arrays = {name: blank[name] for name in _OF_MESHES if name in blank} | arrays
        n_frames = len(arrays[shown])
        if shown == "frames" and "audio" not in arrays and "audio" in blank:
            arrays["audio"] = np.asarray(blank["audio"])
            notes.append("no sound of its own: scored with the true sound")
        if shown == "frames" and "audio" in arrays:
            arrays["audio"] = fit_length(arrays["audio"], n_frames)
        fps = FPS if shown == "frames" else round(self.fps)
        return Clip(blank.id, blank.speaker, blank.split, n_frames, arrays, fps), notes


@dataclass(frozen=True)
class ClipSet:
    """Clips in order, and by what they are paired: their names, their places, or either."""

    clips: tuple[SetClip, ...]
    pairing: Literal["name", "place", "either"]


def clip_set(given: ClipSetLike, *, side: str, fps: float | None = None) -> ClipSet:
    """What a user gave as one `side` ("generated" or "reference"), checked.

    `fps` is the rate of arrays that do not bring theirs; None: 25, refused where the sound's length speaks against it.
    Raises `InputError` naming the clip, what is wrong with it and what to do.
    """
    if isinstance(given, Cache):
        return ClipSet(tuple(SetClip(c.id, c) for c in given.clips()), "name")
    if isinstance(given, str | Path):
        path = user_path(given)
        return _folder(path, side) if path.is_dir() else _listed([path], side, fps)
    if isinstance(given, np.ndarray):
        return _listed(list(given) if given.ndim == 5 else [given], side, fps)
    if isinstance(given, Mapping):
        if set(FIELDS) & set(given):
            return _listed([given], side, fps)
        clips = [_clip(str(name), clip, side, fps) for name, clip in given.items()]
        return ClipSet(_some(clips, side), "name")
    if isinstance(given, Sequence):
        return _listed(given, side, fps)
    raise InputError(
        f"{side} is a {type(given).__name__}.", hint="Give a folder, a list, a mapping by name or a cache."
    )


def pair_clips(generated: ClipSet, reference: ClipSet) -> list[tuple[SetClip, SetClip]]:
    """Each generated clip with its reference.

    Folders, mappings and clips of a cache are paired by name (of files: the path below the folder, else the file's
    name alone, each without suffix and in any Unicode form and letter case), lists by place. Raises `InputError` where
    a clip has no counterpart.
    """
    unpaired = "Whole sets are compared with paired=False."
    both = (generated, reference)
    kinds = {generated.pairing, reference.pairing}
    if "place" not in kinds:
        forms: tuple[Callable[[str], str], ...] = (str, shape_of, folded)
        for whole, form in product((True, False), forms):
            names_of = [[form(c.name if whole else c.name.rpartition("/")[2]) for c in s.clips] for s in both]
            sides = [dict(zip(names, s.clips, strict=True)) for names, s in zip(names_of, both, strict=True)]
            unique = all(len(by) == len(s.clips) for by, s in zip(sides, both, strict=True))
            if unique and sides[0].keys() == sides[1].keys():
                return [(sides[0][name], sides[1][name]) for name in sides[1]]
        for one, other, label, where in ((generated, reference, "generated", "reference"),
                                         (reference, generated, "reference", "generated")):  # fmt: skip
            names = {c.name for c in other.clips}
            for clip in one.clips:
                if clip.name not in names:
                    hint = f"{nearest(clip.name, names)} {unpaired}"
                    raise InputError(f"{label} clip {clip.name!r} has no counterpart in {where}.", hint=hint)
    if "name" in kinds:
        raise InputError(
            "one side is a list without names, the other a folder, mapping or cache.",
            hint="Give both as lists in one order, or both with names.",
        )
    if len(generated.clips) != len(reference.clips):
        counts = f"{len(generated.clips)} generated and {len(reference.clips)} reference clips"
        raise InputError(f"{counts} cannot be paired.", hint=f"Give as many of each. {unpaired}")
    return list(zip(generated.clips, reference.clips, strict=True))


def _folder(path: Path, side: str) -> ClipSet:
    suffixes = {suffix for form in FORMATS.values() for suffix in form.suffixes}
    files = sorted(p for p in walk(path) if p.suffix.lower() in suffixes)
    clips = [SetClip(p.relative_to(path).with_suffix("").as_posix(), p) for p in files]
    if not clips:
        raise InputError("has no video or mesh file.", path=path, hint=f"Looked for {', '.join(sorted(suffixes))}.")
    twice = next((name for name, count in Counter(c.name for c in clips).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"has two files called {twice}.", path=path, hint="Remove one of them.")
    return ClipSet(tuple(clips), "name")


def _listed(given: Sequence[Any], side: str, fps: float | None) -> ClipSet:
    clips = _some([_clip(f"{k:04d}", clip, side, fps) for k, clip in enumerate(given)], side)
    own = [
        clip.id if isinstance(clip, Clip) else Path(clip).stem for clip in given if isinstance(clip, Clip | str | Path)
    ]
    if len(set(own)) < len(clips):  # not all have a name, or two have the same
        return ClipSet(clips, "place")
    named = tuple(SetClip(name, clip.source, clip.fps) for name, clip in zip(own, clips, strict=True))
    return ClipSet(named, "either" if all(isinstance(clip, Clip) for clip in given) else "place")


def _some(clips: list[SetClip], side: str) -> tuple[SetClip, ...]:
    if not clips:
        raise InputError(f"{side} has no clip.", hint="Give at least one.")
    return tuple(clips)


def _clip(name: str, given: Any, side: str, fps: float | None) -> SetClip:
    label = f"{side} clip {name}"
    if isinstance(given, Clip):
        _check_clip(given, label)
        return SetClip(name, given)
    if isinstance(given, str | Path):
        path = user_path(given)
        if not path.is_file():
            what = "is a folder; a list holds files." if path.is_dir() else "there is no such file."
            raise InputError(what, path=path, hint=f"Check `{side}`.")
        return SetClip(name, path)
    if isinstance(given, TalkingClip):
        shown = {"frames": given.frames} if given.vertices is None else {"vertices": given.vertices}
        given = {**shown, "audio": given.audio, "fps": given.fps}
    if isinstance(given, np.ndarray):
        given = {"frames": given}
    elif isinstance(given, tuple) and len(given) == 2:
        given = dict(zip(("frames", "audio"), given, strict=True))
    if not isinstance(given, Mapping):
        raise InputError(f"{label} is a {type(given).__name__}.", hint=f"Give {_KINDS}.")
    arrays = {k: v for k, v in given.items() if k != "fps" and v is not None}
    for key, array in arrays.items():
        if key not in FIELDS:
            raise UnknownNameError(f"{label} has an unknown field {key!r}.", hint=nearest(key, (*FIELDS, "fps")))
        if not isinstance(array, np.ndarray):
            what = f"{label}: {key} is a {type(array).__name__}, not a numpy array."
            raise InputError(what, hint="Of a tensor: tensor.cpu().numpy()")
    if "frames" in arrays:
        _check_frames(arrays["frames"], label)
    elif "vertices" not in arrays:
        raise InputError(f"{label} has neither frames nor vertices.", hint=f"Give {_KINDS}.")
    if "audio" in arrays:
        _check_sound(arrays["audio"], label)
    own = given.get("fps", fps)
    if own is not None and not (isinstance(own, int | float | np.number) and 1 <= own <= 1000):
        raise InputError(f"{label} has fps={own!r}.", hint="Give frames per second, such as fps=30.")
    stated = None if own is None else float(own)
    if {"frames", "audio"} <= set(arrays):
        _check_lengths(len(arrays["frames"]), len(arrays["audio"]), label, fps=stated)
    elif {"vertices", "audio"} <= set(arrays):
        _check_rate(len(arrays["vertices"]), len(arrays["audio"]), label, fps=stated or FPS)
    return SetClip(name, arrays, FPS if stated is None else stated)


def _check_clip(clip: Clip, label: str) -> None:
    """The same checks for a clip that somebody built: its arrays may have come from anywhere."""
    for field, check in (("frames", _check_frames), ("audio", _check_sound)):
        if field in clip:
            check(clip[field], f"{label} ({clip.id})")


def _check_frames(frames: np.ndarray, label: str) -> None:
    if frames.dtype != np.uint8:
        hint = "Give uint8, 0–255: (frames * 255).round().astype('uint8') where they are 0–1."
        raise InputError(f"{label} has {frames.dtype} frames.", hint=hint)
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        first = frames.ndim == 4 and frames.shape[1] == 3
        hint = "Channels come last: frames.transpose(0, 2, 3, 1)" if first else "Give (T,H,W,3), RGB."
        raise InputError(f"{label} has frames of shape {frames.shape}.", hint=hint)


def _check_sound(sound: np.ndarray, label: str) -> None:
    if sound.dtype != np.int16:
        # not converted: whether it is meant as -1 to 1 or as -32768 to 32767 cannot be seen from a quiet clip
        hint = "Give int16: (sound * 32767).round().astype('int16') where it is -1–1."
        raise InputError(f"{label} has {sound.dtype} sound.", hint=hint)
    if sound.ndim != 1:
        raise InputError(f"{label} has sound of shape {sound.shape}.", hint="Give mono, (n,), at 16 kHz.")


def _check_rate(n_frames: int, n_samples: int, label: str, *, fps: float) -> None:
    """Refuse a mesh that its sound shows to have another usual frame rate."""
    picture, sound = n_frames / fps, n_samples / SAMPLE_RATE
    if sound and (rate := other_rate(picture / sound, fps=fps)) is not None:
        what = f"{label} lasts {picture:.2f} s at {fps:g} fps, but its sound {sound:.2f} s at 16 kHz."
        raise InputError(what, hint=f"It fits {rate} frames a second: state fps={rate}.")


def _check_lengths(n_frames: int, n_samples: int, label: str, *, fps: float | None) -> None:
    """Refuse sound that was not recorded at 16 kHz, or frames that were not at 25 fps where no rate is stated."""
    rate = FPS if fps is None else fps
    picture, sound = n_frames / rate, n_samples / SAMPLE_RATE
    what = f"{label} lasts {picture:.2f} s at {rate:g} fps, but its sound {sound:.2f} s at 16 kHz."
    if fps is None and abs(picture - sound) > max(_SLACK_SECONDS, _SLACK_SHARE * picture):
        raise InputError(what, hint="State the frame rate, such as fps=30, or cut both to one length.")
    real = next((hz for hz in _OTHER_RATES if abs(sound / picture * SAMPLE_RATE / hz - 1) < _SLACK_SHARE), None)
    if fps is not None and real is not None and abs(picture - sound) > _SLACK_SECONDS:
        hint = f"It fits sound at {real} Hz: resample it to 16000 Hz, or cut both to one length."
        raise InputError(what, hint=hint)
