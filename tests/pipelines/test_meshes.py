"""Mesh datasets: formats, splits, faults, the synthetic writer, and the renderer."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.errors import InputError, ItemError
from dawn_bench.files import temporary_path
from dawn_bench.pickles import read_arrays
from dawn_bench.pipelines.datasets import biwi, vocaset
from dawn_bench.pipelines.media.audio import Sound, decode_sound
from dawn_bench.pipelines.media.limits import SPARE_SOUND
from dawn_bench.pipelines.meshes import tools, write
from dawn_bench.pipelines.meshes.files import read_templates, read_triangles, read_vertices
from dawn_bench.pipelines.meshes.render import BACKGROUND, MeshRenderer
from dawn_bench.pipelines.meshes.write import UNFINISHED, is_to_be_written, write_meshes
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.maintain import stats
from dawn_bench.pipelines.preparation.prepare import list_sources, prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.motion import draw_speech

MESHES = PrepareSettings(dataset="embedded-mesh")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, each with one training, one validation and one test sequence."""
    return write_meshes(tmp_path_factory.mktemp("meshes") / "set", subjects=2, train=1, test=1, seconds=1.5)


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may modify."""
    return Path(shutil.copytree(written, tmp_path / "set"))


def names(root: Path, dataset: str) -> dict[str, str]:
    return {s.id: s.split for s in list_sources(root, PrepareSettings(dataset=dataset))}


def test_a_set_is_written_where_none_is_or_a_cut_off_one(root: Path, tmp_path: Path) -> None:
    assert not is_to_be_written(root)
    (root / UNFINISHED).touch()
    assert is_to_be_written(root)
    assert is_to_be_written(tmp_path / "new")
    (tmp_path / "new").mkdir()
    assert is_to_be_written(tmp_path / "new")
    temporary_path(tmp_path / "new" / UNFINISHED).touch()  # killed before the mark had its name
    assert is_to_be_written(tmp_path / "new")
    (tmp_path / "new" / "mine.txt").touch()
    assert not is_to_be_written(tmp_path / "new") and not is_to_be_written(tmp_path / "new" / "mine.txt")


def test_prepared_meshes_equal_the_files(written: Path, tmp_path: Path) -> None:
    report = prepare(written, tmp_path / "cache", MESHES)
    cache = Cache(tmp_path / "cache")
    assert report.ok == 6 and not report.quarantined and report.seconds == pytest.approx(6 * 1.5, abs=0.2)
    assert cache.ids("train") == ["F2_01", "F3_01"] and cache.ids("test") == ["F2_37", "F3_37"]
    clip = cache["F3_37"]
    stored = np.load(written / "vertices_npy" / "F3_37.npy")
    assert clip.fps == 25 and clip.n_frames == len(stored) == 38
    assert np.array_equal(clip["vertices"].reshape(len(stored), -1), stored)
    assert np.array_equal(clip["template"][0], read_templates(written / "templates.pkl")["F3"])
    listed = (written / "regions" / "lve.txt").read_text()
    assert clip["lips"][0].tolist() == sorted(map(int, listed.split(",")))
    assert clip.meta["lips_set"].startswith("lve.txt ") and clip.meta["lips_set"].endswith(
        f"{clip['lips'].size} vertices"
    )
    assert clip["audio"].dtype == np.int16 and len(clip["audio"]) == 24000
    assert prepare(written, tmp_path / "cache", MESHES).resumed == 6


def test_vocaset_takes_every_second_frame(tmp_path: Path) -> None:
    root = write_meshes(tmp_path / "voca", subjects=1, train=1, test=1, seconds=1.0, layout="vocaset")
    prepare(root, tmp_path / "cache", PrepareSettings(dataset="vocaset"))
    cache = Cache(tmp_path / "cache")
    clip = cache["FaceTalk_170728_03272_TA_sentence01"]
    stored = np.load(root / "vertices_npy" / f"{clip.id}.npy")
    assert (len(stored), clip.n_frames, clip.fps) == (60, 30, 30)
    assert np.array_equal(clip["vertices"].reshape(30, -1), stored[::2])
    assert {cache[i].speaker for i in cache.ids("test")} == {vocaset.TEST_SUBJECTS[0]}
    facts = stats(tmp_path / "cache")  # in seconds of 30 frames
    assert facts["hours"] == pytest.approx(facts["frames"] / 30 / 3600)
    assert facts["splits"]["test"]["hours"] == pytest.approx(facts["splits"]["test"]["frames"] / 30 / 3600)
    export(tmp_path / "cache", tmp_path / "out")
    assert json.loads((tmp_path / "out" / clip.id / "clip.json").read_text())["fps"] == 30
    window = cache.windows(frames=6, stride=2, step=7, fields=("vertices", "audio"), split=None)[1]
    assert window["start"] == 7 and len(window["audio"]) == round(11 * 16_000 / 30)
    first = round(7 * 16_000 / 30)
    assert np.array_equal(window["audio"], cache[window["clip"]]["audio"][first : first + len(window["audio"])])


@pytest.mark.parametrize("layout", ["biwi", "vocaset"])
@pytest.mark.parametrize("most", [None, 12])
def test_sound_is_judged_by_the_seconds_of_the_sequence_that_is_used(
    layout: Literal["biwi", "vocaset"], most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In seconds of the prepared rate, whatever rate is stored; more is read, to see at which rate it was stored."""
    asked: list[dict[str, Any]] = []

    def decoded(path: Path, **more: Any) -> Sound:
        asked.append(more)
        return decode_sound(path, **more)

    monkeypatch.setattr(tools, "decode_sound", decoded)
    root = write_meshes(tmp_path / "set", subjects=1, train=1, test=1, seconds=1.0, layout=layout)
    settings = PrepareSettings(dataset=layout, max_frames=most, min_frames=10, audio_track=1)
    prepare(root, tmp_path / "cache", settings)
    cache = Cache(tmp_path / "cache")
    fps = {"biwi": 25, "vocaset": 30}[layout]
    assert len(asked) == len(cache.ids()) > 1 and {clip.n_frames for clip in cache} == {most or fps}
    for given in asked:
        assert given["used"] == pytest.approx((most or fps) / fps)
        assert given["stop"] == pytest.approx(5 + SPARE_SOUND) and given["track"] == 1


def test_published_splits() -> None:
    assert [biwi.Biwi().split("F2", n) for n in (1, 32, 33, 36, 37, 40, 41)] == [
        *["train"] * 2,
        *["val"] * 2,
        *["test"] * 2,
        None,
    ]
    assert [biwi.Biwi().split("M6", n) for n in (36, 37, 40)] == [None, "test-b", "test-b"] and biwi.Biwi().split(
        "X1", 1
    ) is None
    assert len(biwi.TRAIN_SUBJECTS) + len(biwi.UNSEEN_SUBJECTS) == 14
    assert vocaset.Vocaset().split(vocaset.TRAIN_SUBJECTS[3], 40) == "train"
    assert [vocaset.Vocaset().split(vocaset.VAL_SUBJECTS[1], n) for n in (20, 21)] == [None, "val"]
    assert [vocaset.Vocaset().split(vocaset.TEST_SUBJECTS[1], n) for n in (20, 40)] == [None, "test"]


def test_emotional_sentences_of_biwi_are_split_by_their_number(root: Path) -> None:
    for kind, folder in (("npy", "vertices_npy"), ("wav", "wav")):
        shutil.copy(root / folder / f"F2_37.{kind}", root / folder / f"F2_e38.{kind}")
        shutil.copy(root / folder / f"F2_37.{kind}", root / folder / f"F2_notes.{kind}")
    splits = names(root, "biwi")
    assert splits["F2_e38"] == "test" and "F2_notes" not in splits


def test_broken_sequences_are_quarantined_with_a_reason(root: Path, tmp_path: Path) -> None:
    arrays = root / "vertices_npy"
    (arrays / "F2_01.npy").write_bytes(b"\x93NUMPY but not really")
    np.save(arrays / "F2_33.npy", np.zeros((30, 12), np.float32))
    np.save(arrays / "F2_37.npy", np.full_like(np.load(arrays / "F3_37.npy"), np.nan))
    (root / "wav" / "F3_01.wav").write_bytes(b"RIFF????")
    (root / "wav" / "F3_33.wav").unlink()
    for kind, folder in (("npy", "vertices_npy"), ("wav", "wav")):
        shutil.copy(root / folder / f"F3_37.{kind}", root / folder / f"M5_37.{kind}")
    prepare(root, tmp_path / "cache", MESHES)
    cache = Cache(tmp_path / "cache")
    assert cache.ids() == ["F3_37"]
    assert {i: reason for i, reason, _ in cache.quarantined()} == {
        "F2_01": "unreadable",
        "F2_33": "bad_shape",
        "F2_37": "not_finite",
        "F3_01": "unreadable",
        "F3_33": "no_audio",
        "M5_37": "no_template",
    }


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(ItemError, match="unreadable"):
        read_vertices(tmp_path / "a.npy", vertices=1)
    assert not (tmp_path / "exploded").exists()


def test_missing_dataset_files_are_a_one_line_error(root: Path, tmp_path: Path) -> None:
    (root / "regions" / "fdd.txt").write_text("1, 99999")
    with pytest.raises(InputError, match="has vertex indices outside a mesh of 572 vertices"):
        prepare(root, tmp_path / "cache", MESHES)
    (root / "regions" / "fdd.txt").unlink()
    (root / "mesh.ply").write_text("ply\nformat ascii 1.0\nend_header\n")
    with pytest.raises(InputError, match=r"mesh.ply: is not a readable PLY mesh"):
        prepare(root, tmp_path / "cache", MESHES)
    (root / "mesh.ply").unlink()
    (root / "templates.pkl").write_bytes(b"not a pickle")
    with pytest.raises(InputError, match=r"templates.pkl: is "):
        prepare(root, tmp_path / "cache", MESHES)
    (root / "templates.pkl").unlink()
    with pytest.raises(InputError, match=r"has no templates.pkl"):
        prepare(root, tmp_path / "cache", MESHES)
    with pytest.raises(InputError, match=r"has no vertices_npy"):
        (tmp_path / "bare").mkdir()
        (tmp_path / "bare" / "templates.pkl").touch()
        list_sources(tmp_path / "bare", MESHES)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_pickles_may_hold_arrays_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, face = tmp_path / "templates.pkl", np.arange(12, dtype=np.float64).reshape(4, 3)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"F2": face}, protocol=protocol))
        assert np.array_equal(read_templates(path)["F2"], face)
    for bad in ({"F2": _Bomb()}, {"F2": face, "x": np.random.default_rng(0)}, _Bomb()):
        path.write_bytes(pickle.dumps(bad))
        with pytest.raises(InputError, match="could run code"):
            read_arrays(path)
    assert not (tmp_path / "exploded").exists()
    for odd in ([face], {"F2": "text"}, {}):
        path.write_bytes(pickle.dumps(odd))
        with pytest.raises(InputError, match="no mapping of names to arrays"):
            read_arrays(path)
    for wrong in ({"F2": face[:, :2]}, {"F2": face, "F3": face[:2]}, {"F2": face * np.nan}):
        path.write_bytes(pickle.dumps(wrong))
        with pytest.raises(InputError, match=r"subject F2 is|faces of"):
            read_templates(path)


def test_arrays_pickled_by_python_2_are_read(tmp_path: Path) -> None:
    # protocol 2 as Python 2 wrote it: the module's old name, and the bytes as a str that needs latin1
    numbers = np.array([1.5, -2.0, 3.25])
    text = (
        b"\x80\x02}U\x02F2cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x18" + numbers.tobytes() + b"tbs."
    )
    (tmp_path / "t.pkl").write_bytes(text)
    assert np.array_equal(read_templates(tmp_path / "t.pkl")["F2"], numbers[None].astype(np.float32))


def test_flame_masks_name_the_regions_of_vocaset(tmp_path: Path) -> None:
    root = write_meshes(tmp_path / "voca", subjects=1, train=1, test=1, seconds=1.0, layout="vocaset")
    shutil.rmtree(root / "regions")
    masks = {
        "lips": np.array([5, 3]),
        "forehead": np.array([10, 11]),
        "eye_region": np.array([11, 12]),
        "nose": np.array([1]),
    }
    (root / "FLAME_masks.pkl").write_bytes(pickle.dumps(masks, protocol=2))
    prepare(root, tmp_path / "cache", PrepareSettings(dataset="vocaset"))
    clip = next(iter(Cache(tmp_path / "cache")))
    assert clip["lips"][0].tolist() == [3, 5] and clip["upper"][0].tolist() == [10, 11, 12]
    assert clip.meta["upper_set"] == "FLAME forehead+eye_region, 3 vertices"


def test_binary_and_polygonal_ply(tmp_path: Path) -> None:
    head = "ply\nformat {}\nelement vertex 4\nproperty float x\nproperty float y\nproperty uchar red\n"
    head += "element face 1\nproperty list uchar uint vertex_indices\nend_header\n"
    body = b"".join(np.array([x, x], "<f4").tobytes() + b"\x01" for x in range(4))
    data = head.format("binary_little_endian 1.0").encode() + body + b"\x04" + np.arange(4, dtype="<u4").tobytes()
    (tmp_path / "b.ply").write_bytes(data)
    (tmp_path / "a.ply").write_text(head.format("ascii 1.0") + "0 0 1\n" * 4 + "4 0 1 2 3\n")
    for name in ("a.ply", "b.ply"):
        assert read_triangles(tmp_path / name, vertices=4).tolist() == [[0, 1, 2], [0, 2, 3]]
    (tmp_path / "b.ply").write_bytes(data[:-6])
    with pytest.raises(InputError, match="not a readable PLY"):
        read_triangles(tmp_path / "b.ply", vertices=4)


def test_the_synthetic_set_is_reproducible_and_its_mouth_follows_the_sound(written: Path, tmp_path: Path) -> None:
    again = write_meshes(tmp_path / "again", subjects=2, train=1, test=1, seconds=1.5)
    for path in written.rglob("*.npy"):
        assert np.array_equal(np.load(path), np.load(again / path.relative_to(written)))
    prepare(written, tmp_path / "cache", MESHES)
    for clip in Cache(tmp_path / "cache"):
        moved = (clip["vertices"] - clip["template"])[:, clip["lips"][0], 1]
        opening = np.ptp(moved, axis=1)
        loud = np.abs(clip["audio"][: 37 * 640].astype(float)).reshape(37, 640).mean(axis=1)
        assert np.corrcoef(opening[:37], loud)[0, 1] > 0.6
        assert moved.std() > 5 * (clip["vertices"] - clip["template"])[:, :21].std()  # the crown hardly moves


def test_rendering_shows_the_mouth_and_points_without_triangles(written: Path) -> None:
    template = read_templates(written / "templates.pkl")["F2"]
    triangles = read_triangles(written / "mesh.ply", vertices=len(template))
    draw = MeshRenderer(template, triangles, size=128)
    closed = draw(template)
    assert closed.shape == (128, 128, 3) and closed.dtype == np.uint8
    moved = np.load(written / "vertices_npy" / "F2_37.npy").reshape(-1, *template.shape)
    widest = moved[np.abs(moved - template).sum(axis=(1, 2)).argmax()]
    behind = [(draw(v) == BACKGROUND).all(axis=-1)[70:100, 50:78].sum() for v in (template, widest)]
    assert behind[0] == 0 and behind[1] > 20  # between the lips one sees through
    covered = (closed != BACKGROUND).any(axis=-1).mean()
    dots = (MeshRenderer(template, None, size=128)(template) != BACKGROUND).any(axis=-1).mean()
    assert 0.25 < covered < 0.6 and 0.1 < dots < covered


@pytest.mark.parametrize(("wrong", "match"), [({"subjects": 9}, "9 subjects"), ({"seconds": 0.1}, "0.1 s")])
def test_numbers_out_of_range_are_rejected(wrong: dict[str, float], match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        write_meshes(tmp_path, **wrong)  # type: ignore[arg-type]


def test_vertices_of_every_layout_are_the_same(tmp_path: Path) -> None:
    vertices = np.arange(4 * 7 * 3, dtype=np.float32).reshape(4, 7, 3)
    for name, stored in {
        "flat": vertices.reshape(4, 21),
        "points": vertices,
        "axes": vertices.transpose(0, 2, 1),
    }.items():
        np.save(tmp_path / f"{name}.npy", stored)
        assert np.array_equal(read_vertices(tmp_path / f"{name}.npy", vertices=7), vertices), name


def test_neutral_faces_stored_by_axis_are_the_same(tmp_path: Path) -> None:
    faces = {name: np.arange(21, dtype=np.float64).reshape(7, 3) + k for k, name in enumerate(("F2", "F3", "F4"))}
    stored = {"F2": faces["F2"], "F3": faces["F3"].T, "F4": faces["F4"].reshape(-1)}
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(stored))
    read = read_templates(tmp_path / "t.pkl")
    assert all(np.array_equal(read[name], face.astype(np.float32)) for name, face in faces.items())


@pytest.mark.parametrize("drawn", ["points", "triangles"])
def test_a_mesh_is_drawn_from_the_front_the_nearest_on_top(drawn: str) -> None:
    """x to the right, y up; two patches at one place, and the nearer one is brighter or the only one that is seen."""
    template = np.stack([*np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 20)), np.zeros((20, 20))], -1)
    patch = np.array([[0.4, 0.5, 0.0], [0.8, 0.5, 0.0], [0.6, 0.8, 0.0]])  # counter-clockwise from the front
    vertices = np.concatenate([patch + np.array([0, 0, 0.1]), patch, patch * [-1, 1, 1] - [0, 0, 0.2]])
    triangles = np.arange(9).reshape(3, 3)  # the last is seen from behind
    draw = MeshRenderer(template.reshape(-1, 3), triangles if drawn == "triangles" else None, size=100)
    picture = draw(vertices).astype(int)
    rows, columns = np.nonzero((picture != BACKGROUND).any(axis=2))
    right = columns > 50
    assert right.any() and rows.max() < 35 and (drawn == "points") == (~right).any()
    if drawn == "points":
        brightest = picture[:, 50:].max(axis=(0, 1))
        assert np.abs(brightest - [214, 200, 190]).max() < 8 and picture[:, :50].max() < 110


def test_each_synthetic_subject_has_a_face_and_a_voice_and_each_sequence_its_own_speech(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices: list[Any] = []
    words: list[bytes] = []

    def spoken(rng: np.random.Generator, voice: Any, **more: float) -> Any:
        voices.append(voice)
        speech = draw_speech(rng, voices[0], **more)  # by one voice, equal draws would be equal words
        words.append(speech.opening.tobytes())
        return speech

    monkeypatch.setattr(write, "draw_speech", spoken)
    monkeypatch.setattr(write, "synthesise", lambda rng, speech, voice: np.zeros(16_000, np.int16))
    write_meshes(tmp_path / "set", subjects=2, train=1, test=1, seconds=1.0)
    assert voices[0] == voices[1] == voices[2] != voices[3] == voices[4] == voices[5]
    assert len(set(words)) == 6
    templates = read_templates(written / "templates.pkl")
    assert not np.allclose(templates["F2"], templates["F3"], atol=1e-3)
    moves, sounds = [], []
    for path in sorted((written / "vertices_npy").iterdir()):
        moves.append(np.load(path).reshape(-1, *templates["F2"].shape)[:, :, 1] - templates[path.stem[:2]][:, 1])
        sounds.append((written / "wav" / f"{path.stem}.wav").read_bytes())
    openings = [np.ptp(move, axis=1) / np.ptp(move) for move in moves]
    assert len(openings) == 6 == len(set(sounds))
    assert all(np.abs(a - b).max() > 0.1 for k, a in enumerate(openings) for b in openings[:k])
