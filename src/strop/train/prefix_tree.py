"""Training batches in which what several sequences begin with is computed once.

Programs for one task share their prompt, all prompts of a task set share a chat template's first words, and programs
often begin alike. As a tree of tokens none of that is computed twice, and nothing is padded. Each token sees its
ancestors only and keeps its place in its sequence, so every sequence gets the hidden states it would have alone, and
the gradient is the same sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """Sequences merged where they begin alike. Parents come before their children."""

    tokens: np.ndarray
    """Token of each node: int64 [nodes]."""
    positions: np.ndarray
    """Place of each node in its sequences, from 0: int64 [nodes]."""
    sees: np.ndarray
    """Whether a node (row) sees another (column), that is, has it as an ancestor or is it: bool [nodes, nodes]."""
    paths: tuple[tuple[int, ...], ...]
    """The nodes of each sequence, in its order."""


def prefix_tree(sequences: Sequence[Sequence[int]]) -> PrefixTree:
    """Merge token sequences into a tree. Raises ValueError when there is no token at all."""
    children: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    parents: list[int] = []
    paths = []
    for sequence in sequences:
        node, path = -1, []
        for token in sequence:
            edge = (node, token)
            if edge not in children:
                children[edge] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = children[edge]
            path.append(node)
        paths.append(tuple(path))
    if not tokens:
        raise ValueError("a prefix tree needs at least one token")
    sees = np.eye(len(tokens), dtype=bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            sees[node] |= sees[parent]
    return PrefixTree(tokens=np.array(tokens, dtype=np.int64), positions=sees.sum(1) - 1, sees=sees, paths=tuple(paths))


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """A trainer's batch from rows of `input_ids` and `labels` (-100 where nothing is to be learned).

    Returns `input_ids` and `position_ids` int64 [1, nodes], `attention_mask` bool [1, 1, nodes, nodes], and for every
    token to be learned, in the order of the rows: `sources`, the node before it, int64 [N], and `labels`, int64
    [1, 1 + N], the token after a -100, because trainers count labels from the second on.
    """
    import torch

    tree = prefix_tree([row["input_ids"] for row in rows])
    edges = [
        (path[place - 1], label)
        for row, path in zip(rows, tree.paths)
        for place, label in enumerate(row["labels"])
        if place and label != -100
    ]
    sources, labels = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).unbind(1)
    return {
        "input_ids": torch.from_numpy(tree.tokens)[None],
        "position_ids": torch.from_numpy(tree.positions)[None],
        "attention_mask": torch.from_numpy(tree.sees)[None, None],
        "sources": sources,
        "labels": torch.cat([labels.new_tensor([-100]), labels])[None],
    }


def loss(causal: Any, batch: Mapping[str, Tensor], count: Any = None) -> Tensor:
    """Cross-entropy summed over a `collate`d batch's labels and divided by `count` (default: their number).

    `causal` is a transformers causal language model whose attention takes a mask of four axes (eager or sdpa). Only
    the nodes before a label meet the vocabulary.
    """
    backbone = getattr(causal, causal.base_model_prefix)
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}
    hidden = backbone(**inputs, use_cache=False).last_hidden_state[0]
    labels = batch["labels"][0, 1:]
    nodes, places = batch["sources"].unique(return_inverse=True)
    logprobs = causal.get_output_embeddings()(hidden[nodes]).float().log_softmax(-1)
    total = -logprobs[places, labels].sum()
    return total / (len(labels) if count is None else count)
