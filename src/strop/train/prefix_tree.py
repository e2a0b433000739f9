"""Training batches in which what several sequences begin with is computed once.

Programs for one task share their prompt, all prompts of a task set share a chat template's first words, and programs
often begin alike. As a tree of tokens none of that is computed twice, and nothing is padded. Each token sees its
ancestors only and keeps its place in its sequence, so every sequence gets the hidden states it would have alone, and
the gradient is the same sum. Branches do not see each other, so attention is computed one branch at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strop.types import StropError

if TYPE_CHECKING:
    from torch import Tensor

ATTENTION = "strop_tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTree:
    """Sequences merged where they begin alike. Parents come before their children."""

    tokens: np.ndarray
    """Token of each node: int64 [nodes]."""
    positions: np.ndarray
    """Place of each node in its sequences, from 0: int64 [nodes]."""
    parents: np.ndarray
    """Node before each node, -1 where there is none: int64 [nodes]."""
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
    return PrefixTree(
        tokens=np.array(tokens, dtype=np.int64),
        positions=sees.sum(1) - 1,
        parents=np.array(parents, dtype=np.int64),
        sees=sees,
        paths=tuple(paths),
    )


def branches(tree: PrefixTree) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The parts into which attention falls: nodes int64 [Q], nodes they look at int64 [K], which they see bool [Q, K].

    What all sequences begin with is the trunk, which looks at itself; a branch looks at the trunk and at itself.
    """
    import torch

    trunk: np.ndarray = np.all(tree.sees[[path[-1] for path in tree.paths if path]], axis=0)
    branch = np.full(len(tree.tokens), -1)
    for node, parent in enumerate(tree.parents):
        if not trunk[node]:
            branch[node] = node if parent < 0 or trunk[parent] else branch[parent]
    shared = np.flatnonzero(trunk)
    parts = [(shared, shared)] if len(shared) else []
    for first in np.unique(branch[~trunk]):
        own = np.flatnonzero(branch == first)
        parts.append((own, np.concatenate([shared, own])))
    return [
        (torch.from_numpy(nodes), torch.from_numpy(seen), torch.from_numpy(tree.sees[np.ix_(nodes, seen)]))
        for nodes, seen in parts
    ]


def states(causal: Any, tokens: Tensor, positions: Tensor, parts: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Last hidden states [nodes, D] of a tree's nodes: tokens and positions [1, nodes], parts from `branches`.

    `causal` is a transformers causal language model that `strop.models.grouped.supports`.
    """
    import torch
    from transformers import AttentionInterface

    from strop.models.grouped import attending

    AttentionInterface.register(ATTENTION, _attention)
    backbone = getattr(causal, causal.base_model_prefix)
    order = torch.cat([nodes for nodes, _, _ in parts]).argsort()
    with attending(causal, ATTENTION):
        output = backbone(
            input_ids=tokens, position_ids=positions, use_cache=False, strop_branches=parts, strop_order=order
        )
    return output.last_hidden_state[0]


def _attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """transformers' attention interface: query [1, heads, nodes, size], key and value [1, key heads, nodes, size]."""
    import torch

    if options.get("dropout"):
        raise StropError("Batches merged into trees know no dropout of attention; set attention_dropout to 0.")
    repeats = query.shape[1] // key.shape[1]
    results = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, nodes],
            key[:, :, seen].repeat_interleave(repeats, 1),
            value[:, :, seen].repeat_interleave(repeats, 1),
            attn_mask=sees,
            scale=options.get("scaling"),
        )
        for nodes, seen, sees in options["strop_branches"]
    ]
    return torch.cat(results, 2)[:, :, options["strop_order"]].transpose(1, 2).contiguous(), None


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A trainer's batch from rows of `input_ids` and `labels` (-100 where nothing is to be learned).

    Returns `input_ids` and `position_ids` int64 [1, nodes], `parts` as `branches` gives them, and for every token to be
    learned, in the order of the rows: `sources`, the node before it, int64 [N], and `labels`, int64 [1, 1 + N], the
    token after a -100, because trainers count labels from the second on.
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
        "parts": branches(tree),
        "sources": sources,
        "labels": torch.cat([labels.new_tensor([-100]), labels])[None],
    }


def loss(causal: Any, batch: Mapping[str, Any], count: Any = None) -> Tensor:
    """Cross-entropy summed over a `collate`d batch's labels and divided by `count` (default: their number).

    `causal` as for `states`. Only the nodes before a label meet the vocabulary.
    """
    hidden = states(causal, batch["input_ids"], batch["position_ids"], batch["parts"])
    labels = batch["labels"][0, 1:]
    nodes, places = batch["sources"].unique(return_inverse=True)
    logprobs = causal.get_output_embeddings()(hidden[nodes]).float().log_softmax(-1)
    total = -logprobs[places, labels].sum()
    return total / (len(labels) if count is None else count)
