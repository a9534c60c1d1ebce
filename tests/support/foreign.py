"""Pickles that name classes and functions of packages which are not installed, as published checkpoints do."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def foreign(**modules: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Classes by their full name, in modules that exist only while the file is written.

    `foreign(omegaconf__dictconfig=("DictConfig",))` gives `omegaconf.dictconfig.DictConfig`; names that begin in lower
    case are functions.
    """
    made: dict[str, Any] = {}
    names = set[str]()
    for key, items in modules.items():
        name = key.replace("__", ".")
        for depth in range(1, name.count(".") + 2):
            part = ".".join(name.split(".")[:depth])
            if part not in sys.modules:
                sys.modules[part] = types.ModuleType(part)
                names.add(part)
        for item in items:
            thing: Any = type(item, (), {"__module__": name})
            if item[0].islower():

                def thing(*_: object) -> None: ...

                thing.__module__, thing.__qualname__, thing.__name__ = name, item, item
            setattr(sys.modules[name], item, thing)
            made[f"{name}.{item}"] = thing
    try:
        yield made
    finally:
        for part in names:
            del sys.modules[part]


def lightning(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of Lightning 1.9 with the hyperparameters of DiffSpeaker; write it inside `foreign_lightning`."""
    return {
        "epoch": 500,
        "global_step": 12_000,
        "pytorch-lightning_version": "1.9.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'step', 'mode': 'max'}": {"dirpath": "/home/x"}},
        "optimizer_states": [],
        "lr_schedulers": [],
    }


@contextmanager
def foreign_lightning() -> Iterator[dict[str, Any]]:
    """The hyperparameters of a DiffSpeaker checkpoint: an OmegaConf configuration and a function."""
    with foreign(
        omegaconf__dictconfig=("DictConfig",),
        omegaconf__base=("ContainerMetadata", "Metadata"),
        omegaconf__nodes=("AnyNode",),
        alm__data__utils=("collate_fn",),
        pytorch_lightning__utilities__parsing=("AttributeDict",),
    ) as names:
        node = names["omegaconf.nodes.AnyNode"]()
        node._val, node._metadata = 25, names["omegaconf.base.Metadata"]()
        config = names["omegaconf.dictconfig.DictConfig"]()
        config._content, config._parent = {"FPS": node, "NAME": "diffspeaker"}, None
        config._metadata = names["omegaconf.base.ContainerMetadata"]()
        yield {"hyper_parameters": {"cfg": config, "collate_fn": names["alm.data.utils.collate_fn"]}}
