# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders of services by their dependencies. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def find_cycle(edges: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The nodes of one cycle, the first repeated at the end; empty when there is none."""
    done: set[str] = set()
    for start in edges:
        trail: list[str] = []
        on_trail: set[str] = set()
        # An explicit stack: a stack file may chain more services than Python's recursion allows.
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            node, index = stack.pop()
            if index == 0:
                if node in done:
                    continue
                trail.append(node)
                on_trail.add(node)
            following = edges.get(node, ())
            if index < len(following):
                stack.append((node, index + 1))
                after = following[index]
                if after in on_trail:
                    return (*trail[trail.index(after):], after)
                stack.append((after, 0))
            else:
                done.add(node)
                on_trail.discard(node)
                trail.remove(node)
    return ()


def order(edges: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Waves of nodes: each node stands in a later wave than all it depends on. There must be no cycle."""
    level: dict[str, int] = {}
    waves: list[tuple[str, ...]] = []
    left = dict(edges)
    while left:
        wave = tuple(n for n, after in left.items() if all(a in level for a in after))
        if not wave:
            raise ValueError("the graph has a cycle")
        waves.append(wave)
        level.update((n, len(waves)) for n in wave)
        for node in wave:
            del left[node]
    return tuple(waves)
