"""Drawing tokens, against transformers' logits warpers and against the distribution itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from strop.models.draw import UniformStream, draw
from strop.types import SamplingParams

torch = pytest.importorskip("torch")


def streams(count, start=0):
    return [UniformStream(start + number) for number in range(count)]


def expected(logits, params):
    """Probabilities after transformers' own temperature, top-k and top-p."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(params.temperature)(None, logits[None])
    if params.top_k:
        scores = TopKLogitsWarper(params.top_k)(None, scores)
    if params.top_p < 1:
        scores = TopPLogitsWarper(params.top_p)(None, scores)
    return torch.softmax(scores.double(), -1)[0].numpy()


@pytest.mark.parametrize("spread", [0.3, 3.0], ids=["flat", "peaked"])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.0, top_p=1.0),
        SamplingParams(temperature=0.8, top_p=0.95),
        SamplingParams(temperature=1.3, top_p=0.5),
        SamplingParams(temperature=0.7, top_p=0.9, top_k=20),
        SamplingParams(temperature=1.0, top_p=1.0, top_k=5),
        SamplingParams(temperature=1.0, top_p=1e-6),
    ],
    ids=str,
)
def test_frequencies_follow_the_distribution(params, spread):
    logits = torch.randn(1200, generator=torch.Generator().manual_seed(3)) * spread
    probabilities = expected(logits, params)
    count = 8_000
    rows = logits.expand(500, -1)
    tokens = [token for part in range(count // 500) for token in draw(rows, params, streams(500, 500 * part)).tokens]
    observed = np.bincount(tokens, minlength=1200)
    assert not observed[probabilities == 0].any(), "a token outside the kept set was drawn"
    order = np.argsort(-probabilities)
    bins = np.minimum(np.cumsum(probabilities[order]) * 40, 39.999).astype(int)
    seen = np.bincount(bins, observed[order], minlength=40)
    wanted = np.bincount(bins, probabilities[order], minlength=40) * count
    used = wanted > 0
    if used.sum() > 1:
        assert chisquare(seen[used], wanted[used] * seen.sum() / wanted[used].sum()).pvalue > 1e-4


def test_a_draw_does_not_depend_on_the_other_rows():
    logits = torch.randn(40, 5000, generator=torch.Generator().manual_seed(1))
    params = SamplingParams(temperature=1.0, top_p=0.99)
    together = draw(logits, params, streams(40)).tokens
    alone = [draw(logits[row : row + 1], params, [UniformStream(row)]).tokens[0] for row in range(40)]
    assert together == alone


def test_the_stream_depends_on_seed_and_place_only():
    first, second = UniformStream(7), UniformStream(7)
    assert [first.next() for _ in range(5)] == [second.next() for _ in range(5)]
    assert UniformStream(8).next() != UniformStream(7).next()
    assert 0 <= UniformStream(2**63 - 1).next() < 1


def test_greedy_takes_the_first_of_equals():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0]])
    assert draw(logits, SamplingParams(temperature=0), streams(1)).tokens == [1]


def test_ties_are_drawn_in_the_order_of_ids():
    """Equal logits in any width: the same draw whichever way `topk` orders them."""
    logits = torch.zeros(64, 2000)
    tokens = draw(logits, SamplingParams(temperature=1.0, top_p=1.0), streams(64)).tokens
    assert tokens == [int(UniformStream(seed).next() * 2000) for seed in range(64)]


def test_log_probabilities_are_those_of_temperature_one():
    logits = torch.randn(8, 300)
    drawn = draw(logits, SamplingParams(temperature=0.3, top_p=0.5, logprobs=3), streams(8))
    whole = logits.log_softmax(-1)
    for row, (token, logprob) in enumerate(zip(drawn.tokens, drawn.logprobs)):
        assert logprob == pytest.approx(whole[row, token].item(), abs=1e-5)
        assert [token for token, _ in drawn.top[row]] == whole[row].topk(3).indices.tolist()
