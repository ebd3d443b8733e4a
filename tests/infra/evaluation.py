"""Evaluates variables of main.bicep for given parameters: the part of the language that its checks use."""

import operator
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
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"==": operator.eq, "!=": operator.ne, ">": operator.gt}


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


def _evaluate(node: tree_sitter.Node, look_up: Callable[[str], Any]) -> Any:  # noqa: PLR0911 - one for each kind of node
    def value_of(index: int) -> Any:
        return _evaluate(node.named_children[index], look_up)

    source = (node.text or b"").decode()
    match node.type:
        case "identifier":
            return look_up(source)
        case "number":
            return int(source)
        case "boolean":
            return source == "true"
        case "string":
            parts = [part for part in node.named_children if part.type != "escape_sequence"]
            return "".join(
                str(_evaluate(part.named_children[0], look_up)) if part.type == "interpolation" else _text(part)
                for part in parts
            )
        case "array":
            return [_evaluate(child, look_up) for child in node.named_children]
        case "parenthesized_expression":
            return value_of(0)
        case "unary_expression":
            return not value_of(0)
        case "ternary_expression":
            return value_of(1) if value_of(0) else value_of(2)
        case "binary_expression":
            sign = node.children[1].type
            if sign in {"&&", "||"}:
                return value_of(0) and value_of(1) if sign == "&&" else value_of(0) or value_of(1)
            return _OPERATORS[sign](value_of(0), value_of(1))
        case "call_expression":
            arguments = [_evaluate(child, look_up) for child in node.named_children[1].named_children]
            return _FUNCTIONS[_text(node.named_children[0])](*arguments)
    raise NotImplementedError(node.type)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()
