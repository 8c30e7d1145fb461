"""Spec strings: `name` or `name(key=literal, ...)`, and comma lists of them."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.core.numbers import Number
from benchmark.core.registry import InputError

LONGEST = 1000  # characters of a spec: Python's parser fails on deeply nested brackets
_NO_NUMBER = ("nan", "inf", "infinity")
_SPEC = re.compile(r"(?P<name>[^()\s]+?)\s*(?:\((?P<arguments>.*)\))?", re.DOTALL)


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Return ("lora", {"rank": 8}) for "lora(rank=8)"; bare words are strings.

    Raises:
        InputError: when the text is not `name` or `name(key=literal, ...)`.
    """
    if len(text) > LONGEST:
        raise InputError(f"{text[:40]!r}... is longer than {LONGEST} characters; shorten it")
    match = _SPEC.fullmatch(text.strip())
    if not match:
        raise InputError(f"{text!r} is not a spec; write a name or name(key=value, ...)")
    source = f"_({match['arguments'] or ''})"
    try:
        call = ast.parse(source, mode="eval").body
        # "a(b)(c)" and "a(b)+a(c)" are calls of other things than the name
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise InputError(f"{text!r} is not a spec; write a name or name(key=value, ...)")
        names = [argument.arg for argument in call.keywords]
        if call.args or None in names:
            raise InputError(f"{text!r} has an argument without a name; write key=value")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"{text!r} gives {twice} twice; leave one out")
        return match["name"], {str(k.arg): _literal(k.value, source) for k in call.keywords}
    except InputError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"cannot read the arguments of {text!r}; write key=value, ...") from None


def base_name(spec: str) -> str:
    """Return "lora" of "lora(rank=8)"; of any text, what stands before the first bracket."""
    return spec.partition("(")[0]


def brief(spec: str, others: Sequence[str]) -> str:
    """Return the name of `spec` with the arguments in which others of its name differ from it.

    "lora" where it is the only one, "lora(rank=8)" beside "lora(rank=4)" whatever else they share.
    """
    base = base_name(spec)
    siblings = [other for other in dict.fromkeys(others) if base_name(other) == base]
    try:
        own = parse_spec(spec)[1]
        arguments = [parse_spec(sibling)[1] for sibling in siblings]
    except InputError:
        return spec  # not written by this project
    if len(siblings) < 2:
        return base
    differ = {k: v for k, v in own.items() if any(a.get(k, a) != v for a in arguments)}
    return format_spec(base, differ)


def _literal(node: ast.expr, source: str) -> Any:
    """Return the literal of `node`; a bare word, or an a+b of words and numbers, is a string.

    Python's grammar is only how brackets and quotes are read: what is no text, number, truth value,
    None or a tuple or list of them raises ValueError.
    """
    if isinstance(node, ast.Name):
        if node.id.lower() in _NO_NUMBER:
            raise InputError(f"{node.id} is no number; leave it out, or write a finite number")
        return node.id
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = _literal(node.left, source), _literal(node.right, source)
        if not all(type(part) in (str, int, float) for part in parts):
            raise ValueError("only words and numbers are joined by +")
        return "+".join(map(str, parts))
    if isinstance(node, ast.Tuple | ast.List):
        items = [_literal(item, source) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    value = inner.value if isinstance(inner, ast.Constant) else ...
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = ast.get_source_segment(source, node) or ""
        return (Number(int) if isinstance(value, int) else Number(float)).read(text, "")
    if isinstance(node, ast.Constant) and (value is None or isinstance(value, bool | str)):
        return value
    raise ValueError(f"{ast.dump(node)[:40]} is no literal")


def format_spec(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the spec string that `parse_spec` reads back to the same values."""
    if not arguments:
        return name
    return f"{name}({','.join(f'{key}={_word(value)}' for key, value in arguments.items())})"


def _word(value: Any) -> str:
    if isinstance(value, str):
        # what Python reads as itself: no keyword, and letters that it does not normalise
        plain = re.fullmatch(r"[A-Za-z_]\w*(\+[A-Za-z_]\w*)*", value, re.ASCII)
        words = value.split("+")
        is_bare = plain and not any(keyword.iskeyword(w) or w.lower() in _NO_NUMBER for w in words)
        return value if is_bare else repr(value)
    if isinstance(value, tuple | list):
        inner = ",".join(repr(item) if isinstance(item, str) else _word(item) for item in value)
        inner += "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    return repr(value)


def split_list(text: str) -> list[str]:
    """Return the items of a comma list; commas inside brackets do not split."""
    items, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append(text[start:position].strip())
            start = position + 1
    items.append(text[start:].strip())
    if depth or not all(items):
        raise InputError(f"{text!r} is not a comma list; an item is empty or a bracket is open")
    return items
