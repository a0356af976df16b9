"""Guidance's algebra, drop-out's frequencies, prompts in chunks, composed captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from earthgen.gen.conditioning.captions import PARTS, compose_caption, thing_name
from earthgen.gen.conditioning.dropout import CRS_DIFF_RATES, kept_by_scheme, kept_independently
from earthgen.gen.conditioning.guidance import GROUPS, group_scales, guide, plan_guidance
from earthgen.gen.conditioning.metadata import Metadata
from earthgen.gen.conditioning.text import split_level, tokenize
from earthgen.gen.errors import InputError


def predictions() -> dict[frozenset[str], torch.Tensor]:
    """A denoiser whose output depends on which groups are on, without any structure."""
    rng = torch.Generator().manual_seed(0)
    subsets = [frozenset(g for n, g in enumerate(GROUPS) if code >> n & 1) for code in range(8)]
    return {subset: torch.randn(2, 3, generator=rng, dtype=torch.float64) for subset in subsets}


def planned(scales: dict[str, float], present: tuple[str, ...] = GROUPS) -> torch.Tensor:
    outputs, plan = predictions(), plan_guidance(scales, present)
    return guide([outputs[stage] for stage in plan.stages], plan.scales)


def formula(scales: dict[str, float]) -> torch.Tensor:
    """Section 8 item 3 of the spec, written out."""
    out = predictions()
    none, control, both = out[frozenset()], out[frozenset({"hints"})], out[frozenset({"hints", "metadata"})]
    full = out[frozenset(GROUPS)]
    return none + scales["hints"] * (control - none) + scales["metadata"] * (both - control) + scales["text"] * (full - both)


@pytest.mark.parametrize(
    "numbers", [(2.0, 3.0, 7.5), (4.0, 4.0, 4.0), (1.0, 1.0, 7.5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (3.0, 3.0, 1.0), (1.0, 2.0, 0.0)]
)
def test_plans_give_the_sequential_formula(numbers: tuple[float, float, float]) -> None:
    scales = dict(zip(GROUPS, numbers, strict=True))
    assert torch.allclose(planned(scales), formula(scales), atol=1e-12)


def test_special_cases_of_guidance() -> None:
    out = predictions()
    full, none = out[frozenset(GROUPS)], out[frozenset()]
    assert torch.allclose(planned(dict.fromkeys(GROUPS, 4.0)), none + 4.0 * (full - none))  # sequential = joint for equal weights
    assert torch.equal(planned(dict.fromkeys(GROUPS, 1.0)), full)  # scale 1 = conditional
    assert torch.equal(planned(dict.fromkeys(GROUPS, 0.0)), none)
    kept = out[frozenset({"hints", "metadata"})]
    assert torch.allclose(planned({"hints": 1.0, "metadata": 1.0, "text": 7.5}), kept + 7.5 * (full - kept))  # text alone is guided
    counts = [len(plan_guidance(group_scales(scale), GROUPS).stages) for scale in (1.0, 4.0, {"text": 7.5}, {"text": 3, "metadata": 2})]
    assert counts == [1, 2, 2, 3]
    assert plan_guidance(group_scales(5.0), ()).stages == (frozenset(),)
    assert plan_guidance(group_scales({"text": 5.0}), ("text",)).stages == (frozenset(), frozenset({"text"}))


def test_bad_scales_are_refused() -> None:
    with pytest.raises(InputError, match=r"no group of conditions 'place'; guidance has hints, metadata, text"):
        group_scales({"place": 2.0})
    with pytest.raises(InputError, match="guidance scale of text is -1"):
        group_scales({"text": -1.0})
    with pytest.raises(InputError, match="guidance scale of hints is nan"):
        group_scales(float("nan"))
    with pytest.raises(ValueError, match="one prediction more"):
        guide([torch.zeros(1)], [1.0])


def uniforms(rows: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).random((rows, columns)))


def test_independent_drop_out_has_its_rates_and_no_correlation() -> None:
    count, rates = 20_000, [0.1, 0.5, 0.0, 1.0]
    kept = kept_independently(uniforms(count, 4), rates)
    share = kept.double().mean(0)
    for rate, found in zip(rates, share.tolist(), strict=True):
        assert abs(found - (1 - rate)) <= 4 * (rate * (1 - rate) / count) ** 0.5
    both = (kept[:, 0] & kept[:, 1]).double().mean()
    assert float(both) == pytest.approx(0.45, abs=4 * (0.45 * 0.55 / count) ** 0.5)
    assert torch.equal(kept_independently(uniforms(9, 2), 0.3), kept_independently(uniforms(9, 2), [0.3, 0.3]))


def test_the_scheme_of_crs_diff_has_its_frequencies() -> None:
    count = 40_000
    kept = kept_by_scheme(uniforms(count, 7), 0.1, 0.1, CRS_DIFF_RATES)
    each = np.prod([1 - rate for rate in CRS_DIFF_RATES]), np.prod(CRS_DIFF_RATES)
    for found, wanted in (
        (kept.all(1), 0.1 + 0.8 * each[0]),
        ((~kept).all(1), 0.1 + 0.8 * each[1]),
        (kept[:, 0], 0.1 + 0.8 * 0.4),
        (kept[:, 3], 0.1 + 0.8 * 0.5),
        (kept[:, 0] & kept[:, 1], 0.1 + 0.8 * 0.4 * 0.5),
    ):
        assert abs(float(found.double().mean()) - wanted) < 4 * (wanted * (1 - wanted) / count) ** 0.5
    # chi-square over all 64 patterns, 63 degrees of freedom: mean 63, deviation 11.2
    codes = (kept.long() * 2 ** torch.arange(6)).sum(1)
    observed = torch.bincount(codes, minlength=64).double().numpy()
    expected = np.array([0.8 * np.prod([(1 - r) if code >> n & 1 else r for n, r in enumerate(CRS_DIFF_RATES)]) for code in range(64)])
    expected[0] += 0.1
    expected[63] += 0.1
    assert ((observed - count * expected) ** 2 / (count * expected)).sum() < 63 + 4 * 11.3


def test_bad_rates_are_refused() -> None:
    with pytest.raises(InputError, match="2 drop-out rates were given for 3 conditions"):
        kept_independently(uniforms(1, 3), [0.1, 0.2])
    with pytest.raises(InputError, match="a probability from 0 to 1"):
        kept_independently(uniforms(1, 3), 1.5)
    with pytest.raises(InputError, match="more than 1 together"):
        kept_by_scheme(uniforms(1, 3), 0.7, 0.7, 0.1)


def test_short_prompts_are_one_window(letters: Any) -> None:
    tokens = tokenize(letters, ["ab", ""])
    begin, end = letters.bos_token_id, letters.eos_token_id
    assert tokens.ids.shape == (2, 1, 12)
    assert tokens.ids[0, 0].tolist() == letters("ab", padding="max_length", max_length=12)["input_ids"]
    assert tokens.ids[1, 0, :2].tolist() == [begin, end]  # an empty prompt is the null
    assert tokens.attention.sum(2).tolist() == [[4], [2]]
    assert (tokens.counts, tokens.notes) == ((1, 1), ())


def test_long_prompts_are_cut_and_said_to_be(letters: Any) -> None:
    text = "abcdefghijklmnopqrstuvw"  # 23 letters, windows of 10
    tokens = tokenize(letters, ["xy", text])
    assert tokens.ids.shape == (2, 3, 12)
    assert tokens.counts == (1, 3)
    body = [token for row, mask in zip(tokens.ids[1], tokens.attention[1], strict=True) for token in row[mask.bool()][1:-1].tolist()]
    assert body == letters(text, add_special_tokens=False)["input_ids"]
    assert len(tokens.notes) == 1
    assert "23 tokens, more than the 10 of one window; it is read in 3 chunks" in tokens.notes[0]
    with pytest.raises(InputError, match="at most 80 are read"):
        tokenize(letters, ["x" * 81])
    with pytest.raises(InputError, match="prompt 0 is a int"):
        tokenize(letters, [3])  # type: ignore[list-item]


def test_the_zoom_level_before_a_prompt() -> None:
    assert split_level("17_GOOGLE_LEVEL_a harbour") == (17, "a harbour")
    assert split_level("0_GOOGLE_LEVEL_a harbour") == (None, "a harbour")
    assert split_level("a harbour") == (None, "a harbour")
    with pytest.raises(InputError, match=r"begins with '\{res\}' before"):
        split_level("{res}_GOOGLE_LEVEL_x")


def test_captions_say_what_is_known_and_nothing_else() -> None:
    known = Metadata(lat=-40, lon=3, date="2021-07-02", gsd=10, cloud_cover=0.0)
    things = {"building=house": 3, "natural=water": 1, "highway=residential": 12, "landuse=forest": 0}
    assert compose_caption(known, kind="airport", place="Spain", things=things) == (
        "a satellite image of an airport in Spain with 12 residential roads, 3 houses and water, in winter (July), without clouds, "
        "at 10 m per pixel"
    )
    assert compose_caption(Metadata()) == "a satellite image"
    assert compose_caption(Metadata(date="2019", gsd=0.5)) == "a satellite image, in 2019, at 0.5 m per pixel"
    assert compose_caption(Metadata(date="--06", lat=2)) == "a satellite image, in June"
    assert [thing_name(tag) for tag in ("building=yes", "building=house", "railway=rail", "landuse=forest", "man_made=storage_tank")] == [
        "building", "house", "rail railway", "forest area", "storage tank",
    ]  # fmt: skip


def test_parts_of_captions_are_dropped_at_their_rates() -> None:
    known = Metadata(lat=50, lon=3, date="2021-07-02", gsd=10, cloud_cover=0.0)
    draws = np.random.default_rng(0).random((2000, len(PARTS) + 2))
    captions = [
        compose_caption(known, kind="port", things={"house": 2, "road": 5}, uniforms=row.tolist(), drop={"kind": 0.3, "things": 0.5})
        for row in draws
    ]
    assert np.mean(["port" in text for text in captions]) == pytest.approx(0.7, abs=0.05)
    assert np.mean(["2 houses" in text for text in captions]) == pytest.approx(0.25, abs=0.05)  # the part, and the thing
    assert all("July" in text and "10 m" in text for text in captions)
    assert compose_caption(known, kind="port", uniforms=[0.0] * 6, drop=1.0) == "a satellite image"
