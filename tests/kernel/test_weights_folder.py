"""`weights add FOLDER`: the released models as they are published, and files that are not what they are called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import foreign_lightning, lightning
from weight_files import layout_of

from dawn_bench import cli, weights, weights_add
from dawn_bench.errors import InputError
from dawn_bench.weights_fetch import transfer_bytes
from dawn_bench.weights_folder import add_folder
from dawn_bench.weights_kinds import check_kind, checked_names, kind_of

ONE = torch.ones(1)


def lfg(epoch: int | None = None, rate: float | None = None, **more: Any) -> dict[str, Any]:
    """What LFG's training saves, of its layout alone."""
    content = {
        "example": 82_000,
        "generator": {"pixelwise_flow_predictor.mask.weight": ONE, "final.bias": ONE},
        "bg_predictor": {"fc.bias": ONE},
        "region_predictor": {"regions.bias": ONE},
        **more,
    }
    content |= {} if epoch is None else {"epoch": epoch}
    group = {"lr": 2e-6, "initial_lr": rate, "params": [0]}
    return content | ({} if rate is None else {"optimizer": {"state": {}, "param_groups": [group]}})


def a2v(salt: float) -> dict[str, Any]:
    return {"example": 5_000_000, "diffusion": {"denoise_fn.init_conv.weight": ONE * salt}, "optimizer_diff": {}}


def pbnet(width: int) -> dict[str, Any]:
    return {"decoder.finallayer.bias": torch.ones(width), "encoder.mu_layer.bias": ONE}


def diffspeaker(coordinates: int) -> dict[str, Any]:
    return {"denoiser.motion_decoder.bias": torch.ones(coordinates), "audio_encoder.x": ONE}


#: The folder that DAWN's README describes, with what else a download has.
DAWN = {
    "LFG_256_400ep.pth": lfg(400, 6e-4),
    "LFG_128_1000ep.pth": lfg(1000, 4e-4),
    "DAWN_256.pth": a2v(1),
    "DAWN_128.pth": a2v(2),
    "pbnet-seperate/pose/checkpoint_40000.pth.tar": pbnet(6),
    "pbnet-seperate/blink/checkpoint_95000.pth.tar": pbnet(2),
    "pbnet_both/checkpoint_100000.pth.tar": pbnet(8),
    "hubert-large-ls960-ft/pytorch_model.bin": {f"hubert.{k}": t for k, t in layout_of("hubert-large-bin").items()},
}
DAWN_NAMES = {
    "dawn-lfg-256", "dawn-lfg-128", "dawn-a2v-256", "dawn-a2v-128", "pbnet-pose", "pbnet-blink", "pbnet-both",
    "hubert-large-bin",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    return tmp_path / "weights"


def write(root: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, root / name)
    return root


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int | str | None, str]:
    monkeypatch.setattr(sys, "argv", ["dawn-bench", "weights", "add", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, "".join(capsys.readouterr())


@pytest.mark.parametrize("spelling", ["pbnet-seperate", "pbnet-separate", "pbnet_seperate", "pbnet_separate"])
def test_the_whole_of_dawns_download_is_added(tmp_path: Path, folder: Path, spelling: str) -> None:
    files = {name.replace("pbnet-seperate", spelling): content for name, content in DAWN.items()}
    root = write(tmp_path / "pretrain_models", files)
    (root / f"{spelling}/pose/opt.yaml").write_text("archiname: transformerreemb5\n")
    (root / "hubert-large-ls960-ft/config.json").write_text('{"model_type": "hubert"}')
    (root / ".git").mkdir()
    (root / ".git/LFG_128_1000ep.pth").write_bytes(b"of git")
    added = add_folder(root)
    assert {file.resolved.weight.name for file in added if file.resolved} == DAWN_NAMES | {"hubert-large-config"}
    assert [file.path.name for file in added if not file.resolved] == ["opt.yaml"]
    assert not any(file.reason for file in added)
    pose = folder / weights.entry("pbnet-pose").file
    assert len(torch.load(pose)["decoder.finallayer.bias"]) == 6
    assert all(file.resolved == weights.resolve(file.resolved.weight.name) for file in added if file.resolved)
    again = add_folder(root)
    assert [file.reason for file in again] == [""] * len(again)  # the same files once more


def test_the_command_says_what_each_file_is_and_what_is_missing(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ("LFG_128_1000ep.pth", "DAWN_128.pth", "pbnet-seperate/pose/checkpoint_40000.pth.tar")
    root = write(tmp_path / "download", {name: DAWN[name] for name in some})
    (root / "README.md").write_text("# DAWN")
    code, text = run(monkeypatch, capsys, root)
    assert code == 0 and "DAWN_128.pth: DAWN's A2V-FDM at 128 px; dawn-a2v-128, user, " in text
    assert "not needed: README.md" in text and "3 files in " in text and "released-256" not in text
    (missing,) = [line for line in text.splitlines() if line.startswith(f"released-128: still missing in {folder}. ")]
    assert "pbnet_seperate/blink/checkpoint_95000.pth.tar" in missing and "checkpoint_40000" not in missing
    assert "download the repository huggingface.co/hanbo-cheng/dawn as a folder" in missing.lower()
    assert missing.endswith("dawn-bench weights fetch --for released-128")  # HuBERT's files have an address
    blinks = write(tmp_path / "more", {"checkpoint_95000.pth.tar": pbnet(2)})
    code, text = run(monkeypatch, capsys, blinks)
    assert code == 0 and "released-128: still missing" in text and "hubert" in text and "released-256" not in text
    speech = write(tmp_path / "hubert-large-ls960-ft", {"pytorch_model.bin": layout_of("hubert-large-bin")})
    (speech / "config.json").write_text('{"model_type": "hubert"}')
    code, text = run(monkeypatch, capsys, speech)
    assert code == 0 and "released-128: still missing" in text and "mb1_120x120.pth" in text  # 3DDFA_V2, for the pose
    for name in ("tddfa-v2", "tddfa-v2-params"):
        (folder / weights.entry(name).file).write_bytes(b"present")
    code, text = run(monkeypatch, capsys, speech)
    assert code == 0 and "released-128: complete" in text


@pytest.mark.parametrize("given", ["folder", "file"])
def test_another_file_is_replaced_where_that_is_asked_for_and_nowhere_else(
    given: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "DAWN_128.pth"
    target = folder / weights.entry("dawn-a2v-128").file
    run(monkeypatch, capsys, write(tmp_path / "old", {name: a2v(2)}))
    old = target.read_bytes()
    new = write(tmp_path / "new", {name: a2v(3)})
    path = new if given == "folder" else new / name
    code, text = run(monkeypatch, capsys, path)
    assert code == 2 and "is there already, with other content" in text and target.read_bytes() == old
    code, _ = run(monkeypatch, capsys, path, "--replace")
    assert code == 0 and target.read_bytes() == (new / name).read_bytes() != old


def test_a_network_that_no_entry_takes_is_named_and_the_folder_is_added(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "download", {"DAWN_128.pth": DAWN["DAWN_128.pth"], "other/net.pth.tar": pbnet(7)})
    code, text = run(monkeypatch, capsys, root)
    assert code == 0 and "1 file in " in text and "Say which" not in text
    assert "net.pth.tar: is a PBNet of 7 numbers a frame: no entry of the registry takes it." in text
    code, text = run(monkeypatch, capsys, root / "other/net.pth.tar")
    assert code == 2 and "no entry of the registry takes it." in text


SWAPPED: dict[str, tuple[str, Any, str]] = {
    "256 px as 128": ("LFG_128_1000ep.pth", lfg(400, 6e-4), r"is DAWN's LFG at 256 px .*not DAWN's LFG at 128 px"),
    "128 px as 256": ("LFG_256_400ep.pth", lfg(1000, 4e-4), r"is DAWN's LFG at 128 px .*not DAWN's LFG at 256 px"),
    "by the epoch alone": ("LFG_256_400ep.pth", lfg(999), r"is DAWN's LFG at 128 px"),
    "A2V-FDM as LFG": ("LFG_128_1000ep.pth", a2v(1), r"is DAWN's A2V-FDM, not DAWN's LFG at 128 px"),
    "LFG as A2V-FDM": ("DAWN_128.pth", lfg(), r"is DAWN's LFG, not DAWN's A2V-FDM"),
    "pose as blinks": ("pbnet_seperate/blink/checkpoint_95000.pth.tar", pbnet(6), r"is DAWN's PBNet for head pose"),
    "blinks as pose": ("pbnet_seperate/pose/checkpoint_40000.pth.tar", pbnet(2), r"is DAWN's PBNet for blinks"),
    "both as pose": ("pbnet_seperate/pose/checkpoint_40000.pth.tar", pbnet(8), r"is DAWN's PBNet for pose and blinks"),
    "MRAA as LFG": ("LFG_128_1000ep.pth", lfg(avd_network={"x": ONE}), r"is MRAA's network"),
    "LFG as MRAA": ("vox256.pth", lfg(400, 6e-4), r"is DAWN's LFG at 256 px .*not the VoxCeleb weights"),
    "VOCASET as BIWI": ("biwi/diffspeaker_hubert_biwi.ckpt", diffspeaker(15069), r"is DiffSpeaker for VOCASET"),
    "another network": ("DAWN_128.pth", {"conv1.weight": ONE}, r"is not DAWN's A2V-FDM .*none of its tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", SWAPPED)
def test_a_file_that_holds_another_network_is_refused(
    tmp_path: Path, folder: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, says = SWAPPED[case]
    good = {"pbnet_both/checkpoint_100000.pth.tar": pbnet(8)}
    root = write(tmp_path / "download", {name: content, **good})
    with pytest.raises(InputError, match=says) as caught:
        weights_add.add(root / name)
    assert "\n" not in str(caught.value)
    code, text = run(monkeypatch, capsys, root)
    assert code == 2 and "1 file of 2 could not be added" in text
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["checkpoint_100000.pth.tar"]


def test_one_file_under_two_names_is_refused(tmp_path: Path, folder: Path) -> None:
    """Nothing in the A2V-FDM tells its size, but the two sizes are not the same bytes."""
    root = write(tmp_path / "download", {"DAWN_128.pth": a2v(1)})
    (root / "DAWN_256.pth").write_bytes((root / "DAWN_128.pth").read_bytes())
    weights_add.add(root / "DAWN_128.pth")
    with pytest.raises(InputError, match=r"DAWN_256\.pth: is the same file as .*DAWN_128\.pth.*misnamed"):
        weights_add.add(root / "DAWN_256.pth")


def test_files_under_other_names_are_known_by_their_content(tmp_path: Path, folder: Path) -> None:
    root = write(
        tmp_path / "download",
        {
            "mine/pose_net.pth.tar": pbnet(6),
            "mine/b.pth.tar": pbnet(2),
            "RegionMM_128.pth": lfg(7),
            "a.pth": lfg(1000, 4e-4) | {"example": 3},
            "step_250000.pth": a2v(3),
            "classifier.pth": {"fc.weight": ONE},
            "notes.pt": {"a": 1},
        },
    )
    (root / "run.ckpt").write_bytes(b"of another program")
    added = {file.path.name: file for file in add_folder(root, replace=True)}
    names = {name: file.resolved.weight.name for name, file in added.items() if file.resolved}
    assert names == {
        "pose_net.pth.tar": "pbnet-pose",
        "b.pth.tar": "pbnet-blink",
        "RegionMM_128.pth": "dawn-lfg-128",
        "a.pth": "dawn-lfg-128",
    }
    assert "--name dawn-a2v-128 or --name dawn-a2v-256" in added["step_250000.pth"].reason
    assert {name for name, file in added.items() if not file.resolved and not file.reason} == {
        "classifier.pth", "notes.pt", "run.ckpt",
    }  # fmt: skip


def test_diffspeakers_folder_and_mraas_file(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "checkpoints"
    for dataset, coordinates in (("biwi", 70110), ("vocaset", 15069)):
        for encoder in ("hubert", "wav2vec2"):
            path = root / dataset / f"diffspeaker_{encoder}_{dataset}.ckpt"
            path.parent.mkdir(parents=True, exist_ok=True)
            with foreign_lightning() as hyperparameters:
                torch.save(lightning(diffspeaker(coordinates)) | hyperparameters, path)
    write(root, {"vox256.pth": lfg(avd_network={"x": ONE}), "flat/diffspeaker_biwi_hubert.ckpt": diffspeaker(70110)})
    added = {file.path.name: file for file in add_folder(root)}
    assert {file.resolved.weight.name for file in added.values() if file.resolved} == {
        "mraa-vox256",
        *(f"diffspeaker-{e}-{d}" for e in ("hubert", "wav2vec2") for d in ("biwi", "vocaset")),
    }
    assert "is there already, with other content" in added["diffspeaker_biwi_hubert.ckpt"].reason
    assert (folder / "diffspeaker/vocaset/diffspeaker_wav2vec2_vocaset.ckpt").is_file()


def test_folders_that_cannot_be_added_say_why(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(monkeypatch, capsys, tmp_path / "none")
    assert code == 2 and "there is no such file" in text
    root = tmp_path / "download"
    root.mkdir()
    (root / "notes.txt").write_text("1 2")
    code, text = run(monkeypatch, capsys, root)
    assert code == 2 and "holds no file of the registry" in text
    (root / "DAWN-20241107-001.zip").write_bytes(b"PK")
    code, text = run(monkeypatch, capsys, root)
    assert code == 2 and "is packed. Unpack it" in text
    (root / "DAWN_128.pth").write_bytes(b"<html>sign in</html>")
    code, text = run(monkeypatch, capsys, root)
    assert code == 2 and "2 files of 2 could not be added" in text
    assert run(monkeypatch, capsys, root, "--name", "dawn-a2v-128")[0] == 2
    assert not folder.exists() or not list(folder.rglob("*.pth"))


def test_a_snapshot_of_hugging_face_is_known_by_its_folder(tmp_path: Path, folder: Path) -> None:
    """Three entries are called pytorch_model.bin: the folder tells which, for one file too."""
    root = tmp_path / "models"
    write(root / "hubert-base-ls960", {"pytorch_model.bin": layout_of("hubert-base")})
    assert weights_add.add(root / "hubert-base-ls960/pytorch_model.bin").weight.name == "hubert-base"
    write(root / "elsewhere", {"pytorch_model.bin": {"y": ONE}})
    with pytest.raises(InputError, match=r"matches more than one entry.*--name hubert-base"):
        weights_add.add(root / "elsewhere/pytorch_model.bin")


@pytest.mark.parametrize("below", ["", "models--Hanbo-Cheng--DAWN", "models--Hanbo-Cheng--DAWN/snapshots/abc"])
def test_links_of_a_snapshot_are_known_by_the_names_that_are_given(tmp_path: Path, folder: Path, below: str) -> None:
    """In the Hub's cache every file of a snapshot is a link to a blob, which has a hash for a name."""
    hub, config = tmp_path / "hub", {"model_type": "hubert", "hidden_size": 4}
    files = {
        "models--Hanbo-Cheng--DAWN/snapshots/abc/hubert-large-ls960-ft/pytorch_model.bin": layout_of("hubert-large"),
        "models--Hanbo-Cheng--DAWN/snapshots/abc/hubert-large-ls960-ft/config.json": config,
        "models--Hanbo-Cheng--DAWN/snapshots/abc/DAWN_128.pth": a2v(1),
        "models--facebook--wav2vec2-base-960h/snapshots/22aa/pytorch_model.bin": layout_of("wav2vec2-base", 2.0),
    }
    for number, (name, content) in enumerate(files.items()):
        model, _, _ = name.partition("/")
        blob = hub / model / "blobs" / f"{number:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict) and content is config:
            blob.write_text(json.dumps(content))
        else:
            torch.save(content, blob)
        (hub / name).parent.mkdir(parents=True, exist_ok=True)
        (hub / name).symlink_to(blob)
    added = {a.resolved.weight.name for a in add_folder(hub / below) if a.resolved is not None}
    dawn = {"hubert-large-bin", "hubert-large-config", "dawn-a2v-128"}
    assert added == (dawn if below else {*dawn, "wav2vec2-base-bin"})
    place = folder / "hubert-large-ls960-ft/pytorch_model.bin"
    assert place.is_file() and not place.is_symlink()


def test_the_checked_entries_exist_and_others_pass(tmp_path: Path) -> None:
    assert {weights.entry(name).name for name in checked_names()} == checked_names()
    torch.save({"x": ONE}, tmp_path / "a.pth")
    check_kind(tmp_path / "a.pth", weights.entry("syncnet"))
    assert kind_of({"x": ONE}) is None and kind_of([ONE]) is None
    unknown = {key: part for key, part in lfg().items() if key != "example"}  # of neither training
    torch.save(unknown, tmp_path / "b.pth")
    for name in ("mraa-vox256", "dawn-lfg-128", "dawn-lfg-256"):
        check_kind(tmp_path / "b.pth", weights.entry(name))


@pytest.mark.parametrize(
    "file",
    ["DAWN_128.pth", "w600k_r50.onnx", "hubert-large-ls960-ft/config.json", "hubert-large-ls960-ft/model.safetensors"],
)
def test_a_web_page_under_a_files_name_is_called_one(
    tmp_path: Path, folder: Path, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "download" / file
    path.parent.mkdir(parents=True)
    path.write_text("<html>404</html>\n...")
    code, text = run(monkeypatch, capsys, tmp_path / "download")
    assert code == 2
    assert f"{path.name}: is a web page, not " in text
    assert "Get the file again from its origin." in text
    assert not (folder / file).exists()


def test_files_of_a_folder_that_are_not_the_published_ones_are_named(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"syncnet_v2.model": layout_of("syncnet"), "DAWN_128.pth": a2v(1.0)}
    code, text = run(monkeypatch, capsys, write(tmp_path / "download", files))
    assert code == 0
    assert "not the published files: syncnet; scores are marked `user`" in text  # DAWN_128.pth has no published hash


def test_files_of_unknown_size_are_not_counted_as_nothing() -> None:
    names = ("tddfa-v2", "hubert-large-bin", "hubert-large-config")
    assert transfer_bytes(weights.entry(name) for name in names) == (weights.entry("tddfa-v2").bytes, 2)
