"""Released DiffSpeaker checkpoints and pretrained speech encoders, by their key names. Only tensors are ever read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_keys
from dawn_bench.models.diffspeaker.config import DiffSpeakerConfig, published
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.weights import Resolved, read_state_dict

#: Recomputed here (positions), or of training only.
_NOT_WEIGHTS = ("denoiser.PPE.pe", "audio_encoder.masked_spec_embed")
_PREFIXES_LEFT = ("_losses.", "losses.")


def load_released(path: Path, config: DiffSpeakerConfig | None = None, *, encoder: str = "hubert") -> DiffSpeaker:
    """The model of a released `.ckpt` in evaluation mode; vertex count and styles tell BIWI from VOCASET.

    A file says nothing of its encoder: `encoder` is `hubert` or `wav2vec2`, which have the same keys. Raises
    `InputError` naming missing, unexpected and misshapen keys.
    """
    held: Any = read_state_dict(path)
    state = held.get("state_dict", held) if isinstance(held, Mapping) else None
    if not isinstance(state, Mapping) or "denoiser.motion_decoder.bias" not in state:
        raise InputError(
            "is no DiffSpeaker checkpoint: it has no denoiser.motion_decoder.bias.",
            path=path,
            hint="Give the .ckpt of github.com/theEricMa/DiffSpeaker.",
        )
    state = {_modern(k): v for k, v in state.items() if k not in _NOT_WEIGHTS and not k.startswith(_PREFIXES_LEFT)}
    model = DiffSpeaker(config or _published(state, encoder, path))
    load_released_state(model, state, path=path)
    return model.eval()


def load_released_state(model: DiffSpeaker, state: Mapping[str, Tensor], *, path: Path) -> None:
    """Fill `model`; what the model computes itself is not asked of the file."""
    own = {k: v for k, v in model.state_dict().items() if k in _NOT_WEIGHTS}
    load_keys(model, {**state, **own}, path=path, what="DiffSpeaker")


def load_pretrained(model: DiffSpeaker, resolved: Resolved) -> None:
    """Fill the speech encoder from facebook/hubert-base-ls960 or facebook/wav2vec2-base-960h.

    Raises `InputError` when the keys do not fit.
    """
    assert resolved.path is not None
    state: Any = read_state_dict(resolved.path)
    plain = {_modern(k).removeprefix("wav2vec2.").removeprefix("hubert."): v for k, v in state.items()}
    expected = model.audio_encoder.state_dict()
    spare = {k: v for k, v in expected.items() if k == "masked_spec_embed"}  # of pretraining only
    load_keys(
        model.audio_encoder,
        {**spare, **{k: v for k, v in plain.items() if not k.startswith("lm_head.")}},
        path=resolved.path,
        what=resolved.weight.purpose,
    )


def _published(state: Mapping[str, Tensor], encoder: str, path: Path) -> DiffSpeakerConfig:
    coordinates = state["denoiser.motion_decoder.bias"].shape[0]
    names = {70110: "biwi", 15069: "vocaset"}
    if coordinates not in names or encoder not in ("hubert", "wav2vec2"):
        raise InputError(
            f"has {coordinates // 3} vertices, neither BIWI's nor VOCASET's.", path=path, hint="Give its configuration."
        )
    return published(names[coordinates], encoder)  # type: ignore[arg-type]


def _modern(key: str) -> str:
    """The weight-normalised convolution's keys as torch 2 has them."""
    return key.replace("conv.weight_g", "conv.parametrizations.weight.original0").replace(
        "conv.weight_v", "conv.parametrizations.weight.original1"
    )
