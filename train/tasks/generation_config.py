"""The part of a recipe that describes training a conditional latent generator."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .picture_config import PictureConfig


class TextConfig(BaseModel):
    """Tokenizer and text encoder, made anew where `base` gives none."""

    model_config = ConfigDict(extra="forbid")

    vocabulary: int = Field(1024, ge=514)
    """Entries of the tokenizer that is learnt from the captions."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Configuration of `CLIPTextModel`."""


class DropConfig(BaseModel):
    """Probability that a condition is left out of a training sample; all are drawn independently, `everything` on top of them."""

    model_config = ConfigDict(extra="forbid")

    text: float = Field(0.1, ge=0, le=1)
    field: float = Field(0.1, ge=0, le=1)
    """Of each field of the metadata."""
    hint: float = Field(0.3, ge=0, le=1)
    """Of the whole mask."""
    hint_class: float = Field(0.2, ge=0, le=1)
    """Of each class of it: a mask that says where the houses are need not say what the rest is."""
    everything: float = Field(0.05, ge=0, le=1)
    """Of text, metadata and hints at once, for guidance."""


class GuidanceConfig(BaseModel):
    """How pictures are drawn for held-out figures and sample sheets."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(20, ge=1)
    scale: float = Field(2.0, ge=1)
    count: int = Field(64, ge=1)
    """Held-out pictures whose loss is taken."""
    shown: int = Field(24, ge=1)
    features: str = ""
    """Feature network (``zoo:features-small``) in which pictures of the held-out conditions are held against the held-out pictures; the
    kernel distance is then among the figures, and does not choose the checkpoint. Empty for none: it takes `count` pictures."""


class ControlConfig(BaseModel):
    """A control network beside the denoiser, and what it reads."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["hints", "controlnet", "location", "content"]
    """CRS-Diff's adapter of many hints, a stock ControlNet, GeoSynth's net of the place, CRS-Diff's tokens of a content picture."""
    hints: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Names and channels of the hint pictures, in the network's order."""
    model: dict[str, Any] = Field(default_factory=dict)
    """The network's own settings; ``encoder`` those of a frozen encoder of places or content that is made anew."""
    keep_all: float = Field(0.0, ge=0, le=1)
    """Share of the samples in which nothing is left out,"""
    drop_all: float = Field(0.0, ge=0, le=1)
    """in which all is left out,"""
    drop_each: float | list[float] = 0.0
    """and, in the others, the probability that each hint is left out."""

    @model_validator(mode="after")
    def _reads(self) -> ControlConfig:
        """Refuse hints where none are read, and none where they are."""
        if (self.kind in ("hints", "controlnet")) != bool(self.hints):
            raise ValueError(f"a control network of kind {self.kind} {'needs' if not self.hints else 'reads no'} hints")
        return self


class GenerationConfig(BaseModel):
    """Networks, diffusion, conditions and data of a generator."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["generation"] = "generation"
    bands: list[str] = Field(default=["red", "green", "blue"], min_length=3, max_length=3)
    unit: str = "display"
    base: str = ""
    """Folder in diffusers layout whose parts (unet, vae, text_encoder, tokenizer) the run starts from; empty makes new ones."""
    autoencoder: str = ""
    """Folder of the autoencoder; empty takes that of `base`, or a new one of `vae`, which is good for checks alone."""
    vae: dict[str, Any] = Field(default_factory=dict)
    """Configuration of a new autoencoder."""
    unet: dict[str, Any] = Field(default_factory=dict)
    """Configuration of `UNet2DConditionModel` where it is made anew; of one that is read only
    ``class_embed_type`` may differ. There, ``"none"`` is none."""
    text: TextConfig = TextConfig()  # type: ignore[call-arg]
    metadata_schema: str = "earthgen"
    """Which metadata the network is told, and how; empty for none."""
    hints: list[str] = Field(default_factory=list)
    """Classes of the mask that come in as channels, names of `gen.data.described.COVER`; none for no mask."""
    inpainting: float | None = Field(None, ge=0, le=1)
    """Share of the samples in which a part of the picture is given; None for a network without the channels for it."""
    controls: dict[str, ControlConfig] = Field(default_factory=dict)
    """Control networks by name."""
    scheduler: dict[str, Any] = Field(default_factory=dict)
    """Configuration of the diffusers scheduler that the model is saved with."""
    sampler: Literal["DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler"] = (
        "DPMSolverMultistepScheduler"
    )
    min_snr: float | None = Field(None, gt=0)
    """Gamma of min-SNR weighting, correct for the prediction; None for none."""
    drop: DropConfig = DropConfig()  # type: ignore[call-arg]
    pictures: PictureConfig
    also: PictureConfig | None = None
    """Further pictures: their captions are in the tokenizer and their held-out places in the figures, whatever their share."""
    also_share: float = Field(0.0, ge=0, lt=1)
    """Share of the samples drawn from `also`."""
    minimum_quality: float | None = None
    """Pictures with a lower score are left out (the second stage of Text2Earth); those without a score stay."""
    bank: int = Field(0, ge=0)
    """Distinct crops, whose latents are kept in memory; 0 draws and encodes a new one for every sample."""
    cache: str = ""
    """Folder, which runs may share, where latents of crops are kept from run to run, and embedded captions where the text encoder is
    frozen; empty for none. A crop that is drawn anew for every sample is found again only by a run of the same seed and pictures."""
    guidance: GuidanceConfig = GuidanceConfig()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _agree(self) -> GenerationConfig:
        """Refuse parts that contradict each other."""
        from ...gen.data.described import COVER

        strange = [name for name in self.hints if name not in COVER]
        if strange:
            raise ValueError(f"there is no mask class {strange[0]!r}; choose from {', '.join(COVER)}")
        flow = self.scheduler.get("prediction_type") == "flow_prediction"
        if self.bank and any(control.hints for control in self.controls.values()):
            raise ValueError("a bank of crops keeps no hint pictures; set bank to 0 for control networks that read some")
        if flow and self.min_snr is not None:
            raise ValueError("min_snr is for diffusion; a flow weights by its density of times, so leave it out")
        return self
