"""Where prompts' keys and values lie, and which are multiplied together."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

LEAST = 3


def stored(prefix):
    """What a prompt's keys are filled with in these tests."""
    return float(sum(prefix.tokens))


def shelf_of(counts):
    """A shelf with one prompt for each count, of so many rows."""
    import torch

    from strop.models.shelves import Prefix, Shelf
    from strop.models.starts import Encoding

    shelf, slot = Shelf(64), 0
    for number, count in enumerate(counts):
        prefix = Prefix((number, number + 1), None, 0, list(range(slot, slot + count)))
        filled = torch.full((2, 2, 4), stored(prefix))
        shelf.put(prefix, [Encoding(prefix.tokens, None, None, [filled, filled], [filled, filled])])
        slot += count
    return shelf


def check(shelf):
    """Every row is multiplied with its own prompt once, and at most half of what is computed is made up."""
    batches = list(shelf.batches(LEAST))
    seen = [slot for batch in batches for slot in batch.slots.tolist()]
    assert sorted(seen) == sorted(slot for prefix in shelf.prefixes for slot in prefix.slots)
    for batch in batches:
        places = batch.last - batch.first
        rows = batch.rows.view(places, -1)
        inside = [prefix for prefix in shelf.prefixes if batch.first <= prefix.place < batch.last]
        assert rows.numel() <= 2 * (sum(max(LEAST, len(prefix.slots)) for prefix in inside) + LEAST * places)
        for prefix in inside:
            assert rows[prefix.place - batch.first, : len(prefix.slots)].tolist() == prefix.slots
    for prefix in shelf.prefixes:
        for layer in (0, 1):
            assert (shelf.keys[layer][prefix.place, :, :, :2] == stored(prefix)).all()
            assert (shelf.values[layer][prefix.place, :, :2] == stored(prefix)).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.data())
def test_rows_stay_with_their_prompts(counts, data):
    shelf = shelf_of(counts)
    check(shelf)
    for _ in range(3):
        left = [prefix for prefix in shelf.prefixes if data.draw(st.booleans())]
        for prefix in left:
            prefix.slots = prefix.slots[: data.draw(st.integers(0, len(prefix.slots)))]
        shelf.keep(left)
        check(shelf)
        assert len({prefix.place for prefix in left}) == len(left)


def test_prompts_with_few_rows_are_not_computed_as_if_they_had_many():
    few, many = shelf_of([1, 1, 1, 1]), shelf_of([1, 1, 40, 1])
    assert len(list(few.batches(LEAST))) == 1
    assert sum(batch.rows.numel() for batch in many.batches(LEAST)) < 100, "40 for each of 4 would be 160"
