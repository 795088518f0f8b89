"""The page's scripts and styles without what only their readers need: remarks, indentation, spaces.

Nothing is renamed and nothing is moved: a browser's tools show what was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_Rules = Sequence[tuple[re.Pattern[str], str]]
_TOKEN = re.compile(
    r"""(?P<remark> //[^\n]* | /\*.*?\*/ )
    | (?P<kept> '(?:\\.|[^'\\\n])*' | "(?:\\.|[^"\\\n])*"
        | /(?=[^\s/*=])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]* )
    | (?P<mark> [`{}] )
    | [^'"/`{}]+ | /""",
    re.DOTALL | re.VERBOSE,
)
"""Of code. A slash before a space divides, as formatters write it; any other begins a pattern."""
_TEMPLATE = re.compile(r"(?:\\.|\$(?!\{)|[^`\\$])*(`|\$\{)", re.DOTALL)
"""The text of a template, up to its end or to an expression in it."""
_CODE: _Rules = (
    (re.compile(r"\s*\n\s*"), "\n"),
    # A line that goes on, or whose end says the same as the mark beside it.
    (re.compile(r"(?<=[(\[{,;>])\n|\n(?=[.?:&|+)\]}])"), ""),
    # Between a word and a mark; `a - -b` keeps its spaces.
    (re.compile(r"(?<![\w$+-]) | (?![\w$+-])|(?<=[\w$)\]]) (?=[+-])|(?<=[+-]) (?=[\w$(\[])"), ""),
    (re.compile(r"(?<=[^,\[]),(?=[)\]}])|;(?=\})"), ""),
)
_TEXT: _Rules = (
    (re.compile(r"[ \t]*\n\s*"), "\n"),
    # Between two elements.
    (re.compile(r"(?<=>)\n(?=[<$])|(?<=\})\n(?=<)"), ""),
)
_STYLE: _Rules = (
    (re.compile(r"/\*.*?\*/\n?|^\s+", re.DOTALL | re.MULTILINE), ""),
    (re.compile(r"(?<=[:;,{]) | (?=\{)|;? (?=\})|(?<=\})\n(?=.)|(?<=[{;,])\n|;\n(?=\})"), ""),
)


def squeezed(text: str) -> str:
    """A script whose code is tight; strings, patterns and words in templates stay as they are.

    Args:
        text: of the script, as its formatter leaves it: with a semicolon after each statement.

    Raises:
        ValueError: when it ends within a string, a template or a block.
    """
    found, code = [], ""
    for piece, is_code in _pieces(text):
        if is_code:
            code += piece
        else:
            found += [_applied(_CODE, code), piece]
            code = ""
    return "".join([*found, _applied(_CODE, code)]).strip() + "\n"


def squeezed_style(text: str) -> str:
    """A style sheet without remarks, and without the spaces around what separates."""
    return _applied(_STYLE, text)


def _applied(rules: _Rules, text: str) -> str:
    for pattern, instead in rules:
        text = pattern.sub(instead, text)
    return text


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """A script's pieces, and whether each is code; remarks are left out."""
    at, within = 0, list[str]()
    while at < len(text):
        found = _matched(_TOKEN, text, at)
        at, mark = found.end(), found["mark"]
        if mark == "{":
            within.append(mark)
        if mark == "`" or (mark == "}" and within.pop() == "${"):
            rest = _matched(_TEMPLATE, text, at)
            at = rest.end()
            if rest[1] == "${":
                within.append("${")
            yield _applied(_TEXT, mark + rest[0]), False
        elif found["remark"] is None:
            yield found[0], found["kept"] is None
    if within:
        raise ValueError(f"the script ends within {within[-1]}")


def _matched(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is None:
        raise ValueError(f"a string or template has no end: {text[at : at + 40]!r}")
    return found
