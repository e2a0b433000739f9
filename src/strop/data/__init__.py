"""Training data made from programs and what they did: one file a construction, over shared pools of judged programs.

    pools, dropped = pool_up(tasks, samples, verdicts)          # what a run holds
    pools = with_matrices(pools, tests_of, judge)               # programs x tests, for rules that rank
    built = build(pools, codedpo.correctness(), protocol, method="codedpo", per_task=1, seed=0)
    write_pairs(built.pairs, Path("pairs.jsonl"))

- `plum`, `dstc`, `codedpo`, `ranked`: rules that turn a pool into pairs.
- `refine`: pairs from a model's own corrections. `codefavor`: pairs from commits and critiques.
- `written_tests`: tests that models write, and how good they are.
- `audit`: length confound, contamination, and checking every pair again. `export`: TRL's layouts.
- `snippets`, `predict`: CodeBoost's curation and tasks from bare code.

Every builder counts what it dropped and why, and is deterministic in its inputs and seed.
"""

from strop.data.export import LAYOUTS, write_pairs
from strop.data.pairs import Built, Draft, NoPair, Rule, build
from strop.data.pools import Candidate, Pool, pool_up, with_matrices

__all__ = [
    "LAYOUTS",
    "Built",
    "Candidate",
    "Draft",
    "NoPair",
    "Pool",
    "Rule",
    "build",
    "pool_up",
    "with_matrices",
    "write_pairs",
]
