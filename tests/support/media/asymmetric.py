"""A clip in which a mix-up shows: nothing in it is square, centred, constant, equal on two sides, or at zero.

* 208x144 pictures at 50 fps, each of which tells its number; the first appears 0.4 s after the sound has begun.
* BT.709, full range; the colours are those of the RGB pictures, whatever matrix and range a variant is stored in.
* The speaker enters late, moves by other amounts to the right and down, and turns, nods, blinks and opens the mouth.
  A smaller bystander on the left leaves early. `MarkedFaces` finds both by the number of the picture that it is given.
* The two sound channels are tones of different pitch. Every 40 ms, counted from the first picture, have loudnesses of
  their own, so that a stretch of sound tells its frame and its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from media.colour import FULL, LIMITED, WEIGHTS
from media.marks import number_of, numbered

from dawn_bench.pipelines.extractors.head import HEAD
from dawn_bench.pipelines.faces.base import box_around
from dawn_bench.pipelines.faces.turned import turns_to_upright
from dawn_bench.pipelines.media.audio import read_audio
from dawn_bench.pipelines.media.video import read_frames

WIDTH, HEIGHT = 208, 144
#: Frames at 25 fps; the file has two pictures for each.
FRAMES = 40
#: The frame in which the speaker enters, the one in which detection, every fifth frame, sees that, and the one in which
#: the bystander is gone.
ENTERS, SEEN, LEAVES = 3, 5, 34
#: Seconds at which the first picture appears, and by which the sound is longer than the pictures.
PICTURE_START, SOUND_AFTER = 0.4, 0.2
PICTURE_RATE, SOUND_RATE = 50, 48_000
#: Hertz of the left and the right channel: whole periods in 40 ms.
PITCHES = 400, 1500
BT709, BT601 = 1, 5
#: Rows at the bottom of a picture that tell its number.
STRIP = 16
#: x, y of the middles of four patches of 20x20 px, and their colours.
PATCHES = {
    (12, 12): (200, 40, 60),
    (196, 12): (30, 170, 60),
    (12, 112): (40, 50, 210),
    (196, 112): (210, 190, 40),
}
#: Colours of the right eye, the left eye and the lips.
FEATURES = (40, 130, 60), (50, 60, 160), (150, 30, 50)


def angles_at(time: float) -> tuple[float, float, float]:
    """Yaw, pitch and roll of the speaker in degrees: the nose goes left and down, the head anticlockwise."""
    return 4 + 12 * time, 2 + 5 * time, 3 + 6 * time


def speaker_at(time: float) -> np.ndarray:
    """The speaker's points (68,2) at a second after the first picture, pixels."""
    yaw, pitch, roll = np.radians(angles_at(time))
    x, y, z = HEAD.T / np.ptp(HEAD[:, 0])
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    x, z = x * np.cos(yaw) - z * np.sin(yaw), x * np.sin(yaw) + z * np.cos(yaw)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    points = np.stack([x, -y], axis=1) * 58 + (118 + 18 * time, 60 + 7 * time)
    mouth = 2 + 3 * np.sin(2 * np.pi * 2.5 * time) ** 2
    points[[55, 56, 57, 58, 59, 65, 66, 67], 1] += mouth
    for eye, share in ((slice(36, 42), 0.7 + 0.2 * time), (slice(42, 48), 1.3 - 0.4 * time)):
        middle = points[eye, 1].mean()
        points[eye, 1] = middle + share * (points[eye, 1] - middle)
    return points


def bystander_at(time: float) -> np.ndarray:
    """The bystander's points (68,2): half as large, on the left, with a closed mouth."""
    return (speaker_at(0.0) - (118, 60)) * 0.5 + (34, 70 - 2 * time)


def faces_at(number: int) -> list[np.ndarray]:
    """The points of the faces in picture `number`, largest first."""
    frame, time = number * 25 / PICTURE_RATE, number / PICTURE_RATE
    faces = [speaker_at(time)] if frame >= ENTERS else []
    return [*faces, bystander_at(time)] if frame < LEAVES else faces


def skin_of(number: int) -> tuple[int, int, int]:
    """The colour of the speaker's face, which tells the picture: two levels brighter from one to the next."""
    return 90 + 2 * number, 70 + 2 * number, 60 + 2 * number


def picture(number: int) -> np.ndarray:
    """Picture `number`, uint8 RGB (144,208,3)."""
    x = np.linspace(0, 1, WIDTH // 2).repeat(2)
    y = np.linspace(0, 1, HEIGHT // 2).repeat(2)[:, None]
    shade = np.stack([90 + 60 * x + 0 * y, 120 - 40 * y + 0 * x, 80 + 50 * y + 20 * x], axis=-1)
    rgb = shade.round().astype(np.uint8)
    for (x0, y0), colour in PATCHES.items():
        rgb[y0 - 10 : y0 + 10, x0 - 10 : x0 + 10] = colour
    for points in faces_at(number)[::-1]:
        skin = skin_of(number) if np.ptp(points[:, 0]) > 40 else (150, 100, 90)
        low, high = points.min(axis=0), points.max(axis=0)
        middle, half = (low + high) / 2, (high - low) / 2
        cv2.ellipse(rgb, tuple(map(round, middle)), tuple(map(round, half)), 0, 0, 360, skin, -1)  # type: ignore[call-overload]
        for part, colour in zip((slice(36, 42), slice(42, 48), slice(48, 60)), FEATURES, strict=True):
            cv2.fillPoly(rgb, [points[part].round().astype(np.int32)], colour)
    rgb[-STRIP:] = numbered(number, width=WIDTH, height=STRIP)
    return rgb


def loudness(frame: int) -> tuple[int, int]:
    """Amplitudes of the left and the right channel in the 40 ms of a frame; the first picture's frame is 0."""
    return 3000 + 200 * frame, 12_000 - 180 * frame


def sound(frames: int = FRAMES) -> np.ndarray:
    """int16 (2,n) at 48 kHz, from 0.4 s before the first picture to 0.2 s after the last."""
    before = round(PICTURE_START * SOUND_RATE)
    times = (np.arange(before + round((frames / 25 + SOUND_AFTER) * SOUND_RATE)) - before) / SOUND_RATE
    numbers = np.floor(times * 25 + 1e-6).astype(int)
    levels = np.array([loudness(number) for number in range(numbers[0], numbers[-1] + 1)]).T
    tones = np.sin(2 * np.pi * np.array(PITCHES)[:, None] * times)
    return (levels[:, numbers - numbers[0]] * tones).round().astype(np.int16)


def heard(samples: np.ndarray) -> tuple[float, float]:
    """Amplitudes of the two pitches in int16 (640,), the 40 ms of a frame at 16 kHz."""
    times = np.arange(len(samples)) / 16_000
    left, right = (2 * abs(np.mean(samples * np.exp(-2j * np.pi * pitch * times))) for pitch in PITCHES)
    return float(left), float(right)


def expected_sound(frame: int) -> tuple[float, float]:
    """What `heard` gives of a frame of both channels mixed into one: half of each."""
    left, right = loudness(frame)
    return left / 2, right / 2


def planes_of(rgb: np.ndarray, *, matrix: int = BT709, span: int = FULL) -> list[np.ndarray]:
    """Y', Cb and Cr uint8 of a picture uint8 RGB (H,W,3) in 4:2:0 (ITU-T H.273, 8.3)."""
    red, blue = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb.astype(np.float64) / 255, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))]
    small = [c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean(axis=(1, 3)) for c in chroma]
    scale, offset, spread = (219, 16, 224) if span == LIMITED else (255, 0, 255)
    codes = [offset + scale * luma, *(128 + spread * c for c in small)]
    return [code.round().clip(0, 255).astype(np.uint8) for code in codes]


def write_asymmetric(
    path: Path,
    pictures: Sequence[np.ndarray],
    channels: np.ndarray | None,
    *,
    matrix: int = BT709,
    span: int = FULL,
    codec: str = "libx264",
    rate: int = PICTURE_RATE,
    start: float = PICTURE_START,
    sound_rate: int = SOUND_RATE,
    lossless: bool = True,
) -> Path:
    """Write uint8 RGB pictures (H,W,3) from `start` seconds on, and int16 (2,n) stereo sound from 0.

    Decoders give full-range H.264 (`libx264`) in a pixel format of its own, that of FFV1 (`ffv1`) with a tag alone.
    """
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"qp": "0" if lossless else "10", "preset": "ultrafast"} if codec == "libx264" else {}
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, span
        speech: Any = None if channels is None else container.add_stream("pcm_s16le", rate=sound_rate, layout="stereo")
        if channels is not None:  # first: the muxer puts the streams in order
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels.T).reshape(1, -1), "s16", "stereo")
            block.sample_rate, block.pts, block.time_base = sound_rate, 0, Fraction(1, sound_rate)
            container.mux(speech.encode(block))
        for number, rgb in enumerate(pictures):
            frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], "yuv420p")
            for plane, codes in zip(frame.planes, planes_of(rgb, matrix=matrix, span=span), strict=True):
                rows = np.zeros((plane.height, plane.line_size), np.uint8)
                rows[:, : codes.shape[1]] = codes
                plane.update(rows.tobytes())
            frame.colorspace, frame.color_range = matrix, span
            frame.pts, frame.time_base = round(start * rate) + number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if speech is not None:
            container.mux(speech.encode(None))
    return path


#: Where `set_in_scene` puts the upper left corner of a video, and by how much its picture is larger.
CORNER, MARGIN = (50, 10), (80, 24)


def set_in_scene(video: Path) -> None:
    """Rewrite a video with mono speech as an asymmetric one: off-centre, BT.709, a late first picture, stereo.

    The speech is on the left; the right channel has half of it, and a tone before the first picture.
    """
    frames, speech = read_frames(video), read_audio(video).astype(np.float64)
    count, height, width = frames.shape[:3]
    scene = np.empty((height + MARGIN[1], width + MARGIN[0], 3), np.uint8)
    scene[:] = np.linspace(60, 150, scene.shape[1]).astype(np.uint8)[:, None]
    pictures = []
    for frame in frames:
        scene[CORNER[1] : CORNER[1] + height, CORNER[0] : CORNER[0] + width] = frame
        pictures.append(scene.copy())
    before = round(PICTURE_START * 16_000)
    left = np.concatenate([np.zeros(before), speech])
    right = 0.5 * left
    right[:before] = 9000 * np.sin(2 * np.pi * 700 * np.arange(before) / 16_000)
    channels = np.stack([left, right]).round().astype(np.int16)
    write_asymmetric(video.with_suffix(".mkv"), pictures, channels, rate=25, sound_rate=16_000, lossless=False)
    video.with_suffix(".mkv").replace(video)
    assert count == len(pictures)


@dataclass(frozen=True)
class AsymmetricClip:
    """The file and what is in it, by frame at 25 fps."""

    path: Path
    #: uint8 (T,144,208,3), the picture on screen just before the middle of each frame.
    pictures: np.ndarray
    #: The speaker's points (T,68,2), pixels of the picture; before the speaker is seen, those of the frame of that.
    landmarks: np.ndarray
    #: bool (T,)
    valid: np.ndarray

    @property
    def n_frames(self) -> int:
        """Frames at 25 fps."""
        return len(self.pictures)


def asymmetric_clip(folder: Path, *, name: str = "talk.mkv", frames: int = FRAMES, **stored: int) -> AsymmetricClip:
    """Write the clip, or its first `frames` frames, into a folder; `matrix` and `span` say how it is stored."""
    pictures = [picture(number) for number in range(frames * PICTURE_RATE // 25)]
    path = write_asymmetric(folder / name, pictures, sound(frames), **stored)
    numbers = np.arange(frames)
    points = np.stack([speaker_at(time) for time in np.maximum(numbers, SEEN) / 25])
    return AsymmetricClip(path, np.stack(pictures[:: PICTURE_RATE // 25]), points, numbers >= SEEN)


_TURNS: dict[tuple[tuple[int, ...], bytes], int] = {}


def turns_once(pixels: np.ndarray) -> int:
    """`turns_to_upright` with one search for each picture: it takes half of the time of a run on a short clip."""
    key = pixels.shape, pixels.tobytes()
    if key not in _TURNS:
        _TURNS[key] = turns_to_upright(pixels)
    return _TURNS[key]


#: Settings of `prepare` with which the drawn faces are good enough.
DRAWN = {"max_mouth_covered": 1.0, "min_face_height": 0}


@dataclass
class MarkedFaces:
    """A face back end that reads the number of a picture and knows which faces are in it and where.

    `origin` is the place of what it is given in the picture, and `numbers` are those of the pictures in which it has
    looked for faces.
    """

    takes_gray: bool = True
    origin: tuple[int, int] = (0, 0)
    name: str = "marked"
    numbers: list[int] = field(default_factory=list)

    @staticmethod
    def missing() -> str | None:
        """Nothing: it needs no package."""
        return None

    def fingerprint(self) -> str:
        """A constant."""
        return "marked/1"

    def detect(self, frame: np.ndarray, *, expect: float | None = None) -> np.ndarray:
        """The boxes (n,4) of the faces, largest first."""
        self.numbers.append(number_of(frame[-STRIP:]))
        return np.array([box_around(points) for points in self._faces(frame)], np.float32).reshape(-1, 4)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """The points of the face that is nearest to the box; NaN without any."""
        faces = self._faces(frame)
        if not faces:
            return np.full((68, 2), np.nan, np.float32)
        middle = (box[:2] + box[2:]) / 2
        nearest = min(faces, key=lambda points: float(np.linalg.norm(points.mean(axis=0) - middle)))
        return nearest.astype(np.float32)

    def _faces(self, frame: np.ndarray) -> list[np.ndarray]:
        return [points - self.origin for points in faces_at(number_of(frame[-STRIP:]))]
