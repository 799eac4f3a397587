"""Elements with two sides are put in order, chain by chain."""

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


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(0, 1000))
def test_chains_come_out_in_order(sizes, seed):
    rng = np.random.default_rng(seed)
    elements = rng.permutation(sum(sizes))
    turned = rng.integers(0, 2, len(elements))
    partner, rings, chains, at = np.full(2 * len(elements), -1), set(), [], 0
    for size in sizes:
        chain = elements[at : at + size]
        entry, way_out = 2 * chain + turned[at : at + size], 2 * chain + 1 - turned[at : at + size]
        is_ring = bool(rng.integers(2))
        for one, other in zip(way_out, np.roll(entry, -1), strict=True):
            if is_ring or one != way_out[-1]:
                partner[one], partner[other] = other, one
        rings |= {frozenset(chain.tolist())} if is_ring else set()
        chains.append(chain.tolist())
        at += size
    found = find_chains(partner)
    parts = [found.order[a:b].tolist() for a, b in zip(found.starts[:-1], found.starts[1:], strict=True)]
    assert {frozenset(part) for part in parts} == {frozenset(chain) for chain in chains}
    assert {frozenset(part) for part, closed in zip(parts, found.closed, strict=True) if closed} == rings
    sides = 2 * found.order + found.turned
    for (begin, stop), ends in zip(zip(found.starts[:-1], found.starts[1:], strict=True), found.ends, strict=True):
        assert ends[0] == sides[begin]
        assert ends[1] == sides[stop - 1] ^ 1
        assert (partner[sides[begin : stop - 1] ^ 1] == sides[begin + 1 : stop]).all()
