"""Readers of DAWN's published files by their key names: LFG, A2V-FDM and PBNet, with the released behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dawn_bench.errors import InputError
from dawn_bench.models.checkpoint import load_keys, read_tensors
from dawn_bench.models.dawn.a2v import A2VFDM
from dawn_bench.models.dawn.a2v_config import A2VConfig
from dawn_bench.models.dawn.lfg import LFG, LFGConfig
from dawn_bench.models.dawn.pbnet import PBNet, PBNetConfig
from dawn_bench.state_dicts import fit
from dawn_bench.text import few


def load_published_lfg(path: Path, config: LFGConfig | None = None) -> LFG:
    """The LFG of a released file (LFG_128_1000ep.pth, LFG_256_400ep.pth), with the reference's behaviour.

    Raises `InputError` naming missing, unexpected and misshapen keys.
    """
    content = read_tensors(path)
    model = LFG(config or LFGConfig.reference())
    parts = [name for name, _ in model.named_children()]
    state = fit(content, model.state_dict())
    absent = [part for part in parts if not any(key.startswith(f"{part}.") for key in state)]
    if absent:
        raise InputError(f"is not an LFG checkpoint: it has no {few(absent)}.", path=path)
    load_keys(model, state, path=path, what="the LFG")
    return model.eval()


def load_published_pbnet(path: Path, *, window: int | None = 200) -> PBNet:
    """PBNet of a released file (pose, blink or both), a bare state dict whose widths give the configuration.

    `window` is not in the file: 200 is that of the released code. Raises `InputError` as above.
    """
    state = fit(read_tensors(path), ("decoder.finallayer.bias",))
    try:
        config = _pbnet_config(state, window)
    except (KeyError, AttributeError) as error:
        raise InputError(f"is not a PBNet checkpoint: it has no {error.args[0]}.", path=path) from error
    model = PBNet(config)
    tables = ("encoder.sequence_pos_encoder.pe", "decoder.sequence_pos_encoder.pe")  # constants, computed here
    state = {k: t for k, t in fit(state, model.state_dict()).items() if k not in tables}
    load_keys(model, state, path=path, what="PBNet")
    return model.eval()


def load_published_a2v(path: Path, config: A2VConfig | None = None) -> A2VFDM:
    """The released `DAWN_128.pth` or `DAWN_256.pth` (or a file like it), ready for inference; no code in it runs.

    Raises `InputError` in one line for a damaged or foreign file, naming missing and unexpected keys.
    """
    content = read_tensors(path)
    model = A2VFDM(config or A2VConfig.reference())
    state = fit(content, model.diffusion.state_dict())
    if not any(key.startswith("denoise_fn.") for key in state):
        raise InputError("is not an A2V-FDM checkpoint: it has no 'diffusion'.", path=path, hint="Use DAWN_128.pth.")
    load_keys(model.diffusion, state, path=path, what="the A2V-FDM")
    return model.eval()


def _pbnet_config(state: Mapping[str, Tensor], window: int | None) -> PBNetConfig:
    dim = state["decoder.finallayer.bias"].shape[0]
    pose_latent, audio = (state[f"encoder.{n}Embedding.weight"].shape[0] for n in ("pose", "audio"))
    buckets, heads = state["decoder.time_rel_pos_bias_tgt.relative_attention_bias.weight"].shape
    layers = sum(k.startswith("decoder.seqTransDecoder") and k.endswith("layer_norm1.bias") for k in state)
    return PBNetConfig.reference(
        pos_dim=dim if dim == 6 else dim - 2,
        eye_dim=0 if dim == 6 else 2,
        audio_dim=state["encoder.audioEmbedding.weight"].shape[1],
        audio_latent_dim=audio,
        pose_latent_dim=pose_latent,
        latent_dim=state["encoder.mu_layer.bias"].shape[0],
        num_layers=layers,
        num_heads=heads,
        head_dim=state["decoder.init_temporal_attn.fn.fn.to_out.weight"].shape[1] // heads,
        ff_size=state["decoder.seqTransDecoder.decoder_layers.0.ffn.linear1.bias"].shape[0],
        num_buckets=buckets,
        rotary_dim=2 * state["decoder.init_temporal_attn.fn.fn.rotary_emb.freqs"].shape[0],
        window=window,
    )
