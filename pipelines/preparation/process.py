"""One clip from source to arrays, in one streaming pass.

A clip is decoded once, and at most `LOOKAHEAD_BYTES` of frames are buffered. A face crop needs the position of the
face before the first frame is cut. So frames are buffered until the clip ends or the buffer is full (that is a whole
clip of a few seconds, or the first seconds of a large or long one), and one fixed square is chosen from them. If the
rest of a long clip shows that another face is the one to keep, or that the face leaves its square, the clip is decoded
a second time, for the square that fits the whole clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from dawn_bench.clip import FPS, SAMPLE_RATE
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.faces.base import FaceBackend
from dawn_bench.pipelines.faces.choice import MOST_FACES, SPEAKING
from dawn_bench.pipelines.faces.quality import FaceLooks, check_face, flags, turned
from dawn_bench.pipelines.faces.tracking import MAX_TRACKS, CutDetector, Track, Tracker
from dawn_bench.pipelines.faces.turned import turns_to_upright
from dawn_bench.pipelines.media.audio import Sound, check_audio, decode_sound, fit_length, is_silent
from dawn_bench.pipelines.media.limits import SPARE_SOUND
from dawn_bench.pipelines.media.picture import Picture, Window
from dawn_bench.pipelines.media.video import iter_pictures, open_pictures
from dawn_bench.pipelines.preparation.sinks import ClipSink
from dawn_bench.pipelines.settings import AUTO, PrepareSettings
from dawn_bench.text import counted

#: Frames buffered until the face crop is chosen, in bytes as decoded: 13 s at 512×512, 1.7 s at 1080p.
LOOKAHEAD_BYTES = 128 << 20
#: Share of the crop's side that the face's longer side (brows to chin, or jaw to jaw) takes, as in HDTF's crops.
FACE_SHARE = 0.6
#: The crop's centre lies this share of the face's height above the middle of the points: they end at the brows.
_FOREHEAD = 0.1
#: A clip whose face is not wholly in the crop for more than this share of frames is quarantined.
_OUTSIDE_LIMIT = 0.05
#: Sides that differ by less than this share are those of a square: encoders round to even numbers.
_NEARLY_SQUARE = 0.01
#: Frames appended to the sink at once.
_CHUNK = 64
#: Pictures decoded in a row before faces are detected in them.
_BATCH = 16


def process_clip(source: Source, settings: PrepareSettings, backend: FaceBackend, sink: ClipSink) -> dict[str, Any]:
    """Decode a clip, track and crop its face, and append its arrays to `sink`; returns the clip's `meta`.

    Appends `frames` while decoding; then `audio`, `landmarks`, `bbox`, `valid` and the fields of those extractors in
    `settings.extract` that need no more than these. With `on_cut="split"` sources have been split by `split_at_cuts`,
    so a remaining cut quarantines the clip.

    Raises `ItemError` when the clip cannot be used (unreadable, no_face, no_audio, too_short, cut, face_leaves,
    bad_crop, turned, decoder_differs, what `check_face` raises, or the source's own reason); what was appended is then
    invalid.
    """
    if source.problem is not None:
        raise ItemError(*source.problem)
    info, decoded = open_pictures(source.video, start=source.start, stop=source.stop, decoder=settings.decoder)
    _check_sound(source, settings)

    chosen = settings.person != SPEAKING
    most = MOST_FACES if chosen else MAX_TRACKS
    tracker = Tracker(backend, max_gap=settings.max_gap, max_tracks=most, thorough=chosen)
    looks_at = FaceLooks()
    gray = getattr(backend, "takes_gray", False)
    writer = _FrameWriter(sink, settings.size)
    early: Track | None = None
    buffered: list[Picture] = []
    buffered_bytes = 0
    window: Window | None = None
    framing, shape = "", (0, 0)
    for picture in _framed(_in_batches(islice(decoded, settings.max_frames)), source):
        shape = picture.width, picture.height
        if not framing:
            framing = crop_of(source, settings, *shape)
        if window is None and framing != "face":
            window = _whole(*shape, square=framing != "paper")
        pixels = picture.gray() if gray else picture.rgb()
        _step(tracker, pixels)
        looks_at.step(tracker.n_frames - 1, pixels, tracker.now())
        if tracker.cuts and settings.on_cut != "keep":
            raise ItemError("cut", f"the scene changes at {tracker.cuts[0] / FPS:.2f} s")
        if window is not None:
            writer.write(picture, window)
            continue
        buffered.append(picture)
        buffered_bytes += picture.nbytes
        if buffered_bytes >= LOOKAHEAD_BYTES:
            early = _chosen_early(tracker, settings.person)
            window = _decide(early, buffered, writer)
    if tracker.n_frames < settings.min_frames:
        raise ItemError(
            "too_short", f"{counted(tracker.n_frames, 'frame')} at 25 fps; at least {settings.min_frames} are needed"
        )
    n_frames, track = tracker.n_frames, tracker.choose(settings.person)
    if window is None:
        window = _decide(track, buffered, writer)
    writer.flush()
    points, valid = tracker.result(track)
    looks = 1
    if early is not None and (early is not track or outside_share(points, window, *shape) > _OUTSIDE_LIMIT):
        looks, window = 2, face_window(points, *shape)
        sink.restart()
        again = iter_pictures(source.video, start=source.start, stop=source.stop, decoder=settings.decoder)
        for picture in _framed(islice(again, settings.max_frames), source):
            writer.write(picture, window)
        writer.flush()
    quality = looks_at.facts(track.number, points, width=shape[0], height=shape[1])
    check_face(quality, settings)
    landmarks = to_window(points, window, settings.size)
    bbox = np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1)
    outside = outside_share(points, window, *shape)
    if framing == "face" and outside > _OUTSIDE_LIMIT:
        raise ItemError("face_leaves", f"the face leaves its fixed crop in {outside:.0%} of the frames")

    sound = _sound(source, settings, origin=info.start_time, n_frames=n_frames)
    audio, has_audio = sound.samples, sound.tracks > 0
    arrays = {"audio": fit_length(audio, n_frames), "landmarks": landmarks, "bbox": bbox, "valid": valid}
    for name in settings.extract:
        extractor = EXTRACTORS[name]()
        if set(extractor.needs) <= arrays.keys():
            arrays |= extractor.run(arrays, size=settings.size, n_frames=n_frames)
    for field, rows in arrays.items():
        sink.append(field, rows)
    return {
        "n_frames": n_frames,
        "source_fps": info.fps,
        "source_width": info.width,
        "source_height": info.height,
        "codec": info.codec,
        "crop": framing,
        "crop_x": window[0],
        "crop_y": window[1],
        "crop_width": window[2],
        "crop_height": window[3],
        "face_backend": backend.name,
        "faces_max": tracker.faces_max,
        "tracks": len(tracker.tracks),
        "track": track.number,
        "person": settings.person,
        "track_frames": " ".join(str(len(track.points)) for track in tracker.tracks),
        "track_speaking": " ".join(str(track.speaking()) for track in tracker.tracks),
        "looks": looks,
        "face_share": float(valid.mean()),
        "interpolated": int((~valid).sum()),
        "second_frames": track.second_frames,
        "outside_share": outside,
        "face_px": track.size(),
        **quality,
        "face_flags": flags(quality),
        "cuts": len(tracker.cuts),
        "cut_frames": " ".join(map(str, tracker.cuts)),
        "has_audio": has_audio,
        "silent": not has_audio or sound.mix == "silent" or is_silent(arrays["audio"]),
        "audio_seconds": len(audio) / SAMPLE_RATE if has_audio else 0.0,
        "audio_track": sound.track,
        "audio_tracks": sound.tracks,
        "audio_layout": sound.layout,
        "audio_mix": sound.mix,
        "notes": "; ".join([*info.notes, *sound.notes]),
    }


def split_at_cuts(source: Source) -> list[Source]:
    """The scenes of a source as sources of their own, `ID@000` and so on; the source itself if it has no cut.

    Decodes the clip once and compares thumbnails. Raises `ItemError("unreadable")`.
    """
    is_cut = CutDetector()
    edges, n_frames = [0], 0
    for picture in _framed(iter_pictures(source.video, start=source.start, stop=source.stop), source):
        if is_cut(picture.gray()):
            edges.append(n_frames)
        n_frames += 1
    if len(edges) == 1:
        return [source]
    spans = zip(edges, [*edges[1:], n_frames], strict=True)
    return [
        replace(source, id=f"{source.id}@{i:03d}", start=source.start + a / FPS, stop=source.start + b / FPS)
        for i, (a, b) in enumerate(spans)
    ]


def to_window(points: np.ndarray, window: Window, size: int) -> np.ndarray:
    """Points (...,2) in source pixels as float32 pixels of the window once resized to size×size (pixel centres)."""
    x, y, width, height = window
    scale = np.array([size / width, size / height])
    return ((points - (x, y) + 0.5) * scale - 0.5).astype(np.float32)


def face_window(points: np.ndarray, width: int, height: int) -> Window:
    """The square crop of a clip from its face's points (T,68,2): the median face takes `FACE_SHARE` of its side.

    It is larger where the head moves further, is shifted into the width×height picture, and is never larger than it.
    Its edges are even where possible, because most video stores one colour for two pixels.
    """
    low, high = points.min(axis=1), points.max(axis=1)
    faces = high - low
    side = float(np.median(faces.max(axis=1))) / FACE_SHARE
    lift = _FOREHEAD * float(np.median(faces[:, 1]))
    centre = np.median((low + high) / 2, axis=0) - (0, lift)
    # the square must contain all but the most extreme 1 % of the positions
    reach = np.maximum(centre - np.percentile(low, 1, axis=0), np.percentile(high, 99, axis=0) - centre).max()
    edge = min(2 * round(max(side, 2.1 * reach) / 2), width, height)
    x, y = (_even(np.clip(c - edge / 2, 0, full - edge)) for c, full in zip(centre, (width, height), strict=True))
    return x, y, edge, edge


def outside_share(points: np.ndarray, window: Window, width: int, height: int) -> float:
    """The share of frames in which a face point (T,68,2) inside the picture lies outside the window."""
    x, y, w, h = window
    seen = points.clip((0, 0), (width - 1, height - 1))
    inside = (seen >= (x - 0.5, y - 0.5)) & (seen <= (x + w - 0.5, y + h - 0.5))
    return float((~inside).any(axis=(1, 2)).mean())


def crop_of(source: Source, settings: PrepareSettings, width: int, height: int) -> str:
    """How a clip of width×height pixels is cropped: `face`, `paper` or `none`, or `published`: the dataset's crop.

    That is the choice of `auto` for a picture that its dataset has cropped to a square around the face
    (`Source.cropped`); sides that differ by up to 1 % are a square, of which the centre is taken. Another picture is
    cropped to the face.
    """
    if settings.crop != AUTO:
        return settings.crop
    square = abs(width - height) <= _NEARLY_SQUARE * max(width, height)
    return "published" if source.cropped and square else "face"


class _FrameWriter:
    """Cuts and resizes frames, and appends them to the sink in chunks."""

    def __init__(self, sink: ClipSink, size: int) -> None:
        self.sink, self.size, self.rows = sink, size, list[np.ndarray]()

    def write(self, picture: Picture, window: Window) -> None:
        self.rows.append(picture.cut(window, self.size))
        if len(self.rows) == _CHUNK:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.sink.append("frames", np.stack(self.rows))
            self.rows.clear()


def _check_sound(source: Source, settings: PrepareSettings) -> None:
    """Raise `ItemError` for a clip without sound where the settings require it, before its pictures are decoded."""
    try:
        check_audio(source.audio or source.video, track=settings.audio_track)
    except ItemError as error:
        if error.reason != "no_audio" or settings.require_audio:
            raise


def _sound(source: Source, settings: PrepareSettings, *, origin: float, n_frames: int) -> Sound:
    """The clip's sound; one without samples and tracks if it has none and that is allowed.

    `origin` is the timestamp of the video's first frame, in seconds. Sound that goes on after the `n_frames` pictures
    is read for `SPARE_SOUND` seconds more.
    """
    used = source.start + n_frames / FPS
    stop = used + SPARE_SOUND if source.stop is None else min(used + SPARE_SOUND, source.stop)
    path, from_picture = (source.video, origin) if source.audio is None else (source.audio, None)
    try:
        return decode_sound(
            path, start=source.start, stop=stop, origin=from_picture, track=settings.audio_track, used=used
        )
    except ItemError as error:
        if error.reason != "no_audio" or settings.require_audio:
            raise
        return Sound(np.zeros(0, np.int16), 0, 0)


def _in_batches(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """The same pictures, decoded `_BATCH` at a time: alternating after every picture, decoder and landmark detector
    evict each other's data from the processor's caches."""
    while batch := list(islice(pictures, _BATCH)):
        yield from batch


def _framed(pictures: Iterable[Picture], source: Source) -> Iterator[Picture]:
    """The source's own crop of each picture; `ItemError("bad_crop")` if it is not inside the picture."""
    for picture in pictures:
        part = picture if source.crop is None else picture.within(source.crop)
        if part is None:
            assert source.crop is not None
            x, y, width, height = source.crop
            shape = f"{picture.width}x{picture.height}"
            raise ItemError("bad_crop", f"the crop {width}x{height} at {x},{y} does not fit the {shape} picture")
        yield part


def _whole(width: int, height: int, *, square: bool) -> Window:
    """The whole picture, or the largest centred square."""
    if not square:
        return 0, 0, width, height
    edge = min(height, width)
    return _even((width - edge) / 2), _even((height - edge) / 2), edge, edge


def _even(position: float) -> int:
    """The even number at or below a position."""
    return int(position // 2) * 2


def _step(tracker: Tracker, pixels: np.ndarray) -> None:
    """Track the next frame; raises `ItemError("turned")` where no face but a turned one is in the picture.

    The frame in which the first face appears is checked too, since networks detect faces in every orientation.
    """
    before = bool(tracker.tracks)
    try:
        tracker.step(pixels)
    except ItemError as error:
        if error.reason == "no_face" and not tracker.tracks and (angle := turned(pixels, tracker.backend)) is not None:
            raise _turned(angle) from error
        raise
    if tracker.tracks and not before and (turns := turns_to_upright(pixels)):
        raise _turned(90 * turns)


def _turned(angle: int) -> ItemError:
    how = "upside down" if angle == 180 else f"turned by {angle} degrees clockwise"
    return ItemError("turned", f"the face is {how}: turn the video upright")


def _chosen_early(tracker: Tracker, choice: str) -> Track:
    """The face that is meant as far as the clip has been read; any where the one that is counted is yet to appear."""
    try:
        return tracker.choose(choice)
    except ItemError:
        return tracker.choose()


def _decide(track: Track, buffered: list[Picture], writer: _FrameWriter) -> Window:
    """Choose the crop for this face, and write the buffered frames."""
    window = face_window(np.stack(list(track.points.values())), buffered[0].width, buffered[0].height)
    for picture in buffered:
        writer.write(picture, window)
    buffered.clear()
    return window
