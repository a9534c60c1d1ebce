"""Outputs: generated once, stored bit-exact; a failure affects one clip; users' files are matched or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from dawn_bench.baselines.base import METHODS, Context, Generated, Item, Modality
from dawn_bench.baselines.formats import VideoFormat, read_output
from dawn_bench.baselines.given import find_outputs
from dawn_bench.baselines.outputs import ITEMS_FILE, output_key, produce
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.video import write_video


@pytest.fixture(scope="module")
def clips(tiny_cache: Path) -> list[Clip]:
    return Cache(tiny_cache).clips("train")


class Inverted:
    """The true frames as a negative; counts its calls, and fails for the clips in `faults`."""

    name, method_class, licence = "inverted", "portrait", "of the tests"

    def __init__(self, *, fingerprint: str = "1", uses: tuple[str, ...] = ("truth",)) -> None:
        self.fingerprint, self.uses = fingerprint, uses
        self.generated: list[str] = []
        self.faults: dict[str, Callable[[], Generated]] = {}

    def generate(self, item: Item) -> Generated:
        self.generated.append(item.clip.id)
        if item.clip.id in self.faults:
            return self.faults[item.clip.id]()
        return Generated(255 - item.clip["frames"], np.asarray(item.clip["audio"]))


def test_outputs_read_back_bit_exact_with_their_sound(clips: list[Clip], tmp_path: Path) -> None:
    outputs = produce(Inverted(), clips, tmp_path, seed=0)
    assert list(outputs) == ["c0", "c1", "c2", "c3"] and {o.status for o in outputs.values()} == {"ok"}
    path = outputs["c1"].path
    assert path == tmp_path / "inverted" / "c1.mp4"
    back = read_output(path, clips[1])
    np.testing.assert_array_equal(back["frames"], 255 - clips[1]["frames"])
    assert (back.id, back.n_frames, back.notes) == ("c1", 30, ())
    assert np.corrcoef(back["audio"], clips[1]["audio"])[0, 1] > 0.95


def test_no_output_is_generated_twice(clips: list[Clip], tmp_path: Path) -> None:
    first = produce(Inverted(), clips, tmp_path, seed=0)
    method = Inverted()
    assert produce(method, clips, tmp_path, seed=0) == first and method.generated == []
    (tmp_path / "inverted" / "c2.mp4").unlink()
    produce(method, clips, tmp_path, seed=0)
    assert method.generated == ["c2"]


def test_the_speed_is_that_of_what_is_generated(
    clips: list[Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    produce(Inverted(), clips, tmp_path, seed=0)
    assert "generate inverted: 120/120 frames, " in capsys.readouterr().err
    produce(Inverted(), clips, tmp_path, seed=0)
    assert capsys.readouterr().err == ""
    (tmp_path / "inverted" / "c2.mp4").unlink()
    produce(Inverted(), clips, tmp_path, seed=0)
    assert "generate inverted: 60/60 frames, " in capsys.readouterr().err  # of c2, and c3 after it


def test_a_line_cut_short_costs_its_own_item_only(clips: list[Clip], tmp_path: Path) -> None:
    produce(Inverted(), clips, tmp_path, seed=0)
    log = tmp_path / "inverted" / ITEMS_FILE
    log.write_bytes(log.read_bytes()[:-40])
    method = Inverted()
    outputs = produce(method, clips, tmp_path, seed=0)
    assert method.generated == ["c3"] and outputs["c3"].status == "ok"
    method = Inverted()
    produce(method, clips, tmp_path, seed=0)
    assert method.generated == []


@pytest.mark.parametrize("change", ["seed", "fingerprint", "content"])
def test_a_changed_input_regenerates_the_output(change: str, clips: list[Clip], tmp_path: Path) -> None:
    produce(Inverted(), clips, tmp_path, seed=0)
    method = Inverted(fingerprint="2" if change == "fingerprint" else "1")
    if change == "content":
        clips = [Clip(**(vars(clips[0]) | {"meta": {"frames_sha256": "other"}})), *clips[1:]]
    produce(method, clips, tmp_path, seed=1 if change == "seed" else 0)
    assert method.generated == (["c0"] if change == "content" else ["c0", "c1", "c2", "c3"])


@pytest.mark.parametrize(
    ("name", "modality", "key"),
    [
        ("ground-truth", "video", "9dd270447d48d155"),
        ("ground-truth-reencoded", "video", "00d974aaa43d1d44"),
        ("still", "video", "064d931ce5b78f09"),
        ("shuffled-sound", "video", "2f2ad0002cd1c754"),
        ("ground-truth", "mesh", "f28d5dc83c50d976"),
        ("still", "mesh", "8de40424f3b8fab2"),
        ("shuffled-sound", "mesh", "137b6b8bb6ae85f9"),
    ],
)
def test_keys_are_those_of_earlier_versions(name: str, modality: Modality, key: str) -> None:
    """Outputs on users' disks are not generated again."""
    meta = {f"{field}_sha256": field for field in ("frames", "audio", "vertices")}
    arrays = {"frames" if modality == "video" else "vertices": np.zeros(1)}
    clips = [Clip(i, "s", "test", 2, arrays, meta=meta) for i in "ab"]
    method = METHODS[name](Context(modality=modality))
    assert output_key(method, clips[0], clips, seed=7) == key


def test_a_changed_set_regenerates_only_methods_that_use_other_clips(clips: list[Clip], tmp_path: Path) -> None:
    for uses, again in ((("truth",), []), (("truth", "others"), ["c0", "c1"])):
        folder = tmp_path / str(len(uses))
        produce(Inverted(uses=uses), clips, folder, seed=0)
        method = Inverted(uses=uses)
        produce(method, clips[:2], folder, seed=0)
        assert method.generated == again


def _raise(error: Exception) -> Callable[[], Generated]:
    def fail() -> Generated:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fault", "status", "detail"),
    [
        (_raise(ItemError("no_face", "none seen")), "no_face", "none seen"),
        (_raise(InputError("clip c1 has no hubert features")), "bad_input", "clip c1 has no hubert features"),
        (_raise(RuntimeError("CUDA out of memory. Tried\nmore")), "oom", "out of memory"),
        (_raise(MemoryError()), "oom", ""),
        (_raise(RuntimeError()), "crash", "RuntimeError"),
        (_raise(KeyError("pose")), "crash", "pose"),
        (lambda: Generated(np.zeros((3, 32, 32, 3), np.float32), np.zeros(9, np.int16)), "bad_output", "float32"),
        (lambda: Generated(np.zeros((0, 32, 32, 3), np.uint8), np.zeros(9, np.int16)), "bad_output", "(0, 32"),
    ],
)
def test_a_method_that_fails_costs_no_other_item(
    fault: Callable[[], Generated], status: str, detail: str, clips: list[Clip], tmp_path: Path
) -> None:
    method = Inverted()
    method.faults["c1"] = fault
    outputs = produce(method, clips, tmp_path, seed=0)
    assert [o.status for o in outputs.values()] == ["ok", status, "ok", "ok"]
    assert detail in outputs["c1"].detail and "\n" not in outputs["c1"].detail and outputs["c1"].path is None
    line = json.loads((tmp_path / "inverted" / ITEMS_FILE).read_text().splitlines()[1])
    assert (line["clip"], line["status"]) == ("c1", status)
    healed = Inverted()
    assert produce(healed, clips, tmp_path, seed=0)["c1"].status == "ok" and healed.generated == ["c1"]


def test_a_user_file_without_sound_or_at_another_rate_is_accepted_with_a_note(
    clips: list[Clip], tmp_path: Path
) -> None:
    write_video(tmp_path / "c0.mp4", np.asarray(clips[0]["frames"]), fps=50, lossless=True)
    back = read_output(tmp_path / "c0.mp4", clips[0])
    assert back.n_frames == 15
    np.testing.assert_array_equal(back["frames"], clips[0]["frames"][::2])
    np.testing.assert_array_equal(back["audio"], clips[0]["audio"][: 15 * 640])
    assert [note.split(":")[0].split(",")[0] for note in back.notes] == ["no sound of its own", "50.00 fps"]


def test_a_damaged_user_file_is_a_bad_output(clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "c0.mp4").write_bytes(b"no video")
    with pytest.raises(ItemError) as caught:
        read_output(tmp_path / "c0.mp4", clips[0])
    assert caught.value.reason == "bad_output" and "c0.mp4" in caught.value.detail


class Shifted:
    """A mesh method: the true vertices in two takes, or in a shape of the test's choice."""

    name, method_class, licence, uses, fingerprint = "shifted", "mesh", "of the tests", ("truth",), "1"

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        self.shape = shape

    def generate(self, item: Item) -> Generated:
        vertices = np.asarray(item.clip["vertices"])
        takes = np.stack([vertices, vertices + 1]) if self.shape is None else np.zeros(self.shape)
        return Generated(vertices=takes, notes=("two takes",))


def _mesh_clip() -> Clip:
    vertices = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    arrays = {"vertices": vertices, "template": vertices[:1], "audio": np.zeros(4 * 640, np.int16)}
    return Clip("m", "s", "test", 4, arrays, meta={"lips_set": "lve.txt, 2 vertices"})


def test_meshes_are_kept_in_the_same_store_one_file_for_all_takes(tmp_path: Path) -> None:
    clip = _mesh_clip()
    output = produce(Shifted(), [clip], tmp_path, seed=0)["m"]
    assert output.path == tmp_path / "shifted" / "m.npy" and (output.status, output.takes) == ("ok", 2)
    for take in (0, 1):
        back = read_output(output.path, clip, take=take, notes=output.notes)
        np.testing.assert_array_equal(back["vertices"], clip["vertices"] + take)
        assert back.notes == ("two takes", "lips: lve.txt, 2 vertices")
    assert produce(Shifted(), [clip], tmp_path, seed=0)["m"] == output


@pytest.mark.parametrize("shape", [(1, 4, 3, 3), (4, 2, 3), (1, 0, 2, 3), (0, 0, 0, 3)])
def test_vertices_of_another_shape_are_a_bad_output(shape: tuple[int, ...], tmp_path: Path) -> None:
    output = produce(Shifted(shape), [_mesh_clip()], tmp_path, seed=0)["m"]
    assert output.status == "bad_output" and "not (takes, frames, 2, 3)" in output.detail and output.path is None


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_named_by_clip_are_matched_in_any_folder_and_format(clips: list[Clip], tmp_path: Path) -> None:
    _touch(tmp_path, "c0.mp4", "deep/er/c1.WEBM", "c2.txt", "other.mp4", "a/other.mp4")
    chosen = find_outputs(tmp_path, clips, None)
    assert chosen == {"c0": tmp_path / "c0.mp4", "c1": tmp_path / "deep" / "er" / "c1.WEBM"}


def test_npy_files_are_matched_by_the_same_rules(tmp_path: Path) -> None:
    _touch(tmp_path, "a/m_x.npy", "m_x.mp4")
    assert find_outputs(tmp_path, [_mesh_clip()], None, naming="{clip}_*") == {"m": tmp_path / "a" / "m_x.npy"}
    with pytest.raises(InputError, match=r"has no npy file.*\.npy"):
        find_outputs(_touch(tmp_path / "videos", "m.mp4"), [_mesh_clip()], None)


def test_folders_that_cannot_be_used_are_one_line(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder of outputs"):
        find_outputs(tmp_path / "absent", clips, None)
    with pytest.raises(InputError, match=r"has no video file.*\.mp4"):
        find_outputs(_touch(tmp_path / "empty", "notes.txt"), clips, None)
    with pytest.raises(InputError, match=r"two files for clip c0.*--mapping"):
        find_outputs(_touch(tmp_path / "twice", "c0.mp4", "x/c0.mov"), clips, None)


def _csv(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_a_mapping_assigns_files_to_clips(clips: list[Clip], tmp_path: Path) -> None:
    """Also one that a spreadsheet wrote; clips without a file, and files of other clips, are left out."""
    _touch(tmp_path, "x_1.mp4", "sub/x_2.mp4")
    text = "clip,file,remark\nc0,x_1.mp4,\nc1,sub/x_2.mp4,good\nc2,absent.mp4,\nc3,,\nzz,x_1.mp4,\n"
    for encoding in ("utf-8", "utf-8-sig"):
        chosen = find_outputs(tmp_path, clips, _csv(tmp_path / "m.csv", text, encoding=encoding))
        assert chosen == {"c0": tmp_path / "x_1.mp4", "c1": tmp_path / "sub" / "x_2.mp4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,path\nc0,x.mp4\n", "no columns `clip` and `file`"),
        ("", "no columns"),
        ("clip,file\nc0,a.mp4\nc0,b.mp4\n", "names clip c0 twice"),
        ("\0\0", "CSV|columns"),
    ],
)
def test_mappings_that_do_not_fit_are_one_line(text: str, message: str, clips: list[Clip], tmp_path: Path) -> None:
    _touch(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(InputError, match=message):
        find_outputs(tmp_path, clips, _csv(tmp_path / "m.csv", text))
    with pytest.raises(InputError, match="cannot be read"):
        find_outputs(tmp_path, clips, tmp_path / "absent.csv")


def test_what_is_no_mapping_or_no_video_says_what_to_give(clips: list[Clip], tmp_path: Path) -> None:
    """A folder in place of the CSV, folders of pictures, and lines that fit no clip or no file."""
    pictures = _touch(tmp_path / "pictures", "c0/00001.png", "c0/00002.png", "c1/00001.png")
    with pytest.raises(InputError, match=r"pictures: is a folder, not a CSV file\. .*clip,file.*--outputs"):
        find_outputs(pictures, clips, pictures)
    with pytest.raises(InputError, match=r"m\.csv: names a folder of pictures for clip c0: c0\. .*ffmpeg"):
        find_outputs(pictures, clips, _csv(tmp_path / "m.csv", "clip,file\nc0,c0\n"))
    with pytest.raises(InputError, match=r"holds pictures, not video file.*ffmpeg"):
        find_outputs(pictures, clips, None)
    with pytest.raises(InputError, match=r"m\.csv: names no file that exists\. There is no .*pictures/x\.mp4"):
        find_outputs(pictures, clips, _csv(tmp_path / "m.csv", "clip,file\nc0,x.mp4\n"))
    with pytest.raises(InputError, match=r"m\.csv: names none of the clips\. .*c0"):
        find_outputs(pictures, clips, _csv(tmp_path / "m.csv", "clip,file\nother,x.mp4\n"))


def test_an_output_whose_sound_is_refused_is_not_scored_with_the_true_sound(tmp_path: Path) -> None:
    frames, path = np.full((25, 32, 32, 3), 90, np.uint8), tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("ffv1", rate=25, options={})
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        speech = container.add_stream("pcm_f32le", rate=16_000, layout="mono")
        for picture in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode(None))
        samples = (20_000 * np.sin(np.arange(16_000) / 9)).astype(np.float32)[None]  # int16 units
        sound = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        sound.rate = 16_000
        container.mux(speech.encode(sound))
        container.mux(speech.encode(None))
    truth = Clip("a", "a", "test", 25, {"frames": frames, "audio": np.ones(16_000, np.int16)})
    with pytest.raises(ItemError, match=r"^bad_output: .*a\.mkv: .*far beyond -1 to 1"):
        VideoFormat().read(path, truth)
    write_video(tmp_path / "mute.mp4", frames)
    silent = VideoFormat().read(tmp_path / "mute.mp4", truth)
    assert "no sound of its own: scored with the true sound" in silent.notes and (silent["audio"] == 1).all()
