"""B-Coder's learner: its stages, its losses in any cutting, and the ranker that it leaves."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from rl_tiny import TASKS  # noqa: E402

from strop.models.scorers import Scorer  # noqa: E402
from strop.train.rl import qlearning  # noqa: E402
from strop.train.rl.bcoder import VALUES, QLearner, QRanker  # noqa: E402
from strop.train.rl.buffer import Rollout  # noqa: E402
from strop.train.rl.policy import Policy  # noqa: E402
from strop.train.rl.recipes import settings  # noqa: E402
from strop.types import Reward, Sample, Spent, StropError, Verdict  # noqa: E402

ANSWERS = [(11, 12, 13), (14, 0), (11, 12, 18, 19), (15,)]
TOTALS = [1.0, -0.6, -0.3, -1.0]


def rollouts(task=TASKS[0]):
    return [
        Rollout(
            task=task,
            sample=Sample(
                task_id=task.id, index=number, text="", code="", finish_reason="stop", seed=0, protocol="p",
                spent=Spent(), token_ids=tokens,
            ),
            verdict=Verdict(status="failed", fraction=0.0), reward=Reward(total=total),
        )
        for number, (tokens, total) in enumerate(zip(ANSWERS, TOTALS))
    ]  # fmt: skip


PROMPTS = {TASKS[0].id: [5, 6, 7]}
REFERENCES = {TASKS[0].id: (21, 22, 0)}


def make(tiny, **given):
    chosen = settings(
        {"recipe": "bcoder", "model": f"hf/{tiny}", "lora_rank": 4, "steps": 9, "value_steps": 4, "warmup": 0,
         "learning_rate": 0.001, "group": 4, **given}
    )  # fmt: skip
    policy = Policy(chosen.model, lora_rank=4, lora_alpha=8, seed=0)
    return policy, QLearner(policy, chosen)


def test_first_values_alone_then_the_model_with_the_first_values_frozen(tiny):
    policy, learner = make(tiny)
    start = policy.sync()
    errors = []
    for step in range(1, 5):
        errors.append(learner.learn(rollouts(), PROMPTS, step=step, references=REFERENCES)["loss"])
        assert policy.sync() == start
    assert errors[-1] < errors[0]
    first = {name: value.clone() for name, value in learner.value.first.state_dict().items()}
    assert torch.equal(learner.value.learned.weight, learner.value.frozen.weight)
    found = learner.learn(rollouts(), PROMPTS, step=5, references=REFERENCES)
    assert found["values_only"] == 0.0
    assert found["imitation_loss"] > 0
    assert policy.sync() != start
    assert all(torch.equal(first[name], value) for name, value in learner.value.first.state_dict().items())
    assert not torch.equal(learner.value.learned.weight, learner.value.frozen.weight)


@pytest.mark.parametrize("step", [1, 9])
def test_micro_batches_add_up_to_the_loss_of_the_batch(tiny, step):
    losses = [
        make(tiny, micro_batch=size)[1].learn(rollouts(), PROMPTS, step=step, references=REFERENCES)["loss"]
        for size in (1, 3, 8)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_the_loss_is_the_formula(tiny):
    """One answer, one update: half of the mean squared TD error with the frozen model's greedy tokens."""
    policy, learner = make(tiny)
    (one,) = rollouts()[:1]
    found = learner.learn([one], PROMPTS, step=1)
    ids = torch.tensor([[5, 6, 7, *ANSWERS[0]]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[:, 2:-1]
    values = torch.full((1, 3), float(qlearning.capped(torch.tensor(2.0))))
    rewards = torch.tensor([[0.0, 0.0, 1.0]])
    expected = qlearning.td_loss(logits, values, ids[:, 3:], logits.argmax(-1), rewards, torch.ones(1, 3))
    assert found["loss"] == pytest.approx(0.5 * float(expected), rel=1e-4)


def test_the_state_holds_the_values(tiny):
    _, learner = make(tiny)
    learner.learn(rollouts(), PROMPTS, step=1)
    state = learner.state()
    _, other = make(tiny)
    other.load(state)
    assert torch.equal(other.value.first.linear.weight, learner.value.first.linear.weight)


def test_the_ranker_says_what_the_learner_would(tiny, tmp_path):
    policy, learner = make(tiny)
    for step in (1, 2, 5, 6):
        learner.learn(rollouts(), PROMPTS, step=step, references=REFERENCES)
    learner.save(tmp_path / "out")
    ranker = QRanker(f"hf/{tiny}+{tmp_path / 'out'}")
    assert isinstance(ranker, Scorer)
    prompt, programs = "def f(x):\n", ["    return x", "    pass"]
    scores = ranker.scores(prompt, programs)
    assert len(set(scores)) == 2
    tokenizer = policy.sampler.tokenizer
    start = torch.tensor(policy.sampler.encode(prompt))
    for program, score in zip(programs, scores):
        tokens = torch.tensor([[*tokenizer(program)["input_ids"], 0]])
        mask = torch.ones(tokens.shape)
        scored = policy.score(start, tokens, mask, 1.0, hidden=True, every_logit=True)
        values = qlearning.capped(learner.value(scored.hidden))
        expected = qlearning.program_score(scored.logits, values, tokens, mask)
        assert score == pytest.approx(float(expected), rel=1e-3)


def test_a_folder_without_values_is_named(tiny, tmp_path):
    policy, _ = make(tiny)
    policy.save(tmp_path / "out")
    assert not (tmp_path / "out" / VALUES).exists()
    with pytest.raises(StropError, match="not trained with the recipe bcoder"):
        QRanker(f"hf/{tiny}+{tmp_path / 'out'}")
