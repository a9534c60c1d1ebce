"""What data call a clip, a field or a file stays in its folder: nothing outside is read, written or removed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dawn_bench.baselines.base import Context, build_method
from dawn_bench.baselines.external.adapter import read_adapter
from dawn_bench.baselines.external.process import run
from dawn_bench.baselines.given import find_outputs
from dawn_bench.baselines.outputs import ITEMS_FILE, produce, read_items
from dawn_bench.cache import INDEX_FILE, Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError
from dawn_bench.metrics.scoring.feature_cache import FeatureCache, content_hash
from dawn_bench.names import LONGEST, inside, name_fault, shard_fault
from dawn_bench.pipelines.datasets.hdtf import Hdtf, raw_videos
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.folder import empty, sweep
from dawn_bench.pipelines.preparation.plan import CachePlan, read_part
from dawn_bench.pipelines.settings import PrepareSettings

#: Names that lead elsewhere, or that some system reads as a path.
PATHS = (
    "../victim", "../../victim/holiday", "/home/me/holiday", "a/../../b", "a/b", "..", ".", "", " ", "C:\\victim",
    "C:victim", "\\\\server\\share", "a\\b", "a\0b", "a\nb", "a\x1b[2Jb", "a\x85b", "a\u2028b", "a\udcffb", ".hidden",
    "a.", "x" * (LONGEST + 1), "é" * LONGEST, None, 7, float("nan"), b"a", ["a"],
)  # fmt: skip
#: Names that caches have.
PLAIN = (
    "1015_DFA_NEU_XX",
    "WDA_Katie Hill_000",
    "talk@003",
    "имя-1a2b3c4d",
    "顔",
    "a.b",
    "a..b",
    "-x",
    "con",
    "~",
    "é" * 90,
)


@pytest.mark.parametrize("name", PATHS, ids=repr)
def test_a_path_is_no_plain_name(name: object) -> None:
    assert name_fault(name) is not None
    assert shard_fault(name, field="frames") is not None


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_every_script_are_plain(name: str, tmp_path: Path) -> None:
    assert name_fault(name) is None
    (tmp_path / f"{name}.mp4").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.mp4"]


def test_inside_follows_links(tmp_path: Path) -> None:
    folder, victim = tmp_path / "folder", tmp_path / "victim"
    for path in (folder / "sub", victim):
        path.mkdir(parents=True)
        (path / "a.mp4").touch()
    (folder / "out").symlink_to(victim)
    (folder / "file.mp4").symlink_to(victim / "a.mp4")
    (folder / "round").symlink_to("round")
    (tmp_path / "link").symlink_to(folder)
    assert inside(folder, "sub/a.mp4") == inside(tmp_path / "link", "sub/a.mp4") == folder / "sub" / "a.mp4"
    assert inside(folder, folder / "sub" / "a.mp4") == folder / "sub" / "a.mp4"
    for name in ("out/a.mp4", "file.mp4", "../victim/a.mp4", str(victim / "a.mp4"), "round/a", "", ".", "a\0b"):
        assert inside(folder, name) is None, name


@pytest.fixture
def forged(tiny_cache: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a cache with one value of its index changed."""

    def forge(column: str, value: object, *, renamed: str | None = None) -> Path:
        root = tmp_path / "cache"
        shutil.copytree(tiny_cache, root)
        index = pd.read_parquet(root / INDEX_FILE)
        index[column] = [value, *index[column][1:]]
        index.rename(columns={column: renamed or column}).to_parquet(root / INDEX_FILE)
        return root

    return forge


@pytest.mark.parametrize("name", [n for n in PATHS if isinstance(n, str) and "\udcff" not in n], ids=repr)
def test_a_cache_with_a_path_for_an_id_is_refused_at_opening(forged: Callable[..., Path], name: str) -> None:
    root = forged("id", name)
    with pytest.raises(InputError, match=r"index\.parquet: the clip id") as caught:
        Cache(root)
    assert caught.value.exit_code == 2
    with pytest.raises(InputError):
        export(root, root.parent / "a" / "b" / "out")
    assert not (root.parent / "a").exists() and not (root.parent / "victim").exists()


def test_a_cache_with_an_id_twice_is_refused(forged: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="'c1' is there 2 times"):
        Cache(forged("id", "c1"))


@pytest.mark.parametrize(
    "shard",
    [
        "/home/me/frames-00000.safetensors", "../frames/frames-00000.safetensors",
        "frames/../frames/frames-00000.safetensors",
        "audio/audio-00000.safetensors", "frames/frames-0.safetensors", "frames/frames-00000.safetensors\n",
        "frames/frames-٠٠٠٠٠.safetensors", "frames/other-00000.safetensors", "",
    ],
)  # fmt: skip
def test_a_shard_is_the_fields_own(forged: Callable[..., Path], shard: str) -> None:
    with pytest.raises(InputError, match="frames of clip 'c0' has the shard"):
        Cache(forged("frames.shard", shard))


def test_a_field_is_a_plain_name(forged: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="is not a field"):
        Cache(forged("pose.shard", None, renamed="../pose.shard"))


def test_a_hash_of_a_cache_is_no_path(forged: Callable[..., Path], tmp_path: Path) -> None:
    """Cached features are files named by the hash of their input, which the index states."""
    clip = Cache(forged("frames.sha256", "../../../victim"))["c0"]
    key = content_hash(clip, "frames")
    assert name_fault(key) is None
    cache = FeatureCache(tmp_path / "out" / "features")
    cache.put_failure("ssim", "1", key, ItemError("no_face", ""))
    cache.flush()
    assert not list(tmp_path.glob("victim*"))


def test_overwriting_a_cache_removes_nothing_through_links(tiny_cache: Path, tmp_path: Path) -> None:
    root, home = tmp_path / "cache", tmp_path / "model"
    shutil.copytree(tiny_cache, root)
    home.mkdir()
    names = ("model-00001.safetensors", ".model-00001.safetensors.tmp")
    for name in names:
        (home / name).write_text("precious")
        (root / "pose" / name).write_text("precious")
    (root / "model").symlink_to(home)
    sweep(root)
    empty(root)
    assert all((home / name).is_file() for name in names)
    assert [path.name for path in root.glob("*/*.safetensors") if path.parent != root / "model"] == [names[0]]
    assert (root / "pose" / names[1]).is_file()  # it is no shard of this field


def test_plans_and_parts_name_no_paths(tmp_path: Path) -> None:
    plan = CachePlan(str(tmp_path), {}, {}, (("a",),), {"extractor ../../victim": "1"})
    plan.save(tmp_path)
    with pytest.raises(InputError, match=r"plan\.json"):
        CachePlan.load(tmp_path)
    part = tmp_path / "00000.json"
    part.write_text(json.dumps([{"id": "a", "fields": {"pose": {"shard": "/etc/passwd"}}}]))
    with pytest.raises(InputError, match=r"00000\.json"):
        read_part(part)


CLIPS = [Clip(name, "s", "test", 1, {"frames": None}) for name in ("a", "b")]  # type: ignore[dict-item]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "mine.mp4").touch()
    (tmp_path / "private.mp4").touch()
    return folder


@pytest.mark.parametrize("name", ["../private.mp4", "{home}/private.mp4", "link.mp4", "up/private.mp4"])
def test_a_mapping_names_files_of_the_outputs_only(outputs: Path, name: str) -> None:
    (outputs / "link.mp4").symlink_to(outputs.parent / "private.mp4")
    (outputs / "up").symlink_to("..")
    table = outputs.parent / "names.csv"
    table.write_text(f"clip,file\na,{name.format(home=outputs.parent)}\n")
    with pytest.raises(InputError, match=r"names\.csv: .*leads out of"):
        find_outputs(outputs, CLIPS, table)
    table.write_text(f"clip,file\na,sub/mine.mp4\nb,{outputs}/sub/mine.mp4\n")
    assert find_outputs(outputs, CLIPS, table) == dict.fromkeys("ab", outputs / "sub" / "mine.mp4")


def test_an_output_is_no_link_to_another_folder(outputs: Path) -> None:
    (outputs / "a.mp4").symlink_to(outputs.parent / "private.mp4")
    (outputs / "b.mp4").symlink_to(outputs / "sub" / "mine.mp4")
    assert set(find_outputs(outputs, CLIPS[1:], None)) == {"b"}
    with pytest.raises(InputError, match="leads out of"):
        find_outputs(outputs, CLIPS, None)


@pytest.mark.parametrize("name", ["../private.mp4", "/private.mp4", "link.mp4", 3])
def test_a_listed_item_names_a_file_of_its_folder(outputs: Path, name: object) -> None:
    (outputs / "link.mp4").symlink_to(outputs.parent / "private.mp4")
    line = {"clip": "a", "status": "ok", "seconds": 1.0, "key": "k", "path": name}
    (outputs / ITEMS_FILE).write_text(f"{json.dumps(line)}\n{json.dumps(line | {'clip': 'b', 'path': 'b.mp4'})}\n")
    assert {clip: item.path for clip, item in read_items(outputs).items()} == {"b": outputs / "b.mp4"}


def test_outputs_and_logs_are_not_written_through_links(tiny_cache: Path, tmp_path: Path) -> None:
    """A results folder with links would write the outputs, their list and the logs of methods over other files."""
    home, clips = tmp_path / "home", Cache(tiny_cache).clips("test")
    method = build_method("still", Context())
    home.mkdir()
    (home / "c4.mp4").write_text("holiday")
    (home / "profile").write_text("precious")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "still").symlink_to(home)
    (tmp_path / "b" / "still").mkdir(parents=True)
    (tmp_path / "b" / "still" / ITEMS_FILE).symlink_to(home / "profile")
    for out in ("a", "b"):
        with pytest.raises(InputError, match=r"is a link.*Remove the link\."):
            produce(method, clips, tmp_path / out, seed=0)
    (tmp_path / "c4.log").symlink_to(home / "profile")
    run([sys.executable, "-c", "print(1)"], cwd=tmp_path, environment={}, log=tmp_path / "c4.log", timeout=60)
    assert (home / "profile").read_text() == "precious" and (home / "c4.mp4").read_text() == "holiday"


@pytest.mark.parametrize("name", ["../victim", "/victim", "a/b", ".."])
def test_a_method_is_a_plain_name(tiny_cache: Path, tmp_path: Path, name: str) -> None:
    method = build_method("still", Context())
    method.name = name
    with pytest.raises(InputError, match="the method's name"):
        produce(method, Cache(tiny_cache).clips("test"), tmp_path / "out", seed=0)
    assert not list(tmp_path.iterdir())


def test_published_lists_name_no_paths(tmp_path: Path) -> None:
    (tmp_path / "WDA_video_url.txt").write_text("../../x.mp4 https://www.youtube.com/watch?v=abcdefghijk\n")
    (tmp_path / "WDA_annotion_time.txt").write_text("../../x.mp4 00:01-00:05\n")
    with pytest.raises(InputError, match="malformed at"):
        raw_videos(tmp_path)


def test_a_file_name_with_control_characters_gets_a_plain_id(tmp_path: Path) -> None:
    for name in ("WDA_a\x1b[2J_000.mp4", "WDA_b_000.mp4"):
        (tmp_path / name).write_bytes(b"0" * 600)
    sources = list(Hdtf().sources(tmp_path, PrepareSettings(dataset="hdtf")))
    assert len(sources) == 2 and all(name_fault(source.id) is None for source in sources)


@pytest.mark.parametrize(
    "text", ["files: {../x.yaml: y}", "scratch: [../x]", "scratch: [/x]", "tracks: {a/b: {path: p, keys: [k]}}"]
)
def test_an_adapter_writes_to_its_own_folders(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    head = "name: mine\nmethod_class: portrait\nlicence: MIT\nsource: here\nargv: [run.py]\noutput: '{out}/*.mp4'\n"
    file.write_text(head)
    read_adapter(file)
    file.write_text(head + text)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        read_adapter(file)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile near.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{near}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
    ids=["concat", "hls", "sdp"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".sdp"])
def test_a_playlist_is_no_video(tmp_path: Path, text: str, suffix: str) -> None:
    import numpy as np

    near = tmp_path / "near.mp4"
    write_video(near, np.full((3, 32, 32, 3), 90, np.uint8))
    path = tmp_path / f"talk{suffix}"
    path.write_text(text.format(near=near))
    with pytest.raises(ItemError, match="unreadable"):
        read_frames(path)
