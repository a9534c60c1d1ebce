"""What reaches an external command: each value of its templates by content, its files, seed and environment."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from walking import check_classified

from dawn_bench.baselines.base import Item
from dawn_bench.baselines.external import method as external_method
from dawn_bench.baselines.external.adapter import Adapter, Install, Limits, MatlabTrack
from dawn_bench.baselines.external.method import SEEDED, External
from dawn_bench.baselines.external.portrait import MethodPortrait
from dawn_bench.baselines.external.process import Run, run
from dawn_bench.baselines.external.stage import staged
from dawn_bench.clip import Clip
from dawn_bench.errors import ItemError
from dawn_bench.pipelines.media.audio import read_audio

HERE = Path(__file__).name
N = 12
RNG = np.random.default_rng(2)
PICTURE = RNG.integers(0, 255, (48, 48, 3), dtype=np.uint8)
TEXT = "{seed} {frames} {seconds} {size} {weights[net]} {options[steps]} {image} {audio} {out} {work} {tracks[pose]}"
ADAPTER = Adapter(
    name="mine", method_class="portrait", licence="of the tests", source="nowhere", argv=("run.py", "{seed}"),
    output="{out}/*.mp4", environment={"STEPS": "{options[steps]}", "ALREADY": "ours"}, files={"config": TEXT},
    tracks={"pose": MatlabTrack(path="{weights[net]}", keys=("coeff",))}, weights={"net": "a.mat"},
    options={"steps": 3}, scratch=("temp",),
)  # fmt: skip
#: The same without a track: reading one starts a process.
PLAIN = ADAPTER.model_copy(update={"tracks": {}, "files": {}})


def item(n_frames: int = N, *, seed: int = 2**31 + 7, sound: int = 1) -> Item:
    arrays = {
        "frames": np.zeros((n_frames, 32, 32, 3), np.uint8),
        "audio": sound * RNG.integers(-9000, 9000, n_frames * 640).astype(np.int16),
    }
    clip = Clip("a clip", "s", "test", n_frames, arrays)
    return Item(clip, [clip], seed)


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """An installation whose weights and options are not the adapter's; the track has five frames."""
    repo = tmp_path / "repo"
    (repo / "temp").mkdir(parents=True)
    (repo / "temp" / "left").touch()
    savemat(repo / "b.mat", {"coeff": np.arange(5.0)[:, None], "other": np.zeros(3)})
    return Install(python=Path(sys.executable), repo=repo, weights={"net": str(repo / "b.mat")}, options={"steps": 9})


def test_each_value_of_a_template_is_that_of_the_item_the_portrait_and_the_installation(install: Install) -> None:
    one = item()
    with staged(ADAPTER, install, one, PICTURE) as files:
        values = files.values
        numbers = {"seed": 7, "frames": N, "seconds": N / 25, "size": 48}
        places = {"image", "audio", "out", "work", "tracks", "files"}
        check_classified(list(values), HERE, numbers, places, {"weights", "options"})
        assert {name: values[name] for name in numbers} == numbers
        assert (values["weights"], values["options"]) == (install.weights, {"steps": 9})
        shown = cv2.cvtColor(cv2.imread(str(values["image"])), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(shown, PICTURE)
        np.testing.assert_array_equal(read_audio(values["audio"]), one.clip["audio"])
        track = loadmat(values["tracks"]["pose"])
        assert track["coeff"][:, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3] and "other" not in track
        words = [values[k] for k in ("image", "audio", "out", "work")]
        expected = [7, N, N / 25, 48, install.weights["net"], 9, *words, values["tracks"]["pose"]]
        assert values["files"]["config"].read_text() == " ".join(map(str, expected))
        assert (values["work"] / "b.mat").resolve() == install.repo / "b.mat"
        assert list((values["work"] / "temp").iterdir()) == [] and list(values["out"].iterdir()) == []
        inside = {Path(w).relative_to(values["work"].parent).parts[0] for w in words}
        assert inside == {"in", "out", "work"} and all(" " not in str(w) for w in words)
    assert not values["work"].exists()


@pytest.mark.parametrize(
    ("limits", "frames", "sound", "refused"),
    [
        (Limits(max_seconds=N / 25), N, 1, ""),
        (Limits(max_seconds=N / 25), N + 1, 1, "are more than the 0.48 s"),
        (Limits(min_seconds=N / 25), N, 1, ""),
        (Limits(min_seconds=N / 25), N - 1, 1, "are less than the 0.48 s"),
        (Limits(silent=False), N, 0, "cannot take silent sound"),
        (Limits(silent=True), N, 0, ""),
    ],
)
def test_limits_hold_at_their_very_value(
    limits: Limits, frames: int, sound: int, refused: str, install: Install
) -> None:
    adapter = PLAIN.model_copy(update={"limits": limits})
    if not refused:
        with staged(adapter, install, item(frames, sound=sound), PICTURE):
            return
    with pytest.raises(ItemError, match=refused), staged(adapter, install, item(frames, sound=sound), PICTURE):
        pass


def test_a_track_that_is_long_enough_or_cannot_turn_stays_in_order(install: Install) -> None:
    for length, expected in ((N, range(N)), (2, [0, 1] * 6)):
        savemat(install.weights["net"], {"coeff": np.arange(float(length))[:, None]})
        with staged(ADAPTER, install, item(), PICTURE) as files:
            assert loadmat(files.values["tracks"]["pose"])["coeff"][:, 0].tolist() == list(expected)


def test_the_variables_of_the_adapter_come_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALREADY", "theirs")
    monkeypatch.setenv("KEPT", "1")
    log = tmp_path / "log"
    program = "import os; print(os.getcwd(), *(os.environ[k] for k in ('ALREADY', 'NEW', 'KEPT')))"
    argv = [sys.executable, "-c", program]
    ended = run(argv, cwd=tmp_path, environment={"ALREADY": "ours", "NEW": "2"}, log=log, timeout=60)
    assert ended.code == 0 and ended.tail.split() == [str(tmp_path), "ours", "2", "1"]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `run` is given in place of running it; it leaves an output and ends with `code`."""
    seen: list[dict[str, Any]] = []

    def runs(argv: list[str], **given: Any) -> Run:
        seen.append({"argv": argv, **given})
        (given["cwd"].parent / "out" / "video.mp4").write_bytes(b"a video")
        return Run(1, 0.1, 0.05, "it failed")

    monkeypatch.setattr(external_method, "run", runs)
    monkeypatch.setattr(external_method, "portrait_of", lambda *_: MethodPortrait(PICTURE, "of the tests"))
    return seen


@pytest.fixture
def video(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the output holds."""

    def holds(frames: int, fps: float = 25) -> None:
        info = SimpleNamespace(fps=fps, width=48, height=48)
        pictures = np.arange(frames, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 2, 2, 3), np.uint8)
        monkeypatch.setattr(external_method, "probe", lambda path: info)
        monkeypatch.setattr(external_method, "read_frames", lambda path, max_frames: pictures[:max_frames])

    return holds


def test_the_command_has_the_installations_interpreter_the_runs_seed_and_the_adapters_variables(
    install: Install, tmp_path: Path, ran: list[dict[str, Any]], video: Callable[..., None]
) -> None:
    video(N)
    adapter = PLAIN.model_copy(update={"limits": Limits(timeout=77), "ready": "loaded"})
    for seeded, launcher in ((False, []), (True, [str(SEEDED), "7"])):
        method = External(adapter.model_copy(update={"seeded_launch": seeded}), install, logs=tmp_path / "logs")
        generated = method.generate(item())
        assert ran[-1]["argv"] == [str(install.python), *launcher, "run.py", "7"]
    assert ran[-1]["environment"] == {"STEPS": "9", "ALREADY": "ours"}
    assert (ran[-1]["timeout"], ran[-1]["ready"]) == (77, "loaded")
    assert ran[-1]["log"] == tmp_path / "logs" / "mine" / "a clip.log"
    assert generated.load_seconds == 0.05 and generated.facts["portrait"] == "of the tests"
    assert (method.name, method.licence, method.method_class) == ("mine", "of the tests", "portrait")


@pytest.mark.parametrize(
    ("frames", "taken"), [(17, False), (18, True), (19, True), (20, True), (45, True)]
)  # of 20, of which 0.9 are 18
def test_what_a_failing_command_has_written_is_taken_from_nine_tenths_on(
    frames: int, taken: bool, install: Install, tmp_path: Path, ran: list[Any], video: Callable[..., None]
) -> None:
    video(frames)
    method, one = External(PLAIN, install, logs=tmp_path), item(20)
    if not taken:
        with pytest.raises(ItemError, match="exit code 1: it failed"):
            method.generate(one)
        return
    generated = method.generate(one)
    assert generated.frames[:, 0, 0, 0].tolist() == list(range(min(frames, 20)))
    np.testing.assert_array_equal(generated.audio, one.clip["audio"])
    note = {19: "fewer frames than requested", 45: "more frames than requested: cut"}.get(frames)
    assert generated.notes[0].startswith("the command failed after") and (note is None or note in generated.notes)


def test_python_numpy_and_torch_are_seeded_before_the_script(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("def manual_seed(seed):\n    print('torch', seed)\n")
    script = tmp_path / "script.py"
    script.write_text("import random, sys, numpy, helper\nprint(random.random(), numpy.random.rand(), sys.argv[1:])\n")
    (tmp_path / "helper.py").write_text("")  # beside the script, as repositories import their own
    argv = [sys.executable, str(SEEDED), "3", str(script), "x", "4"]
    log, environment = tmp_path / "log", {"PYTHONPATH": str(tmp_path)}
    words = run(argv, cwd=tmp_path.parent, environment=environment, log=log, timeout=60).tail.split()
    expected = [random.Random(3).random(), np.random.RandomState(3).rand()]
    assert words == ["torch", "3", *map(str, expected), "['x',", "'4']"]
