"""Motion of one clip over time: syllables, mouth, blinks and head pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter1d

#: Sampling rate of the mouth tracks in Hz (sound interpolates between samples, video reads one value per frame).
RATE = 1000
#: By vowel: mouth opening in face widths, rounding, first and second formant in Hz.
VOWELS = {
    "a": (0.165, 0.00, 760, 1250),
    "e": (0.110, -0.45, 520, 1850),
    "i": (0.065, -1.00, 300, 2300),
    "o": (0.115, 0.75, 480, 880),
    "u": (0.060, 1.00, 320, 760),
}
#: By consonant: mouth opening in face widths. `m` closes the lips, `s` is a fricative, `t` an alveolar stop.
CONSONANTS = {"m": 0.0, "p": 0.0, "s": 0.022, "t": 0.026, "l": 0.042}
#: Phases of a blink in seconds: closing, closed, opening.
CLOSE, HOLD, OPEN = 0.075, 0.045, 0.160


@dataclass(frozen=True)
class Voice:
    """Voice parameters of one speaker."""

    pitch: float  # Hz
    tract: float  # factor on all formants
    rate: float  # syllables a second
    breath: float  # share of noise in voiced sound


def draw_voice(rng: np.random.Generator) -> Voice:
    """A random voice."""
    deep = rng.uniform() < 0.5
    return Voice(
        pitch=float(rng.uniform(95, 135) if deep else rng.uniform(170, 225)),
        tract=float(rng.uniform(0.92, 1.0) if deep else rng.uniform(1.05, 1.16)),
        rate=float(rng.uniform(3.7, 4.5)),
        breath=float(rng.uniform(0.01, 0.04)),
    )


@dataclass(frozen=True)
class Syllable:
    """One syllable: start and length in seconds, consonant and vowel, loudness 0.75–1.15."""

    start: float
    length: float
    consonant: str
    vowel: str
    stress: float

    @property
    def peak(self) -> float:
        """Time of the widest mouth opening, seconds."""
        return self.start + 0.5 * self.length


@dataclass(frozen=True)
class Speech:
    """The syllables of a clip and the mouth tracks that articulate them, sampled at `RATE` Hz."""

    seconds: float
    syllables: tuple[Syllable, ...]
    opening: np.ndarray  # face widths
    rounding: np.ndarray  # −1 spread to 1 round
    formants: np.ndarray  # (2, n) Hz


def draw_speech(rng: np.random.Generator, voice: Voice, *, seconds: float) -> Speech:
    """Random speech of `seconds`: phrases of three to seven syllables, separated by pauses."""
    syllables: list[Syllable] = []
    time, before = float(rng.uniform(0.12, 0.35)), ""
    while True:
        for _ in range(int(rng.integers(3, 8))):
            length = float(np.clip(rng.normal(1, 0.13), 0.75, 1.3) / voice.rate)
            vowel = str(rng.choice([v for v in VOWELS if v != before]))
            consonant = str(rng.choice(list(CONSONANTS)))
            if time + length > seconds - 0.12:
                break
            syllables.append(Syllable(time, length, consonant, vowel, float(rng.uniform(0.75, 1.15))))
            time, before = time + length, vowel
        time += float(rng.uniform(0.28, 0.6))
        if time > seconds - 0.5:
            break
    keys: list[tuple[float, float, float, float, float]] = [(0.0, 0.0, 0.0, 500, 1500)]
    for i, s in enumerate(syllables):
        width, rounding, first, second = VOWELS[s.vowel]
        closed = CONSONANTS[s.consonant]
        if s.start - keys[-1][0] > 0.12:  # after a pause
            keys.append((s.start - 0.04, 0.0, 0.0, 500, 1500))
        keys.append((s.start + 0.02, closed, 0.5 * rounding, first, second))
        for share in (0.40, 0.62):
            keys.append((s.start + share * s.length, width * s.stress, rounding, first, second))
        end = s.start + s.length
        if i + 1 == len(syllables) or syllables[i + 1].start > end + 0.01:
            keys.append((end + 0.02, 0.0, 0.0, first, second))
    keys.append((max(seconds, keys[-1][0] + 0.1), 0.0, 0.0, 500, 1500))
    times, *tracks = np.array(keys).T
    grid = np.arange(round(seconds * RATE) + 1) / RATE
    opening, rounding, first, second = (
        gaussian_filter1d(PchipInterpolator(times, track)(grid), 0.014 * RATE) for track in tracks
    )
    return Speech(seconds, tuple(syllables), np.maximum(opening, 0), rounding, np.stack([first, second]) * voice.tract)


def draw_blinks(rng: np.random.Generator, *, seconds: float) -> np.ndarray:
    """Times (n,) of full closure in seconds: about 0.3 per second, at least 1.2 s apart, complete within the clip."""
    times: list[float] = []
    time = float(rng.uniform(0.3, min(2.6, max(0.4, seconds - 0.4))))
    while time < seconds - HOLD / 2 - OPEN - 0.1:
        times.append(time)
        time += 1.2 + float(rng.gamma(2.0, 1.0))
    return np.array(times)


def closure(times: np.ndarray, blinks: np.ndarray) -> np.ndarray:
    """Eyelid closure at `times`, 0 (open) to 1 (shut); it is complete around each blink time."""
    shut = np.zeros(len(times))
    for blink in blinks:
        off = times - blink
        down = np.clip((off + HOLD / 2 + CLOSE) / CLOSE, 0, 1)
        up = np.clip(1 - (off - HOLD / 2) / OPEN, 0, 1)
        shut = np.maximum(shut, np.where(off < 0, down, up * up * (3 - 2 * up)))
    return shut


def draw_head(rng: np.random.Generator, speech: Speech, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw, pitch, roll in degrees (T,3) and sway in face widths (T,2) at `times`: slow drift, and nods on stress."""
    knots = np.arange(-1.0, speech.seconds + 2.0, 0.85)
    drift = CubicSpline(knots, rng.normal(size=(len(knots), 5)) * [3.2, 1.5, 1.8, 0.012, 0.008])(times)
    for s in speech.syllables:
        if s.stress > 0.95:
            bump = np.clip(1 - ((times - s.peak) / 0.2) ** 2, 0, 1) ** 2
            drift[:, 1] += 9 * (s.stress - 0.85) * bump
    limits = np.array([12.0, 8.0, 8.0])
    return limits * np.tanh(drift[:, :3] / limits), drift[:, 3:]
