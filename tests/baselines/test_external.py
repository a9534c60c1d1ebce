"""External methods: every quirk of the adapters against a repository that misbehaves in just that way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_repos import BAD_ADAPTER, PYTHON, fake_repo
from scipy.io import savemat

from dawn_bench.baselines.base import METHODS, Context, Item
from dawn_bench.baselines.external.adapter import bundled, installs, read_adapter
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.outputs import produce
from dawn_bench.cache import Cache
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError, ItemError


@pytest.fixture(scope="module")
def clip(tiny_cache: Path) -> Clip:
    first = Cache(tiny_cache).clips("test")[0]
    return replace(first, id="a clip.with.dots")


def install(tmp_path: Path, name: str, **extra: object) -> Path:
    """A fake repository and the installs file that names it."""
    known = bundled()
    weights = tuple(read_adapter(known[name]).weights.values()) if name in known else ()
    repo = fake_repo(tmp_path, name, weights=weights)
    file = tmp_path / "methods.yaml"
    file.write_text(yaml.safe_dump({name: {"python": PYTHON, "repo": str(repo), **extra}}))
    return file


def external(tmp_path: Path, name: str, **extra: object) -> External:
    file = install(tmp_path, name, **extra)
    return External(*installs(file)[name], logs=tmp_path / "logs")


def bad(tmp_path: Path, how: str, **extra: object) -> External:
    (tmp_path / "bad.yaml").write_text(BAD_ADAPTER)
    return external(tmp_path, "bad", adapter="bad.yaml", options={"how": how}, **extra)


def made_by(tmp_path: Path, name: str, clip: Clip, *, times: int = 1) -> list:
    method = external(tmp_path, name)
    return [method.generate(Item(clip, [clip], seed=3)) for _ in range(times)]


def test_a_shared_temp_file_is_not_shared(clip: Clip, tmp_path: Path) -> None:
    first, second = made_by(tmp_path, "audio2head", clip, times=2)
    assert len(first.frames) == len(second.frames) == clip.n_frames - 1
    assert first.notes == ("fewer frames than requested",)
    assert [p.name for p in (tmp_path / "audio2head repo" / "results").iterdir()] == ["left by an earlier run"]


def test_an_output_with_a_timestamp_is_matched_and_an_unseeded_method_is_seeded(clip: Clip, tmp_path: Path) -> None:
    method = external(tmp_path, "sadtalker")
    same = [method.generate(Item(clip, [clip], seed=3)).frames for _ in range(2)]
    np.testing.assert_array_equal(*same)
    other = method.generate(Item(clip, [clip], seed=4))
    assert (other.frames != same[0]).any()
    assert method.changes_crop and 0 < other.load_seconds < 60


def test_a_method_in_another_working_folder_at_twice_the_size(clip: Clip, tmp_path: Path) -> None:
    (generated,) = made_by(tmp_path, "diffused-heads", clip)
    assert generated.frames.shape == (clip.n_frames, 256, 256, 3) and generated.facts["width"] == 256


def test_dots_in_the_clips_name_and_three_frames_short(clip: Clip, tmp_path: Path) -> None:
    (generated,) = made_by(tmp_path, "wav2lip", clip)
    side = clip["frames"].shape[1]
    assert generated.frames.shape == (clip.n_frames - 3, side, side, 3)
    np.testing.assert_array_equal(generated.frames[0], clip["frames"][0])


def _tracks(repo: Path, frames: int, weights: dict[str, str]) -> None:
    savemat(
        repo / weights["pose"], {"coeff": np.random.rand(frames, 257), "transform_params": np.random.rand(frames, 5)}
    )


def test_a_short_pose_track_is_lengthened(clip: Clip, tmp_path: Path) -> None:
    file = install(tmp_path, "dreamtalk")
    _tracks(tmp_path / "dreamtalk repo", 7, read_adapter(bundled()["dreamtalk"]).weights)
    method = External(*installs(file)["dreamtalk"], logs=tmp_path / "logs")
    assert len(method.generate(Item(clip, [clip], seed=0)).frames) == clip.n_frames - 1


def test_a_repository_that_puts_a_watermark_on_is_refused(tmp_path: Path) -> None:
    file = install(tmp_path, "dreamtalk")
    script = tmp_path / "dreamtalk repo" / "inference_for_demo_video.py"
    script.write_text(script.read_text() + "# movie=media/watermark.png\n")
    with pytest.raises(InputError, match="take that block out") as caught:
        installs(file)
    assert "\n" not in str(caught.value)


def test_24_fps_output_next_to_a_silent_copy(clip: Clip, tmp_path: Path) -> None:
    (generated,) = made_by(tmp_path, "echomimic", clip)
    assert generated.facts["fps"] == 24 and "24 fps, read at 25 by timestamps" in generated.notes
    assert len(generated.frames) == clip.n_frames
    # frame k is the one on screen just before its middle: each source frame is one grey level darker than the last
    level = generated.frames.reshape(len(generated.frames), -1).max(axis=1).astype(int)
    shown = [(math.ceil((k + 0.5) * 24 / 25) - 1) % 8 for k in range(len(level))]
    assert np.abs((level[0] - level) - shown).max() <= 1


def test_an_undetected_face_is_a_failure_even_if_the_method_continues(clip: Clip, tmp_path: Path) -> None:
    method = external(tmp_path, "hallo")
    assert len(method.generate(Item(clip, [clip], seed=0)).frames) == clip.n_frames
    dark = replace(clip, arrays={**clip.arrays, "frames": np.zeros_like(clip["frames"])})
    with pytest.raises(ItemError) as caught:
        method.generate(Item(dark, [dark], seed=0))
    assert caught.value.reason == "no_face"


@pytest.mark.parametrize(
    ("how", "reason", "detail"),
    [
        ("none", "bad_output", "0 files match"),
        ("two", "bad_output", "2 files match"),
        ("garbage", "bad_output", "video.mp4"),
        ("crash", "crash", "RuntimeError: something is wrong"),
        ("crash-half-way", "crash", "half way"),
        ("oom", "oom", "CUDA out of memory"),
        ("killed", "oom", "signal 9"),
    ],
)
def test_each_failure_has_its_status(how: str, reason: str, detail: str, clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=detail) as caught:
        bad(tmp_path, how).generate(Item(clip, [clip], seed=0))
    assert caught.value.reason == reason


def test_a_method_that_hangs_is_ended(clip: Clip, tmp_path: Path) -> None:
    method = bad(tmp_path, "hang", timeout=2)
    with pytest.raises(ItemError, match="more than 2 s") as caught:
        method.generate(Item(clip, [clip], seed=0))
    assert caught.value.reason == "timeout"


def test_output_written_before_a_crash_is_kept_and_noted(clip: Clip, tmp_path: Path) -> None:
    generated = bad(tmp_path, "crash-after").generate(Item(clip, [clip], seed=0))
    assert len(generated.frames) == clip.n_frames and "failed after it had written" in generated.notes[0]
    long = bad(tmp_path / "2", "long") if (tmp_path / "2").mkdir() is None else None
    assert len(long.generate(Item(clip, [clip], seed=0)).frames) == clip.n_frames


@pytest.mark.parametrize(
    ("n_frames", "sound", "detail"), [(10, 1, "less than"), (None, 1, "more than"), (None, 0, "silent")]
)
def test_items_beyond_the_limits_are_not_run(n_frames, sound, detail: str, clip: Clip, tmp_path: Path) -> None:
    n = n_frames or (200 if detail == "more than" else clip.n_frames)
    arrays = {
        "frames": np.resize(clip["frames"], (n, *clip["frames"].shape[1:])),
        "audio": np.full(n * 640, sound, np.int16),
    }
    item = Clip("x", "s", "test", n, arrays)
    with pytest.raises(ItemError, match=f"not run: .*{detail}") as caught:
        bad(tmp_path, "crash").generate(Item(item, [item], seed=0))
    assert caught.value.reason == "bad_output"


def test_items_and_their_facts_are_kept_and_not_generated_again(clip: Clip, tmp_path: Path) -> None:
    clip = replace(clip, id="c")
    method = external(tmp_path, "echomimic")
    first = produce(method, [clip], tmp_path / "out", seed=0)
    line = json.loads((tmp_path / "out" / "echomimic" / "items.jsonl").read_text())
    assert line["status"] == "ok" and line["facts"]["fps"] == 24 and line["notes"]
    method.generate = lambda item: pytest.fail("made twice")  # type: ignore[method-assign]
    assert produce(method, [clip], tmp_path / "out", seed=0) == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"python": "nowhere"}, "is not executable"),
        ({"repo": "nowhere"}, "is not a folder"),
        ({"adapter": "wav3lip"}, "no adapter 'wav3lip'. Did you mean wav2lip.?"),
        ({"weights": {"checkpoint": "none.pth"}}, "none.pth does not exist"),
        ({"weights": {"lips": "x"}}, "weight 'lips' is unknown"),
        ({"options": {"fps": 30}}, "option 'fps' is unknown"),
        ({"shell": "bash"}, "shell"),
    ],
)
def test_a_wrong_methods_file_is_refused_in_one_line(change: dict, message: str, tmp_path: Path) -> None:
    file = install(tmp_path, "wav2lip", **change)
    if "repo" in change or "python" in change:
        settings = yaml.safe_load(file.read_text())
        settings["wav2lip"] |= change
        file.write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=message) as caught:
        installs(file)
    assert "\n" not in str(caught.value)


def test_a_method_that_is_not_installed_gives_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"wav2lip runs in its own repository .* --installs FILE"):
        METHODS["wav2lip"](Context())


def test_every_bundled_adapter_can_be_read_and_filled() -> None:
    named = {name: read_adapter(path) for name, path in bundled().items()}
    assert set(named) == {"audio2head", "sadtalker", "diffused-heads", "wav2lip", "dreamtalk", "echomimic", "hallo"}
    assert all(
        a.name == name and a.licence and a.quirks and a.source.startswith("https://") for name, a in named.items()
    )
