"""What outputs of an external method depend on: its whole adapter, its weights' contents, its portrait's source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_repos import PYTHON
from walking import another, check_classified, leaves, with_leaf

from dawn_bench.baselines.base import Generated, Item
from dawn_bench.baselines.external import method as external_method
from dawn_bench.baselines.external.adapter import (
    INSTALLS_VARIABLE,
    OLD_INSTALLS_VARIABLE,
    Adapter,
    Install,
    MatlabTrack,
    Refusal,
    bundled,
    installs,
    installs_file,
    read_adapter,
)
from dawn_bench.baselines.external.method import External
from dawn_bench.baselines.external.portrait import MethodPortrait, portrait_key
from dawn_bench.baselines.outputs import ITEMS_FILE, produce
from dawn_bench.clip import Clip
from dawn_bench.errors import InputError

HERE = Path(__file__).name

#: An adapter in which every field differs from its default.
ADAPTER = Adapter(
    name="mine", method_class="portrait", licence="of the tests", source="nowhere", commit="abc",
    argv=("run.py", "{out}"), output="{out}/*.mp4", environment={"A": "1"}, scratch=("temp",), files={"config": "x"},
    tracks={"pose": MatlabTrack(path="p.mat", keys=("a",))}, weights={"net": "net.pth", "nets": "nets"},
    options={"steps": 3}, portrait_size=64, seeded_launch=True, changes_crop=True,
    refuse=(Refusal(file="run.py", text="watermark", hint="no"),), says={"no_face": "none"}, ready="ready",
    quirks=("slow",),
)  # fmt: skip

#: Fields of `Install`: those that outputs depend on, by content where they are files, and those that only say where.
IN_KEY = {"options"}
BY_CONTENT = {"weights"}
PLACES = {"python", "repo", "adapter"}
#: It replaces a limit of the adapter, where it is in the key.
IN_ADAPTER = {"timeout"}


@pytest.fixture
def install(tmp_path: Path) -> Install:
    repo = tmp_path / "repo"
    (repo / "nets" / "deep").mkdir(parents=True)
    (repo / "run.py").write_text("")
    (repo / "net.pth").write_bytes(b"weights")
    for name in ("a.pth", "deep/b.pth"):
        (repo / "nets" / name).write_bytes(name.encode())
    weights = {name: str(repo / path) for name, path in ADAPTER.weights.items()}
    return Install(python=Path(PYTHON), repo=repo, weights=weights, options={"steps": 3})


def external(adapter: Adapter, install: Install) -> External:
    return External(adapter, install, logs=Path("logs"))


def test_each_field_of_the_adapter_is_in_the_key(install: Install) -> None:
    fields = {name for name, _, _ in leaves(ADAPTER)}
    assert {name.partition(".")[0] for name in fields} == Adapter.model_fields.keys()
    unset = [n for n, v, _ in leaves(ADAPTER) if "." not in n and v == Adapter.model_fields[n].get_default()]
    assert unset == [], f"give {unset} a value of its own in {HERE}, ADAPTER"
    keys = {"": external(ADAPTER, install).fingerprint}
    for name, value, annotation in leaves(ADAPTER):
        keys[name] = external(with_leaf(ADAPTER, name, another(value, annotation)), install).fingerprint
    for inner in ("path", "keys"):
        track = ADAPTER.tracks["pose"]
        tracks = {"pose": with_leaf(track, inner, another(getattr(track, inner)))}
        keys[f"tracks {inner}"] = external(ADAPTER.model_copy(update={"tracks": tracks}), install).fingerprint
    for inner in Refusal.model_fields:
        refusal = with_leaf(ADAPTER.refuse[0], inner, "other")
        keys[f"refuse {inner}"] = external(ADAPTER.model_copy(update={"refuse": (refusal,)}), install).fingerprint
    for name in ("environment", "files", "weights", "options", "says"):
        other = {key: another(value) for key, value in getattr(ADAPTER, name).items()}
        keys[f"value of {name}"] = external(ADAPTER.model_copy(update={name: other}), install).fingerprint
    assert len(set(keys.values())) == len(keys), [n for n in keys if list(keys.values()).count(keys[n]) > 1]
    assert external(ADAPTER, install).fingerprint == keys[""]


def test_each_entry_of_the_installs_file_is_in_the_key_or_only_a_place(install: Install, tmp_path: Path) -> None:
    check_classified(list(Install.model_fields), f"{HERE}, IN_KEY", IN_KEY, BY_CONTENT, PLACES, IN_ADAPTER)
    key = external(ADAPTER, install).fingerprint
    for name in PLACES:
        other = install.model_copy(update={name: another(getattr(install, name))})
        assert external(ADAPTER, other).fingerprint == key, name
    for options in ({"steps": 4}, {}, {"steps": 3, "cfg": 1}):
        assert external(ADAPTER, install.model_copy(update={"options": options})).fingerprint != key
    moved = tmp_path / "elsewhere.pth"
    shutil.copy(install.weights["net"], moved)
    elsewhere = install.model_copy(update={"weights": {**install.weights, "net": str(moved)}})
    assert external(ADAPTER, elsewhere).fingerprint == key
    moved.write_bytes(b"WEIGHTS")
    assert external(ADAPTER, elsewhere).fingerprint != key
    swapped = {"net": install.weights["net"], "other": str(moved)}
    keys = [
        external(ADAPTER, install.model_copy(update={"weights": weights})).fingerprint
        for weights in (swapped, {"net": swapped["other"], "other": swapped["net"]})
    ]
    assert keys[0] != keys[1]


def test_a_time_limit_and_options_of_the_installs_file_reach_the_key(install: Install, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(ADAPTER.model_dump(mode="json")))

    def key(**entries: Any) -> str:
        entry = {"python": PYTHON, "repo": str(install.repo), "adapter": "mine.yaml", **entries}
        (tmp_path / "installs.yaml").write_text(yaml.safe_dump({"mine": entry}))
        return external(*installs(tmp_path / "installs.yaml")["mine"]).fingerprint

    (install.repo / "other.pth").write_bytes(b"other")
    first = key()
    changed = [key(timeout=5), key(options={"steps": 4}), key(weights={"net": "other.pth"})]
    assert len({first, *changed}) == 4
    assert key(options={"steps": 3}) == key(timeout=ADAPTER.limits.timeout) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "deep" / "b.pth").write_bytes(b"deep/B.pth"),
        lambda folder: (folder / "a.pth").rename(folder / "c.pth"),
        lambda folder: (folder / "deep" / "c.pth").write_bytes(b""),
        lambda folder: (folder / "a.pth").unlink(),
    ],
)
def test_weights_that_are_a_folder_count_by_content(install: Install, change: Callable[[Path], object]) -> None:
    folder = Path(install.weights["nets"])
    before = external(ADAPTER, install)
    first = before.further_inputs
    assert first == external(ADAPTER, install).further_inputs and list(first) == ["weights nets"]
    os.utime(folder / "a.pth")
    assert external(ADAPTER, install).further_inputs == first
    change(folder)
    assert external(ADAPTER, install).further_inputs != first
    assert external(ADAPTER, install).fingerprint == before.fingerprint  # that of earlier versions


ONE, TWO = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("files", "commit"),
    [
        ({"HEAD": f"{ONE}\n"}, ONE),
        ({"HEAD": "ref: refs/heads/main\n", "refs/heads/main": f"{ONE}\n"}, ONE),
        (
            {"HEAD": "ref: refs/heads/main", "packed-refs": f"# pack\n{TWO} refs/heads/mains\n{ONE} refs/heads/main\n"},
            ONE,
        ),
        ({"HEAD": "ref: refs/heads/m", "refs/heads/m": ONE, "packed-refs": f"{TWO} refs/heads/m\n"}, ONE),
        ({"HEAD": "ref: refs/heads/new", "packed-refs": f"{TWO} refs/heads/main\n"}, ""),
        ({"HEAD": "ref: ../../net.pth"}, ""),
        ({"HEAD": "ref: refs/heads/main"}, ""),
        ({}, ""),
    ],
)
def test_the_commit_of_the_repository_is_an_input_where_it_is_known(
    files: dict[str, str], commit: str, install: Install
) -> None:
    for name, text in files.items():
        (install.repo / ".git" / name).parent.mkdir(parents=True, exist_ok=True)
        (install.repo / ".git" / name).write_text(text)
    assert external(ADAPTER, install).further_inputs.get("commit", "") == commit


def clip(**meta: object) -> Clip:
    arrays = {"frames": np.zeros((12, 32, 32, 3), np.uint8), "audio": np.zeros(12 * 640, np.int16)}
    return Clip("c", "s", "test", 12, arrays, meta={"source_sha256": "video", **meta})


def test_the_command_runs_again_for_other_weights_seed_and_source_video(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the store: what must run the command again, and what must not."""
    ran: list[int] = []

    def generate(self: External, item: Item) -> Generated:
        ran.append(item.seed)
        return Generated(item.clip["frames"], item.clip["audio"])

    picture = MethodPortrait(np.zeros((64, 64, 3), np.uint8), "from the video", True)
    monkeypatch.setattr(External, "generate", generate)
    monkeypatch.setattr(external_method, "portrait_of", lambda *_: picture)

    def runs(one: Clip, *, seed: int = 0, adapter: Adapter = ADAPTER) -> int:
        ran.clear()
        produce(external(adapter, install), [one], tmp_path / "out", seed=seed)
        return len(ran)

    assert (runs(clip()), runs(clip())) == (1, 0)
    assert (runs(clip(source_sha256="another")), runs(clip(source_sha256="another"))) == (1, 0)
    assert (runs(clip(), seed=1), runs(clip(), seed=1)) == (1, 0)
    (Path(install.weights["nets"]) / "a.pth").write_bytes(b"A.pth")
    assert (runs(clip(), seed=1), runs(clip(), seed=1)) == (1, 0)
    Path(install.weights["net"]).write_bytes(b"other weights")
    assert (runs(clip(), seed=1), runs(clip(), seed=1)) == (1, 0)
    (install.repo / ".git").mkdir()
    for head, expected in ((ONE, 0), (TWO, 0)):  # of outputs that were generated before there was one
        (install.repo / ".git" / "HEAD").write_text(head)
        assert runs(clip(), seed=1) == expected
    assert (runs(clip(), seed=2), runs(clip(), seed=2)) == (1, 0)
    (install.repo / ".git" / "HEAD").write_text(ONE)
    assert (runs(clip(), seed=2), runs(clip(), seed=2)) == (1, 0)
    own_size = ADAPTER.model_copy(update={"portrait_size": None})
    assert runs(clip(), adapter=own_size) == 1
    assert runs(clip(source_sha256="third"), adapter=own_size) == 0  # its portrait is the cached frame
    assert len((tmp_path / "out" / "mine" / ITEMS_FILE).read_text().splitlines()) == 8


def test_a_portrait_is_known_by_the_video_that_it_is_cut_from() -> None:
    assert portrait_key(clip(), 64) == "portrait/1/video" != portrait_key(clip(source_sha256="other"), 64)
    assert portrait_key(clip(), 32) == portrait_key(clip(), None) == portrait_key(clip(source_sha256=""), 64) == ""
    assert portrait_key(replace(clip(), meta={}), 64) == ""


def test_every_bundled_adapter_has_a_key_of_its_own(install: Install) -> None:
    keys = {name: external(read_adapter(path), install).fingerprint for name, path in bundled().items()}
    assert len(set(keys.values())) == len(keys) and all(f"/{name}/" in key for name, key in keys.items())
    renamed = read_adapter(bundled()["hallo"]).model_copy(update={"name": "hallo-2"})
    assert external(renamed, install).fingerprint != keys["hallo"]


def test_the_key_of_an_adapter_is_that_of_earlier_versions(install: Install) -> None:
    """Outputs that took hours are not generated again."""
    assert external(ADAPTER, install).fingerprint == "external/mine/7b0de10fc631535c"


def test_an_unknown_weight_is_refused_before_a_key_is_made_of_it(install: Install, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(ADAPTER.model_dump(mode="json")))
    entry = {"python": PYTHON, "repo": str(install.repo), "adapter": "mine.yaml", "weights": {"net": "gone.pth"}}
    (tmp_path / "installs.yaml").write_text(yaml.safe_dump({"mine": entry}))
    with pytest.raises(InputError, match=r"net: .*gone\.pth does not exist"):
        installs(tmp_path / "installs.yaml")


def test_the_installs_file_that_is_given_comes_before_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (INSTALLS_VARIABLE, OLD_INSTALLS_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert installs_file(None) is None and installs_file(tmp_path / "given") == tmp_path / "given"
    monkeypatch.setenv(OLD_INSTALLS_VARIABLE, str(tmp_path / "old"))
    assert installs_file(None) == tmp_path / "old"
    monkeypatch.setenv(INSTALLS_VARIABLE, str(tmp_path / "new"))
    assert installs_file(None) == tmp_path / "new" and installs_file(tmp_path / "given") == tmp_path / "given"
