"""Every kind of the corpus goes through the readers of `prepare`, `generate` and `evaluate`: read right, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media.face import ANY_QUALITY, AnyFace
from media.kinds import Answer, Kind, all_kinds
from media.marks import number_of, onsets_of_light, onsets_of_sound

from dawn_bench.baselines.formats import read_output
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.models.inputs import clip_arrays, read_picture, read_sound
from dawn_bench.pipelines.datasets.base import Source
from dawn_bench.pipelines.media.audio import decode_sound
from dawn_bench.pipelines.preparation.process import process_clip
from dawn_bench.pipelines.preparation.sinks import MemorySink
from dawn_bench.pipelines.settings import PrepareSettings

#: Seconds by which a flash may be early or late against its beep, and rounding.
HALF_FRAME = 0.0205
SETTINGS: dict[str, Any] = {"size": 64, "crop": "paper", "extract": (), "min_frames": 1, "require_audio": False}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """The file of a kind, written once."""
    files: dict[str, Path] = {}

    def path_of(kind: Kind) -> Path:
        if kind.name not in files:
            files[kind.name] = tmp_path_factory.mktemp("kind") / kind.file
            kind.write(files[kind.name])
        return files[kind.name]

    return path_of


def ids(kind: Kind) -> str:
    return kind.name


def check_pictures(frames: np.ndarray, answer: Answer) -> None:
    """Frames uint8 (T,H,W,3) at 25 fps."""
    levels = frames.mean(axis=(1, 2, 3))
    if answer.frames is not None:
        assert len(frames) == answer.frames
    if answer.levels:
        assert len(levels) == len(answer.levels)
        np.testing.assert_allclose(levels, answer.levels, atol=answer.tolerance)
    if answer.numbers:
        assert [number_of(frame) for frame in frames] == list(answer.numbers)
    if answer.flashes:
        flashes = onsets_of_light(levels)
        assert len(flashes) == len(answer.flashes)
        np.testing.assert_allclose(flashes, answer.flashes, atol=HALF_FRAME)
    check_colours(frames[0], answer)


def check_colours(picture: np.ndarray, answer: Answer) -> None:
    """A picture uint8 (H,W,3)."""
    height, width = picture.shape[:2]
    for probe in answer.colours:
        colour = picture[int(probe.y * height), int(probe.x * width)]
        np.testing.assert_allclose(colour, probe.rgb, atol=answer.tolerance, err_msg=f"at {probe.x}, {probe.y}")


def check_sound(sound: np.ndarray, answer: Answer, *, whole: bool) -> None:
    """int16 (n,) at 16 kHz; `whole`: it was not cut or padded to the picture's length."""
    if answer.beeps:
        beeps = onsets_of_sound(sound)
        assert len(beeps) == len(answer.beeps)
        np.testing.assert_allclose(beeps, answer.beeps, atol=answer.near)
    if answer.rms is not None:
        assert np.sqrt((sound.astype(float) ** 2).mean()) == pytest.approx(answer.rms, rel=answer.loud, abs=1)
    for second, value in answer.samples.items():
        assert sound[round(second * 16_000)] == pytest.approx(value, rel=answer.loud, abs=2)
    if whole and answer.seconds is not None:
        assert len(sound) / 16_000 == pytest.approx(answer.seconds, abs=answer.near)


def check_notes(note: str, answer: Answer) -> None:
    for words in answer.notes:
        assert words in note
    assert answer.notes or not note, f"a note that nobody expects: {note}"


def refused(error: pytest.ExceptionInfo[ItemError | InputError], path: Path, answer: Answer) -> None:
    """One line that names the file and holds the words."""
    text = str(error.value)
    assert path.name in text and "\n" not in text
    for words in answer.refusal:
        assert words in text


@pytest.mark.parametrize("kind", all_kinds("video"), ids=ids)
def test_prepare_reads_it(kind: Kind, corpus: Callable[[Kind], Path]) -> None:
    path, sink = corpus(kind), MemorySink()
    source = Source("clip", "s", "test", path)

    def prepared() -> dict[str, Any]:
        return process_clip(source, PrepareSettings(**SETTINGS, **ANY_QUALITY), AnyFace(), sink)

    if kind.answer.refusal:
        with pytest.raises(ItemError) as error:
            prepared()
        return refused(error, path, kind.answer)
    meta = prepared()
    if kind.answer.size is not None:
        assert (meta["source_width"], meta["source_height"]) == kind.answer.size
    check_pictures(sink.arrays["frames"], kind.answer)
    check_sound(sink.arrays["audio"], kind.answer, whole=False)
    check_notes(meta["notes"], kind.answer)


@pytest.mark.parametrize("kind", all_kinds("video"), ids=ids)
def test_generate_reads_it_as_a_driving_video(kind: Kind, corpus: Callable[[Kind], Path]) -> None:
    path = corpus(kind)
    settings = PrepareSettings(**SETTINGS, **ANY_QUALITY)
    if kind.answer.refusal:
        with pytest.raises(InputError) as error:
            clip_arrays(path, settings, backend=AnyFace())
        return refused(error, path, kind.answer)
    check_pictures(clip_arrays(path, settings, backend=AnyFace())["frames"], kind.answer)


@pytest.mark.parametrize("kind", all_kinds("video"), ids=ids)
def test_evaluate_reads_it_as_an_output(kind: Kind, corpus: Callable[[Kind], Path]) -> None:
    path, truth = corpus(kind), Clip("clip", "s", "test", 0, {"frames": np.zeros((0, 64, 64, 3), np.uint8)})
    if kind.answer.refusal:
        with pytest.raises(ItemError) as error:
            read_output(path, truth)
        return refused(error, path, kind.answer)
    output = read_output(path, truth)
    if kind.answer.size is not None:
        assert output["frames"].shape[2:0:-1] == kind.answer.size
    check_pictures(output["frames"], kind.answer)
    if "audio" in output:
        check_sound(output["audio"], kind.answer, whole=False)
    for words in kind.answer.notes:
        assert words in "; ".join(output.notes)


@pytest.mark.parametrize("kind", all_kinds("sound"), ids=ids)
def test_generate_reads_it_as_speech(kind: Kind, corpus: Callable[[Kind], Path]) -> None:
    path = corpus(kind)
    if kind.answer.refusal:
        with pytest.raises(InputError) as error:
            read_sound(path, max_seconds=None)
        return refused(error, path, kind.answer)
    notes: list[str] = []
    sound = read_sound(path, max_seconds=None, notes=notes)
    check_notes("; ".join(notes), kind.answer)
    check_sound(decode_sound(path).samples, kind.answer, whole=True)
    assert len(sound) == len(decode_sound(path).samples) // 640 * 640


@pytest.mark.parametrize("kind", all_kinds("picture"), ids=ids)
def test_generate_reads_it_as_a_portrait(kind: Kind, corpus: Callable[[Kind], Path]) -> None:
    path = corpus(kind)
    if kind.answer.refusal:
        with pytest.raises(InputError) as error:
            read_picture(path)
        return refused(error, path, kind.answer)
    picture = read_picture(path)
    if kind.answer.size is not None:
        assert picture.shape[1::-1] == kind.answer.size
    check_colours(picture, kind.answer)
