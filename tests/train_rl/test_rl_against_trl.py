"""The same batch through TRL's trainers: same advantages, same loss, same gradient."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from rl_tiny import TASKS  # noqa: E402

from strop.rewards import binary, dataset_rows, trl_reward  # noqa: E402
from strop.tasks import protocols  # noqa: E402
from strop.train.rl import advantages as adv  # noqa: E402
from strop.train.rl.buffer import Rollout, group_by_prompt  # noqa: E402
from strop.train.rl.learner import Learner  # noqa: E402
from strop.train.rl.policy import Policy  # noqa: E402
from strop.train.rl.prepare import Notes, coefficients  # noqa: E402
from strop.train.rl.recipes import settings  # noqa: E402
from strop.types import Reward, Sample, Spent, Verdict  # noqa: E402

REWARDS = [1.0, 0.0, 0.25, 0.5, 1.0, 1.0, 0.0, -0.6]
GROUP = 4


def trl_batch(tiny, folder, kind, rewards, **options):
    """TRL's trainer and what it makes of two prompts with four answers each."""
    from datasets import Dataset
    from transformers import AutoTokenizer, set_seed

    if kind == "grpo":
        from trl.trainer.grpo_config import GRPOConfig as Config
        from trl.trainer.grpo_trainer import GRPOTrainer as Trainer
    else:
        from trl.trainer.rloo_config import RLOOConfig as Config
        from trl.trainer.rloo_trainer import RLOOTrainer as Trainer

    def reward(prompts, completions, **columns):
        return list(rewards)

    rows = [{"prompt": task.prompt} for task in TASKS[:2] for _ in range(GROUP)]
    set_seed(3)
    trainer = Trainer(
        model=str(tiny),
        reward_funcs=reward,
        args=Config(
            output_dir=str(folder), per_device_train_batch_size=len(rows), num_generations=GROUP, temperature=1.0,
            max_completion_length=10, beta=0.0, report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False,
            **options,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(str(tiny)),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer, trainer._generate_and_score_completions(rows)


def as_rollouts(inputs, rewards):
    """TRL's batch as Strop's; samples without a reward keep None."""
    out = []
    for number, (ids, mask) in enumerate(zip(inputs["completion_ids"], inputs["completion_mask"])):
        task = TASKS[number // GROUP]
        sample = Sample(
            task_id=task.id, index=number, text="", code="", finish_reason="stop", seed=0, protocol="p", spent=Spent(),
            token_ids=tuple(ids[: int(mask.sum())].tolist()),
        )  # fmt: skip
        value = rewards[number]
        out.append(
            Rollout(
                task=task, sample=sample, verdict=Verdict(status="failed", fraction=0),
                reward=None if value is None else Reward(total=value),
            )
        )  # fmt: skip
    return out


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_grpo_advantages_are_trls_with_missing_rewards(tiny, tmp_path, scale):
    rewards = [1.0, 0.0, None, 0.5, 1.0, 1.0, 1.0, None]
    _, inputs = trl_batch(tiny, tmp_path, "grpo", rewards, scale_rewards=scale)
    kept = [number for number, value in enumerate(rewards) if value is not None]
    mine = adv.group_relative(
        torch.tensor([rewards[number] for number in kept]), torch.tensor(kept) // GROUP, scale=scale
    )
    assert torch.allclose(mine, inputs["advantages"][kept], atol=1e-4)
    assert mine[-3:].tolist() == [0, 0, 0]


def test_rloo_advantages_are_trls_with_missing_rewards(tiny, tmp_path):
    rewards = [1.0, 0.0, None, 0.5, 1.0, 1.0, 0.0, -0.6]
    _, inputs = trl_batch(tiny, tmp_path, "rloo", rewards, normalize_advantages=False)
    kept = [number for number, value in enumerate(rewards) if value is not None]
    mine = adv.leave_one_out(torch.tensor([rewards[number] for number in kept]), torch.tensor(kept) // GROUP)
    assert torch.allclose(mine, inputs["advantages"][kept], atol=1e-5)


CASES = {
    "grpo": ({"loss_type": "grpo"}, {}),
    "dr-grpo": ({"loss_type": "dr_grpo", "scale_rewards": "none"}, {}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, {"overlong": 0}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4}, {},
    ),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 4.0}, {}),
    "rloo": ({"normalize_advantages": False}, {}),
}  # fmt: skip


@pytest.mark.parametrize("old_weights", [False, True])
@pytest.mark.parametrize("recipe", CASES)
def test_loss_and_gradient_are_trls(tiny, tmp_path, recipe, old_weights):
    """On policy, and with log-probabilities of older weights so that ratios are clipped on both sides."""
    theirs, mine = CASES[recipe]
    kind = "rloo" if recipe == "rloo" else "grpo"
    trainer, inputs = trl_batch(tiny, tmp_path, kind, REWARDS, **theirs)
    policy = Policy(f"hf/{tiny}", lora_rank=0, lora_alpha=1, seed=0)
    chosen = settings({"recipe": recipe, "lora_rank": 0, "max_tokens": 10, "group": GROUP, "micro_batch": 3, **mine})
    learner = Learner(policy, chosen)
    prompts = {task.id: policy.sampler.encode(task.prompt) for task in TASKS[:2]}
    groups = group_by_prompt(as_rollouts(inputs, REWARDS), prompts)
    learner._prepare(groups, None, Notes())

    count, length = inputs["completion_ids"].shape
    shift = 0.4 * torch.randn(count, length, generator=torch.Generator().manual_seed(1)) * old_weights
    now = torch.zeros(count, length)
    for group in groups:
        for row, rollout in enumerate(group.rollouts):
            one = slice(row, row + 1)
            scored = policy.score(group.prompt, group.tokens[one], group.mask[one], 1.0).logprobs.detach()
            now[rollout.sample.index, : scored.shape[1]] = scored[0]
    old = now + shift
    if kind == "rloo":
        inputs["old_logps"] = (old * inputs["completion_mask"]).sum(1)
    else:
        inputs["old_per_token_logps"] = old
    expected = trainer._compute_loss(trainer.model, inputs)
    expected.backward()

    total = torch.zeros(())
    for group, shares in zip(groups, coefficients(groups, chosen)):
        index = torch.tensor([one.sample.index for one in group.rollouts])
        group.tensors["old"] = old[index][:, : group.mask.shape[1]] * group.mask
        for part in (slice(0, 3), slice(3, 4)):
            total = total + learner._loss(group, part, shares, len(groups), Notes())[0]
    total.backward()
    assert float(total.detach()) == pytest.approx(float(expected.detach()), abs=2e-5)
    gradients = dict(trainer.model.named_parameters())
    for name, parameter in policy.trainable.items():
        scale = float(gradients[name].grad.abs().max())
        assert torch.allclose(parameter.grad, gradients[name].grad, atol=1e-3 * max(scale, 1e-4)), name


@pytest.mark.timeout(200)
def test_trls_trainer_learns_from_strops_rewards(tiny, tmp_path):
    """One real step of GRPOTrainer with the adapter on the real judge."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    from strop.judge import Judge

    protocol, tokenizer = protocols.get_protocol("completion"), AutoTokenizer.from_pretrained(str(tiny))
    rows = dataset_rows(TASKS[:2], protocol, tokenizer)
    with Judge(workers=1) as judge:
        trainer = GRPOTrainer(
            model=str(tiny),
            reward_funcs=trl_reward(binary(), TASKS, judge, protocol),
            args=GRPOConfig(
                output_dir=str(tmp_path), per_device_train_batch_size=4, num_generations=2, max_completion_length=6,
                max_steps=1, report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1,
                save_strategy="no", disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )  # fmt: skip
        trainer.train()
    (logged,) = [one for one in trainer.state.log_history if "reward" in one]
    assert logged["rewards/strop/mean"] == 0.0
    assert logged["strop/passed"] == 0.0
