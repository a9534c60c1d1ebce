"""`weights fetch --for JOB`: one declaration says which files a job needs, and every message ends with the command."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from weights_server import Served, Server, serving

from dawn_bench import cli, hashes, weights
from dawn_bench.cli.prepare import prepare
from dawn_bench.errors import InputError
from dawn_bench.metrics.protocols.base import PROTOCOLS, protocol
from dawn_bench.metrics.scoring.base import FEATURES, METRICS
from dawn_bench.metrics.scoring.listing import usual_metrics
from dawn_bench.metrics.scoring.needs import check_files, evaluation_changes, metric_needs
from dawn_bench.models.spec import MODELS
from dawn_bench.pipelines.extractors.base import EXTRACTORS
from dawn_bench.pipelines.faces.base import FACE_BACKENDS, declared_weights
from dawn_bench.weights_needs import by_hand, fetch_command, how_to_get, missing_clause, missing_error, missing_needs
from dawn_bench.workflow.needs import job_needs

HUBERT = {"hubert-large", "hubert-large-config"}
TDDFA = {"tddfa-v2", "tddfa-v2-params"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return tmp_path / "weights"


def names(job: str, *changes: str) -> set[str]:
    """The preferred names of what a job needs, without those that a package brings."""
    return {need[0] for need in job_needs(job, changes)} - {"dlib-68", "dlib-face"}


def test_an_evaluation_needs_the_networks_of_its_metrics_and_protocol() -> None:
    default = {"inception-fid", "i3d", "syncnet", "lpips-alex", "arcface-r50"}
    assert names("evaluate") == names("paper-dawn") == default
    assert names("paper-dawn-tracked") == default | {"s3fd"}
    assert names("evaluate", "metrics=fid,fvd16") == {"inception-fid", "i3d"}
    changed = "protocol_set=[lpips_net=vgg, csim_network=arcface-r100, mesh_lips=biwi]"
    assert names("evaluate", changed) == default - {"lpips-alex", "arcface-r50"} | {
        "lpips-vgg", "arcface-r100", "biwi-lips",
    }  # fmt: skip
    assert names("fid") == {"inception-fid"} and names("psnr") == set()


def test_a_cache_needs_its_extractors_and_its_face_back_end() -> None:
    assert names("prepare") == set()
    assert names("prepare", "pose=3ddfa", "extract=hubert") == TDDFA | HUBERT
    assert names("prepare", "face=insightface") == names("insightface") == {"scrfd-10g", "insightface-68"}
    assert names("face-alignment") == {"s3fd-wav2lip", "fan-2d"} and names("mediapipe") == {"mediapipe-landmarker"}
    assert names("hubert") == HUBERT and names("wav2vec2") == {"wav2vec2-base", "wav2vec2-base-config"}


def test_extractors_that_are_set_add_to_those_of_the_recipe_as_the_flag_does() -> None:
    dawn, wav2vec2 = TDDFA | HUBERT, {"wav2vec2-base", "wav2vec2-base-config"}
    assert names("prepare", "like=dawn") == dawn
    assert names("prepare", "like=dawn", "extract=wav2vec2") == dawn | wav2vec2
    assert names("prepare", "extract=hubert", "extract=wav2vec2") == HUBERT | wav2vec2
    assert names("prepare", "extract=hubert,wav2vec2", "blink=one-pair") == HUBERT | wav2vec2


def test_extractors_in_brackets_replace_those_of_the_recipe_as_they_do_in_the_command(tmp_path: Path) -> None:
    """The way to a recipe without HuBERT."""
    assert names("prepare", "like=dawn", "extract=[pose, blink, logmel, masks]") == TDDFA
    assert names("prepare", "like=dawn", "extract=[pose, blink, logmel]", "pose=landmarks") == set()
    job, _ = prepare.job(root=str(tmp_path), like="dawn", set_=["extract=[pose, blink, logmel, masks]"])
    assert job.extract == ("pose-3ddfa", "blink-one-pair", "logmel", "masks")
    assert prepare.job(root=str(tmp_path), like="dawn", extract=["logmel"])[0].extract == (
        "pose-3ddfa", "blink-one-pair", "hubert", "masks", "logmel",
    )  # fmt: skip


@pytest.mark.parametrize("damaged", ["arcface-r50", "inception-fid", "i3d", "syncnet", "lpips-alex", "biwi-lips"])
def test_needs_are_known_without_opening_a_file_that_is_damaged(folder: Path, damaged: str) -> None:
    file = folder / weights.entry(damaged).file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"<html>not weights</html>")
    assert damaged in names("evaluate", "protocol_set=[mesh_lips=biwi]")
    assert names("csim") == {"arcface-r50"}


def test_features_declare_the_files_that_they_use() -> None:
    for chosen in (protocol(), protocol("paper-dawn-tracked"), protocol(overrides=("csim_network=dlib",))):
        for name in FEATURES:
            if FEATURES[name].name != name:
                continue
            declared = {entry for need in FEATURES[name].weight_needs(chosen) for entry in need}
            used = {r.weight.name for r in FEATURES[name](chosen).resolved}
            assert used - {"dlib-68", "dlib-face", "yunet"} == declared - {"dlib-68", "dlib-face"}, name


def test_models_presets_and_released_names() -> None:
    assert names("dawn-128") == names("dawn-128+ttr") == names("train", "preset=dawn-128") == HUBERT | {"vgg19"}
    assert names("train", "preset=dawn-128", "lfg.perceptual=seeded") == HUBERT
    assert names("train", "preset=dawn-128", "substitutes=allow") == set()
    assert names("train", "preset=tiny", "substitutes=refuse", "lfg.perceptual=auto") == HUBERT | {"vgg19"}
    assert names("train", "preset=tiny", "lfg.perceptual=files") == {"vgg19"}
    assert names("train", "preset=dawn-128-vox", "substitutes=allow") == {"mraa-vox256"}  # it starts from these
    assert names("biwi-hubert") == {"hubert-base"} and names("vocaset-wav2vec2") == {"wav2vec2-base"}
    assert names("paper") == {"wav2vec2-base", "wav2vec2-base-config", "vgg19"}
    assert names("tiny") == names("quickstart") == names("wav2lip") == names("diffspeaker") == set()
    released = {"dawn-lfg-128", "dawn-a2v-128", "pbnet-pose", "pbnet-blink"}
    assert names("released-128") == names("generate", "checkpoint=released-128") == released | HUBERT | TDDFA
    assert names("dawn") == names("dawn-sar") == HUBERT and names("vgg19") == {"vgg19"}
    for name in MODELS:  # every preset can be asked for
        for preset in MODELS[name].presets:
            job_needs(preset)


def test_wrong_names_and_settings_are_refused_with_the_nearest() -> None:
    for job, changes, says in (
        ("evalaute", (), "Did you mean evaluate"),
        ("fid", ("a=1",), "--set does not go with --for fid"),
        ("prepare", ("poze=3ddfa",), "Did you mean pose?"),
        ("paper-dawn", ("lpips_net=resnet",), "lpips_net"),
    ):
        with pytest.raises(InputError, match=says):
            job_needs(job, changes)


def test_everything_that_declares_files_names_entries_of_the_registry() -> None:
    declared = [EXTRACTORS[name].weights for name in EXTRACTORS]
    declared += [getattr(FACE_BACKENDS[name], "weights", ()) for name in FACE_BACKENDS]
    declared += [needs for name in MODELS for needs in MODELS[name].released_weights.values()]
    for needs in declared:
        for need in needs:
            assert [weights.entry(name).name for name in need] == list(need)


@pytest.mark.parametrize("name", [n for n in EXTRACTORS if EXTRACTORS[n].weights])
def test_extractors_without_files_end_with_the_command(name: str) -> None:
    assert str(EXTRACTORS[name].missing()).endswith(f"with: dawn-bench weights fetch --for {name}")
    assert job_needs(name) == EXTRACTORS[name].weights


@pytest.mark.parametrize("name", [n for n in FACE_BACKENDS if declared_weights(n) and n != "dlib"])  # it has its own
def test_back_ends_without_files_end_with_the_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"dawn_bench.pipelines.faces.backends.{name.replace('-', '_')}"
    FACE_BACKENDS[name]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(f"{module}.find_spec", lambda _: True)
    monkeypatch.setattr(f"{module}.version", lambda _: "9.9")
    assert str(FACE_BACKENDS[name].missing()).endswith(f"with: dawn-bench weights fetch --for {name}")


@pytest.mark.parametrize("weight", weights.WEIGHTS, ids=lambda weight: weight.name)
def test_every_missing_network_ends_with_a_command_that_brings_it(weight: weights.Weight) -> None:
    if weight.package is not None:
        return  # a dependency brings it
    with pytest.raises(InputError) as caught:
        weights.resolve(weight.name, "files")
    text = str(caught.value)
    what = "FOLDER" if weight.in_folder else f"FILE --name {weight.name}"
    end = f"fetch {weight.name}" if weight.addresses else f"then: dawn-bench weights add {what}"
    assert text.endswith(end) and f"(from {weight.origin})" in text and "\n" not in text


def test_missing_files_of_an_evaluation_end_with_the_command_that_brings_exactly_them() -> None:
    tracked = protocol("paper-dawn-tracked", ("lpips_net=vgg", "skip_first=1"))
    for metrics, chosen, end in (
        (list(METRICS), protocol(), "dawn-bench weights fetch --for evaluate"),
        (["fid"], protocol(), "dawn-bench weights fetch --for evaluate --set metrics=fid"),
        (
            ["lse-c", "lpips"],
            tracked,
            "dawn-bench weights fetch --for evaluate --set metrics=lse-c,lpips --set protocol=paper-dawn-tracked "
            "--set 'protocol_set=[skip_first=1, lpips_net=vgg]'",
        ),
    ):
        classes = [METRICS[name] for name in metrics]
        with pytest.raises(InputError) as caught:
            check_files(classes, chosen)
        assert str(caught.value).endswith(f", or: {end}"), str(caught.value)
        brought = set(job_needs("evaluate", evaluation_changes(classes, chosen)))
        installed = {need for need in metric_needs(classes, chosen) if weights.entry(need[0]).package}
        assert brought - installed == set(metric_needs(classes, chosen)) - installed


def test_what_only_a_person_can_get_is_said_with_what_can_be_fetched() -> None:
    text = how_to_get((("flame-masks",), ("vgg19",)))
    assert text == (
        "For regions/FLAME_masks.pkl (from flame.is.tue.mpg.de, FLAME Vertex Masks (an account is needed)): log in at "
        "flame.is.tue.mpg.de, accept the licence and download the FLAME Vertex Masks, then: dawn-bench weights add "
        "FILE --name flame-masks; put vgg19-dcbb9e9d.pth (from torchvision (download.pytorch.org/models)) there, or: "
        "dawn-bench weights fetch vgg19"
    )
    assert by_hand(weights.entry("dlib-68")).startswith("pip install face_recognition_models brings it;")
    assert "1jCeFPqfU_wKNYwof0ONICwsj3xHlr_tb" in by_hand(weights.entry("mraa-vox256"))
    both = str(missing_error((("hubert-large", "hubert-large-bin"), ("hubert-large-config",)), job="hubert"))
    assert "model.safetensors or pytorch_model.bin" in both and both.endswith(fetch_command(job="hubert"))


def test_present_files_are_not_lacking(folder: Path) -> None:
    (folder / "hubert-large-ls960-ft").mkdir(parents=True)
    (folder / "hubert-large-ls960-ft/pytorch_model.bin").write_bytes(b"1")
    needs = EXTRACTORS["hubert"].weights
    assert missing_needs(needs) == (("hubert-large-config",),)
    assert "pytorch_model" not in str(missing_clause(needs, job="hubert"))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "weights", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out + captured.err


def served(monkeypatch: pytest.MonkeyPatch, server: Server, *files: str) -> None:
    """These entries get their content from the server: their name."""
    table = []
    for weight in weights.WEIGHTS:
        data = weight.name.encode()
        if weight.name in files:
            server.files[f"/{weight.name}"] = Served(data)
            sha256 = hashlib.sha256(data).hexdigest()
            url = f"{server.url}/{weight.name}"
            weight = replace(weight, url=url, sha256=sha256, bytes=len(data), member=None, mirrors=(), values=None)
        table.append(weight)
    monkeypatch.setattr(weights, "WEIGHTS", table)


def test_all_files_of_a_job_come_with_one_command(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("inception-fid", "i3d", "hubert-large-bin", "hubert-large-config")
    served(monkeypatch, server, *wanted)
    folder.mkdir()
    own = folder / weights.entry("i3d").file
    torch.save({"mine": torch.ones(2)}, own)
    before = own.read_bytes()
    words = ("fetch", "--for", "fid", "--for", "fvd16", "--for", "hubert")
    code, text = run(monkeypatch, capsys, *words)
    assert code == 0 and "3 files to fetch" in text and "i3d: user, present" in text
    assert {path for path, *_ in server.asked} == {"/inception-fid", "/hubert-large-bin", "/hubert-large-config"}
    assert own.read_bytes() == before
    code, text = run(monkeypatch, capsys, *words)
    assert code == 0 and len(server.asked) == 3 and "hubert-large-bin: canonical, present" in text


@pytest.mark.parametrize(("job", "name"), [("csim", "arcface-r50"), ("fid", "inception-fid")])
def test_a_damaged_file_is_repaired_by_the_command_of_its_job(
    server: Server,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: str,
    name: str,
) -> None:
    served(monkeypatch, server, name)
    folder.mkdir()
    (folder / weights.entry(name).file).write_bytes(b"<html>not weights</html>")
    code, text = run(monkeypatch, capsys, "fetch", "--for", job)
    assert code == 0 and f"{name}: damaged, is fetched again" in text and f"{name}: canonical, " in text
    assert weights.resolve(name).state == "canonical"


def test_what_could_not_be_fetched_is_said_after_the_rest_is_there(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, server, "hubert-large-bin", "hubert-large-config", "vgg19", "tddfa-v2", "tddfa-v2-params")
    del server.files["/hubert-large-bin"]
    code, text = run(monkeypatch, capsys, "fetch", "vgg19", "--for", "released-128")
    assert code == 2 and "hubert-large-bin: " in text and "answered 404" in text
    how = "download the repository huggingface.co/Hanbo-Cheng/DAWN as a folder, then: dawn-bench weights add FOLDER"
    assert f"dawn-a2v-128: DAWN_128.pth has no direct address. By hand: {how}" in text
    assert (folder / "vgg19-dcbb9e9d.pth").is_file() and "5 files of 9 could not be fetched" in text


def test_a_changed_file_is_named_with_the_command_that_brings_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / weights.entry("syncnet").file).write_bytes(b"changed")
    code, text = run(monkeypatch, capsys, "verify")
    assert code == 2 and ": syncnet: not the published file. Put syncnet_v2.model (from" in text
    assert text.endswith("there, or: dawn-bench weights fetch syncnet\n")


def test_a_changed_file_without_an_address_is_not_to_be_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "vox256.pth").write_bytes(b"changed")
    (folder / weights.entry("vgg19").file).write_bytes(b"of a failing disk")

    real = hashes.hash_file

    def failing(path: Path) -> dict[str, str]:
        if path.name.startswith("vgg19"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(hashes, "hash_file", failing)
    code, text = run(monkeypatch, capsys, "verify")
    assert code == 2 and ": mraa-vox256: not the published file; vgg19: cannot be read. For vox256.pth (from " in text
    assert "download the folder drive.google.com" in text and "fetch mraa-vox256" not in text
    assert text.endswith("there, or: dawn-bench weights fetch vgg19\n")


def test_nothing_to_fetch_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, capsys, "fetch", "--for", "tiny") == (
        0,
        "tiny: no file of `dawn-bench weights list` is needed\n",
    )
    for words, says in (
        (("fetch",), "nothing to fetch. Name files"),
        (("fetch", "vgg19", "--set", "a=1"), "--set describes the job of --for"),
        (("fetch", "vgg91"), "no weights called 'vgg91'"),
        (
            ("fetch", "mraa-vox256"),
            "vox256.pth has no direct address. By hand: download the folder drive.google.com/drive/folders/1jCe",
        ),
        (("fetch", "--for", "evalaute"), "Did you mean evaluate"),
    ):
        code, text = run(monkeypatch, capsys, *words)
        assert code == 2 and says in text and len(text.splitlines()) == 1


def test_the_list_is_not_cut_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, text = run(monkeypatch, capsys, "list")
    assert code == 0 and "…" not in text
    for weight in weights.WEIGHTS:
        for fact in (weight.name, weight.file, weight.origin, weight.licence, weight.purpose):
            assert fact in text


def test_reproduce_needs_the_files_of_all_its_released_models() -> None:
    names = {need[0] for need in job_needs("reproduce", ("checkpoint=[released-128, released-256]",))}
    assert {"dawn-lfg-128", "dawn-a2v-128", "dawn-lfg-256", "dawn-a2v-256", "pbnet-pose"} <= names


@pytest.mark.parametrize("released", ["released-128", "released-256"])
def test_every_command_with_a_checkpoint_needs_the_files_of_a_released_one(released: str) -> None:
    own = {need[0] for need in MODELS["dawn"].released_weights[released]}
    for command, flag in (("generate", "checkpoint"), ("evaluate", "checkpoint"), ("reproduce", "checkpoint")):
        plain, chosen = names(command), names(command, f"{flag}={released}")
        assert not own & plain and own | HUBERT | TDDFA <= chosen and plain <= chosen, command
    assert names("evaluate", "metrics=psnr", "protocol=paper-dawn-tracked", f"checkpoint={released}") == names(released)
    assert "s3fd" in names("evaluate", "metrics=lse-c", "protocol=paper-dawn-tracked")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_settings_that_bring_the_files_of_an_evaluation_are_those_that_differ_from_its_protocol(name: str) -> None:
    """Pieces need no other network, and a named protocol brings its own fields."""
    every = [METRICS[n] for n in usual_metrics(PROTOCOLS[name])]
    named = [] if name == "paper-dawn" else [f"protocol={name}"]
    assert evaluation_changes(every, protocol(name)) == named
    rules = protocol(name, ("lpips_net=vgg", "piece_length=40"))
    changes = evaluation_changes(every, rules)
    assert changes == [*named, "protocol_set=[lpips_net=vgg]"] and job_needs("evaluate", changes) == metric_needs(
        every, rules
    )
    assert evaluation_changes(every[:2], rules)[0] == f"metrics={every[0].name},{every[1].name}"
