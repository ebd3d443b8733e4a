"""Reads the Bicep files into what the tests ask about, by tree-sitter's grammar: the compiler is not on PyPI."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter
import tree_sitter_bicep

ROOT = Path(__file__).parent.parent.parent
INFRA = ROOT / "infra"
BICEP = sorted(INFRA.glob("*.bicep"))
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


@dataclass(frozen=True)
class Declaration:
    """A resource, module, parameter, variable or output."""

    file: str
    kind: str
    """`resource`, `module`, `parameter`, `variable` or `output`."""
    symbol: str
    target: str
    """Of a resource its type with the version, of a module its file, of others the text of the type."""
    is_existing: bool
    condition: str | None
    """The text of the condition without its parentheses."""
    properties: dict[str, str]
    """The text of each value by its path, such as `properties.networkAcls.bypass`. Elements of arrays are left out."""
    text: str
    decorators: tuple[str, ...]

    @property
    def type(self) -> str:
        """A resource's type without the version."""
        return self.target.partition("@")[0]

    @property
    def value(self) -> str:
        """The text after the equals sign; empty if there is none."""
        return self.text.partition(" = ")[2]


def text(path: Path) -> str:
    """A file's text."""
    return path.read_text("utf-8")


def code_of(path: Path) -> str:
    """A Bicep file without its comments."""
    return re.sub(r"(?m)^\s*//.*$| // .*$", "", text(path))


def syntax_errors(source: str) -> list[str]:
    """The places that the grammar does not know."""

    def walk(node: tree_sitter.Node) -> Iterator[str]:
        if node.type == "ERROR" or node.is_missing:
            yield f"line {node.start_point.row + 1}: {_text(node)[:60]}"
        for child in node.children:
            yield from walk(child)

    return list(walk(PARSER.parse(source.encode()).root_node))


@functools.cache
def declarations(kind: str, file: str | None = None) -> tuple[Declaration, ...]:
    """All declarations of a kind, those in other resources included, in one file or in all."""
    paths = [INFRA / file] if file else BICEP
    return tuple(one for path in paths for one in _read(path) if one.kind == kind)


def deployed(resource_type: str) -> list[Declaration]:
    """The resources of a type that infra creates."""
    found = [one for one in declarations("resource") if one.type == resource_type and not one.is_existing]
    assert found, resource_type
    return found


@functools.cache
def _read(path: Path) -> tuple[Declaration, ...]:
    def walk(node: tree_sitter.Node) -> Iterator[Declaration]:
        decorators: tuple[str, ...] = ()
        for child in node.children:
            if child.type == "decorators":
                decorators = tuple(_text(one) for one in child.named_children)
            elif child.type.endswith("_declaration"):
                yield _declaration(path.name, child, decorators)
                decorators = ()
            yield from walk(child)

    return tuple(walk(PARSER.parse(path.read_bytes()).root_node))


def _declaration(file: str, node: tree_sitter.Node, decorators: tuple[str, ...]) -> Declaration:
    symbol, *others = node.named_children
    body, condition = others[-1] if others else symbol, None
    if body.type == "if_statement":
        condition = _text(body.named_children[0])[1:-1]
        body = body.named_children[-1]
    elif body.type == "for_statement":
        body = body.named_children[-1]
    return Declaration(
        file=file,
        kind=node.type.removesuffix("_declaration"),
        symbol=_text(symbol),
        target=_text(others[0]).strip("'") if others else "",
        is_existing=any(child.type == "existing" for child in node.children),
        condition=condition,
        properties=dict(_properties(body)) if body.type == "object" else {},
        text=_text(node),
        decorators=decorators,
    )


def _properties(node: tree_sitter.Node, prefix: str = "") -> Iterator[tuple[str, str]]:
    for child in node.named_children:
        if child.type != "object_property" or len(child.named_children) != 2:
            continue
        key, value = child.named_children
        path = prefix + _text(key).strip("'")
        yield path, _text(value)
        if value.type == "object":
            yield from _properties(value, f"{path}.")


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()
