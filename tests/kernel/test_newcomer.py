"""What a newcomer mistypes or reads first: names, numbers, counts and objects at the prompt."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from tiny_cache import write_tiny_cache

import dawn_bench
from dawn_bench.cache import Cache
from dawn_bench.cli import load
from dawn_bench.config import read_yaml
from dawn_bench.errors import InputError, did_you_mean, nearest
from dawn_bench.models.spec import MODELS
from dawn_bench.text import counted

EVALUATE = ("--cache", "C", "--out", "O", "--device", "cpu")


def parsed(command: str, *words: str) -> object:
    function = getattr(import_module(f"dawn_bench.cli.{command}"), command)
    return function.job(**load(command).make_context(command, list(words)).params)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(write_tiny_cache(tmp_path_factory.mktemp("tiny") / "c"))


def test_one_helper_names_the_nearest_and_all_where_they_are_few() -> None:
    assert did_you_mean("PSRN", ["psnr", "ssim"]) == "Did you mean psnr?" and did_you_mean("x", ["psnr"]) == ""
    assert nearest("psrn", ["psnr", "ssim"]) == "Did you mean psnr? Known: psnr, ssim."
    assert nearest("x", {"b", "a"}, label="Its stages") == "Its stages: a, b."
    assert nearest("clip1", [f"clip{k}" for k in range(20)]).startswith("Did you mean") and nearest("x", []) == ""


def test_counts_have_their_plural() -> None:
    assert [counted(n, "clip") for n in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]
    assert counted(2, "vertex", "vertices") == "2 vertices"


def test_an_unknown_split_is_refused(cache: Cache) -> None:
    assert cache.splits == ["test", "train"]
    for look_up in (cache.ids, cache.clips):
        with pytest.raises(InputError, match=r"has no split 'tests'\. Did you mean test\?"):
            look_up("tests")


@pytest.mark.parametrize("wrong", [{"frames": 8.5}, {"stride": "2"}, {"step": 0}, {"frames": True}, {"frames": None}])
def test_windows_of_no_whole_number_are_refused(wrong: dict, cache: Cache) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=rf"^{name}={value!r} is not a whole number of at least 1"):
        cache.windows(**wrong)


@pytest.mark.parametrize("name", ["open_cache", "load_model", "report"])
def test_what_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"=None is not a path"):
        getattr(dawn_bench, name)(None)


def test_objects_at_the_prompt_are_readable(cache: Cache) -> None:
    assert repr(cache).startswith(f"Cache('{cache.root}': 6 clips of 32 px, splits test, train; fields audio, bbox, ")
    assert repr(cache["c4"]).startswith("Clip('c4': speaker s1, split test, 30 frames at 25 fps; audio, bbox, ")
    windows = repr(cache.windows(frames=8, fields=("pose",)))
    assert windows.endswith("split train: 12 windows of 8 frames, stride 1, from 4 clips; pose)")


def test_yes_is_not_a_number(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("jobs: yes\n")
    with pytest.raises(InputError, match=r"job\.yaml: setting 'jobs': true is not a number\. YAML reads yes"):
        parsed("prepare", "--root", "V", "--cache", "C", "--config", str(file))
    with pytest.raises(InputError, match=r"'max_clips': false is not a number"):
        parsed("evaluate", *EVALUATE, "--set", "max_clips=off")
    with pytest.raises(InputError, match=r"^nowhere\.yaml: there is no such file\. Check its path\.$"):
        read_yaml(Path("nowhere.yaml"))


TRAIN = ("--cache", "C", "--out", "O", "--device", "cpu")


def test_a_key_of_a_nested_configuration_is_named() -> None:
    with pytest.raises(InputError, match=r"'steps': is not known\. Did you mean lfg\.loop\.steps or a2v_1\.loop\.st"):
        parsed("train", *TRAIN, "--set", "steps=5")
    with pytest.raises(InputError, match=r"Example: --set steps=VALUE"):
        parsed("train", *TRAIN, "--set", "steps")


@pytest.mark.parametrize(
    ("command", "words", "answer"),
    [
        ("train", ("--set", "lfg.loop.stepz=3"), r"'lfg\.loop\.stepz': is not known\. Did you mean steps\?$"),
        (
            "train",
            ("--set", "a2v-1.lop=3"),
            r"'a2v-1\.lop': is not known\. Did you mean loop\? Known settings: model",
        ),
        ("train", ("--set", "lfg.start=voxcelb"), r"no start 'voxcelb'\. Did you mean voxceleb\?"),
        (
            "prepare",
            ("--crop", "centre"),
            r"no crop 'centre'\. Did you mean none \(centred square\)\? Known: auto, face",
        ),
        (
            "prepare",
            ("--face", "yolo"),
            r"no face back end called 'yolo'\. Known: auto, dlib, .*mediapipe, speaking, larg",
        ),
        ("prepare", ("--name", "a/b"), r"--name: the dataset's name 'a/b' "),
        ("evaluate", ("--protocol-set", "fid_rezise=clean"), "Did you mean fid_resize"),
        ("evaluate", ("--method-class", "film"), r"Known: portrait, dub, static-lips\.$"),
    ],
)
def test_a_wrong_key_or_choice_gets_the_nearest_at_its_own_level(
    command: str, words: tuple[str, ...], answer: str
) -> None:
    needed = ("--root", "V", "--cache", "C") if command == "prepare" else EVALUATE
    with pytest.raises(InputError, match=answer):
        if command == "evaluate" and words[0] == "--protocol-set":
            from dawn_bench.metrics.protocols.base import protocol

            protocol("paper-dawn", words[1:])
        parsed(command, *needed, *words)


def test_metrics_go_by_any_of_their_names() -> None:
    from dawn_bench.metrics.scoring.listing import metric_names
    from dawn_bench.workflow.needs import job_needs

    given = ["psnr", "LSE-C", "lse d", "lse_offset", "Blink/s", "blink", "FVD16 ↓", "csim (paper-dawn) ↑"]
    assert metric_names(given) == ("psnr", "lse-c", "lse-d", "lse-offset", "blink", "fvd16", "csim")
    (job, _) = parsed("evaluate", *EVALUATE, "--metrics", "PSNR,blink/s")  # type: ignore[misc]
    assert job.metrics == ("psnr", "blink")
    syncnet = job_needs("lse-c")
    assert syncnet and job_needs("LSE-C") == job_needs("evaluate", ["metrics=LSE-C"]) == syncnet
    with pytest.raises(InputError, match="Did you mean psnr"):
        metric_names(["psrn"])


@pytest.mark.parametrize(
    ("reason", "detail", "way"),
    [
        ("no_audio", "a.mp4: has no sound stream", "keep it with --allow-silent, in a new cache"),
        (
            "no_face",
            "no face is detected for 9 frames from 0.20 s on",
            "keep it with a larger --max-gap, in a new cache",
        ),
        ("no_face", "no face in the first 7 frames (detected in 0 % of them)", ""),
        ("profile", "the head is turned by 50 degrees (max_yaw)", "keep it with a larger --max-yaw, in a new cache"),
        ("unreadable", "moov atom not found", ""),
    ],
)
def test_a_clip_that_is_left_out_names_the_setting_that_keeps_it(reason: str, detail: str, way: str) -> None:
    from dawn_bench.pipelines.preparation.remedies import _FLAGS, remedy

    assert remedy(reason, detail) == way
    flags = {param.opts[0] for param in load("prepare").params} | {"--allow-silent"}
    assert {word for text in _FLAGS.values() for word in text.split() if word.startswith("--")} <= flags


def test_a_preset_for_another_size_of_frames_says_so_and_leaves_no_files(cache: Cache, tmp_path: Path) -> None:
    from dawn_bench.workflow.train import train

    def refused(preset: str, **changes: object) -> str:
        settings = MODELS["dawn"].preset(preset).model_copy(update=changes)
        with pytest.raises(InputError) as caught:
            train(cache, settings, out=tmp_path / "run", stages=["all"], seed=0, device="cpu")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    said = refused("dawn-128+ttr", substitutes="allow")
    assert "holds frames of 32 px, and preset dawn-128+ttr is for 128 px. Prepare the videos at 128 px:" in said
    assert f"dawn-bench prepare --dataset tiny --root VIDEOS --cache {cache.root}-128 --size 128" in said
    both = refused("dawn-256")
    assert "is for 256 px" in both and "Besides: preset 'dawn-256' refuses substitutes" in both
    assert MODELS["dawn"].size(MODELS["dawn"].preset("small")) is None


def test_more_loader_processes_than_cores_are_no_matter_of_the_users(recwarn: pytest.WarningsRecorder) -> None:
    import torch
    from joblib import cpu_count

    from dawn_bench.training.data import batches

    loader = batches(lambda step: {"step": torch.tensor(step)}, start=2, stop=5, workers=1000, pin=False)
    assert loader.num_workers == cpu_count()
    assert [int(batch["step"]) for batch in loader] == [2, 3, 4]
    assert not [str(warning.message) for warning in recwarn if "DataLoader" in str(warning.message)]


def test_a_stage_may_be_written_with_a_hyphen_or_an_underscore() -> None:
    settings = parsed("train", *TRAIN, "--set", "a2v-1.loop.steps=7")[1]  # type: ignore[index]
    assert settings.a2v_1.loop.steps == 7
    spec = MODELS["dawn"]
    assert spec.stage_name("a2v_1") == "a2v-1" and spec.stage("a2v_1") is spec.stage("a2v-1")
    with pytest.raises(InputError, match=r"has no training stage called 'lgf'\. Did you mean lfg\?"):
        spec.stage("lgf")


def test_a_method_after_the_old_flag_of_the_installs_file() -> None:
    with pytest.raises(InputError, match=r"--methods 'negative' is not a file\. Did you mean --method negative\?"):
        parsed("evaluate", *EVALUATE, "--methods", "negative")


def test_misspelt_presets_weights_formats_and_protocols() -> None:
    from dawn_bench.pipelines.preparation.export import export
    from dawn_bench.weights import entry

    for name, preset in (("dawn", "smal"), ("dit-head", "smal"), ("diffspeaker", "tny")):
        with pytest.raises(InputError, match=r"Did you mean (small|tiny)"):
            MODELS[name].preset(preset)
    with pytest.raises(InputError, match=r"Did you mean syncnet"):
        entry("synknet")
    with pytest.raises(InputError, match=r"no export format called 'webdatasets'\. Did you mean webdataset\?"):
        export(Path("C"), Path("O"), format="webdatasets")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--protocol: .*'paper-down'\. Did you mean paper-dawn"):
        parsed("evaluate", *EVALUATE, "--protocol", "paper-down")


def test_names_are_checked_before_torch_is_imported() -> None:
    script = (
        "import sys\nfrom dawn_bench.cli import load\nfrom dawn_bench.cli.evaluate import evaluate\n"
        "from dawn_bench.errors import InputError\n"
        "for words in (['--set', 'max_clip=3'], ['--metrics', 'psrn'], ['--protocol', 'paper-down']):\n"
        "    context = load('evaluate').make_context('evaluate', ['--cache', 'C', '--out', 'O', *words])\n"
        "    try:\n        evaluate.job(**context.params)\n        sys.exit('no error')\n"
        "    except InputError:\n        assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_stopped_training_names_the_command_that_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch

    from dawn_bench import cli
    from dawn_bench.workflow.train import saved

    assert saved(tmp_path) == f"no step is saved in {tmp_path} yet"
    (tmp_path / "lfg").mkdir()
    torch.save({"step": 200, "module": torch.zeros(9)}, tmp_path / "lfg" / "state.pt")
    assert saved(tmp_path).startswith(f"lfg: step 200 is saved in {tmp_path}/lfg/state.pt")

    monkeypatch.setattr(cli, "app", lambda standalone_mode: 130)
    for words, again in (
        (["train", "--out", "my run"], "dawn-bench train --out 'my run' --resume"),
        (["train", "--resume"], "dawn-bench train --resume"),
        (["prepare", "--root", "V"], "dawn-bench prepare --root V"),
    ):
        monkeypatch.setattr("sys.argv", ["dawn-bench", *words])
        with pytest.raises(SystemExit):
            cli.main()
        assert capsys.readouterr().err.endswith(f"continue with: {again}\n")


def test_a_metric_of_meshes_needs_meshes(cache: Cache) -> None:
    with pytest.raises(InputError, match=r"LVE needs meshes; c0 is a video\. For a video: .*psnr"):
        dawn_bench.compute_metrics(generated=cache, reference=cache, metrics="lve")


def test_a_model_of_videos_is_not_trained_on_meshes(tmp_path: Path) -> None:
    from micro import micro_train
    from micro_mesh import write_mesh_cache

    with pytest.raises(InputError, match=r"holds meshes; DAWN learns from videos\. Give a cache of videos"):
        micro_train(write_mesh_cache(tmp_path / "cache"), tmp_path / "run")


def test_a_clip_is_saved_as_mp4_only(tmp_path: Path) -> None:
    from dawn_bench.models.generator import TalkingClip

    clip = TalkingClip(np.zeros((5, 32, 32, 3), np.uint8), np.zeros(3200, np.int16), 25)
    with pytest.raises(InputError, match="is not an mp4 file name"):
        clip.save(tmp_path / "talk.txt")
    assert not list(tmp_path.iterdir())


def test_only_a_part_of_the_speech_has_a_length_above_0(tmp_path: Path) -> None:
    from dawn_bench.models.inputs import read_sound

    for seconds in (0, -1):
        with pytest.raises(InputError, match="must be above 0"):
            read_sound(tmp_path / "speech.wav", max_seconds=seconds)
    with pytest.raises(InputError) as caught:
        read_sound(tmp_path / "speech.wav", max_seconds=None)
    assert str(caught.value).count("speech.wav") == 1
