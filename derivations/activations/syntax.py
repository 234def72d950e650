"""The syntax tree of an untrusted formula: its size is bounded, and each word in it is known.

A text becomes a tree only if its length, characters and nesting are within bounds. In the tree, module prefixes such as
``torch.nn.functional.`` are taken off, words become the names of :mod:`derivations.activations.words`, and a word
that is none of them, no constant and no variable is refused with close names. A variable is one letter.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import NoReturn

from derivations.activations.words import IMPOSSIBLE, INNER_MODULES, MODULES, WORDS, find, key, spellings
from derivations.errors import UnsafeExpression, shown, unknown

MAX_LENGTH = 1000  # characters
MAX_NODES = 250  # of the syntax tree
MAX_DEPTH = 40  # of the syntax tree, and of parentheses
CONSTANTS = ("pi", "e")


def to_check(text: str) -> str:
    """What to look at in a formula that does not parse: brackets that do not match, else everything.

    Examples
    --------
    >>> to_check("A(relu(B(x))"), to_check("x + A(x))"), to_check("x +")
    ('1 bracket is not closed', "a ')' closes no bracket", 'check operators, commas and parentheses')
    """
    opened = 0
    for character in text:
        opened += (character in "([{") - (character in ")]}")
        if opened < 0:
            return f"a {character!r} closes no bracket"
    if opened:
        return "1 bracket is not closed" if opened == 1 else f"{opened} brackets are not closed"
    return "check operators, commas and parentheses"


def refuse(cause: str, advice: str = "rewrite the formula") -> NoReturn:
    """Stop with the cause and what to do about it."""
    raise UnsafeExpression(f"{cause}; {advice}")


def shorten(text: str) -> str:
    """A text in quotes, plain and short enough for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def syntax(text: str) -> ast.expr:
    """The tree of a text, in which every word is known."""
    if not isinstance(text, str):
        refuse(f"the formula must be text, got {shown(text)}", "give the formula as text")
    if len(text) > MAX_LENGTH:
        refuse(f"the formula has {len(text)} characters", f"use at most {MAX_LENGTH}")
    if not text.strip():
        refuse("the formula is an empty text", "give a name such as relu, or a formula such as x*tanh(x)")
    if whole := _whole_word(text.strip()):
        return ast.Name(id=whole)
    if foreign := re.search(r"[^A-Za-z0-9_.+\-*/(), \t<>='\"]", text):
        power = "; write powers with **" if foreign[0] == "^" else ""
        refuse(f"the character {foreign[0]!r} in {shorten(text)} cannot be read", f"use plain ASCII formulas{power}")
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        refuse(f"parentheses are nested {deepest} deep", f"nest at most {MAX_DEPTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd literals such as 1if: they are refused below or above
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnsafeExpression(f"{shorten(text)} does not parse; {to_check(text)}") from error
    level, nodes = [body], 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        level = [child for node in level for child in _children(node)]
    if level or nodes > MAX_NODES:
        refuse(
            f"{shorten(text)} is too large",
            f"use at most {MAX_NODES} operations, at most {MAX_DEPTH} inside one another",
        )
    cleaned: ast.expr = _Words().visit(body)
    return cleaned


def _children(node: ast.expr) -> list[ast.expr]:
    inside = [child.value if isinstance(child, ast.keyword) else child for child in ast.iter_child_nodes(node)]
    return [child for child in inside if isinstance(child, ast.expr)]


def _whole_word(text: str) -> str | None:
    """A name that is no Python name, such as "leaky-relu" or "squared relu"."""
    words = re.fullmatch(r"[A-Za-z]\w*(?:[ -]\w+)*", text, re.ASCII)
    if words and key(text) in IMPOSSIBLE:
        refuse_word(text)
    return find(text) if words else None


def refuse_word(word: str) -> NoReturn:
    """Stop at a word that names no function of one variable."""
    if reason := IMPOSSIBLE.get(key(word)):
        refuse(f"{shorten(word)} cannot be an activation", reason)
    raise UnsafeExpression(f"{unknown('word', word, spellings())}; a variable is one letter, such as x")


class _Words(ast.NodeTransformer):
    """Takes modules off, and puts for each word the name under which it is known."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        inner: ast.expr = node.value
        while isinstance(inner, ast.Attribute) and inner.attr in INNER_MODULES:
            inner = inner.value
        if not isinstance(inner, ast.Name) or inner.id not in MODULES:
            refuse(f"{shorten(ast.unparse(node))} (Attribute) cannot be read", "write functions without attributes")
        return self._named(ast.copy_location(ast.Name(id=node.attr, ctx=ast.Load()), node), called=False)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._named(node, called=False)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        function = node.func
        if isinstance(function, ast.Attribute):
            function = self.visit(function)
        function = self._named(function, called=True) if isinstance(function, ast.Name) else self.visit(function)
        if isinstance(function, ast.Name) and function.id == "gelu":
            function, node = _approximated(function, node)
        kept = [k for k in node.keywords if k.arg != "inplace"]  # PyTorch's, which changes no value
        keywords = [ast.keyword(arg=k.arg, value=self.visit(k.value)) for k in kept]
        call = ast.Call(func=function, args=[self.visit(argument) for argument in node.args], keywords=keywords)
        return ast.copy_location(call, node)

    def _named(self, node: ast.Name, called: bool) -> ast.Name:
        if not called and (node.id in CONSTANTS or node.id.lower() in CONSTANTS):
            return ast.copy_location(ast.Name(id=node.id.lower(), ctx=ast.Load()), node)
        if not called and len(node.id) == 1 and node.id.isalpha() and node.id != "I":
            return node
        name = find(node.id)
        if name is None:
            refuse_word(node.id)
        return ast.copy_location(ast.Name(id=name, ctx=ast.Load()), node)


_APPROXIMATIONS = {"tanh": "gelu_tanh", True: "gelu_tanh", "none": "gelu", False: "gelu"}


def _approximated(function: ast.Name, call: ast.Call) -> tuple[ast.Name, ast.Call]:
    """The word "gelu" with an argument that names its approximation: tanh, none, True or False."""

    def meant(node: ast.expr) -> str | None:
        word = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
        return _APPROXIMATIONS.get(word) if isinstance(word, str | bool) else None

    keyword = next((k for k in call.keywords if k.arg == "approximate"), None)
    chosen = keyword.value if keyword else call.args[-1] if call.args else None
    name = meant(chosen) if chosen is not None else None
    if name is None:
        if keyword is None:
            return function, call
        refuse(f"gelu has no approximation {shorten(ast.unparse(keyword.value))}", "choose 'tanh' or 'none'")
    arguments = call.args if keyword else call.args[:-1]
    rest = [k for k in call.keywords if k is not keyword]
    return ast.Name(id=name, ctx=ast.Load()), ast.copy_location(
        ast.Call(func=function, args=arguments, keywords=rest), call
    )


def variables(body: ast.expr) -> set[str]:
    """The variables of a tree, after words without an argument have been refused."""
    called = {id(node.func) for node in ast.walk(body) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name) and id(node) not in called}
    found = names - set(CONSTANTS)
    for name in sorted(found & set(WORDS)):
        refuse(f"the function {name} stands without an argument", f"write {name}(x)")
    if len(found) > 1:
        refuse(
            f"the formula has the variables {', '.join(map(shorten, sorted(found)))}",
            "keep one and put numbers for the others",
        )
    return found
