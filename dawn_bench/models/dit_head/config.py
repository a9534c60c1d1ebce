"""Every choice of DiT-Head, and where it comes from: `paper`, another published work, or `ours`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config

#: What a field that the paper states is marked with, and one that we chose where it is silent.
PAPER, OURS = "paper", "ours"
#: Published works that a default follows where the paper is silent.
DIFFTALK, LDM, DIT, VQGAN_PAPER = "DiffTalk", "latent diffusion (LDM)", "DiT", "VQGAN"


def origin(
    default: Any,
    source: str,
    description: str = "",
    *,
    ge: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """A field of a configuration that says where its default comes from."""
    return Field(default, description=description, ge=ge, le=le, lt=lt, json_schema_extra={"origin": source})


class MaskConfig(Config):
    """The polygon that is cut out of the frame: where the mouth was (the paper shows a polygon, not its points)."""

    shape: Literal["polygon", "lower-half"] = origin(
        "polygon", PAPER, "polygon: jaw and nose base; lower-half: all below the tip of the nose, as DiffTalk"
    )
    jaw: tuple[int, int] = origin((2, 14), OURS, "first and last jaw point of the polygon (iBUG)")
    pull: float = origin(
        0.06,
        OURS,
        "jaw points move this share of the way to the nose; below 0 away from it, past the contour",
        ge=-1,
        lt=1,
    )
    spread: int = origin(25, OURS, "it is as wide and deep as in any of this many frames each way; 0 leaks", ge=0)
    chin: float = origin(0.05, OURS, "the lower edge lies this share of the face's width below that", ge=0, lt=1)


class VQGANConfig(Config):
    """First stage; one is trained on frames, one on masked frames (paper, Section 3)."""

    channels: int = origin(128, DIFFTALK, "of the finest level", ge=8)
    multipliers: tuple[int, ...] = origin((1, 2, 4), DIFFTALK, "a level halves the picture, but the first")
    blocks: int = origin(2, DIFFTALK, "residual blocks a level", ge=1)
    latent_channels: int = origin(3, DIFFTALK, ge=1)
    codes: int = origin(8192, DIFFTALK, "entries of the codebook", ge=2)
    groups: int = origin(32, VQGAN_PAPER, "of the group norms, at most a level's channels / 4", ge=1)
    mask: MaskConfig | None = origin(None, PAPER, "None: trained on whole frames")

    @property
    def factor(self) -> int:
        """Side of the picture over side of the latent."""
        return 2 ** (len(self.multipliers) - 1)


class VQGANLossConfig(Config):
    """What a VQGAN is trained on: colours, perception, commitment, and a patch discriminator."""

    perceptual_weight: float = origin(1.0, VQGAN_PAPER, ge=0)
    commitment: float = origin(0.25, VQGAN_PAPER, "β: pulls latents to their codes", ge=0)
    adversarial_from: int = origin(50_000, OURS, "the discriminator joins at this step", ge=0)
    adversarial_weight: float = origin(0.8, VQGAN_PAPER, "on top of the adaptive weight", ge=0)
    discriminator_channels: int = origin(64, VQGAN_PAPER, ge=4)
    discriminator_layers: int = origin(3, VQGAN_PAPER, ge=1)


class DiTConfig(Config):
    """The denoiser: tokens of [noisy; reference; masked] latents ask, sound and time answer (paper, Section 3)."""

    depth: int = origin(12, DIT, ge=1)
    dim: int = origin(384, DIT, ge=8)
    heads: int = origin(6, DIT, ge=1)
    patch: int = origin(2, DIT, "latent pixels a side of a token", ge=1)
    latent_channels: int = origin(3, DIFFTALK, ge=1)
    masked_channels: int = origin(3, DIFFTALK, ge=1)
    audio_dim: int = origin(768, PAPER, "width of the sound features: Wav2Vec2 base", ge=1)
    window: int = origin(5, PAPER, "sound of this many frames before and after: 11 in all", ge=0)
    audio_tokens: Literal["each", "one"] = origin(
        "each", OURS, "each: a token a frame of the window; one: the window as one long vector"
    )
    timesteps: int = origin(1000, LDM, ge=2)
    betas: tuple[float, float] = origin((0.0015, 0.0195), DIFFTALK, "first and last noise variance, linear in roots")
    prediction: Literal["noise", "velocity"] = origin("noise", LDM)
    mouth_weight: float = origin(0.0, OURS, "extra weight of the loss inside the mask", ge=0)
    null_probability: float = origin(0.1, OURS, "training without sound, for guidance", ge=0, le=1)
    mask: MaskConfig = MaskConfig()

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"dim {self.dim} is no multiple of 4 and of heads {self.heads}")
        return self

    @property
    def n_audio(self) -> int:
        """Frames of sound that one picture hears."""
        return 2 * self.window + 1


def origins(kind: type[Config], prefix: str = "") -> dict[str, str]:
    """Where each field of a configuration comes from, by its dotted name; unmarked fields are left out."""
    found: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        marks = field.json_schema_extra
        if isinstance(marks, dict) and "origin" in marks:
            found[prefix + name] = str(marks["origin"])
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            found |= origins(field.annotation, f"{prefix}{name}.")
    return found


def ours(config: Config) -> dict[str, Any]:
    """The fields of `config` that the paper does not state, with their values; changed ones too count as ours."""
    held: dict[str, Any] = {}
    for name, source in origins(type(config)).items():
        value: Any = config
        default: Any = type(config)()
        for part in name.split("."):
            value, default = getattr(value, part), getattr(default, part)
        if source != PAPER or value != default:
            held[name] = value.model_dump(mode="json") if isinstance(value, Config) else value
    return held
