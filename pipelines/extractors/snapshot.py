"""Speech networks in Hugging Face's snapshot layout: a folder with configuration and weights in either format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dawn_bench import weights
from dawn_bench.errors import InputError
from dawn_bench.readers import read_json
from dawn_bench.state_dicts import fit
from dawn_bench.weights_check import FETCH_AGAIN
from dawn_bench.weights_layouts import outline
from dawn_bench.weights_needs import Needs, check_needs, first_present, missing_error, missing_needs

if TYPE_CHECKING:
    import torch

#: Values that both published families share, which change the features and which a configuration may leave out.
_DEFAULTS = {
    "hidden_act": "gelu", "feat_extract_activation": "gelu", "layer_norm_eps": 1e-5,
    "conv_dim": [512] * 7, "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16,
}  # fmt: skip

#: Tensors that show the width of a speech network, and that it has a layer; more layers than any has.
_WIDTH, _LAYER, _MOST_LAYERS = "feature_projection.projection.weight", "encoder.layers.{}.layer_norm.weight", 100


@dataclass(frozen=True)
class Snapshot:
    """Registry names of one snapshot: `networks` of the weights, preferred format first, `config` of `config.json`.

    `family` is `Hubert` or `Wav2Vec2`, as in the names of transformers' classes.
    """

    family: str
    networks: tuple[str, ...]
    config: str

    @property
    def needs(self) -> Needs:
        """The files of the snapshot."""
        return (self.networks, (self.config,))

    @property
    def identity(self) -> str:
        """The weights' entry, state and hash, for fingerprints, and those of a configuration that is not published."""
        network, config = weights.resolve(first_present(self.networks)).identity, weights.resolve(self.config)
        return network if config.path is None or _is_published(config) else f"{network}+{config.identity}"

    def check(self) -> None:
        """Raise `InputError` where the weights or the configuration are of another network, or of different ones.

        Only names and shapes are read: the network itself takes a gigabyte.
        """
        check_needs(self.needs)
        network, config = weights.resolve(first_present(self.networks)), weights.resolve(self.config)
        if network.path is None or config.path is None or {network.state, config.state} == {"canonical"}:
            return
        content = read_json(config.path, dict, hint=FETCH_AGAIN)
        kind = content.get("model_type", self.family.lower())
        if kind != self.family.lower():
            what = f"is not a {self.family} configuration: its model_type is {kind!r}."
            raise InputError(what, path=config.path, hint=FETCH_AGAIN)
        width, layers = content.get("hidden_size"), content.get("num_hidden_layers")
        state = fit(outline(network.path), (_WIDTH, *(_LAYER.format(n) for n in range(_MOST_LAYERS))))
        if _WIDTH not in state:
            return  # loading names what is missing
        own = len(state[_WIDTH]), sum(_LAYER.format(n) in state for n in range(_MOST_LAYERS))
        for label, stated, read in zip(("width", "number of layers"), (width, layers), own, strict=True):
            if stated is not None and stated != read:
                what = f"does not fit {self.family}: its {label} is {read}, {config.path.name} expects {stated}."
                raise InputError(what, path=network.path, hint=FETCH_AGAIN)

    def load(self, device: str) -> torch.nn.Module:
        """The network on `device`, loaded once per process; raises `InputError` if a file is missing or unfit."""
        if absent := missing_needs(self.needs):
            raise missing_error(absent)
        network, config = (weights.resolve(name, "files") for name in (first_present(self.networks), self.config))
        return _load(self.family, network, config, device)


def _is_published(config: weights.Resolved) -> bool:
    """Whether a configuration is the published one: by its hash, or where none is stated by what it describes."""
    if config.state == "canonical" or config.path is None or not config.weight.values:
        return config.state == "canonical"
    content = _DEFAULTS | read_json(config.path, dict, hint=FETCH_AGAIN)
    return all(content.get(key) == value for key, value in {**_DEFAULTS, **config.weight.values}.items())


@lru_cache(maxsize=2)
def _load(family: str, network: weights.Resolved, configuration: weights.Resolved, device: str) -> torch.nn.Module:
    import torch
    import transformers

    path, config_file = network.file, configuration.file
    try:
        config = getattr(transformers, f"{family}Config").from_json_file(config_file)
        model: torch.nn.Module = getattr(transformers, f"{family}Model")(config)
    except Exception as error:  # not JSON, or values that transformers rejects in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"is not a {family} configuration ({reason}).", path=config_file) from error
    wanted = model.state_dict()
    state = fit(weights.read_state_dict(path), wanted)
    for key in sorted(wanted.keys() - {"masked_spec_embed"}):
        if key not in state:
            raise InputError(f"does not fit {family}: {key} is missing.", path=path)
        if state[key].shape != wanted[key].shape:
            shapes = f"{tuple(state[key].shape)}, {config_file.name} expects {tuple(wanted[key].shape)}"
            raise InputError(f"does not fit {family}: {key} is {shapes}.", path=path)
    model.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)
    return model.eval().to(torch.device(device))
