"""Elements with two sides are put in order, chain by chain."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roadseg.roads.centerlines.chains import find_chains


def test_an_element_may_be_reversed_in_its_chain():
    chains = find_chains(np.array([-1, 3, 4, 1, 2, -1]))
    assert chains.order.tolist() == [0, 1, 2]
    assert chains.turned.tolist() == [False, True, False]
    assert chains.starts.tolist() == [0, 3]
    assert chains.ends.tolist() == [[0, 5]]
    assert chains.closed.tolist() == [False]


def test_a_ring_begins_with_its_lowest_element():
    chains = find_chains(np.array([-1, -1, 5, 7, 6, 2, 4, 3]))
    assert chains.order.tolist() == [0, 1, 3, 2]
    assert chains.turned.tolist() == [False, False, True, False]
    assert chains.starts.tolist() == [0, 1, 4]
    assert chains.closed.tolist() == [False, True]


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12), st.integers(0, 1000))
def test_chains_come_out_in_order(sizes_and_rings, seed):
    """Chains of some sizes, open or closed, whose elements are numbered and turned at random."""
    rng = np.random.default_rng(seed)
    elements = rng.permutation(sum(size for size, _ in sizes_and_rings))
    partner, drawn = np.full(2 * len(elements), -1), set()
    for size, is_ring in sizes_and_rings:
        chain, elements = elements[:size], elements[size:]
        drawn.add((frozenset(chain.tolist()), is_ring))
        entries = 2 * chain + rng.integers(0, 2, size)
        exits = entries ^ 1
        partner[exits[:-1]], partner[entries[1:]] = entries[1:], exits[:-1]
        if is_ring:
            partner[exits[-1]], partner[entries[0]] = entries[0], exits[-1]
    chains = find_chains(partner)
    found = set()
    for (begin, stop), ends, closed in zip(pairwise(chains.starts), chains.ends, chains.closed, strict=True):
        order = chains.order[begin:stop]
        found.add((frozenset(order.tolist()), bool(closed)))
        entries = 2 * order + chains.turned[begin:stop]
        exits = entries ^ 1
        assert ends.tolist() == [entries[0], exits[-1]]
        assert (partner[exits[:-1]] == entries[1:]).all()
    assert found == drawn
