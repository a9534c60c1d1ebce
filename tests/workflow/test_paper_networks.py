"""The networks of the paper's metrics: what they take is one sentence, and without a network nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.workflow import paper_networks, quickstart
from dawn_bench.workflow.paper_networks import fetch_networks, how_to_get_columns
from dawn_bench.workflow.quickstart import plan_for, run_quickstart


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))


def test_one_sentence_says_what_the_papers_columns_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [sentence] = how_to_get_columns("paper-dawn", out=Path("demo"))
    for words in ("FID", "FVD", "LSE", " MB to download: dawn-bench quickstart --out demo --weights fetch."):
        assert words in sentence
    assert "PSNR" not in sentence  # is there without
    monkeypatch.setattr(paper_networks, "plan", lambda needs: (["all"], [], []))
    assert how_to_get_columns("paper-dawn", out=Path("demo")) == []


def test_without_a_network_it_is_one_line_and_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise InputError("could not be downloaded.", path="https://example.org/x") from OSError("no route to host")

    monkeypatch.setattr(paper_networks, "download", offline)
    with pytest.raises(InputError, match=r"could not be fetched: no route to host; nothing is lost\.") as stopped:
        run_quickstart(tmp_path / "demo", plan_for("tiny", seed=0), jobs=1, device="cpu", weights="fetch")
    assert "\n" not in str(stopped.value) and f"dawn-bench quickstart --out {tmp_path / 'demo'}" in str(stopped.value)
    assert not (tmp_path / "demo" / "dataset").exists()


def test_every_network_with_an_address_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def download(name: str) -> weights.Resolved:
        fetched.append(name)
        return weights.resolve(name)

    monkeypatch.setattr(paper_networks, "download", download)
    fetch_networks("paper-dawn", out=tmp_path)
    assert {"inception-fid", "i3d", "syncnet"} <= set(fetched)
    monkeypatch.setattr(paper_networks, "plan", lambda needs: ([], [], []))
    fetched.clear()
    fetch_networks("paper-dawn", out=tmp_path)
    assert fetched == []


@pytest.mark.parametrize(
    ("asked", "protocols"),
    [
        ({}, [("embedded", "auto")]),
        ({"weights": "fetch"}, [("paper-dawn", "auto"), ("embedded", "auto")]),
        ({"all_metrics": True}, [("paper-dawn", "seeded"), ("embedded", "auto")]),
    ],
)
def test_the_papers_metrics_are_computed_when_asked_for(
    asked: dict[str, object], protocols: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []

    class Reached(Exception):
        pass

    def evaluate(job: object) -> None:
        jobs.append((job.protocol, job.weights))  # type: ignore[attr-defined]
        if len(jobs) == len(protocols):
            raise Reached

    for name in ("_dataset", "prepare", "Cache", "train", "fetch_networks"):
        monkeypatch.setattr(quickstart, name, lambda *_, **__: None)
    monkeypatch.setattr(quickstart, "evaluate_methods", evaluate)
    with pytest.raises(Reached):
        run_quickstart(tmp_path / "demo", plan_for("tiny", seed=0), jobs=1, device="cpu", **asked)  # type: ignore[arg-type]
    assert jobs == protocols


def test_stand_ins_and_the_real_networks_are_not_asked_for_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Give one of them"):
        run_quickstart(
            tmp_path / "x", plan_for("tiny", seed=0), jobs=1, device="cpu", weights="fetch", all_metrics=True
        )
    assert not (tmp_path / "x").exists()
