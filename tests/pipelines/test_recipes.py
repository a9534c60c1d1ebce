"""`prepare --like`: a paper's settings by name; what is given overrides it; missing networks are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner
from walking import another

import dawn_bench
from dawn_bench import weights
from dawn_bench.cli import app
from dawn_bench.config import replace
from dawn_bench.errors import InputError
from dawn_bench.job import read_job
from dawn_bench.models.dawn import needs
from dawn_bench.pipelines.preparation.plan import CachePlan, check_same
from dawn_bench.pipelines.preparation.prepare import prepare
from dawn_bench.pipelines.recipes.base import RECIPES
from dawn_bench.pipelines.settings import PrepareSettings
from dawn_bench.workflow.jobs import Preparation
from dawn_bench.workflow.needs import job_needs


def settings(*, file: Path | None = None, overrides: tuple[str, ...] = (), **flags: object) -> PrepareSettings:
    """As the command line reads them."""
    job, _ = read_job(Preparation, {"root": "videos", **flags}, file=file, overrides=overrides)
    return job.settings


def test_dawns_recipe_is_that_of_its_paper_and_code() -> None:
    dawn = settings(like="dawn")
    assert (dawn.size, dawn.crop, dawn.pose, dawn.blink) == (128, "paper", "3ddfa", "one-pair")
    assert dawn.extract == ("pose-3ddfa", "blink-one-pair", "hubert", "masks")
    assert dawn == PrepareSettings(like="dawn")


def test_the_other_recipes_are_those_of_their_papers() -> None:
    dit_head = settings(like="dit-head")
    assert (dit_head.size, dit_head.crop) == (256, "face")
    assert dit_head.extract == ("pose", "blink", "wav2vec2", "masks")
    assert (settings(like="diffspeaker").dataset, settings(like="diffspeaker").extract) == ("biwi", ())
    assert (settings(like="diffused-heads").dataset, settings(like="diffused-heads").size) == ("crema", 128)
    portraits = ("audio2head", "sadtalker", "dreamtalk", "hallo", "echomimic")
    assert [(settings(like=name).size, settings(like=name).crop) for name in portraits] == [
        (256, "paper"), (256, "paper"), (256, "face"), (512, "paper"), (512, "face")
    ]  # fmt: skip


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_is_valid_and_says_whose_it_is(name: str) -> None:
    chosen = PrepareSettings(like=name)
    assert chosen.model_dump() != PrepareSettings(like=None).model_dump() | {"like": name}
    assert RECIPES[name].title and all(key in PrepareSettings.model_fields for key in RECIPES[name].settings)


@pytest.mark.parametrize("name", list(RECIPES))
def test_each_setting_of_a_recipe_is_taken_and_gives_way_to_one_that_is_given(name: str) -> None:
    chosen, plain, recipe = PrepareSettings(like=name), PrepareSettings(), RECIPES[name].settings
    sources = {"pose": f"pose-{chosen.pose}", "blink": f"blink-{chosen.blink}"}
    for key in PrepareSettings.model_fields.keys() - {"like"}:
        expected = recipe.get(key, getattr(plain, key))
        if key == "extract":
            named = [sources.get(x, x) if chosen.model_dump().get(x) in ("3ddfa", "one-pair") else x for x in expected]
            expected = tuple(named)
        assert getattr(chosen, key) == expected, key
    for key, value in recipe.items():
        other = {
            "dataset": "vocaset",
            "crop": "none",
            "pose": "landmarks",
            "blink": "two-pairs",
            "extract": ("logmel",),
        }
        given = PrepareSettings(like=name, **{key: other.get(key, another(value))})
        assert getattr(given, key) != getattr(chosen, key), key
        rest = (recipe.keys() | {"seed"}) - {key, "extract"}
        assert all(getattr(given, k) == getattr(chosen, k) for k in rest)


def test_what_is_given_overrides_a_recipe(tmp_path: Path) -> None:
    assert settings(like="dawn", size="256", crop="face").model_dump(include={"size", "crop", "pose"}) == {
        "size": 256,
        "crop": "face",
        "pose": "3ddfa",
    }
    assert settings(like="dawn", pose="landmarks").extract == ("pose", "blink-one-pair", "hubert", "masks")
    assert settings(like="dawn", extract=["logmel"]).extract == (
        "pose-3ddfa",
        "blink-one-pair",
        "hubert",
        "masks",
        "logmel",
    )
    (tmp_path / "prepare.yaml").write_text("like: dawn\nsize: 64\n")
    assert (settings(file=tmp_path / "prepare.yaml").crop, settings(file=tmp_path / "prepare.yaml").size) == (
        "paper",
        64,
    )
    assert settings(overrides=("like=hallo", "crop=none")).model_dump(include={"size", "crop"}) == {
        "size": 512,
        "crop": "none",
    }


def test_an_unknown_recipe_is_one_line_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no recipe called 'dwan'.*dawn"):
        settings(like="dwan")


def test_networks_that_are_missing_are_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"video")
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "videos", tmp_path / "cache", PrepareSettings(like="dawn"))
    message = str(caught.value)
    assert "the extractors 'pose-3ddfa' and 'hubert' cannot run: mb1_120x120.pth" in message and "\n" not in message
    names = message.partition("dawn-bench weights fetch ")[2].split()
    assert names and all(weights.entry(name).addresses for name in names)  # each can be fetched
    assert {need[0] for need in job_needs("prepare", ["like=dawn"])} == {
        "tddfa-v2",
        "tddfa-v2-params",
        "hubert-large",
        "hubert-large-config",
    }


def test_help_lists_the_recipes_and_the_command_says_what_one_sets(tmp_path: Path) -> None:
    shown = " ".join(CliRunner().invoke(app, ["prepare", "--help"], env={"COLUMNS": "200"}).output.split())
    assert all(name in shown for name in RECIPES)
    words = ["--like", "dawn", "--size", "64", "--root", str(tmp_path), "--cache", str(tmp_path / "cache")]
    told = " ".join(CliRunner().invoke(app, ["prepare", *words], env={"COLUMNS": "400"}).output.split())
    assert "crop paper" in told and "size 64 (given; the recipe has 128)" in told
    assert all(" ".join(line.split()) in told for line in RECIPES["dawn"].differs)


def test_the_guide_has_every_recipe() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guide" / "prepare.md").read_text()
    table = page.partition("| `--like` |")[2].partition("\n\n")[0]
    assert [name for name in RECIPES if f"`{name}`" not in table] == []


def test_a_cache_of_a_recipe_names_it_when_other_settings_are_refused(tmp_path: Path) -> None:
    recipe = PrepareSettings(like="dawn")
    plan = CachePlan("videos", recipe.model_dump(mode="json"), {}, (), {})
    check_same(plan, root=Path("videos"), settings=recipe, facts={}, cache=tmp_path)
    check_same(plan, root=Path("videos"), settings=replace(recipe, like=None), facts={}, cache=tmp_path)  # all given
    with pytest.raises(InputError, match=r"pose '3ddfa' \(now 'landmarks'\).*Add --like dawn, give another --cache"):
        check_same(plan, root=Path("videos"), settings=PrepareSettings(), facts={}, cache=tmp_path)


def test_an_argument_of_the_python_function_overrides_a_recipe_also_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """128 px are the default and not Hallo's 512."""
    chosen: list[PrepareSettings] = []
    monkeypatch.setattr(
        "dawn_bench.pipelines.preparation.prepare.prepare", lambda root, cache, settings, **_: chosen.append(settings)
    )
    dawn_bench.prepare(tmp_path, tmp_path, like="hallo", size=128, person="left")
    dawn_bench.prepare(tmp_path, tmp_path, like="hallo")
    dawn_bench.prepare(tmp_path, tmp_path)
    assert [settings.size for settings in chosen] == [128, 512, 128]
    assert [settings.person for settings in chosen] == ["left", PrepareSettings(like="hallo").person, "speaking"]
    assert chosen[2] == PrepareSettings()


def test_a_complete_record_needs_no_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of a recipe whose distribution has been removed is still read and continued."""
    monkeypatch.setitem(RECIPES._items, "mine", RECIPES["dawn"])
    record = PrepareSettings(like="mine", size=64).model_dump()
    monkeypatch.delitem(RECIPES._items, "mine")
    read = PrepareSettings(**record)
    assert (read.like, read.size, read.pose) == ("mine", 64, "3ddfa")
    with pytest.raises(ValueError, match="no recipe called 'mine'"):
        PrepareSettings(like="mine")


def test_the_recipe_has_the_conditions_of_the_released_weights() -> None:
    recipe = PrepareSettings(like="dawn")
    assert {needs.POSE, needs.BLINK, needs.AUDIO} < set(recipe.extract)
