"""DiffSpeaker: properties that hold for any weights, and files of released weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dawn_bench.errors import InputError
from dawn_bench.models.diffspeaker.config import AudioConfig, DiffSpeakerConfig, published
from dawn_bench.models.diffspeaker.model import DiffSpeaker, smoothed
from dawn_bench.models.diffspeaker.released import load_pretrained, load_released
from dawn_bench.models.diffspeaker.schedule import ddim_step, sample, timesteps
from dawn_bench.weights import Resolved, entry, seeded_fill

AUDIO = AudioConfig(
    encoder="wav2vec2", hidden=16, layers=1, heads=2, ff=16, conv=8, position_kernel=4, position_groups=2
)
TINY = DiffSpeakerConfig(vertices=5, latent=16, ff=16, heads=2, period=4, subjects=("a", "b"), audio=AUDIO, steps=3)


def model_of(config: DiffSpeakerConfig = TINY) -> DiffSpeaker:
    model = DiffSpeaker(config).eval()
    positions = model.denoiser.PPE.pe.clone()
    seeded_fill(model.denoiser, salt="test")
    model.denoiser.PPE.pe.copy_(positions)
    return model


def released_file(path: Path, model: DiffSpeaker, **extra: object) -> Path:
    """A checkpoint as the authors' trainer writes it: older names of the position convolution, and a mask embedding."""
    state = {
        k.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): v
        for k, v in model.state_dict().items()
    }
    state["audio_encoder.masked_spec_embed"] = torch.zeros(16)
    torch.save({"epoch": 3, "state_dict": {**state, **extra}}, path)
    return path


def test_a_new_model_leaves_the_face_at_rest() -> None:
    model = DiffSpeaker(TINY).eval()
    generated = model.generate(torch.randn(1, 16000), torch.tensor([0]), generator=torch.Generator().manual_seed(0))
    assert generated.shape == (1, 29, 15) and not generated.any()  # 49 steps of the encoder are 29 frames at 30 fps


@pytest.mark.parametrize("encoder", ["wav2vec2", "hubert", "logmel"])
def test_every_encoder_depends_on_the_sound_and_drives_the_output(encoder: str) -> None:
    model = model_of(TINY.model_copy(update={"audio": AUDIO.model_copy(update={"encoder": encoder})}))
    waves = torch.randn(2, 16000)
    with torch.no_grad():
        memory = model.encode_audio(waves, frames=20)
        assert memory.shape == (2, 20, 16) and not torch.allclose(memory[0], memory[1], atol=1e-4)
        assert torch.allclose(
            memory[:1], model.encode_audio(3 * waves[:1] + 1, frames=20), atol=1e-3
        )  # loudness is no matter
    frozen = [n for n, p in model.audio_encoder.named_parameters() if not p.requires_grad]
    assert all(n.startswith("feature_extractor") for n in frozen) and bool(frozen) == (encoder != "logmel")


def test_padding_changes_nothing_of_what_is_there() -> None:
    denoiser = model_of().denoiser
    x, memory = torch.randn(1, 9, 15), torch.randn(1, 9, 16)
    step, style = torch.tensor([400]), torch.tensor([1])
    valid = torch.arange(12)[None] < 9
    with torch.no_grad():
        alone = denoiser(x, memory, step, style)
        longer = [torch.cat([t, 5 * torch.randn(1, 3, t.shape[-1])], dim=1) for t in (x, memory)]
        padded = denoiser(*longer, step, style, valid)
    assert torch.allclose(alone, padded[:, :9], atol=1e-5)


def test_style_and_step_matter_and_length_has_no_limit() -> None:
    denoiser = model_of().denoiser
    x, memory = torch.randn(1, 40, 15), torch.randn(1, 40, 16)
    with torch.no_grad():
        first, other, later = (
            denoiser(x, memory, torch.tensor([n]), torch.tensor([s])) for n, s in ((5, 0), (5, 1), (900, 0))
        )
        assert not torch.allclose(first, other, atol=1e-3) and not torch.allclose(first, later, atol=1e-3)
        long = torch.zeros(1, 3100, 15)
        assert denoiser(long, torch.zeros(1, 3100, 16), torch.tensor([5]), torch.tensor([0])).isfinite().all()


def test_samplers_differ_as_documented() -> None:
    x0, x = torch.ones(1, 2, 3), torch.randn(1, 2, 3)
    assert float(ddim_step(x, x0, step=1, steps=50, sampler="official011").mean()) == pytest.approx(1.0287, abs=1e-4)
    # with a perfect prediction the textbook ends at x0 but for the last step's noise, and never leaves the right path
    generated = sample(lambda x, step: x0, torch.randn(1, 2, 3), steps=50, sampler="textbook")
    assert float((generated - x0).abs().max()) < 0.1
    assert timesteps(10)[0] == 901 and timesteps(1000)[-1] == 1 and max(timesteps(1000)) == 999


def test_generation_is_decided_by_the_seed() -> None:
    model = model_of()
    wave, style = torch.randn(1, 16000), torch.tensor([0])
    one, same, other = (
        model.generate(wave, style, generator=torch.Generator().manual_seed(s), frames=12) for s in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_smoothing_leaves_short_sequences_alone() -> None:
    assert torch.equal(smoothed(torch.ones(1, 2, 3)), torch.ones(1, 2, 3))


def test_released_variants_have_the_published_sizes() -> None:
    for dataset, millions in (("biwi", 158.9), ("vocaset", 19.65)):
        config = published(dataset, "hubert")
        with torch.device("meta"):
            denoiser = DiffSpeaker(config).denoiser
        assert sum(p.numel() for p in denoiser.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert published("biwi", "hubert").audio.encoder == "hubert"


def test_a_released_file_gives_the_same_model(tmp_path: Path) -> None:
    model = model_of()
    loaded = load_released(released_file(tmp_path / "m.ckpt", model), TINY)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in model.state_dict().items())


def test_released_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    model = model_of()
    extra = released_file(tmp_path / "extra.ckpt", model, **{"denoiser.more": torch.zeros(1)})
    with pytest.raises(InputError, match=r"1 unexpected \(denoiser.more\)"):
        load_released(extra, TINY)
    state = torch.load(released_file(tmp_path / "less.ckpt", model))["state_dict"]
    del state["denoiser.obj_vector.weight"]
    torch.save({"state_dict": state}, tmp_path / "less.ckpt")
    with pytest.raises(InputError, match=r"1 missing \(denoiser.obj_vector.weight\)"):
        load_released(tmp_path / "less.ckpt", TINY)
    with pytest.raises(InputError, match="neither BIWI's nor VOCASET's"):
        load_released(extra)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="is not a DiffSpeaker checkpoint"):
        load_released(tmp_path / "other.ckpt", TINY)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_released(tmp_path / "none.ckpt", TINY)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_a_checkpoint_with_code_in_it_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": _Bomb()}}, tmp_path / "bomb.ckpt")
    with pytest.raises(InputError, match="could run code"):
        load_released(tmp_path / "bomb.ckpt", TINY)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("prefix", ["", "wav2vec2.", "hubert."])
def test_pretrained_encoders_load_under_every_published_prefix(prefix: str, tmp_path: Path) -> None:
    source, model = model_of(), DiffSpeaker(TINY)
    state = {prefix + k: v for k, v in source.audio_encoder.state_dict().items()}
    torch.save({**state, "lm_head.weight": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    resolved = Resolved(entry("hubert-base"), "user", tmp_path / "pytorch_model.bin", "0")
    load_pretrained(model, resolved)
    assert all(
        torch.equal(v, model.audio_encoder.state_dict()[k]) for k, v in source.audio_encoder.state_dict().items()
    )
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="missing"):
        load_pretrained(model, resolved)
