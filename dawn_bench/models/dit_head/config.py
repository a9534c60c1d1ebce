"""Configuration of DiT-Head. Each field records the origin of its default: `paper`, another published work, `ours`."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dawn_bench.config import Config

#: Origin of fields that the paper specifies, and of our own choices where it does not.
PAPER, OURS = "paper", "ours"
#: Published works that a default follows where the paper does not specify it.
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
    """A configuration field with the origin of its default; `ge`, `le` and `lt` bound its value."""
    return Field(default, description=description, ge=ge, le=le, lt=lt, json_schema_extra={"origin": source})


class MaskConfig(Config):
    """The mouth region that is masked out of the frame (the paper shows a polygon without giving its points)."""

    shape: Literal["polygon", "lower-half"] = origin(
        "polygon", PAPER, "polygon: jaw and nose base; lower-half: everything below the tip of the nose, as in DiffTalk"
    )
    jaw: tuple[int, int] = origin((2, 14), OURS, "first and last jaw point of the polygon (iBUG)")
    pull: float = origin(
        0.06,
        OURS,
        "jaw points are moved by this share towards the nose; negative values move them outside the contour",
        ge=-1,
        lt=1,
    )
    spread: int = origin(
        25, OURS, "width and depth are maxima over this many frames in both directions; 0 leaks the mouth opening", ge=0
    )
    chin: float = origin(0.05, OURS, "the lower edge is moved down by this share of the face width", ge=0, lt=1)


class VQGANConfig(Config):
    """The first stage; one VQGAN is trained on frames, one on masked frames (paper, Section 3)."""

    channels: int = origin(128, DIFFTALK, "channels at full resolution", ge=8)
    multipliers: tuple[int, ...] = origin(
        (1, 2, 4), DIFFTALK, "channel multiplier by level; each level but the first halves the resolution"
    )
    blocks: int = origin(2, DIFFTALK, "residual blocks per level", ge=1)
    latent_channels: int = origin(3, DIFFTALK, ge=1)
    codes: int = origin(8192, DIFFTALK, "entries of the codebook", ge=2)
    groups: int = origin(32, VQGAN_PAPER, "groups of the group norms, at most a quarter of a level's channels", ge=1)
    mask: MaskConfig | None = origin(None, PAPER, "None: trained on whole frames")

    @property
    def factor(self) -> int:
        """Image side over latent side."""
        return 2 ** (len(self.multipliers) - 1)


class VQGANLossConfig(Config):
    """Losses of the VQGAN: reconstruction, perceptual loss, commitment, and a patch discriminator."""

    perceptual_weight: float = origin(1.0, VQGAN_PAPER, ge=0)
    commitment: float = origin(0.25, VQGAN_PAPER, "β, weight of the commitment loss", ge=0)
    adversarial_from: int = origin(50_000, OURS, "step at which the adversarial loss starts", ge=0)
    adversarial_weight: float = origin(0.8, VQGAN_PAPER, "factor on the adaptive weight", ge=0)
    discriminator_channels: int = origin(64, VQGAN_PAPER, ge=4)
    discriminator_layers: int = origin(3, VQGAN_PAPER, ge=1)


class DiTConfig(Config):
    """The denoiser: tokens of [noisy; reference; masked] latents with cross-attention to audio and time (Section 3)."""

    depth: int = origin(12, DIT, ge=1)
    dim: int = origin(384, DIT, ge=8)
    heads: int = origin(6, DIT, ge=1)
    patch: int = origin(2, DIT, "side of a token in latent pixels", ge=1)
    latent_channels: int = origin(3, DIFFTALK, ge=1)
    masked_channels: int = origin(3, DIFFTALK, ge=1)
    audio_dim: int = origin(768, PAPER, "width of the audio features: Wav2Vec2 base", ge=1)
    window: int = origin(5, PAPER, "audio of this many frames before and after: 11 in all", ge=0)
    audio_tokens: Literal["each", "one"] = origin(
        "each", OURS, "each: one token per frame of the window; one: a single token for the whole window"
    )
    timesteps: int = origin(1000, LDM, ge=2)
    betas: tuple[float, float] = origin(
        (0.0015, 0.0195), DIFFTALK, "first and last noise variance, linear in the square root"
    )
    prediction: Literal["noise", "velocity"] = origin("noise", LDM)
    mouth_weight: float = origin(0.0, OURS, "extra weight of the loss inside the mask", ge=0)
    null_probability: float = origin(
        0.1, OURS, "probability of dropping the audio in training, for guidance", ge=0, le=1
    )
    mask: MaskConfig = MaskConfig()

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"dim {self.dim} is not a multiple of 4 and of heads {self.heads}")
        return self

    @property
    def n_audio(self) -> int:
        """Length of the audio window of a frame, in frames."""
        return 2 * self.window + 1


def origins(kind: type[Config], prefix: str = "") -> dict[str, str]:
    """The origin of each field of a configuration class by dotted name, for fields that have one."""
    by_name: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        marks = field.json_schema_extra
        if isinstance(marks, dict) and "origin" in marks:
            by_name[prefix + name] = str(marks["origin"])
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            by_name |= origins(field.annotation, f"{prefix}{name}.")
    return by_name


def ours(config: Config) -> dict[str, Any]:
    """Fields of `config` that the paper does not specify, or that differ from its value, with their values."""
    choices: dict[str, Any] = {}
    for name, source in origins(type(config)).items():
        value: Any = config
        default: Any = type(config)()
        for part in name.split("."):
            value, default = getattr(value, part), getattr(default, part)
        if source != PAPER or value != default:
            choices[name] = value.model_dump(mode="json") if isinstance(value, Config) else value
    return choices
