"""Kinds of sound files: containers that lie, joined files, covers, rates, sample formats, gapless information."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from media.boxes import set_edits
from media.kinds import Answer, add_kind, kind
from media.sound_writers import TONE_RMS, channels, clip, encode, tag_gapless, tone, wav

#: A second of the tone, to the sample.
SECOND = Answer(seconds=1.0, rms=TONE_RMS, near=0.0005)
TWO_SECONDS = Answer(seconds=2.0, rms=TONE_RMS, near=0.0005, loud=0.08, notes=("2 mp3 files joined",))
UNSTATED = Answer(seconds=1.0, rms=TONE_RMS, near=0.0005, notes=("does not state its length",))


def _mp3(path: Path, *, rate: int = 44_100, layout: str = "mono") -> bytes:
    planes = tone(rate=rate)
    encode(path, channels(planes, planes) if layout == "stereo" else planes, "libmp3lame", rate=rate, layout=layout)
    return path.read_bytes()


for _rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000):
    add_kind(
        f"wav-at-{_rate}-hz", "sound", "s.wav", SECOND, lambda path, rate=_rate: wav(path, tone(rate=rate), rate=rate)
    )
for _stored in ("u8", "s24", "s32", "f32", "f64"):
    add_kind(f"wav-of-{_stored}", "sound", "s.wav", SECOND, partial(wav, planes=tone(), kind=_stored))
for _codec in ("pcm_alaw", "pcm_mulaw", "adpcm_ima_wav", "adpcm_ms"):
    _answer = SECOND if _codec.startswith("pcm") else Answer(seconds=1.0, rms=TONE_RMS, near=0.06)
    _write = partial(
        encode, planes=tone(rate=8_000), codec=_codec, rate=8_000, sample="s16p" if "ima" in _codec else "s16"
    )
    add_kind(f"wav-of-{_codec.replace('_', '-')}", "sound", "s.wav", _answer, _write)
for _name, _size in (("zero", 0), ("all-ones", 0xFFFFFFFF), ("largest-signed", 0x7FFFFFFF), ("sign-bit", 0x80000000)):
    add_kind(f"wav-of-size-{_name}", "sound", "s.wav", UNSTATED, partial(wav, planes=tone(), size=_size))


@kind("sound", "s.wav", Answer(seconds=1.0, rms=TONE_RMS, notes=("cut off: 96000 of 288000 bytes",)))
def wav_that_is_cut_off(path: Path) -> None:
    """A header that states three seconds, and one is there."""
    wav(path, tone(), size=288_000)


@kind("sound", "s.mp3", Answer(seconds=0.5, rms=TONE_RMS, near=0.03, loud=0.08, notes=("cut off: 0.5 of 1.0 s",)))
def mp3_that_is_cut_off(path: Path) -> None:
    """Half of a file whose first frame states the length of the whole."""
    data = _mp3(path)
    path.write_bytes(data[: len(data) // 2 + 300])


@kind("sound", "s.flac", Answer(notes=("its sound is cut off", "of 2.0 s are there")))
def flac_that_is_cut_off(path: Path) -> None:
    """Half of the bytes."""
    encode(path, np.concatenate([tone()] * 2), "flac", sample="s16")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@kind("sound", "s.m4a", Answer(notes=("its sound is cut off", "of 2.0 s are there")))
def m4a_that_is_cut_off(path: Path) -> None:
    """The index is there, half of the sound is not."""
    encode(path, np.concatenate([tone()] * 2), "aac", options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@kind("sound", "s.wav", Answer(seconds=1.0, rms=TONE_RMS, notes=("2 sound samples not a finite number",)))
def wav_with_nan_and_infinity(path: Path) -> None:
    """Float samples that are no numbers."""
    planes = tone()
    planes[100], planes[200] = np.nan, np.inf
    wav(path, planes, kind="f32")


@kind("sound", "s.wav", Answer(seconds=1.0, notes=("beyond full scale and clipped",), samples={0.25: 32_767}))
def wav_beyond_full_scale(path: Path) -> None:
    """A float tone of twice full scale."""
    wav(path, 2 * np.cos(2 * np.pi * 4 * np.arange(48_000) / 48_000) * (np.arange(48_000) % 4_000 < 2_000), kind="f32")


@kind("sound", "s.wav", Answer(refusal=("far beyond -1 to 1",)))
def wav_of_floats_in_integer_units(path: Path) -> None:
    """int16 values that were written as floats."""
    wav(path, tone() * 32768, kind="f32")


@kind("sound", "s.wav", Answer(seconds=1.0, rms=TONE_RMS, notes=("another wav file follows",)))
def joined_wav(path: Path) -> None:
    """Two wav files in one: players stop where the first header says."""
    wav(path, tone())
    path.write_bytes(path.read_bytes() * 2)


@kind("sound", "s.au", SECOND)
def au_of_unknown_length(path: Path) -> None:
    """A Sun file from a pipe."""
    samples = (tone() * 32767).astype(">i2").tobytes()
    path.write_bytes(b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFFF, 3, 48_000, 1) + samples)


@kind("sound", "s.mp3", TWO_SECONDS)
def joined_mp3(path: Path) -> None:
    """One mp3 twice: the encoder's delay and padding of both parts are cut."""
    data = _mp3(path)
    path.write_bytes(data + data)


@kind("sound", "s.mp3", TWO_SECONDS)
def joined_mp3_of_two_rates(path: Path) -> None:
    """44.1 kHz mono, then 48 kHz stereo."""
    path.write_bytes(_mp3(path) + _mp3(path, rate=48_000, layout="stereo"))


@kind("sound", "s.mp3", TWO_SECONDS)
def joined_mp3_with_old_tags(path: Path) -> None:
    """An ID3v1 tag, which belongs at the end of a file, between the parts."""
    data, tag = _mp3(path), b"TAG" + bytes(125)
    path.write_bytes(data + tag + data + tag)


@kind("sound", "s.mp3", Answer(seconds=2.0, rms=TONE_RMS, near=0.06, loud=0.08, notes=("damaged packet",)))
def joined_mp3_with_rubbish(path: Path) -> None:
    """Bytes of something else between two parts."""
    data = _mp3(path)
    path.write_bytes(data + np.random.default_rng(0).bytes(5_000) + data)


@kind("sound", "s.mp3", Answer(seconds=1.0, rms=TONE_RMS, near=0.0005, loud=0.08))
def mp3_with_cover(path: Path) -> None:
    """An attached picture, and LAME's delay and padding."""
    encode(path, tone(rate=44_100), "libmp3lame", rate=44_100, cover=True)


@kind("sound", "s.m4a", SECOND)
def m4a_with_cover(path: Path) -> None:
    """An attached picture, and priming in an edit list."""
    encode(path, tone(rate=44_100), "aac", rate=44_100, cover=True, format="mp4")


@kind("sound", "s.flac", SECOND)
def flac_with_cover(path: Path) -> None:
    """An attached picture in a lossless file."""
    encode(path, tone(rate=44_100), "flac", rate=44_100, sample="s16", cover=True)


@kind("sound", "s.m4a", SECOND)
def m4a_gapless_by_itunes_tag(path: Path) -> None:
    """No edit list; `iTunSMPB` states 1024 samples of priming and the padding."""
    encode(path, tone(rate=44_100), "aac", rate=44_100, options={"use_editlist": "0"})
    tag_gapless(path, priming=1024, padding=45 * 1024 - 1024 - 44_100, samples=44_100)


def _steps(path: Path) -> None:
    """Four quarters of a second, each louder than the one before."""
    encode(path, np.concatenate([tone(0.25, rate=44_100, level=0.1 * k) for k in range(1, 5)]), "aac", rate=44_100)


@kind("sound", "s.m4a", Answer(seconds=0.5, rms=TONE_RMS * np.sqrt((2**2 + 3**2) / 2) / 3, near=0.0005))
def m4a_cut_without_loss(path: Path) -> None:
    """An edit list shows the two quarters in the middle."""
    _steps(path)
    set_edits(path, {"soun": [(Fraction(1, 2), Fraction(1, 4))]})


@kind("sound", "s.m4a", Answer(seconds=0.5, rms=TONE_RMS * np.sqrt((1 + 3**2) / 2) / 3, near=0.0005))
def m4a_of_two_edits(path: Path) -> None:
    """An edit list shows the third quarter, then the first."""
    _steps(path)
    set_edits(path, {"soun": [(Fraction(1, 4), Fraction(1, 2)), (Fraction(1, 4), Fraction(0))]})


@kind("sound", "s.opus", SECOND)
def opus(path: Path) -> None:
    """The pre-skip of 312 samples is cut, and the end is exact."""
    encode(path, tone(), "libopus", sample="flt")


@kind("sound", "s.aac", Answer(seconds=1.0, rms=TONE_RMS, near=0.06))
def raw_aac(path: Path) -> None:
    """ADTS, which has no gapless information."""
    encode(path, tone(rate=44_100), "aac", rate=44_100, format="adts")


@kind("sound", "s.mkv", Answer(seconds=1.0, rms=TONE_RMS, near=0.06, notes=("1 damaged packet",)))
def damaged_packet(path: Path) -> None:
    """AAC with a packet that no decoder takes."""
    encode(path, tone(), "aac")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux() if packet.size]
    data = path.read_bytes()
    assert data.count(packets[20]) == 1
    path.write_bytes(data.replace(packets[20], b"\xff" * len(packets[20])))


@kind("video", "clip.mp4", Answer(frames=25, levels=(90,) * 25, rms=TONE_RMS))
def mp4_with_cover(path: Path) -> None:
    """A clip with a cover picture."""
    clip(path, [tone()], cover="marked")


@kind("video", "clip.mp4", Answer(frames=25, levels=(90,) * 25, rms=TONE_RMS))
def mp4_with_unmarked_cover_first(path: Path) -> None:
    """The first video stream is one JPEG that is marked as default, as some tools write a cover."""
    clip(path, [tone()], cover="unmarked")


@kind("video", "clip.mkv", Answer(frames=25, levels=(90,) * 25, rms=TONE_RMS))
def mkv_with_cover_first(path: Path) -> None:
    """Matroska does not count pictures."""
    clip(path, [tone()], cover="unmarked")
