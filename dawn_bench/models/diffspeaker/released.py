"""Released DiffSpeaker checkpoints and pretrained speech encoders, by their key names. Only tensors are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_keys
from dawn_bench.models.diffspeaker.config import DiffSpeakerConfig, published
from dawn_bench.models.diffspeaker.layouts import DATASETS, MARK
from dawn_bench.models.diffspeaker.model import DiffSpeaker
from dawn_bench.state_dicts import fit
from dawn_bench.weights import Resolved, read_state_dict

#: Keys that are recomputed here (positions), or used only in training.
_NOT_WEIGHTS = ("denoiser.PPE.pe", "audio_encoder.masked_spec_embed")
_PREFIXES_LEFT = ("_losses.", "losses.")


def is_released(path: Path) -> bool:
    """Whether `path` is a `.ckpt` file with the tensors of a released DiffSpeaker; raises `InputError` if damaged."""
    return path.suffix == ".ckpt" and path.is_file() and _state(path) is not None


def guess_encoder(path: Path) -> Literal["hubert", "wav2vec2"]:
    """The speech encoder of a released file by its file name, the only record of it; HuBERT by default."""
    return "wav2vec2" if "wav2vec2" in path.stem.lower() else "hubert"


def load_released(path: Path, config: DiffSpeakerConfig | None = None, *, encoder: str = "hubert") -> DiffSpeaker:
    """The model of a released `.ckpt` in evaluation mode; its vertex count gives the dataset.

    The file does not record its encoder: `encoder` is `hubert` or `wav2vec2`, which have the same keys. Raises
    `InputError` naming missing, unexpected and misshapen keys.
    """
    state = _state(path)
    if state is None:
        raise InputError(
            f"is not a DiffSpeaker checkpoint: it has no {MARK}.",
            path=path,
            hint="Give the .ckpt of github.com/theEricMa/DiffSpeaker.",
        )
    model = DiffSpeaker(config or _published(state, encoder, path))
    state = fit(state, model.state_dict())
    load_released_state(
        model, {k: v for k, v in state.items() if k not in _NOT_WEIGHTS and not k.startswith(_PREFIXES_LEFT)}, path=path
    )
    return model.eval()


def load_released_state(model: DiffSpeaker, state: Mapping[str, Tensor], *, path: Path) -> None:
    """Load `state` into `model`, without the keys that the model computes itself."""
    own = {k: v for k, v in model.state_dict().items() if k in _NOT_WEIGHTS}
    load_keys(model, {**state, **own}, path=path, what="DiffSpeaker")


def load_pretrained(model: DiffSpeaker, resolved: Resolved) -> None:
    """Load the speech encoder from facebook/hubert-base-ls960 or facebook/wav2vec2-base-960h.

    Raises `InputError` when the keys do not fit.
    """
    expected = model.audio_encoder.state_dict()
    state = fit(read_state_dict(resolved.file), expected)
    spare = {k: v for k, v in expected.items() if k == "masked_spec_embed"}  # used only in pretraining
    load_keys(
        model.audio_encoder,
        {**spare, **{k: v for k, v in state.items() if not k.startswith("lm_head.")}},
        path=resolved.file,
        what=resolved.weight.purpose,
    )


def _state(path: Path) -> Mapping[str, Tensor] | None:
    """The tensors beside the mark of a file, which Lightning wraps; None if it has no mark."""
    state = fit(read_state_dict(path), (MARK,))
    return state if MARK in state else None


def _published(state: Mapping[str, Tensor], encoder: str, path: Path) -> DiffSpeakerConfig:
    coordinates = state[MARK].shape[0]
    if coordinates not in DATASETS or encoder not in ("hubert", "wav2vec2"):
        raise InputError(
            f"has {coordinates // 3} vertices, neither BIWI's nor VOCASET's.", path=path, hint="Give its configuration."
        )
    return published(DATASETS[coordinates], encoder)  # type: ignore[arg-type]
