"""The registry: one file is one item, similar names are suggested, plug-ins of other distributions are discovered."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dawn_bench import registry as registry_module
from dawn_bench.errors import InputError
from dawn_bench.registry import Registry


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """A registry over a package of two files; importing the third would fail if it were imported twice."""
    package = tmp_path / "thing_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "holder.py").write_text(
        "from dawn_bench.registry import Registry\n"
        "THINGS = Registry('thing', group='dawn_bench.thing', package='thing_package')\n"
    )
    for name in ("apple", "apricot"):
        text = (
            f"from thing_package.holder import THINGS\n@THINGS.register('{name}')\ndef make():\n    return '{name}'\n"
        )
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("thing_package.holder", fromlist=["THINGS"]).THINGS  # type: ignore[misc]
    for name in [n for n in sys.modules if n.startswith("thing_package")]:
        del sys.modules[name]


def test_items_are_discovered_by_their_files_alone(things: Registry) -> None:
    assert list(things) == ["apple", "apricot"]
    assert things["apple"]() == "apple" and "apricot" in things and "pear" not in things


def test_unknown_names_get_the_nearest_or_all(things: Registry) -> None:
    with pytest.raises(InputError, match=r"no thing called 'aple'\. Did you mean apple"):
        things["aple"]
    with pytest.raises(InputError, match=r"Known: apple, apricot\."):
        things["zzz"]


def test_two_items_of_one_name_are_refused_and_a_reload_is_not(things: Registry) -> None:
    apple = things["apple"]
    things.register("apple")(apple)
    with pytest.raises(ValueError, match="two things are called 'apple'"):
        things.register("apple")(lambda: 1)


def test_other_distributions_add_theirs_but_replace_none(things: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> object:
            return lambda: f"plug-in {self.name}"

    groups = []

    def entries(*, group: str) -> list[Entry]:
        groups.append(group)
        return [Entry("apple"), Entry("cherry")]

    monkeypatch.setattr(registry_module, "entry_points", entries)
    assert things["cherry"]() == "plug-in cherry" and things["apple"]() == "apple"
    assert groups == ["dawn_bench.thing"]


def test_a_group_that_setuptools_refuses_is_refused_here() -> None:
    with pytest.raises(ValueError, match="not a valid entry-point group"):
        Registry("face back end", group="dawn_bench.face back end", package="thing_package")


def test_every_kind_has_a_group_of_its_own() -> None:
    from dawn_bench.baselines.base import METHODS
    from dawn_bench.metrics.scoring.base import FEATURES, METRICS
    from dawn_bench.pipelines.datasets.base import DATASETS
    from dawn_bench.pipelines.extractors.base import EXTRACTORS
    from dawn_bench.pipelines.faces.base import FACE_BACKENDS

    assert [r.group for r in (DATASETS, EXTRACTORS, FACE_BACKENDS, FEATURES, METRICS, METHODS)] == [
        f"dawn_bench.{kind}" for kind in ("dataset", "extractor", "face_backend", "feature", "metric", "method")
    ]


def test_a_failed_look_up_fails_again_in_the_same_way(things: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name, value, dist = "cherry", "no_such_package:make", None

        def load(self) -> object:
            raise ModuleNotFoundError("No module named 'no_such_package'")

    monkeypatch.setattr(registry_module, "entry_points", lambda *, group: [Broken()])
    for _ in range(2):
        with pytest.raises(InputError, match=r"no_such_package:make.*cannot be loaded"):
            things["cherry"]
    assert list(things) == ["apple", "apricot"] and "cherry" not in things  # it costs only itself
    assert things["apple"]() == "apple"


def test_a_broken_plug_in_is_named_once_and_leaves_nothing_behind(
    things: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Entry:
        dist = None

        def __init__(self, name: str, item: object) -> None:
            self.name, self.value, self.item = name, f"package:{name}", item

        def load(self) -> object:
            if isinstance(self.item, BaseException):
                things.register("plum")(lambda: "half of a module")
                raise self.item
            return self.item

    class Named:
        name = "fig"

    broken = {
        "boom": (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        "leaves": (SystemExit(3), "SystemExit: 3"),
        "text": ("a text", "it is no Named"),
        "other": (dict, "it is no Named"),
        "date": (Named, "its name is 'fig', not 'date'"),
    }
    entries = [Entry(name, item) for name, (item, _) in broken.items()] + [Entry("fig", Named)]
    monkeypatch.setattr(registry_module, "entry_points", lambda *, group: entries)
    things.base, things.has = Named, ("name",)
    with caplog.at_level("WARNING"):
        assert list(things) == list(things) == ["apple", "apricot", "fig"]
    assert [record.getMessage() for record in caplog.records] == [
        f"the plug-in 'package:{name}' of the group dawn_bench.thing cannot be loaded ({why}). "
        "Repair or uninstall its distribution."
        for name, (_, why) in broken.items()
    ]
    with pytest.raises(InputError, match="division by zero"):
        things["boom"]
    with pytest.raises(InputError, match="no thing called 'plum'"):
        things["plum"]
