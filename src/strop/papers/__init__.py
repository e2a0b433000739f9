"""The catalogue of papers: what each adds, what it claims, how to run it here, and what was measured.

- `cards`: the 92 cards, `cards/NN-name.toml`, read and checked.
- `experiment`: what an experiment is: arms, tasks, seeds, settings, conditions. One module a paper in `experiments/`.
- `harness`: runs an experiment in resumable work items and writes `results/NN-name.json`.
- `results`: the results file: its schema, merging, and the code version that it was made by.
"""
