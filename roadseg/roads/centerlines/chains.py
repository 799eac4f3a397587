"""Chains of things that have two sides each, put in order by pointer doubling.

A thing is a pixel of a line, or a piece of a line from one block. Side 0 of thing ``i`` is number ``2 i``, side 1 is
``2 i + 1``, and a side's partner is the side it is tied to. Each round doubles how far all sides see, so a chain of
a million things takes twenty rounds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadseg.roads.mask.components import label_pairs

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Chains:
    """Things in order, chain by chain.

    Parameters
    ----------
    order
        (things,) int64: chain ``k`` is made of those from ``starts[k]`` up to ``starts[k + 1]``.
    turned
        (things,) bool, beside ``order``: whether it is entered by side 1.
    starts
        (chains + 1,) int64.
    ends
        (chains, 2) int64: the open sides a chain begins and ends with.
    closed
        (chains,) bool: whether these two were tied together, so that the chain is a ring. A ring begins with
        its lowest thing.
    """

    order: Ints
    turned: Bools
    starts: Ints
    ends: Ints
    closed: Bools


def find_chains(partner: Ints) -> Chains:
    """Return all chains.

    Parameters
    ----------
    partner
        (2 things,) int64: the side each side is tied to, -1 if it is open.
    """
    sides = np.arange(len(partner))
    partner = partner.copy()
    goal, steps = _started(partner, sides)
    _double(goal, steps, partner)
    rings = np.flatnonzero(partner[goal] >= 0)
    cut = _first_of_rings(partner, rings) * 2
    partner[partner[cut]] = -1
    partner[cut] = -1
    goal[rings], steps[rings] = _started(partner, rings)
    _double(goal, steps, partner)
    return _collected(goal.reshape(-1, 2), steps.reshape(-1, 2), cut)


def _started(partner: Ints, sides: Ints) -> tuple[Ints, Ints]:
    """Return, for some sides, the far side of the next thing and one step, or themselves and none at an end."""
    tied = partner[sides] >= 0
    return np.where(tied, partner[sides] ^ 1, sides), tied.astype(np.int64)


def _double(goal: Ints, steps: Ints, partner: Ints) -> None:
    """Move all goals to the ends of their chains; those of rings stay on the way."""
    for _ in range(len(goal).bit_length()):
        on_way = np.flatnonzero(partner[goal] >= 0)
        if not len(on_way):
            return
        there = goal[on_way]
        steps[on_way] += steps[there]
        goal[on_way] = goal[there]


def _first_of_rings(partner: Ints, sides: Ints) -> Ints:
    """Return the lowest thing of each ring; all sides of rings are given, in order."""
    things = sides[::2] >> 1
    if not len(things):
        return things
    number = np.zeros(len(partner) // 2, np.int64)
    number[things] = np.arange(len(things))
    links = np.column_stack([number[sides >> 1], number[partner[sides] >> 1]])
    _, labels = label_pairs(len(things), links)
    lowest: Ints = things[np.unique(labels, return_index=True)[1]]
    return lowest


def _collected(goal: Ints, steps: Ints, cut: Ints) -> Chains:
    """Put each thing where its steps from the beginning say; a chain begins with the lower of its two open sides."""
    turned = goal[:, 1] < goal[:, 0]
    begin = np.where(turned, goal[:, 1], goal[:, 0])
    place = np.where(turned, steps[:, 1], steps[:, 0])
    heads = np.flatnonzero(place == 0)
    heads = heads[np.argsort(begin[heads], kind="stable")]
    chain = np.zeros(2 * len(goal), np.int64)
    chain[begin[heads]] = np.arange(len(heads))
    of = chain[begin]
    starts = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(heads)))])
    order = np.zeros(len(goal), np.int64)
    order[starts[of] + place] = np.arange(len(goal))
    ends = np.column_stack([begin[heads], np.maximum(goal[heads, 0], goal[heads, 1])])
    return Chains(order, turned[order], starts, ends, np.isin(ends[:, 0], cut))
