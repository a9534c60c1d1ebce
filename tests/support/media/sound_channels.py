"""Kinds of sound in several channels and several tracks."""

from __future__ import annotations

from functools import partial

import numpy as np
from av.stream import Disposition
from media.kinds import Answer, add_kind
from media.sound_writers import TONE_RMS, channels, clip, encode, tone, wav

TONE, SILENT_TRACK = tone(), np.zeros(48_000)
#: The tone and, an octave higher and 20 dB softer, what another track has.
OTHER = tone(hertz=880, level=0.03)
CANCEL, ALONE, WEAKEN = ("channels of sound cancel", "used alone"), ("one channel of sound", "used alone"), ("weaken",)
NONE = Disposition(0)


def _delayed(samples: int) -> np.ndarray:
    return np.concatenate([np.zeros(samples), TONE[:-samples]])


def _answer(rms: float = TONE_RMS, notes: tuple[str, ...] = ()) -> Answer:
    return Answer(seconds=1.0, rms=rms, notes=notes)


_STEREO = {
    "alike": (channels(TONE, TONE), _answer()),
    "opposite": (channels(TONE, -TONE), _answer(notes=(*CANCEL, "FL"))),
    "opposite-right-louder": (channels(0.9 * TONE, -TONE), _answer(notes=(*CANCEL, "FR"))),
    "opposite-half-as-loud": (channels(TONE, -TONE / 2), _answer(TONE_RMS / 4, WEAKEN)),
    "opposite-by-one-sample": (channels(TONE, -_delayed(1)), _answer(notes=CANCEL)),
    "opposite-by-ten-samples": (channels(TONE, -_delayed(10)), _answer(1974, WEAKEN)),
    "left-dead": (channels(None, TONE), _answer(notes=(*ALONE, "FR"))),
    "right-noise-floor": (
        channels(TONE, np.random.default_rng(0).normal(0, 1e-4, 48_000)),
        _answer(notes=(*ALONE, "FL")),
    ),
    "silent": (channels(SILENT_TRACK, SILENT_TRACK), _answer(0)),
}
for _name, (_planes, _expected) in _STEREO.items():
    add_kind(f"stereo-{_name}", "sound", "s.wav", _expected, partial(wav, planes=_planes))

_FOUR = np.concatenate([TONE] * 4)
add_kind(
    "stereo-opposite-for-half-the-time",
    "sound",
    "s.wav",
    Answer(seconds=4.0, rms=TONE_RMS, notes=("cancel for 49% of the time", "used alone")),
    partial(wav, planes=channels(_FOUR, np.where(np.arange(len(_FOUR)) < 96_000, _FOUR, -_FOUR))),
)
add_kind(
    "stereo-opposite-with-long-pauses",
    "sound",
    "s.wav",
    Answer(seconds=30.0, notes=CANCEL, samples={0.0625: round(3277 * np.sin(np.pi * 2 * 440 * 0.0625))}),
    lambda path: wav(
        path, channels(*(sign * np.pad(tone(0.1, level=0.1, rate=8_000), (0, 239_200)) for sign in (1, -1))), rate=8_000
    ),
)

_SURROUND = {
    "centre": (channels(None, None, TONE, None, None, None), _answer(notes=(*ALONE, "FC"))),
    "sides-opposite": (channels(TONE, -TONE, None, None, None, None), _answer(notes=(*CANCEL, "FL"))),
    "all-alike": (channels(*[TONE] * 6), _answer(notes=("6 channels of sound mixed",))),
    "low-frequency-only": (channels(None, None, None, TONE, None, None), _answer(0, ("6 channels",))),
}
for _name, (_planes, _expected) in _SURROUND.items():
    add_kind(f"5-1-{_name}", "sound", "s.wav", _expected, partial(wav, planes=_planes))
add_kind(
    "5-1-centre-in-aac",
    "sound",
    "s.m4a",
    _answer(notes=(*ALONE, "FC")),
    partial(encode, planes=_SURROUND["centre"][0], codec="aac", layout="5.1"),
)
add_kind(
    "5-1-side-centre-in-ac3",
    "sound",
    "s.mka",
    Answer(rms=TONE_RMS, notes=(*ALONE, "FC")),
    partial(encode, planes=_SURROUND["centre"][0], codec="ac3", layout="5.1(side)"),
)
add_kind(
    "7-1-centre",
    "sound",
    "s.wav",
    _answer(notes=(*ALONE, "FC")),
    partial(wav, planes=channels(None, None, TONE, None, None, None, None, None)),
)

_TWO = ("2 sound tracks",)
_DEFAULT = Disposition.default
_TRACKS = {
    "second-is-default": ([OTHER, TONE], (NONE, _DEFAULT), "track 2 is read"),
    "none-is-default": ([TONE, OTHER], (NONE, NONE), "track 1 is read"),
    "first-is-commentary": ([OTHER, TONE], (Disposition.comment, NONE), "track 2 is read"),
    "both-are-default": ([TONE, OTHER], (_DEFAULT, _DEFAULT), "track 1 is read"),
}
for _name, (_sounds, _marks, _read) in _TRACKS.items():
    add_kind(
        f"tracks-{_name}",
        "video",
        "clip.mkv",
        Answer(frames=25, rms=TONE_RMS, notes=(*_TWO, _read)),
        partial(clip, tracks=_sounds, dispositions=_marks, languages=("eng", "fra")),
    )
add_kind(
    "tracks-second-is-default-in-mp4",
    "video",
    "clip.mp4",
    Answer(frames=25, rms=TONE_RMS, notes=("1 eng, 2 fra", "track 2 is read")),
    partial(clip, tracks=[OTHER, TONE], dispositions=(NONE, _DEFAULT), languages=("eng", "fra")),
)
add_kind(
    "clip-of-opposite-stereo",
    "video",
    "clip.mp4",
    Answer(frames=25, rms=TONE_RMS, notes=CANCEL),
    partial(clip, tracks=[channels(TONE, -TONE)], layouts=("stereo",)),
)
add_kind(
    "clip-of-5-1-centre",
    "video",
    "clip.mkv",
    Answer(frames=25, rms=TONE_RMS, notes=(*ALONE, "FC")),
    partial(clip, tracks=[_SURROUND["centre"][0]], layouts=("5.1",)),
)
