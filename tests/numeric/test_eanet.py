"""The network against its published figures, a second implementation, and what its callers rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from earthgen.gen.errors import InputError
from earthgen.gen.models.eanet import EANet
from earthgen.gen.models.eanet_blocks import EfficientActivationBlock
from earthgen.gen.models.pooling import ContextPool

VARIANTS = ("rcab", "msgroup_a", "msgroup_b", "cpem_lr")
PARAMETERS = {"rcab": 20_403_719, "msgroup_a": 30_314_391, "msgroup_b": 30_388_827}  # 20.40, 30.31 and 30.39 M
KEYS = Path(__file__).with_name("eanet_keys.txt")


def tiny(variant: str = "rcab", *, bands: int = 3, pool: str = "global", pool_size: int = 32, levels: int = 2, seed: int = 0) -> EANet:
    """A small network with every weight random, also those that start at zero."""
    torch.manual_seed(seed)
    ones = (1,) * levels
    model = EANet(bands=bands, width=8, enc_blocks=ones, dec_blocks=ones, variant=variant, pool=pool, pool_size=pool_size, cpem_blocks=1)
    wake(model)
    return model.eval()


def wake(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith(("beta", "gamma")) or "unfold" in name or "ending" in name:
            nn.init.normal_(parameter, std=0.3)


def inputs(model: EANet, height: int, width: int, *, batch: int = 2, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    bands, scale = model.config["bands"], model.config["scale"]
    sample, mu = torch.randn(2, batch, bands, height, width, generator=generator)
    values = {"sample": sample, "timestep": torch.linspace(90, 5, batch), "mu": mu}
    if model.config["variant"] == "cpem_lr":
        values["low"] = torch.randn(batch, bands, -(-height // scale), -(-width // scale), generator=generator)
    return values


@pytest.fixture(scope="module")
def reference(bench_module: Callable[[str], ModuleType]) -> ModuleType:
    return bench_module("reference_eanet")


# Published figures.


@pytest.mark.parametrize("variant", PARAMETERS)
def test_published_parameter_counts(variant: str) -> None:
    with torch.device("meta"):
        model = EANet(variant=variant, pool="global")
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[variant]


def test_published_parameter_split() -> None:
    """In millions, as counted on the published code."""
    with torch.device("meta"):
        model = EANet(variant="rcab", pool="global")
    split = {name: sum(parameter.numel() for parameter in child.parameters()) / 1e6 for name, child in model.named_children()}
    published = {"intro": 0.0035, "enhance": 0.074, "encoders": 3.79, "middle_blks": 7.90, "decoders": 2.96, "ups": 2.785, "downs": 2.787}
    for name, expected in {**published, "time_mlp": 0.099}.items():
        digits = len(repr(expected).partition(".")[2])
        assert split[name] == pytest.approx(expected, abs=0.501 * 10**-digits), name


def test_keys_are_pinned() -> None:
    """A renamed key breaks every stored model: change the file only together with a conversion of old folders."""
    lines = []
    for variant in VARIANTS:
        with torch.device("meta"):
            model = EANet(bands=3, width=64, enc_blocks=(1,), dec_blocks=(1,), variant=variant, cpem_blocks=1, group_blocks=1)
        lines += [f"{variant} {key} {'x'.join(map(str, value.shape))}" for key, value in sorted(model.state_dict().items())]
    assert lines == KEYS.read_text().splitlines()


@pytest.mark.parametrize("pool", ["global", "local"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_straightforward_implementation(reference: ModuleType, variant: str, pool: str) -> None:
    model = tiny(variant, bands=4, pool=pool)
    plain = reference.ReferenceEANet(4, 8, (1, 1), 1, (1, 1), variant, 32 if pool == "local" else None, cpem_blocks=1)
    plain.load_state_dict(model.state_dict(), strict=True)
    values = inputs(model, 48, 40)
    with torch.no_grad():
        expected = plain(*values.values())
        torch.testing.assert_close(model(**values), expected, rtol=1e-4, atol=1e-5)
    assert float(expected.std()) > 0.1


# Sizes, bands, starts.


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_block_starts_as_the_identity(variant: str) -> None:
    """With fresh weights the blocks add nothing: taking them all out changes nothing."""
    torch.manual_seed(0)
    model = EANet(bands=2, width=8, enc_blocks=(2, 1), dec_blocks=(1, 1), variant=variant, pool="global", cpem_blocks=1).eval()
    for parameter in model.ending.parameters():
        nn.init.normal_(parameter)
    values = inputs(model, 16, 24)
    with torch.no_grad():
        expected = model(**values)
        empty = EANet(bands=2, width=8, enc_blocks=(0, 0), mid_blocks=0, dec_blocks=(0, 0), variant=variant, pool="global", cpem_blocks=1)
        empty.load_state_dict({key: value for key, value in model.state_dict().items() if key in empty.state_dict()})
        assert torch.equal(empty(**values), expected)
        values["timestep"] = values["timestep"] + 7
        assert torch.equal(model(**values), expected)


def test_our_variant_starts_at_zero() -> None:
    torch.manual_seed(0)
    model = EANet(bands=2, width=8, enc_blocks=(1, 1), dec_blocks=(1, 1), variant="cpem_lr", cpem_blocks=1)
    assert not model(**inputs(model, 16, 16)).any()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 18), (33, 16), (16, 47)])
def test_any_size(variant: str, height: int, width: int) -> None:
    model = tiny(variant, pool="local")
    values = inputs(model, height, width)
    with torch.no_grad():
        result = model(**values)
    assert result.shape == values["sample"].shape
    assert bool(torch.isfinite(result).all())


@pytest.mark.parametrize(("height", "width"), [(30, 17), (32, 31)])
def test_padding_is_zeros_at_the_right_and_the_bottom_as_published(reference: ModuleType, height: int, width: int) -> None:
    model = tiny("rcab")
    plain = reference.ReferenceEANet(3, 8, (1, 1), 1, (1, 1), "rcab")
    plain.load_state_dict(model.state_dict())
    values = inputs(model, height, width)
    padded = [torch.nn.functional.pad(values[name], (0, -width % 4, 0, -height % 4)) for name in ("sample", "mu")]
    with torch.no_grad():
        expected = plain(padded[0], values["timestep"], padded[1])[:, :, :height, :width]
        torch.testing.assert_close(model(**values), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bands", [1, 3, 4, 13])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_number_of_bands(variant: str, bands: int) -> None:
    model = tiny(variant, bands=bands)
    with torch.no_grad():
        assert model(**inputs(model, 16, 20)).shape == (2, bands, 16, 20)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bands_have_no_order_of_their_own(variant: str) -> None:
    """Permuting the bands and the weights that touch them permutes the answer."""
    model, bands = tiny(variant, bands=4), 4
    order = torch.tensor([2, 0, 3, 1])
    values = inputs(model, 16, 16)
    with torch.no_grad():
        expected = model(**values)[:, order]
        model.intro.weight.copy_(model.intro.weight[:, torch.cat([order, bands + order])])
        model.ending.weight.copy_(model.ending.weight[order])
        model.ending.bias.copy_(model.ending.bias[order])
        if variant == "cpem_lr":
            fold, square = model.cpem.fold.weight, model.config["scale"] ** 2
            unfolded = (bands + order[:, None] * square + torch.arange(square)).flatten()
            fold.copy_(fold[:, torch.cat([order, unfolded])])
        moved = {name: value[:, order] if name != "timestep" else value for name, value in values.items()}
        torch.testing.assert_close(model(**moved), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_is_its_pictures(variant: str) -> None:
    model = tiny(variant, pool="local")
    values = inputs(model, 24, 16, batch=3)
    with torch.no_grad():
        together = model(**values)
        alone = torch.cat([model(**{name: value[i : i + 1] for name, value in values.items()}) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_one_time_for_the_whole_batch() -> None:
    model = tiny()
    values = inputs(model, 16, 16)
    with torch.no_grad():
        values["timestep"] = torch.tensor([40.0, 40.0])
        expected = model(**values)
        for scalar in (torch.tensor(40.0), torch.tensor([40.0])):
            assert torch.equal(model(**{**values, "timestep": scalar}), expected)


# Training.


@pytest.mark.parametrize("pool", ["global", "local"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_every_parameter(variant: str, pool: str) -> None:
    model = tiny(variant, pool=pool).train()
    model(**inputs(model, 32, 24)).square().mean().backward()
    # Squeezed channel attention may be shut by its ReLU at this width; it must then be open for another start.
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    for seed in range(1, 12):
        if not dead:
            break
        other = tiny(variant, pool=pool, seed=seed).train()
        other(**inputs(other, 32, 24, seed=seed)).square().mean().backward()
        alive = {name for name, parameter in other.named_parameters() if parameter.grad is not None and parameter.grad.any()}
        dead = [name for name in dead if name not in alive]
    assert not dead


@pytest.mark.parametrize("variant", VARIANTS)
def test_checkpointing_gradients_changes_nothing(variant: str) -> None:
    model = tiny(variant, pool="local").train()
    values, gradients = inputs(model, 16, 24), []
    for switch in (model.disable_gradient_checkpointing, model.enable_gradient_checkpointing):
        switch()
        model.zero_grad()
        model(**values).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert model.is_gradient_checkpointing
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


# Reach.


@contextmanager
def neutral_pools(model: nn.Module) -> Iterator[None]:
    """Pools that answer a constant whatever they see."""

    def constant(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.full_like(output, 0.7)

    handles = [module.register_forward_hook(constant) for module in model.modules() if isinstance(module, ContextPool)]
    yield
    for handle in handles:
        handle.remove()


def measured_reach(model: EANet, size: int, start: int) -> int:
    """Largest distance between a changed input pixel and a changed output pixel, in float64, where nothing rounds to zero."""
    values = {name: value.double() for name, value in inputs(model, size, size, batch=1).items()}
    scale, centre = model.config["scale"], (start, start)
    with torch.no_grad():
        before = model(**values)
        values["sample"][:, :, centre[0], centre[1]] += 100.0
        values["mu"][:, :, centre[0], centre[1]] += 100.0
        if "low" in values:
            values["low"][:, :, centre[0] // scale, centre[1] // scale] += 100.0
        changed = (model(**values) - before).abs().amax((0, 1)) > 0
    rows, columns = changed.nonzero(as_tuple=True)
    return max(int((rows - centre[0]).abs().max()), int((columns - centre[1]).abs().max()))


def test_the_published_network_reaches_78_pixels() -> None:
    """64 to 78 by the phase modulo 16 of the pixel that changes; measured at both ends."""
    torch.manual_seed(0)
    model = EANet(bands=1, width=4, variant="rcab", pool="global")
    for name, parameter in model.named_parameters():
        if name.endswith(("beta", "gamma")):
            nn.init.ones_(parameter)
        elif "conv2.weight" in name or "ending" in name:
            nn.init.normal_(parameter)  # loud, so that what arrives from afar is not lost in rounding
    model.eval().double()
    assert model.receptive_field == 78
    with neutral_pools(model):
        assert [measured_reach(model, 208, start) for start in (97, 112)] == [78, 64]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_receptive_field_is_what_a_pixel_changes(variant: str) -> None:
    model = tiny(variant, bands=1).double()
    size = 2 * model.receptive_field + 3 * model.multiple
    size += -size % model.multiple
    with neutral_pools(model):
        reaches = [measured_reach(model, size, size // 2 + phase) for phase in range(model.multiple)]
    assert max(reaches) == model.receptive_field
    assert model.context_reach is None


@pytest.mark.parametrize("variant", ["rcab", pytest.param("msgroup_b", marks=pytest.mark.slow), "cpem_lr"])
def test_nothing_beyond_the_context_reach_matters(variant: str) -> None:
    model = tiny(variant, bands=1, pool="local", pool_size=16).double()
    assert model.context_reach is not None
    assert model.context_reach > model.receptive_field
    size = 2 * model.context_reach + 48
    size += -size % 16
    reaches = [measured_reach(model, size, size // 2 + phase) for phase in (0, 5, model.multiple - 1)]
    assert model.receptive_field < max(reaches) <= model.context_reach


@pytest.mark.parametrize("variant", VARIANTS)
def test_local_pooling_makes_tiles_agree(variant: str) -> None:
    """A crop gives what the whole gives, up to the reach from its edges; global pooling does not."""
    local, whole = tiny(variant, bands=2, pool="local", pool_size=16), tiny(variant, bands=2)
    assert local.context_reach is not None
    halo = local.context_reach + -local.context_reach % 16
    core, origin, scale = 16, 32, local.config["scale"]
    side = core + 2 * halo
    values, crop = inputs(local, side + 64, side + 48, batch=1), {}
    for name in ("sample", "mu"):
        values[name] = values[name] * torch.linspace(0, 4, side + 48) ** 2  # no two crops alike
    for name, value in values.items():
        unit = scale if name == "low" else 1
        crop[name] = (
            value if value.ndim < 4 else value[:, :, origin // unit : (origin + side) // unit, origin // unit : (origin + side) // unit]
        )
    with torch.no_grad():
        for model, agrees in ((local, True), (whole, False)):
            expected = model(**values)[:, :, origin + halo : origin + halo + core, origin + halo : origin + halo + core]
            difference = (model(**crop)[:, :, halo : halo + core, halo : halo + core] - expected).abs().max() / expected.std()
            assert difference < 1e-5 if agrees else difference > 5e-5


# Refusals.


@pytest.mark.parametrize(
    "wrong",
    [
        {"variant": "naf"},
        {"pool": "windowed"},
        {"enc_blocks": (1, 1), "dec_blocks": (1,)},
        {"enc_blocks": (), "dec_blocks": ()},
        {"bands": 0},
        {"width": 6},
        {"scale": 0},
        {"pool_size": 1},
        {"mid_blocks": -1},
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EANet(**{"width": 8, **wrong})


def test_inputs_that_do_not_fit_are_refused() -> None:
    model = tiny("cpem_lr")
    values = inputs(model, 16, 16)
    with pytest.raises(InputError, match="missing"):
        model(**{**values, "low": None})
    with pytest.raises(InputError, match="of shape"):
        model(**{**values, "low": values["low"][:, :, 1:]})
    with pytest.raises(InputError, match="bands"):
        model(**{**values, "sample": values["sample"][:, :2]})


def test_a_block_of_zero_gain_is_the_identity_bit_for_bit() -> None:
    block = EfficientActivationBlock(8, 32, ContextPool(None, 1))
    value = torch.randn(2, 8, 6, 5)
    with torch.no_grad():
        assert torch.equal(block(value, torch.randn(2, 32)), value)
