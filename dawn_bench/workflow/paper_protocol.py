"""What DAWN's paper and released code used, as far as it is public, and how a cache compares with it.

Sources: the paper, arXiv 2410.13726, by section; the released code, Hanbo-Cheng/DAWN-pytorch at 76c44b8, which has no
metric code. What neither states is in `NOT_STATED`. The settings are in the order of their effect on the scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.pipelines.extractors.base import audio_encoders
from dawn_bench.text import counted

#: The models behind the paper's numbers.
PAPER_WEIGHTS = "LFG, A2V-FDM and PBNet trained as in its appendix A.2 on the same dataset, HuBERT-large features"
#: What is public about the training of the released weight files.
RELEASED_DATA = (
    "Data of the published weights: not known. The published files do not state the clips that they were trained on, "
    "so those scored here may have been among them."
)
#: Choices that neither the paper nor the released code states.
NOT_STATED = (
    "the source frame, whether pieces start at frame 0, the implementations of FID and FVD, the stride of FVD's "
    "windows, SyncNet's crop, the ArcFace network, the direction of BAS and the rule for blinks"
)


@dataclass(frozen=True)
class PaperSetting:
    """One setting of the paper by `name`, and where it is stated."""

    name: str
    words: str
    source: str


CROP = PaperSetting("crop", "the whole frame resized, without further preprocessing", "Section 4.1")
POSE = PaperSetting("head pose", "3DDFA_V2", "Section 3.4, and the released code")
BLINK = PaperSetting("blinks", "the eye aspect ratio of one pair of lid points of each eye", "the released code")
FACE = PaperSetting("face back end", "FaceBoxes for the box, 3DDFA_V2 for the 68 landmarks", "the released code")
AUDIO = PaperSetting("audio features", "HuBERT-large (hubert-large-ls960-ft)", "Section 3.3, and the released code")
SIZE = PaperSetting("frame size", "128 px, and 256 px where it compares resolutions", "Sections 4.1 and A.4.2")
#: By dataset of the paper's tables.
SPLIT: Mapping[str, PaperSetting] = {
    "hdtf": PaperSetting(
        "split",
        "a random 9:1 split; the released loaders list 41 test clips",
        "Section 4.1, the released code",
    ),
    "crema": PaperSetting("split", "that of Diffused Heads, whose test list has 820 clips", "Section 4.1"),
}
PIECE: Mapping[str, PaperSetting] = {
    "hdtf": PaperSetting("piece length", "200 frames", "Section 4.1"),
    "crema": PaperSetting("piece length", "whole clips", "Section 4.1"),
}
#: Number of clips in the paper's test lists, and frames of one inference there (None: whole clips).
TEST_CLIPS = {"hdtf": 41, "crema": 820}
PIECE_FRAMES: Mapping[str, int | None] = {"hdtf": 200, "crema": None}


@dataclass(frozen=True)
class Compared:
    """Our value of one setting in words, and whether it is the paper's; both None where it is not recorded."""

    paper: PaperSetting
    ours: str | None
    same: bool | None

    @property
    def sentence(self) -> str:
        """`Crop: a square around the face. The paper: the whole frame resized ... (Section 4.1).`"""
        name = self.paper.name[:1].upper() + self.paper.name[1:]
        return f"{name}: {self.ours or 'not recorded'}. The paper: {self.paper.words} ({self.paper.source})."


def settings_notes(
    cache: Cache,
    clips: Sequence[Clip],
    *,
    dataset: str,
    audio: Collection[str],
    piece: int | None,
    pieces: bool,
    sizes: Collection[int] = (128,),
) -> list[str]:
    """Sentences on what differs from the paper in the preparation of the data, then one on what does not.

    Args:
        dataset: of the paper's tables, which `clips` are compared with.
        audio: features that the generated rows used; empty where none ran.
        piece: longest piece, frames; None for whole clips.
        pieces: whether the length of pieces is the table's own subject, and no difference.
        sizes: frame sizes of the table in the paper, pixels.
    """
    items = [*(compare(cache, clips) for compare in _OF_CACHE), _audio(cache, audio)]
    prepared = all(item.same for item in items if item.paper is not FACE)
    items.append(Compared(SIZE, f"{cache.size} px", cache.size in sizes))
    if dataset in SPLIT:
        items.append(_split(cache, clips, dataset))
        if not pieces:
            items.append(_piece(clips, dataset, piece))
    notes = [item.sentence for item in items if not item.same]
    if not prepared:
        notes.append("To prepare data as the paper did: dawn-bench prepare --like dawn.")
    if same := [item.paper.name for item in items if item.same]:
        notes.append(f"As in the paper: {', '.join(same)}.")
    return [*notes, f"Not stated in the paper, and fixed here by the protocol: {NOT_STATED}."]


def _setting(cache: Cache, name: str) -> Any:
    return cache.settings.get("settings", {}).get(name)


def _crop(cache: Cache, clips: Sequence[Clip]) -> Compared:
    """The crop that each clip records; the cache's setting for clips of earlier versions, which record none."""
    kinds = Counter(clip.meta.get("crop") or _setting(cache, "crop") for clip in clips)
    if not all(isinstance(kind, str) for kind in kinds):
        return Compared(CROP, None, None)
    words = [
        _CROPS.get(kind, kind) + (f" ({counted(count, 'clip')})" if len(kinds) > 1 else "")
        for kind, count in kinds.most_common()
    ]
    return Compared(CROP, ", ".join(words), set(kinds) <= _WHOLE)


def _pose(cache: Cache, clips: Sequence[Clip]) -> Compared:
    return _by_extractor(cache, POSE, "pose", like="pose-3ddfa", words={"pose": "fitted to the 68 landmarks"})


def _blink(cache: Cache, clips: Sequence[Clip]) -> Compared:
    words = {"blink": "the eye aspect ratio of two pairs of lid points of each eye"}
    return _by_extractor(cache, BLINK, "blink", like="blink-one-pair", words=words)


def _by_extractor(cache: Cache, paper: PaperSetting, field: str, *, like: str, words: Mapping[str, str]) -> Compared:
    """A field compared by the extractor that computed it; `like` is the one that follows the paper."""
    extracted = cache.extractors.get(field)
    if extracted is None:
        return Compared(paper, None, None)
    named = words.get(extracted.name)
    return Compared(paper, f"{named} ({extracted.version})" if named else str(extracted), extracted.name == like)


def _face(cache: Cache, clips: Sequence[Clip]) -> Compared:
    face = cache.extractors.get("face")
    return Compared(FACE, None, None) if face is None else Compared(FACE, face.name, False)


def _audio(cache: Cache, audio: Collection[str]) -> Compared:
    names = sorted(audio) or [name for name in audio_encoders() if name in cache.fields]
    return Compared(AUDIO, ", ".join(names) or None, names == ["hubert"] if audio else "hubert" in names)


def _split(cache: Cache, clips: Sequence[Clip], dataset: str) -> Compared:
    """Whether these are the paper's test clips, all of them."""
    own, split, wanted = str(cache.settings["dataset"]), clips[0].split, TEST_CLIPS[dataset]
    how = _setting(cache, "split")
    words = f"{split} of {own}, {counted(len(clips), 'clip')}"
    if own != dataset:
        return Compared(SPLIT[dataset], words, False)
    if how == "identity":
        words += ", no person in both parts"
    elif split == "test" and len(clips) != wanted:
        words += f" of the {wanted}"
    return Compared(SPLIT[dataset], words, how != "identity" and split == "test" and len(clips) == wanted)


def _piece(clips: Sequence[Clip], dataset: str, piece: int | None) -> Compared:
    """Whether clips are cut as in the paper; a limit that no clip reaches is none."""
    longest, wanted = max(clip.n_frames for clip in clips), PIECE_FRAMES[dataset]
    used = None if piece is not None and longest <= piece else piece
    same = used == wanted or (used is None and wanted is not None and longest <= wanted)
    words = "whole clips" if used is None else f"at most {used} frames"
    return Compared(PIECE[dataset], words, same)


#: The crops that a clip or a cache records, and those that leave nothing of the picture out.
_CROPS = {
    "paper": "the whole frame resized",
    "published": "the whole frame of the dataset's own square crop resized",
    "face": "a square around the face",
    "none": "a centred square of the frame",
}
_WHOLE = {"paper", "published"}
_OF_CACHE: tuple[Callable[[Cache, Sequence[Clip]], Compared], ...] = (_crop, _pose, _blink, _face)
