"""Noising, targets and weights of diffusion and flow, against closed forms."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from torch.autograd.functional import jvp

from earthgen.gen.schedulers.forward import StraightFlow, VariancePreserving, forward_process

COSINE = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
def test_a_perfect_output_gives_the_clean_data_back(prediction: str) -> None:
    settings = {"prediction_type": "flow_prediction"} if prediction == "flow" else {**COSINE, "prediction_type": prediction}
    process = forward_process(settings)
    torch.manual_seed(0)
    clean, noise = torch.randn(6, 4, 3, 3, dtype=torch.float64), torch.randn(6, 4, 3, 3, dtype=torch.float64)
    time = process.times(torch.linspace(0, 0.95, 6, dtype=torch.float64))
    state = process.noised(clean, noise, time)
    assert torch.allclose(process.clean(process.target(clean, noise, time), state, time), clean, atol=1e-6)


def test_noising_and_velocity_are_those_of_diffusers() -> None:
    scheduler, process = DDPMScheduler(**COSINE), forward_process(COSINE)
    torch.manual_seed(0)
    clean, noise = torch.randn(5, 4, 3, 3), torch.randn(5, 4, 3, 3)
    time = torch.tensor([0.0, 10, 50, 98, 99])
    assert torch.allclose(process.noised(clean, noise, time), scheduler.add_noise(clean, noise, time.long()), atol=1e-6)
    assert torch.allclose(process.target(clean, noise, time), scheduler.get_velocity(clean, noise, time.long()), atol=1e-6)


def test_the_velocity_of_a_flow_is_the_derivative_of_its_path() -> None:
    flow = StraightFlow()
    torch.manual_seed(0)
    clean, noise = torch.randn(3, 2, 2, 2, dtype=torch.float64), torch.randn(3, 2, 2, 2, dtype=torch.float64)
    time = torch.tensor([10.0, 400.0, 900.0], dtype=torch.float64)
    _, slope = jvp(lambda t: flow.noised(clean, noise, t), time, torch.full((3,), 1000.0, dtype=torch.float64))
    assert torch.allclose(slope, flow.target(clean, noise, time))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_weights_count_the_same_error_of_the_clean_data_alike(prediction: str) -> None:
    """min-SNR is min(SNR, gamma) on the error of x_0, whatever is predicted."""
    process = forward_process({**COSINE, "prediction_type": prediction}, gamma=5.0)
    assert isinstance(process, VariancePreserving)
    torch.manual_seed(0)
    clean, noise, error = (torch.randn(4, 1, 2, 2, dtype=torch.float64) for _ in range(3))
    time = torch.tensor([5.0, 30, 60, 90])
    state = process.noised(clean, noise, time)
    wrong = process.target(clean, noise, time) + 1e-3 * error
    of_output = process.weight(time) * (wrong - process.target(clean, noise, time)).square().mean((1, 2, 3))
    of_clean = process.snr(time).clamp(max=5.0) * (process.clean(wrong, state, time) - clean).square().mean((1, 2, 3))
    assert torch.allclose(of_output.double(), of_clean, rtol=1e-5)


def test_times_are_uniform_steps_and_a_logit_normal_density() -> None:
    process = forward_process(COSINE)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert torch.bincount(process.times(uniform).long()).tolist() == [10] * 100
    times = StraightFlow(mean=0.3, std=0.8).times(uniform).double() / 1000
    normal = torch.special.ndtri(uniform)
    assert torch.allclose(torch.logit(times), 0.3 + 0.8 * normal, atol=1e-3)


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="is unknown"):
        forward_process({"prediction_type": "vision"})
