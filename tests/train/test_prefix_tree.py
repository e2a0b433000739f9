"""A batch merged into a tree of tokens: each sequence gets what it would have alone."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.train.prefix_tree import collate, loss, prefix_tree

sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=6)


@given(sequences)
def test_paths_spell_the_sequences_and_see_their_ancestors_only(rows):
    tree = prefix_tree(rows)
    assert len(tree.tokens) == len({tuple(row[: end + 1]) for row in rows for end in range(len(row))})
    for row, path in zip(rows, tree.paths):
        assert tree.tokens[list(path)].tolist() == row
        assert tree.positions[list(path)].tolist() == list(range(len(row)))
        for place, node in enumerate(path):
            assert set(tree.sees[node].nonzero()[0]) == set(path[: place + 1])


@settings(max_examples=20, deadline=None)
@given(sequences, st.integers(0, 2**31))
def test_loss_and_gradient_are_those_of_the_sequences_one_by_one(rows, seed):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, initializer_range=0.5,
        )
    )  # fmt: skip
    learned = [{"input_ids": row, "labels": [-100, *row[1:]]} for row in rows]
    count = sum(len(row) - 1 for row in rows)
    if not count:
        return
    merged = loss(model, collate(learned))
    merged.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    alone = sum(
        model(torch.tensor([row])).logits[0, :-1].log_softmax(-1)[range(len(row) - 1), row[1:]].sum() for row in rows
    )
    (-alone / count).backward()
    torch.testing.assert_close(merged, -alone / count, rtol=1e-4, atol=1e-5)
    for gradient, parameter in zip(gradients, model.parameters()):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)
