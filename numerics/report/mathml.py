r"""LaTeX as MathML that browsers print as TeX would.

The translation is latex2mathml's. What it leaves to the browser is put right on the tree: an upright d, operators
between thin spaces, and aligned displays as a table with one row per line.
"""

from __future__ import annotations

import re
from functools import lru_cache
from xml.etree import ElementTree as Xml

from latex2mathml.converter import convert

from derivations.notation.latex import latex, line_rows
from derivations.notation.plain import Words
from derivations.notation.steps import Line

_NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_THIN = "0.167em"
_TALL = frozenset({"mfrac", "mtable", "munder", "munderover", "mover", "msqrt", "mroot"})
#: An upright letter on its own becomes an entity in latex2mathml's answer, which sets it apart from an italic one.
_UPRIGHT = re.compile(r"<mi>&#x000([4-7][0-9A-F]);</mi>")


@lru_cache(maxsize=4096)
def _row(source: str, style: str = "inline") -> str:
    """The content of ``<math>`` for a formula without alignment marks, in the style of a sentence or of a block."""
    text = re.sub(
        _UPRIGHT, lambda m: f'<mi mathvariant="normal">{chr(int(m[1], 16))}</mi>', convert(source, display=style)
    )
    tree = Xml.fromstring(text.replace(f' xmlns="{_NAMESPACE}"', ""))
    for parent in tree.iter():
        tall = any(inner.tag in _TALL for inner in parent.iter())
        for node in parent:
            _put_right(node, tall)
        _space(parent)
    return "".join(Xml.tostring(child, encoding="unicode") for child in tree)


def _put_right(node: Xml.Element, tall: bool) -> None:
    """What one symbol is, whose neighbours are taller than a letter or not."""
    word = (node.text or "").strip()
    if node.tag == "mo" and word.isalpha() and len(word) > 1:  # a name such as erfi is a letter, not a relation
        node.tag = "mi"
    elif word == "~":
        node.tag, node.text = "mo", "∼"
    elif node.tag == "mi" and len(word) == 1 and "Α" <= word <= "Ω":  # Greek capitals are upright in TeX
        node.set("mathvariant", "normal")
    elif node.get("fence") == "true":
        node.set("lspace", "0")
        node.set("rspace", "0")
        node.set(
            "stretchy", "true" if tall else "false"
        )  # a stretched bracket is set wider, even where it need not grow
    elif node.tag == "mo" and word in ("‖", "|", "∣") and node.get("fence") == "false":
        node.set("lspace", "0")
        node.set("rspace", "0")
    elif node.tag == "mi" and word in (":", "#"):
        node.tag = "mo"
        node.set("lspace", _THIN if word == ":" else "0")
        node.set("rspace", _THIN if word == ":" else "0")
    elif word == "∞":
        node.tag = "mi"


def _space(node: Xml.Element) -> None:
    """The spaces between the symbols of a row."""
    for before, sign in zip(
        [None, *node], node, strict=False
    ):  # a sign after a bracket or a relation belongs to what follows
        if (sign.text or "") in ("−", "+") and (
            before is None or (before.tag == "mo" and before.get("form") != "postfix")
        ):
            sign.set("form", "prefix")
    for index in range(len(node) - 1, 0, -1):  # TeX's thin space between an ordinary symbol and an operator such as log
        if _is_operator(node[index]) and node[index - 1].tag in (
            "mi",
            "mn",
            "msub",
            "msup",
            "msubsup",
            "mfrac",
            "msqrt",
            "mrow",
        ):
            node.insert(index, Xml.Element("mspace", width=_THIN))


def _is_operator(node: Xml.Element) -> bool:
    """A function with a name of several letters, perhaps with a power."""
    head = node[0] if node.tag in ("msup", "msub", "msubsup") and len(node) else node
    word = (head.text or "").strip()
    return head.tag in ("mi", "mo") and len(word) > 1 and word.isalpha() and word.isascii()


def inline(source: str) -> str:
    r"""A formula within a sentence.

    Examples
    --------
    >>> inline("x")
    '<math><mrow><mi>x</mi></mrow></math>'
    """
    return f"<math>{_row(source)}</math>"


def display(lines: tuple[Line, ...]) -> str:
    """Lines of mathematics, aligned at their relations, as one display."""
    rows = []
    for line in lines:
        left, relation, (first, *rest) = line_rows(line)
        rows.append((_row(left, "block"), _row(rf"{{}}{relation} {first}", "block")))
        rows += [("", _row(rf"\quad {more}", "block")) for more in rest]
    body = "".join(f"<mtr><mtd>{left}</mtd><mtd>{right}</mtd></mtr>" for left, right in rows)
    return f'<math display="block"><mtable displaystyle="true" class="aligned">{body}</mtable></math>'


def sentence(words: Words) -> list[tuple[bool, str]]:
    """A sentence as parts: text to be escaped (False) and MathML (True); neighbouring formulas become one."""
    parts: list[tuple[bool, str]] = []
    for word in words:
        formula = not isinstance(word, str)
        source = word if isinstance(word, str) else latex(word)
        if isinstance(word, str) and word.strip() in ("=", "<") and parts and parts[-1][0]:
            formula, source = True, word
        if formula and parts and parts[-1][0]:
            parts[-1] = (True, f"{parts[-1][1]} {source}")
        else:
            parts.append((formula, source))
    return [(formula, inline(source) if formula else source) for formula, source in parts]
