"""TinyCoder: a small model of real Python on which training claims can be tested over several seeds.

    bed = tinycoder.make("runs/tinycoder", seed=0)              # pretrains once
    strop improve --model hf/runs/tinycoder/model --tasks runs/tinycoder/tasks.jsonl --as completion

It is a testbed, not a language model: its vocabulary is some sixty fragments of Python, its problems are compositions
of two or three list operations. But it is an ordinary transformers model with an ordinary tokenizer, its programs are
compiled and judged like any others, and what it learns from holds every kind of mistake (syntax, runtime, wrong), so
that each learner of Strop runs on it unchanged, key-value cache included. A result on it shows that a mechanism works,
never how much it would gain on a language model; papers that use it must say so.

- `problems`: the operations, the tasks in three splits, and demonstrations with the bugs that a corpus has.
- `fragments`: vocabulary and tokenizer.
- `pretrain`: the model and `make`.
- `cost`: what a program costs, counted exactly: every operation has a cheap and a dear implementation.
- `speed`: counted cost in the place of measured time, for rewards.
- `practice`, `rl`: what experiments share: models of a seed, judged samples, training under `strop train rl`'s loop.
"""

from strop.papers.tinycoder.cost import cost
from strop.papers.tinycoder.pretrain import Testbed, TinySettings, make
from strop.papers.tinycoder.problems import demonstrations, tasks

__all__ = ["Testbed", "TinySettings", "cost", "demonstrations", "make", "tasks"]
