"""Log-mel energies at 25 fps, the offline substitute for a learned speech encoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from dawn_bench.clip import SAMPLE_RATE, SAMPLES_PER_FRAME
from dawn_bench.pipelines.extractors.base import AUDIO, EXTRACTORS, Extractor
from dawn_bench.pipelines.media.audio import fit_length

BANDS, HOP, WINDOW, FFT = 80, 160, 400, 512
#: Floor of the energies (about 83 dB below a full-scale sine), so that digital silence stays finite.
_FLOOR = 1e-6


@EXTRACTORS.register("logmel")
class LogMel(Extractor):
    """`logmel` float16 (T,80): see `log_mel`."""

    name = "logmel"
    needs = ("audio",)
    kind = AUDIO
    fallback = 9  # behind every learned encoder

    def fingerprint(self) -> str:
        """Identifies the code and its settings; part of the cache's extractor fingerprint."""
        return f"logmel-1-{BANDS}-{HOP}-{WINDOW}-{FFT}"

    def run(self, arrays: Mapping[str, np.ndarray], *, size: int, n_frames: int) -> dict[str, np.ndarray]:
        """`logmel` (T,80) from `audio` int16 (n,) at 16 kHz."""
        return {"logmel": log_mel(arrays["audio"], n_frames)}


def log_mel(audio: np.ndarray, n_frames: int) -> np.ndarray:
    """Scaled natural-log mel energies float16 (n_frames,80) of int16 16 kHz mono sound.

    80 triangular bands from 0 to 8 kHz on the HTK mel scale, 25 ms Hann windows with a hop of 10 ms. Energies e are
    floored at 1e-6; each frame has the mean log of the four windows centred within its 40 ms, scaled as
    (ln e + 9) / 4: silence is -1.2 and speech is around 0.
    """
    samples = fit_length(audio, n_frames).astype(np.float32) / 32768
    first = HOP // 2 - WINDOW // 2  # the first window's centre is 5 ms into the frame
    padded = np.pad(samples, (-first, WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: n_frames * SAMPLES_PER_FRAME // HOP]
    bands = np.empty((len(windows), BANDS), np.float32)
    for at in range(0, len(windows), 4096):  # in blocks: the spectra of a long clip would not fit in memory
        spectrum = np.fft.rfft(windows[at : at + 4096] * np.hanning(WINDOW).astype(np.float32), n=FFT)
        energy = (spectrum.real**2 + spectrum.imag**2) / WINDOW
        bands[at : at + 4096] = energy.astype(np.float32) @ _filters().T
    log = np.log(np.maximum(bands, _FLOOR)).reshape(n_frames, -1, BANDS).mean(axis=1)
    return ((log + 9) / 4).astype(np.float16)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Triangles (80, 257) with unit peak, equally spaced in mel = 2595 log10(1 + f/700)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.minimum((hertz - low) / (mid - low), (high - hertz) / (high - mid)).clip(min=0)
    # at low frequencies a band can fall between two bins; it then uses the nearest one
    for band in np.flatnonzero(filters.sum(axis=1) == 0):
        filters[band, np.abs(hertz - mid[band]).argmin()] = 1
    return filters.astype(np.float32)
