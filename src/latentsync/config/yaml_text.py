"""YAML within bounds: a short text can stand for gigabytes (aliases of aliases) or exhaust a parser (deep nesting)."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from latentsync.core.reading import DEEPEST, SETTINGS_BYTES

MOST_VALUES = 100_000
"""Keys and values of one file, those that aliases repeat counted as often as they are repeated."""
LONGEST_NUMBER = 40
"""Letters of a number; one of thousands of digits is no setting."""


class SettingsLoader(yaml.SafeLoader):
    """YAML 1.1 takes `1e-4` for text, `2020-01-31` for a day and `1:30` for the number 90; here these are a number,
    text and text."""

    def construct_yaml_int(self, node: Any) -> int:
        self._refuse_long(node)
        return int(super().construct_yaml_int(node))

    def construct_yaml_float(self, node: Any) -> float:
        self._refuse_long(node)
        return float(super().construct_yaml_float(node))

    def _refuse_long(self, node: Any) -> None:
        if len(node.value) > LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)


_RESOLVED = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":int", ":float"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
SettingsLoader.yaml_implicit_resolvers = _RESOLVED
SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(0b[0-1_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"([-+]?(\d[\d_]*(\.[\d_]*)?([eE][-+]?\d+)?|\.\d[\d_]*([eE][-+]?\d+)?|\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN)$"
    ),
    list("-+0123456789."),
)
SettingsLoader.add_constructor("tag:yaml.org,2002:int", SettingsLoader.construct_yaml_int)
SettingsLoader.add_constructor("tag:yaml.org,2002:float", SettingsLoader.construct_yaml_float)


def parse_yaml(text: str, loader: type[Any] = SettingsLoader) -> Any:
    """The content of a YAML text.

    Args: loader: `yaml.BaseLoader` leaves every value as text.
    Raises: yaml.YAMLError: not YAML. ValueError: longer than a file of settings, nested too deep, values without end.
    """
    if len(text) > SETTINGS_BYTES:
        raise ValueError("too long")
    _refuse_deep(text, loader)
    maker = loader(text)
    try:
        root = maker.get_single_node()
        if root is None:
            return None
        _refuse_many(root)
        return maker.construct_document(root)
    except (RecursionError, ArithmeticError, AttributeError, TypeError, LookupError) as error:
        raise ValueError("not understood") from error  # an explicit tag on a value that cannot be that
    finally:
        maker.dispose()


def problem(error: Exception) -> str:
    """What is wrong with a YAML text, in a few words: ` at line 3`, or ` (nested too deep)`."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f" at line {mark.line + 1}"
    return "" if isinstance(error, yaml.YAMLError) else f" ({error})"


def _refuse_deep(text: str, loader: type[Any]) -> None:
    depth = 0
    for event in yaml.parse(text, loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deep")


def _refuse_many(root: Node) -> None:
    sizes: dict[int, int] = {}

    def size(node: Node, above: frozenset[int]) -> int:
        number = id(node)
        if number in above:
            raise ValueError("an alias of what it stands in")
        if number not in sizes:
            inner: list[Node] = []
            if isinstance(node, SequenceNode):
                inner = node.value
            elif isinstance(node, MappingNode):
                inner = [each for pair in node.value for each in pair]
            sizes[number] = 1 + sum(size(each, above | {number}) for each in inner)
            if sizes[number] > MOST_VALUES:
                raise ValueError("aliases that stand for too many values")
        return sizes[number]

    size(root, frozenset())
