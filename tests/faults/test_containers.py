"""Damaged and oddly named files go through a whole run: each is used or left out with its reason, none ends it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dawn_bench.cache import Cache
from dawn_bench.pipelines.preparation.export import export
from dawn_bench.pipelines.preparation.maintain import verify
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.pipelines.synthetic.write import write_embedded

SETTINGS = PrepareSettings(size=32, face="dlib", extract=(), max_frames=15)
#: Accepted reasons for a damaged file; `failed` and `worker_died` would be faults of ours.
REASONS = {"", "unreadable", "no_audio", "no_face", "too_short", "face_leaves", "empty_file"}
CONTAINERS = ("mp4", "mkv", "flv", "ts", "mov")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One talking head of a second in every container."""
    folder = tmp_path_factory.mktemp("whole")
    write_embedded(folder / "e", speakers=1, clips=1, seconds=1, size=128)
    (source,) = (folder / "e" / "VideoFlash").glob("*.mp4")
    files = {}
    for kind in CONTAINERS:
        path = folder / f"clip.{kind}"
        with av.open(str(source)) as read, av.open(str(path), "w") as written:
            streams = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
            for packet in read.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    written.mux(packet)
        files[kind] = path.read_bytes()
    return files


def test_damaged_containers_never_end_a_run(whole: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for kind, data in whole.items():
        (folder / f"whole.{kind}").write_bytes(data)
        for k, share in enumerate((0.02, 0.3, 0.7, 0.98)):
            (folder / f"cut{k}.{kind}").write_bytes(data[: int(len(data) * share)])
        for seed in range(6):
            rng = np.random.default_rng(seed)
            damaged = np.frombuffer(data, np.uint8).copy()
            near = 2000 if seed % 2 else len(data)  # heads and indexes suffer as often as pictures
            damaged[rng.integers(0, near, 6)] ^= rng.integers(1, 256, 6, np.uint8)
            (folder / f"bits{seed}.{kind}").write_bytes(damaged.tobytes())
        (folder / f"zeros.{kind}").write_bytes(bytes(len(data)))
        (folder / f"empty.{kind}").touch()
        (folder / f"noise.{kind}").write_bytes(np.random.default_rng(9).bytes(5000))
    report = prepare(folder, tmp_path / "c", SETTINGS, jobs=2)
    index = Cache(tmp_path / "c").index
    assert report.clips == len(index) == 14 * len(CONTAINERS)
    assert set(index["reason"]) <= REASONS
    ends = {(Path(row["source"]).stem, Path(row["source"]).suffix[1:]): row["reason"] for _, row in index.iterrows()}
    for kind in CONTAINERS:
        assert ends["whole", kind] == "", kind
        assert ends["empty", kind] == "empty_file" and ends["noise", kind] == ends["zeros", kind] == "unreadable"
        assert ends["cut0", kind] in ("unreadable", "no_audio"), kind
    assert (index[index["reason"] != ""]["detail"] != "").all() and not index["detail"].str.contains("\n").any()
    assert not verify(tmp_path / "c").faults


def test_odd_names_and_wrong_endings_are_used_and_exported(whole: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "-videos 人 'quoted'"
    names = [
        "-i.mp4", "--help.mp4", "with  spaces .mp4", "ünïcode 人 😀.mp4", "pipe:0.mp4", "a%03d.mp4", "q?*.mp4",
        "wrong.avi", "also wrong.mkv", "UPPER.MP4", "new\nline.mp4", "name.with.dots.mp4", "x" * 200 + ".mp4",
        "@at#hash.mp4", "http:__host.mp4",
    ]  # fmt: skip
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(whole["mp4"])
    (folder / "no ending").write_bytes(whole["mp4"])
    report = prepare(folder, tmp_path / "c", SETTINGS, jobs=1)
    assert (report.ok, report.quarantined) == (len(names), {})
    for format in ("files", "webdataset"):
        assert export(tmp_path / "c", tmp_path / format, format=format) == len(names)  # type: ignore[arg-type]
