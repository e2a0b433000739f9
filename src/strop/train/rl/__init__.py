"""Reinforcement learning on verdicts.

    recipes.py     what each method is made of; settings
    loop.py        sample -> judge -> reward -> advantages -> updates -> checkpoint
    policy.py      a model that samples and learns: LoRA or all weights, one copy for sampling
    buffer.py      one step's rollouts, padded into tensors
    advantages.py  baselines, group and batch normalisation, GAE
    losses.py      policy-gradient and value losses, token coefficients, KL estimators
    ranking.py     RRHF and GEPO                    qlearning.py  losses of Q-learning on a model's own logits
    learner.py     one step's updates               prepare.py    what is worked out before the first of them
    bcoder.py      B-Coder's learner and ranker     oorl.py       OORL's learner: GEPO beside the policy's loss
    collector.py   asynchronous collection          duration.py   duration-aware learning on training programs
    weights.py     critic, duration and rank weights and how well a reward predicts the truth
    critic.py      CodeRL's outcome critic          monitors.py   entropy, length and reward-hacking monitors

Everything in advantages, losses, ranking, qlearning and weights is a pure function of tensors. Letters in shapes:
N samples of a step, B sequences of a batch, T completion tokens (padded), V vocabulary, D hidden size.
"""
