"""Chains of two-sided elements, put in order by pointer doubling.

An element is a pixel of a line, or a segment of a line in one block; each of its two sides may be joined to a side of
another element. Side 0 of element ``i`` is number ``2 * i`` and side 1 is ``2 * i + 1``, so ``side ^ 1`` is the other
side of an element and ``side >> 1`` the element itself::

          element 0        element 1        element 2
         ┌─────────┐      ┌─────────┐      ┌─────────┐
    open 0         1 ──── 3         2 ──── 4         5 open        partner = [-1, 3, 4, 1, 2, -1]
         └─────────┘      └─────────┘      └─────────┘             (element 1 is reversed in the chain)

Each round doubles how far every side sees (Wyllie, 1979), so a chain of a million elements takes twenty rounds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.ragged import offsets
from roadseg.roads.mask.components import label_pairs

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Chains:
    """Elements in order, chain by chain.

    Parameters
    ----------
    order
        (elements,) int64: chain ``k`` consists of those from ``starts[k]`` up to ``starts[k + 1]``.
    turned
        (elements,) bool, beside ``order``: whether the element is entered by side 1.
    starts
        (chains + 1,) int64.
    ends
        (chains, 2) int64: the open sides a chain begins and ends with.
    closed
        (chains,) bool: whether these two were joined, so that the chain is a ring. A ring begins with its lowest
        element.
    """

    order: Ints
    turned: Bools
    starts: Ints
    ends: Ints
    closed: Bools


def find_chains(partner: Ints) -> Chains:
    """Return all chains, those with the lowest open side first.

    Parameters
    ----------
    partner
        (2 * elements,) int64: the side that each side is joined to, -1 if it is open.
    """
    sides = np.arange(len(partner))
    partner = partner.copy()
    goal, steps = _first_steps(partner, sides)
    _double(goal, steps, partner)
    rings = np.flatnonzero(partner[goal] >= 0)
    cut = _lowest_of_rings(partner, rings) * 2
    partner[partner[cut]] = -1
    partner[cut] = -1
    goal[rings], steps[rings] = _first_steps(partner, rings)
    _double(goal, steps, partner)
    return _collected(goal.reshape(-1, 2), steps.reshape(-1, 2), cut)


def _first_steps(partner: Ints, sides: Ints) -> tuple[Ints, Ints]:
    """Return for each side the far side of the next element and 1 step, or an open side itself and 0 steps."""
    joined = partner[sides] >= 0
    return np.where(joined, partner[sides] ^ 1, sides), joined.astype(np.int64)


def _double(goal: Ints, steps: Ints, partner: Ints) -> None:
    """Move all goals to the ends of their chains; those of rings never arrive."""
    # Looking outward from a side, goal is some side further on and steps the number of elements up to there.
    # The goal of the goal is twice as far:
    #
    #     round 0    0 → 1 → 2 → 3 → 4 (open)
    #     round 1    0 ────→ 2 ────→ 4
    #     round 2    0 ────────────→ 4
    on_way = np.arange(len(goal))
    for _ in range(len(goal).bit_length()):
        on_way = on_way[partner[goal[on_way]] >= 0]
        if not len(on_way):
            return
        there = goal[on_way]
        steps[on_way] += steps[there]
        goal[on_way] = goal[there]


def _lowest_of_rings(partner: Ints, sides: Ints) -> Ints:
    """Return the lowest element of each ring, given all sides of rings in order."""
    elements = sides[::2] >> 1
    index = np.zeros(len(partner) // 2, np.int64)
    index[elements] = np.arange(len(elements))
    _, labels = label_pairs(len(elements), np.column_stack([index[sides >> 1], index[partner[sides] >> 1]]))
    lowest: Ints = elements[np.unique(labels, return_index=True)[1]]
    return lowest


def _collected(goal: Ints, steps: Ints, cut: Ints) -> Chains:
    """Sort elements into chains; a chain begins with the lower of its two open sides.

    Parameters
    ----------
    goal, steps
        (elements, 2): the open side beyond either side of an element, and the number of elements up to there.
    cut
        The sides at which rings were cut open.
    """
    turned = goal[:, 1] < goal[:, 0]
    begin = np.where(turned, goal[:, 1], goal[:, 0])
    rank = np.where(turned, steps[:, 1], steps[:, 0])
    heads = np.flatnonzero(rank == 0)
    heads = heads[np.argsort(begin[heads], kind="stable")]
    chain_at = np.zeros(2 * len(goal), np.int64)
    chain_at[begin[heads]] = np.arange(len(heads))
    chain = chain_at[begin]
    starts = offsets(np.bincount(chain, minlength=len(heads)))
    order = np.zeros(len(goal), np.int64)
    order[starts[chain] + rank] = np.arange(len(goal))
    ends = np.column_stack([begin[heads], np.maximum(goal[heads, 0], goal[heads, 1])])
    return Chains(order, turned[order], starts, ends, np.isin(ends[:, 0], cut))
