"""Evaluates variables of main.bicep for given parameters: the part of the language that its checks use."""

from collections.abc import Callable, Mapping
from typing import Any

import tree_sitter

from tests.infra.bicep import PARSER, declarations


class RefusedError(Exception):
    """`fail` was called; the message is its text."""


def _fail(message: str) -> None:
    raise RefusedError(message)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "empty": lambda value: not value,
    "contains": lambda whole, part: part in whole,
    "startsWith": lambda whole, start: whole.startswith(start),
    "toLower": str.lower,
    "fail": _fail,
}
_OPERATORS: dict[str, Callable[[Callable[[], Any], Callable[[], Any]], Any]] = {
    "==": lambda left, right: left() == right(),
    "!=": lambda left, right: left() != right(),
    ">": lambda left, right: left() > right(),
    "&&": lambda left, right: left() and right(),
}


def variable(name: str, parameters: Mapping[str, Any]) -> Any:
    """The value of a variable of main.bicep, with its parameters' defaults where none is given.

    Raises:
        RefusedError: the value is refused.
    """
    values = {one.symbol: one.value for one in declarations("variable", "main.bicep")}
    defaults = {one.symbol: one.value for one in declarations("parameter", "main.bicep")}

    def look_up(symbol: str) -> Any:
        if symbol in parameters:
            return parameters[symbol]
        return _evaluate(_expression(values.get(symbol) or defaults[symbol]), look_up)

    return look_up(name)


def _expression(source: str) -> tree_sitter.Node:
    return PARSER.parse(f"var x = {source}\n".encode()).root_node.named_children[0].named_children[1]


def _evaluate(node: tree_sitter.Node, look_up: Callable[[str], Any]) -> Any:
    def value_of(index: int) -> Any:
        return _evaluate(node.named_children[index], look_up)

    kinds: dict[str, Callable[[], Any]] = {
        "identifier": lambda: look_up(_text(node)),
        "number": lambda: int(_text(node)),
        "boolean": lambda: _text(node) == "true",
        "string": lambda: "".join(str(_evaluate(part, look_up)) for part in node.named_children),
        "string_content": lambda: _text(node),
        "interpolation": lambda: value_of(0),
        "array": lambda: [_evaluate(child, look_up) for child in node.named_children],
        "arguments": lambda: [_evaluate(child, look_up) for child in node.named_children],
        "parenthesized_expression": lambda: value_of(0),
        "unary_expression": lambda: not value_of(0),
        "ternary_expression": lambda: value_of(1) if value_of(0) else value_of(2),
        "binary_expression": lambda: _OPERATORS[node.children[1].type](lambda: value_of(0), lambda: value_of(1)),
        "call_expression": lambda: _FUNCTIONS[_text(node.named_children[0])](*value_of(1)),
    }
    return kinds[node.type]()


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()
