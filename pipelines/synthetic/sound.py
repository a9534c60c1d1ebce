"""Speech-like sound synthesised from the mouth tracks: glottal pulses and noise through time-varying formants."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

from dawn_bench.clip import SAMPLE_RATE
from dawn_bench.pipelines.synthetic.motion import RATE, Speech, Voice

#: Update interval of the formant filter in samples (5 ms), and the bandwidths of its four formants in Hz.
BLOCK = 80
BANDWIDTHS = np.array([70.0, 95.0, 130.0, 200.0])
#: Noise by consonant: band in Hz, length in seconds, loudness. The others are voiced or silent.
NOISES = {"s": (3500, 7500, 0.085, 0.10), "t": (2500, 6500, 0.022, 0.16), "p": (400, 2500, 0.016, 0.12)}


def synthesise(rng: np.random.Generator, speech: Speech, voice: Voice) -> np.ndarray:
    """The sound of `speech`, int16 (n,) at 16 kHz; its loudness follows the mouth opening without delay."""
    n = round(speech.seconds * SAMPLE_RATE)
    times = np.arange(n) / SAMPLE_RATE
    grid = np.arange(len(speech.opening)) / RATE
    opening = np.interp(times, grid, speech.opening)

    knots = np.arange(0, speech.seconds + 0.1, 0.1)
    wobble = np.interp(times, knots, rng.normal(size=len(knots)))
    pitch = voice.pitch * (1 + 0.03 * wobble + 0.10 * np.interp(times, *_melody(speech)))
    phase = np.cumsum(pitch / SAMPLE_RATE) % 1.0
    rise = np.clip(phase / 0.4, 0, 1)
    fall = np.clip((phase - 0.4) / 0.2, 0, 1)
    pulses = rise * rise * (3 - 2 * rise) * (1 - fall * fall)
    excitation = np.diff(pulses, prepend=pulses[0]) * 8 + voice.breath * rng.normal(size=n)

    tracks = np.stack([np.interp(times[::BLOCK], grid, track) for track in speech.formants])
    upper = np.repeat(np.array([[2650.0], [3500.0]]) * voice.tract, tracks.shape[1], axis=1)
    voiced = _formants(excitation, np.vstack([tracks, upper]))
    level = (opening / 0.15) ** 0.75
    voiced *= level / (np.sqrt(np.mean(voiced**2)) + 1e-9) * 0.13

    sound = voiced + 0.0004 * rng.normal(size=n)
    for syllable in speech.syllables:
        if syllable.consonant in NOISES:
            low, high, length, loud = NOISES[syllable.consonant]
            count, at = round(length * SAMPLE_RATE), round((syllable.start + 0.01) * SAMPLE_RATE)
            hiss = sosfilt(butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), rng.normal(size=count))
            sound[at : at + count] += 0.25 * loud * syllable.stress * np.hanning(count) * hiss
    return np.round(np.tanh(sound) * 30_000).astype(np.int16)


def _melody(speech: Speech) -> tuple[np.ndarray, np.ndarray]:
    """Times and relative pitch: higher on stressed syllables, falling towards the end."""
    times = [0.0, *(s.peak for s in speech.syllables), speech.seconds + 0.1]
    heights = [0.0, *(4 * (s.stress - 0.95) - 0.5 * s.start / speech.seconds for s in speech.syllables), -0.5]
    return np.array(times), np.array(heights)


def _formants(excitation: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """`excitation` filtered by cascaded resonators whose centres (4, blocks) in Hz change every `BLOCK` samples."""
    out = np.empty_like(excitation)
    state = np.zeros((len(centres), 2))
    radius = np.exp(-np.pi * BANDWIDTHS / SAMPLE_RATE)
    for i, centre in enumerate(centres.T):
        lean = -2 * radius * np.cos(2 * np.pi * centre / SAMPLE_RATE)
        sos = np.zeros((len(centres), 6))
        sos[:, 0] = 1 + lean + radius**2
        sos[:, 3], sos[:, 4], sos[:, 5] = 1, lean, radius**2
        part = slice(i * BLOCK, (i + 1) * BLOCK)
        out[part], state = sosfilt(sos, excitation[part], zi=state)
    return out
