"""Brings a generated clip to the length and size of its true clip, and recognises a known one without decoding it.

A generated clip may differ in these ways, each stated in the row's note:

* length: both clips are cut to the shorter one, from the first frame; sound is cut with the picture;
* size: generated frames are resized to the true size (area interpolation to shrink, cubic to enlarge);
* frame rate: the loader reads files at 25 fps by their timestamps, and notes it;
* anything else that makes a clip unusable fails this clip for the metrics concerned and lowers their coverage. Other
  clips are unaffected.

The protocol may skip the first frames of both (`skip_first`) and re-encode the generated ones (`transcode`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from dawn_bench.clip import SAMPLES_PER_FRAME, Clip, LazyArrays
from dawn_bench.errors import ItemError
from dawn_bench.files import sha256_file, unsealed
from dawn_bench.lazy import ChangedRows, stretch
from dawn_bench.metrics.protocols.base import PAPER_DAWN, ScoringProtocol
from dawn_bench.metrics.scoring.appearance import appearance_notes
from dawn_bench.metrics.scoring.feature_cache import content_hash, content_sha256
from dawn_bench.metrics.scoring.shards import ShardFolder
from dawn_bench.pipelines.meshes.checks import MAX_RATIO, other_rate
from dawn_bench.provenance import fingerprint
from dawn_bench.readers import read_json
from dawn_bench.storage import raise_if_refused
from dawn_bench.text import counted

#: Reads one generated clip; its `notes` say what reading changed.
Load = Callable[[], Clip]
#: Fields of one row for the whole clip.
WHOLE_FIELDS = frozenset({"template", "lips", "upper", "triangles"})
#: Fields of a true clip that an output is read and matched with.
_COMPARED = WHOLE_FIELDS | {"frames", "audio", "vertices"}
#: Incremented whenever the code below changes its output.
VERSION = 3


@dataclass(frozen=True)
class FileLoad:
    """A loader of a clip in one file: as long as the file is unchanged, a later run need not decode it."""

    path: Path
    read: Load
    #: The frame of the file at which the clip begins, where the file holds a longer one.
    start: int = 0
    #: Notes that `read` adds to those on the file.
    notes: tuple[str, ...] = ()

    def __call__(self) -> Clip:
        return self.read()


class Matcher:
    """Loads generated clips and matches them to the true ones.

    With a folder it stores length, notes and the hash of every array of each file, in shards (`writer` as in
    `ShardFolder`); `flush` writes them. A later run against the same true clip then returns a clip whose arrays are
    decoded only when a feature needs them.
    """

    def __init__(self, protocol: ScoringProtocol = PAPER_DAWN, folder: Path | None = None, *, writer: str = "") -> None:
        self.protocol = protocol
        self._records = None if folder is None else ShardFolder(folder, writer=writer)
        self._files: dict[Path, str] = {}  # hashes: several pieces may be of one file

    def __call__(self, load: Load, true: Clip) -> tuple[Clip, Clip, list[str]]:
        """The generated and the true clip at the same length and size, and notes. Raises `ItemError`."""
        try:
            return self._matched(load, true)
        except MemoryError as error:
            raise ItemError("oom", f"{true.id}: the output needs more memory than there is") from error
        except ItemError as error:
            raise_if_refused(error)
            raise

    def flush(self) -> None:
        """Write what was stored since the last flush."""
        if self._records is not None:
            self._records.flush()

    def _matched(self, load: Load, true: Clip) -> tuple[Clip, Clip, list[str]]:
        if self._records is None or not isinstance(load, FileLoad):
            return matched(load(), true, self.protocol)
        key, against = self._key(load, true), _against(load, true)
        known = _known(self._records, key, against)
        if known is None:
            output, true, notes = matched(load(), true, self.protocol)
            hashes = {name: content_sha256(output[name]) for name in output.arrays}
            facts = {"n_frames": output.n_frames, "notes": notes, "sha256": hashes, "against": against}
            self._records.put(key, facts)
            return _hashed(output, output.arrays, hashes), true, notes
        decoded = cache(lambda: matched(load(), true, self.protocol)[0].arrays)  # at the first access to one of them
        late = LazyArrays(known["sha256"], lambda name: decoded()[name])
        first, n = self.protocol.skip_first, known["n_frames"]
        output = Clip(true.id, true.speaker, true.split, n, late, true.fps)
        return _hashed(output, late, known["sha256"]), cut(true, first, first + n), known["notes"]

    def _key(self, load: FileLoad, true: Clip) -> str:
        try:
            if (file := self._files.get(load.path)) is None:
                file = self._files[load.path] = sha256_file(load.path)
        except OSError as error:
            raise_if_refused(error)
            raise ItemError("bad_output", f"{load.path} cannot be read: {error.strerror}") from error
        sides = true["frames"].shape[1:] if "frames" in true else None
        # a file without sound is scored with the true sound, which therefore belongs to the key
        sound = content_hash(true, "audio") if "audio" in true else None
        facts = [VERSION, file, sound, sides, true.n_frames, self.protocol.skip_first, self.protocol.transcode]
        return fingerprint([*facts, load.start] if load.start else facts)


def _against(load: FileLoad, true: Clip) -> str:
    """What the notes on a file depend on beside the file: the content of the true clip, and the loader's own notes.

    Records of earlier versions lack it and are written anew: their notes may be of another true clip of this size.
    """
    content = {name: content_hash(true, name) for name in sorted(_COMPARED & set(true.arrays))}
    return fingerprint([content, true.fps, load.notes])


def matched(generated: Clip, true: Clip, protocol: ScoringProtocol = PAPER_DAWN) -> tuple[Clip, Clip, list[str]]:
    """Both clips at the same length and size, and notes on what was changed.

    Raises `ItemError("bad_output")` where frames are missing or not uint8 (T,H,W,3), where sound is not int16 (n,), and
    where a mesh has other vertices than the true one.
    """
    notes = list(generated.notes)
    lengths = generated.n_frames, true.n_frames
    first, last = protocol.skip_first, min(lengths)
    if last <= first:
        left = f"only {counted(last, 'frame')}" if last else "no frames"
        raise ItemError("bad_output", f"{generated.id} has {left}")
    for clip in (generated, true):
        check_sound(clip)
    if "vertices" in generated:  # a file of vertices states no frame rate
        rate = other_rate(lengths[0] / lengths[1], fps=true.fps)
        if rate is not None or lengths[0] > MAX_RATIO * lengths[1]:
            why = f"another frame rate{f', {rate} and not {true.fps} a second' if rate is not None else ''}"
            counts = f"{counted(lengths[0], 'frame')}, the true clip {lengths[1]}"
            raise ItemError("bad_output", f"{generated.id} has {counts}: {why}")
        ours, theirs = (clip["vertices"].shape[1:] if "vertices" in clip else None for clip in (generated, true))
        if theirs is not None and ours != theirs:
            raise ItemError("bad_output", f"the vertices of {generated.id} are {ours}, those of the true clip {theirs}")
    if "frames" in generated and "frames" in true:
        frames = generated["frames"]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) != lengths[0]:
            actual = f"{frames.dtype} {frames.shape}"
            raise ItemError(
                "bad_output", f"the frames of {generated.id} are {actual}, not uint8 ({lengths[0]}, H, W, 3)"
            )
        notes += appearance_notes(frames, true["frames"])
        changed = frames
        if protocol.transcode == "h264":
            changed = transcoded(frames)
        height, width = true["frames"].shape[1:3]
        if changed.shape[1:3] != (height, width):
            notes.append(f"resized from {changed.shape[2]}x{changed.shape[1]} to {width}x{height}")
            changed = resized(changed, height=height, width=width)
        if changed is not frames:
            generated = _with(generated, {**generated.arrays, "frames": changed}, lengths[0])
    if lengths[0] != lengths[1]:
        notes.append("frame counts differ, compared over the shorter")
    return cut(generated, first, last), cut(true, first, last), notes


def check_sound(clip: Clip) -> None:
    """Raise `ItemError("bad_output")` for sound that is not int16 (n,), 16 kHz mono.

    Sound of other numbers is refused and not converted, as frames are: whether it is meant as -1 to 1 or as
    -32768 to 32767 cannot be seen from a quiet clip, and LSE would change without a word.
    """
    if "audio" in clip:
        sound = clip["audio"]
        if sound.dtype != np.int16 or sound.ndim != 1:
            hint = "(sound * 32767).round().astype('int16') where it is -1 to 1"
            raise ItemError(
                "bad_output", f"the sound of {clip.id} is {sound.dtype} {sound.shape}, not int16 (n,): {hint}"
            )


def transcoded(frames: np.ndarray) -> np.ndarray:
    """uint8 (T,H,W,3) encoded as H.264 (4:2:0, crf 18) and decoded again, as a file for a browser would be.

    Those of a long clip are decoded when they are read.
    """
    from dawn_bench.pipelines.media.film import read_film
    from dawn_bench.pipelines.media.video import write_video

    folder = tempfile.TemporaryDirectory(prefix="dawn-bench-transcoded-")  # of a long clip, as long as its frames
    path = Path(folder.name) / "clip.mp4"
    write_video(path, frames)
    return read_film(path, keeps=folder)


def resized(frames: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Frames uint8 (T,H,W,3) at another size, those of a long clip when they are read."""
    from dawn_bench.pipelines.media.film import AT_ONCE

    how = cv2.INTER_AREA if frames.shape[1] > height else cv2.INTER_CUBIC
    small = ChangedRows(frames, lambda f: cv2.resize(f, (width, height), interpolation=how), (height, width, 3))
    return small[:] if small.nbytes <= AT_ONCE else cast(np.ndarray, small)


class CutArrays(LazyArrays):
    """The arrays of a part of `whole`."""

    def __init__(self, whole: Clip, read: Callable[[str], np.ndarray]) -> None:
        super().__init__(whole.arrays, read)
        self.whole = whole


def whole_of(clip: Clip) -> Clip:
    """The clip that one was cut from; itself where it was not cut."""
    while isinstance(clip.arrays, CutArrays):
        clip = clip.arrays.whole
    return clip


def cut(clip: Clip, first: int, last: int) -> Clip:
    """Frames `first` to `last` (exclusive) of a clip, and their sound; each array is cut when it is read."""
    if (first, last) == (0, clip.n_frames):
        return clip

    @cache
    def part(name: str) -> np.ndarray:
        array, rate = clip[name], SAMPLES_PER_FRAME if name == "audio" else 1
        return array if name in WHOLE_FIELDS else stretch(array, first * rate, last * rate)

    return _with(clip, CutArrays(clip, part), last - first)


def _with(clip: Clip, arrays: Mapping[str, np.ndarray], n_frames: int) -> Clip:
    """The clip with these arrays in place of its own."""
    facts = {k: v for k, v in clip.meta.items() if not k.endswith("_sha256")}  # the arrays are others
    return Clip(clip.id, clip.speaker, clip.split, n_frames, arrays, clip.fps, facts)


def _hashed(clip: Clip, arrays: Mapping[str, np.ndarray], hashes: Mapping[str, str]) -> Clip:
    meta = {f"{name}_sha256": digest for name, digest in hashes.items()}
    return Clip(clip.id, clip.speaker, clip.split, clip.n_frames, arrays, clip.fps, meta)


def _known(records: ShardFolder, key: str, against: str) -> dict | None:
    """The facts of an earlier match to the same true clip; None where there are none, or damaged ones."""
    for entry in records.entries(key):
        if _is_of(entry.facts, against) and entry.whole() is not None:
            return dict(entry.facts)
    earlier = _earlier(records.folder / f"{key}.json")
    return earlier if _is_of(earlier, against) else None


def _is_of(facts: Mapping, against: str) -> bool:
    return {"n_frames", "notes", "sha256", "against"} <= set(facts) and facts["against"] == against


def _earlier(path: Path) -> dict:
    """The facts in a file of an earlier version, which had one for each output; none where it is absent or damaged."""
    try:
        return unsealed(read_json(path, dict)) if path.is_file() else {}
    except ValueError as error:  # InputError is a ValueError
        raise_if_refused(error)
        return {}
