"""What an external command is given, by content, and what is made of each way in which it ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from marked import marked_clip
from scipy.io import loadmat, savemat, wavfile
from spies import Spies

from dawn_bench.baselines.base import Item
from dawn_bench.baselines.external import method as method_module
from dawn_bench.baselines.external.adapter import Adapter, Install, Limits, MatlabTrack, bundled, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.external.process import Run
from dawn_bench.baselines.external.stage import Staged, staged
from dawn_bench.errors import InputError, ItemError
from dawn_bench.pipelines.media.video import VideoInfo, write_video

CLIP = marked_clip(1, 20)
ITEM = Item(CLIP, [CLIP], seed=2**31 + 5)
#: 48 pixels a side where the clip has 32; no two channels are equal.
PORTRAIT = np.stack([np.full((48, 48), 200), np.tile(np.arange(48), (48, 1)), np.full((48, 48), 7)], -1).astype(
    np.uint8
)
#: What templates may name, and what stands for it in the command below.
PLACEHOLDERS = {
    "image": "{image}", "audio": "{audio}", "out": "{out}", "work": "{work}", "seed": "{seed}", "frames": "{frames}",
    "seconds": "{seconds}", "size": "{size}", "weights": "{weights[big]}:{weights[small]}",
    "options": "{options[steps]}:{options[cfg]}", "files": "{files[cases.yaml]}:{files[more.txt]}",
    "tracks": "{tracks[pose]}:{tracks[gaze]}",
}  # fmt: skip


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """A repository with code, weights, tracks and the leftovers of an earlier run."""
    repo = tmp_path / "repo"
    files = ("run.py", "src/a.py", "kept/code.py", "kept/tmp/left", "temp/left", ".git/config", "big.pth", "small.pth")
    for name in files:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(name)
    savemat(
        repo / "pose.mat",
        {"coeff": np.arange(8.0).reshape(4, 2), "other": np.ones((4, 1)), "long": np.arange(30.0)[:, None]},
    )
    savemat(repo / "gaze.mat", {"gaze": 100 + np.arange(2.0)[:, None]})
    weights = {name: str(repo / f"{name}.pth") for name in ("big", "small")}
    return Install(python=Path("/bin/true"), repo=repo, weights=weights, options={"steps": 9, "cfg": 2.5})


@pytest.fixture
def adapter(install: Install) -> Adapter:
    return Adapter(
        name="mine",
        method_class="portrait",
        licence="l",
        source="s",
        argv=("run.py", *(f"{key}={template}" for key, template in PLACEHOLDERS.items())),
        output="{out}/*.mp4",
        environment={"HERE": "{work}", "FRAMES": "{frames}"},
        scratch=("temp", "kept/tmp"),
        files={"cases.yaml": "image: {image}\nsound: {audio}\npose: {tracks[pose]}\n", "more.txt": "{frames} {seed}"},
        tracks={
            "pose": MatlabTrack(path="{work}/pose.mat", keys=("coeff", "long")),
            "gaze": MatlabTrack(path="{work}/gaze.mat", keys=("gaze",)),
        },
        weights={"big": "big.pth", "small": "small.pth"},
        options={"steps": 1, "cfg": 1},
    )


@pytest.fixture
def light(adapter: Adapter) -> Adapter:
    """The same without tracks, which a process of its own reads."""
    return adapter.model_copy(update={"argv": ("run.py", "{image}"), "files": {}, "tracks": {}})


def values_of(files: Staged, adapter: Adapter) -> dict[str, str]:
    return dict(files.fill(part, what="argv").split("=", 1) for part in adapter.argv[1:])


def test_every_placeholder_is_what_it_says_by_content(adapter: Adapter, install: Install) -> None:
    with staged(adapter, install, ITEM, PORTRAIT) as files:
        assert set(files.values) == set(PLACEHOLDERS), "Say in PLACEHOLDERS of this file what the new name stands for."
        given = values_of(files, adapter)
        picture = cv2.cvtColor(cv2.imread(given["image"]), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(picture, PORTRAIT)
        rate, sound = wavfile.read(given["audio"])
        assert rate == 16_000
        np.testing.assert_array_equal(sound, CLIP["audio"])
        assert (given["seed"], given["frames"], given["seconds"], given["size"]) == ("5", "20", "0.8", "48")
        assert [Path(path).read_text() for path in given["weights"].split(":")] == ["big.pth", "small.pth"]
        assert given["options"] == "9:2.5"
        cases, more = (Path(path) for path in given["files"].split(":"))
        pose, gaze = given["tracks"].split(":")
        assert cases.name == "cases.yaml" and more.read_text() == "20 5"
        assert cases.read_text() == f"image: {given['image']}\nsound: {given['audio']}\npose: {pose}\n"
        forth = [0, 1, 2, 3, 2, 1]
        np.testing.assert_array_equal(loadmat(pose)["coeff"][:, 0] / 2, np.resize(forth, 20))
        np.testing.assert_array_equal(loadmat(pose)["long"][:, 0], np.arange(30))
        np.testing.assert_array_equal(loadmat(gaze)["gaze"][:, 0], np.resize([100, 101], 20))
        out, work = Path(given["out"]), Path(given["work"])
        assert work == files.work and not list(out.iterdir()) and out.parent == work.parent
        for path in (given["image"], given["audio"], str(work)):
            assert Path(path).name.count(".") == Path(path).is_file() and " " not in path
        # the repository itself, apart from the folders that the method writes to
        assert {p.name for p in work.iterdir()} == {p.name for p in install.repo.iterdir()} - {".git"}
        assert (work / "run.py").samefile(install.repo / "run.py") and (
            work / "kept/code.py"
        ).read_text() == "kept/code.py"
        for scratch in adapter.scratch:
            assert not list((work / scratch).iterdir()) and not (work / scratch).is_symlink()
            (work / scratch / "mine").write_text("x")
        assert (install.repo / "kept/tmp/left").exists() and not (install.repo / "temp/mine").exists()
    assert not work.parent.exists() and (install.repo / "run.py").exists()


def test_a_track_is_lengthened_only_where_it_is_shorter(adapter: Adapter, install: Install, tmp_path: Path) -> None:
    adapter = adapter.model_copy(update={"files": {}, "tracks": {"gaze": adapter.tracks["gaze"]}})
    for length in (19, 20, 21):
        savemat(install.repo / "gaze.mat", {"gaze": np.arange(float(length))[:, None]})
        with staged(adapter, install, ITEM, PORTRAIT) as files:
            written = loadmat(str(files.values["tracks"]["gaze"]))["gaze"][:, 0]
        assert written.tolist() == ([*range(19), 17] if length == 19 else list(range(length)))


def test_an_unknown_name_in_a_template_is_one_line(light: Adapter, install: Install) -> None:
    for wrong in ("{picture}", "{weights[none]}", "{options[none]}"):
        with staged(light, install, ITEM, PORTRAIT) as files, pytest.raises(InputError, match="Known: image, audio"):
            files.fill(wrong, what="argv")


@pytest.mark.parametrize(
    ("limits", "runs"),
    [
        ({}, True),
        ({"max_seconds": 0.8}, True),
        ({"max_seconds": 0.79}, False),
        ({"min_seconds": 0.8}, True),
        ({"min_seconds": 0.81}, False),
        ({"silent": False}, True),
    ],
)
def test_the_limits_themselves_are_within_them(
    limits: dict[str, Any], runs: bool, light: Adapter, install: Install
) -> None:
    limited = light.model_copy(update={"limits": Limits(**limits)})
    silent = replace(CLIP, arrays={**CLIP.arrays, "audio": np.zeros(20 * 640, np.int16)})
    if runs:
        with staged(limited, install, ITEM, PORTRAIT):
            pass
    else:
        with pytest.raises(ItemError, match="not run"), staged(limited, install, ITEM, PORTRAIT):
            pass
    if "silent" in limits:
        with pytest.raises(ItemError, match="silent"), staged(limited, install, Item(silent, [], 0), PORTRAIT):
            pass


@pytest.fixture
def method(light: Adapter, install: Install, tmp_path: Path) -> External:
    return External(light, install, logs=tmp_path / "logs")


class Command:
    """In place of the command: writes one file, and ends in the given way."""

    def __init__(self, *, code: int | None = 0, tail: str = "", ready_after: float | None = None) -> None:
        self.ended = Run(code, 1.0, ready_after, tail)
        self.given: list[dict[str, Any]] = []

    def __call__(self, argv: list[str], **more: Any) -> Run:
        self.given.append({"argv": argv, **more})
        (more["cwd"].parent / "out" / "video.mp4").write_bytes(b"x")
        return self.ended


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the output holds: so many frames, frame k of level k, at a rate."""

    def hold(count: int, fps: float = 25.0) -> None:
        pictures = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 4, 6, 3), np.uint8)
        info = VideoInfo.__new__(VideoInfo)
        info.__dict__.update(fps=fps, width=6, height=4)
        monkeypatch.setattr(method_module, "probe", lambda path: info)
        monkeypatch.setattr(method_module, "read_frames", lambda path, max_frames: pictures[:max_frames])

    return hold


def generate(method: External, command: Command, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    monkeypatch.setattr(method_module, "run", command)
    method.adapter = method.adapter.model_copy(update=changes)
    return method.generate(ITEM)


#: Fields of an adapter that reach the command: a value, and what of the command must then be equal to what.
REACHES: dict[str, tuple[Any, Any, Any]] = {
    "argv": (("go.py", "{frames}"), lambda c: c["argv"][1:], ["go.py", "20"]),
    "environment": ({"A": "{seconds}"}, lambda c: c["environment"], {"A": "0.8"}),
    "limits": (Limits(timeout=77), lambda c: c["timeout"], 77),
    "ready": ("loaded", lambda c: c["ready"], "loaded"),
    "seeded_launch": (True, lambda c: (Path(c["argv"][1]).name, c["argv"][2]), ("seeded.py", "5")),
}
#: Fields that are tested by what is staged (above), by what is made of the end (below), or that only inform.
OTHERWISE = {"files", "tracks", "scratch", "weights", "options", "portrait_size"}
OTHERWISE |= {"output", "says", "changes_crop", "name", "method_class"}
OTHERWISE |= {"licence", "source", "commit", "quirks", "refuse"}


@pytest.mark.parametrize("field", sorted(set(Adapter.model_fields) - OTHERWISE))
def test_each_field_of_an_adapter_reaches_the_command(
    field: str, method: External, frames: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert field in REACHES, f"Say in REACHES or OTHERWISE of this file what {field} of an adapter does."
    frames(20)
    value, place, expected = REACHES[field]
    plain, changed = Command(), Command()
    generate(method, plain, monkeypatch)
    generate(method, changed, monkeypatch, **{field: value})
    assert place(changed.given[0]) == expected and place(plain.given[0]) != expected
    for given in (plain.given[0], changed.given[0]):
        assert given["argv"][0] == "/bin/true" and given["cwd"].name == "work"
        assert given["log"] == tmp_path / "logs" / "mine" / "c1.log"


@pytest.mark.parametrize("size", [None, 32, 48, 64])
def test_the_portrait_has_the_size_of_the_adapter(
    size: int | None, method: External, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(20)
    spies = Spies(monkeypatch)
    spies.watch(method_module, "staged")
    generate(method, Command(), monkeypatch, portrait_size=size)
    call = spies.one("staged")
    assert call["portrait"].shape == (size or 32, size or 32, 3) and call["item"] is ITEM
    if size in (None, 32):
        np.testing.assert_array_equal(call["portrait"], CLIP["frames"][0])


@pytest.mark.parametrize(
    ("code", "count", "note"),
    [
        (0, 20, ()),
        (0, 19, ("fewer frames than requested",)),
        (0, 1, ("fewer frames than requested",)),
        (0, 21, ("more frames than requested: cut",)),
        (0, 60, ("more frames than requested: cut",)),
        (1, 20, ("the command failed after it had written its output",)),
        (1, 18, ("the command failed after it had written its output", "fewer frames than requested")),  # nine tenths
    ],
)
def test_frames_are_the_first_ones_of_the_output_in_order(
    code: int, count: int, note: tuple[str, ...], method: External, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(count)
    output = generate(method, Command(code=code, ready_after=0.4), monkeypatch)
    assert output.frames[:, 0, 0, 0].tolist() == list(range(min(count, 20)))
    np.testing.assert_array_equal(output.audio, CLIP["audio"])
    assert output.notes == note and output.load_seconds == 0.4
    assert (output.facts["frames"], output.facts["width"], output.facts["height"]) == (min(count, 45), 6, 4)


def test_a_crash_with_less_than_nine_tenths_of_the_frames_is_one(
    method: External, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(17)
    with pytest.raises(ItemError, match=r"^crash: exit code 3: last line; log: .*c1\.log"):
        generate(method, Command(code=3, tail="first\nlast line\n\n"), monkeypatch)


@pytest.mark.parametrize(("fps", "noted"), [(25.0, False), (25.009, False), (24.98, True), (25.02, True), (30.0, True)])
def test_another_frame_rate_is_a_note(
    fps: float, noted: bool, method: External, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(20, fps)
    output = generate(method, Command(), monkeypatch)
    assert any("read at 25 by timestamps" in note for note in output.notes) == noted and output.facts["fps"] == fps


@pytest.mark.parametrize(
    ("code", "tail", "reason"),
    [
        (None, "", "timeout"),
        (0, "nobody is here", "no_face"),  # also where the command continues without
        (1, "nobody is here", "no_face"),
        (0, "the card is full", "oom"),
        (1, "CUDA out of memory", "oom"),
        (0, "CUDA out of memory, trying again", None),
        (-9, "", "oom"),
        (-15, "", "crash"),
        (1, "No space left on device", "StorageError"),
        (0, "No space left on device", None),
    ],
)
def test_the_reason_is_what_the_command_said_before_how_it_ended(
    code: int | None, tail: str, reason: str | None, method: External, frames: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(20 if code in (0, None) else 2)
    says = {"no_face": "nobody is", "oom": "card is full"}
    try:
        output = generate(method, Command(code=code, tail=tail), monkeypatch, says=says)
    except ItemError as error:
        assert error.reason == reason
    except OSError as error:
        assert type(error).__name__ == reason
    except Exception as error:
        assert type(error).__name__ == reason, error
    else:
        assert reason is None and len(output.frames) == 20


def test_the_output_is_the_one_file_that_matches(method: External, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of outputs or in the working copy, and never an empty one."""

    def writes(*names: str) -> Any:
        def command(argv: list[str], *, cwd: Path, **_: Any) -> Run:
            for name in names:
                path = cwd.parent / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch() if "empty" in name else write_video(path, np.asarray(CLIP["frames"]), lossless=True)
            return Run(0, 1.0, None, "")

        return command

    for pattern, names in (
        ("{out}/*.mp4", ("out/a.mp4", "out/empty.mp4", "out/a.avi.txt", "work/temp/b.mp4")),
        ("temp/**/*_sound.mp4", ("out/a_sound.mp4", "work/temp/x/a_sound.mp4", "work/temp/x/a.mp4")),
    ):
        output = generate(method, writes(*names), monkeypatch, output=pattern)
        np.testing.assert_array_equal(output.frames, CLIP["frames"])
    for names in ((), ("out/empty.mp4",), ("out/a.mp4", "out/b.mp4")):
        with pytest.raises(ItemError, match=f"{2 if len(names) == 2 else 0} files match"):
            generate(method, writes(*names), monkeypatch, output="{out}/*.mp4")


def test_bundled_adapters_name_only_what_is_staged() -> None:
    """Picture, sound and output are in each command; every folder that a relative output is in is the item's own."""
    for path in bundled().values():
        theirs = read_adapter(path)
        text = " ".join([*theirs.argv, *theirs.files.values()])
        assert "{image}" in text and "{audio}" in text, theirs.name
        assert "{out}" in theirs.output or theirs.output.split("/")[0] in theirs.scratch, theirs.name
        text += f" {theirs.tracks} {theirs.environment}"
        for group in ("weights", "options", "files", "tracks"):
            named = set(re.findall(rf"{{{group}\[(.+?)\]}}", text))
            assert named <= set(getattr(theirs, group)), (theirs.name, group)
            assert group == "weights" or named == set(getattr(theirs, group)), (theirs.name, group)
