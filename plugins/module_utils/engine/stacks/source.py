# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML with positions: every value knows the line it stands on, so that an error can name file, line and key.

The text is read by PyYAML's composer (YAML 1.1), which builds nodes and runs nothing; this module turns nodes
into plain values with the rules a stack file needs: no duplicate keys, no aliases that explode, variables
replaced in scalars.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

# A stack file of ten thousand values is a mistake or an attack ("billion laughs").
MAX_NODES = 100_000
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<op>:?[-?+])?(?P<word>[^}]*)\}|(?P<junk>\{[^}]*\}?))")


@dataclass(frozen=True)
class Place:
    """Where a value stands: file, line (from 1) and the path of keys that leads to it."""

    file: str
    line: int
    path: tuple[str, ...] = ()

    def error(self, problem: str, *, hint: str = "", code: str = "stack.invalid") -> UsageError:
        """An error about this place, in the form ``FILE:LINE: a.b.c: problem``."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {'.'.join(self.path)}:" if self.path else ""
        return UsageError(f"{where}:{key} {problem}", code=code, hint=hint)


class Mapped(dict):  # type: ignore[type-arg]
    """A mapping that knows where it and each of its keys stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[str, Place] = {}

    def at(self, key: str) -> Place:
        """The place of ``key``, or of the mapping itself when there is no such key."""
        return self.places.get(key, self.place)


class Listed(list):  # type: ignore[type-arg]
    """A list that knows where each of its items stands."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []


def load(text: str, file: str, variables: Mapping[str, str]) -> Mapped:
    """The mapping that ``text`` holds.

    :param file: the name shown in errors
    :param variables: for ``$NAME``, ``${NAME}``, ``${NAME:-default}``, ``${NAME:?message}``, ``${NAME:+other}``
    :raises UsageError: code ``stack.yaml`` for bad YAML, ``stack.invalid`` for the rest
    """
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise Place(file, line).error(f"not valid YAML: {error.problem}", code="stack.yaml") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Place(file, 0).error(f"not valid YAML: {error}", code="stack.yaml") from error
    start = Place(file, 1)
    if node is None:
        raise start.error("the file is empty", hint="a stack needs at least `services:`")
    value = _Builder(file, variables).build(node, Place(file, node.start_mark.line + 1))
    if not isinstance(value, Mapped):
        raise start.error("expected a mapping at the top", hint="a stack starts with `services:`")
    return value


class _Builder:
    def __init__(self, file: str, variables: Mapping[str, str]) -> None:
        import yaml

        self.file = file
        self.variables = variables
        self.count = 0
        self.yaml = yaml
        self.loader: Any = yaml.SafeLoader("")

    def build(self, node: Any, place: Place) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise place.error(f"the file holds more than {MAX_NODES} values")
        if isinstance(node, self.yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, self.yaml.SequenceNode):
            return self._sequence(node, place)
        return self._scalar(node, place)

    def _sequence(self, node: Any, place: Place) -> Listed:
        result = Listed(place)
        for index, item in enumerate(node.value):
            at = Place(self.file, item.start_mark.line + 1, (*place.path, str(index)))
            result.append(self.build(item, at))
            result.places.append(at)
        return result

    def _mapping(self, node: Any, place: Place) -> Mapped:
        result = Mapped(place)
        merged: list[Any] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, self.yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, self.yaml.ScalarNode):
                raise Place(self.file, line, place.path).error("a key must be a plain word")
            key = str(key_node.value)
            at = Place(self.file, line, (*place.path, key))
            if key in result:
                raise at.error(f"the key stands twice, first on line {result.at(key).line}")
            result[key] = self.build(value_node, at)
            result.places[key] = at
        for item in merged:
            self._merge(result, item, place)
        return result

    def _merge(self, result: Mapped, node: Any, place: Place) -> None:
        """YAML's ``<<``: keys that the mapping has itself win."""
        if not isinstance(node, self.yaml.MappingNode):
            raise place.error("`<<` needs a mapping")
        other = self._mapping(node, place)
        for key, value in other.items():
            if key not in result:
                result[key] = value
                result.places[key] = other.at(key)

    def _scalar(self, node: Any, place: Place) -> Any:
        if node.tag == "tag:yaml.org,2002:str" or "$" in node.value:
            text = substitute(str(node.value), self.variables, place)
            if text == node.value or node.style in ("'", '"', "|", ">"):
                return text
            # A replaced plain scalar takes the type it would have had in the file: `cpus: ${CPUS}`.
            node = self.yaml.ScalarNode(self.loader.resolve(self.yaml.ScalarNode, text, (True, False)), text)
        # YAML 1.1 reads 22:22 as a number to base 60, and 2026-01-02 as a date; nobody who writes a port means that.
        if node.tag.endswith(":timestamp") or (":" in node.value and node.tag.endswith((":int", ":float"))):
            return str(node.value)
        try:
            return self.loader.construct_object(node)
        except (self.yaml.YAMLError, ValueError) as error:
            raise place.error(f"{node.value!r} is not understood") from error


def substitute(text: str, variables: Mapping[str, str], place: Place) -> str:
    """``text`` with its variables replaced, by the rules of POSIX shells (2.6.2 Parameter Expansion)."""

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["junk"]:
            raise place.error(f"{match['junk']!r} is not a variable", hint="write $$ for a dollar sign")
        name, operator, word = match["plain"] or match["name"], match["op"] or "", match["word"] or ""
        if word and not operator:
            raise place.error(f"'${{{name}{word}}}' is not understood", hint="use ${NAME:-default}")
        value = variables.get(name)
        there = value is not None and (value != "" or not operator.startswith(":"))
        if operator.endswith("+"):
            return word if there else ""
        if there:
            return value or ""
        if operator.endswith("-"):
            return word
        if operator.endswith("?") or not operator:
            raise place.error(f"the variable {name} is not set{': ' + word if word else ''}",
                              hint=f"set {name} in the environment, or write ${{{name}:-default}}",
                              code="stack.variable")
        return ""

    return _VARIABLE.sub(replace, text)


def check_keys(mapping: Mapped, known: Iterable[str]) -> None:
    """Refuse keys that are not in ``known``, naming the nearest known word. ``x-`` keys are the user's own."""
    words = sorted(known)
    for key in mapping:
        if key in words or key.startswith("x-"):
            continue
        near = difflib.get_close_matches(key, words, 1, 0.6)
        raise mapping.at(key).error(
            "this key is not known", code="stack.unknown_key",
            hint=f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(words)}")


def expect(value: Any, place: Place, kind: type | tuple[type, ...], wanted: str) -> Any:
    """``value`` when it is of ``kind`` (a boolean is no number here), else an error saying what was ``wanted``."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool) and bool not in kinds:
        raise place.error(f"expected {wanted}, found {str(value).lower()}")
    if not isinstance(value, kinds):
        found = "nothing" if value is None else _kind_name(value)
        raise place.error(f"expected {wanted}, found {found}")
    return value


def _kind_name(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value)
