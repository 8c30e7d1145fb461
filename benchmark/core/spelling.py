"""How names of classes, patients and files are written: what is one name, and what means none."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from benchmark.core.registry import InputError

# 18 digits fit into an int64; "²" is a digit to Python, and none here
_NUMBER = re.compile(r"-?\d{1,18}(\.0*)?", re.ASCII)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # the last: bytes that are not UTF-8
# what nobody sees, and spreadsheets, web pages and programs that write from right to left leave in
# cells: zero-width blanks, byte order and direction marks, soft hyphens, variation selectors
_INVISIBLE = dict.fromkeys(
    [
        *(0xAD, 0x34F, 0x61C, 0x180E, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
    ]
)
_MISSING = {
    *("", "nan", "na", "n/a", "n.a.", "nat", "null", "<na>"),
    *("?", "-", "--", "\u2013", "\u2014", "."),
    # errors of spreadsheets
    *("#n/a", "#ref!", "#name?", "#value!", "#div/0!", "#num!", "#null!"),
}
# names that a class may have, and a patient has not
_NOBODY = _MISSING | {
    *("none", "unknown", "unk", "missing"),
    *("anonymous", "anonymised", "anonymized", "anon", "deidentified", "de-identified"),
}
# 1.23457E+14, 1.2345678901234568e+17
_ROUNDED = re.compile(r"-?\d([.,]\d+)?e\+\d+", re.ASCII | re.IGNORECASE)
_JOINTS = re.compile(r"\s*[|;,/+&]\s*")
# signs that editors put for those of the keyboard: "Barrett's", "T1-T2"
_TYPED = {
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-"),
    **dict.fromkeys((0x60, 0xB4, 0x2018, 0x2019, 0x201B, 0x2032), "'"),
    **dict.fromkeys((0x201C, 0x201D, 0x201E, 0x2033), '"'),
}
# "['a', 'b']" as programs write lists, and "0 1 1" or "1,0" of columns
_LIST = re.compile(r"\[.*\]|\{.*\}|\(['\"].*\)|[01](?: ?[,;\s] ?[01])+")


def clean(text: str) -> str:
    """Return `text` in one of the ways to write it: composed accents, nothing invisible, stripped.

    Two spellings that look the same are the same class, patient or file.
    """
    return unicodedata.normalize("NFC", text.translate(_INVISIBLE)).strip()


def whole_number(name: str) -> int | None:
    """Return the whole number that a name is, None for other names; `1.0` is one."""
    return int(name.partition(".")[0]) if _NUMBER.fullmatch(name) else None


def one_spelling(names: Iterable[str]) -> dict[str, str]:
    """Return the spelling of each name: integers that are written in several ways get one.

    `1.0` is 1 wherever all names are whole numbers, and `01` is 1 where both occur.
    """
    spelled = sorted(set(names))  # a set has another order in each process (PYTHONHASHSEED)
    numbers = {name: number for name in spelled if (number := whole_number(name)) is not None}
    if len(numbers) < len(spelled):
        return {name: name for name in spelled}
    ways: dict[int, list[str]] = {}
    for name, number in numbers.items():
        ways.setdefault(number, []).append(name)
    # `01, 02, 10` are names that sort well: they stay as they are written
    alone = {ways[n][0] for n in ways if len(ways[n]) == 1 and "." not in ways[n][0]}
    return {name: name if name in alone else str(number) for name, number in numbers.items()}


def check_spelled_alike(names: Iterable[str], what: str, origin: str) -> None:
    """Raise InputError for two names that differ in case, width, blanks, dashes or zeros only.

    Zeros: `1.0` or `1,0` for 1, `P007` for P7; dashes and quotation marks as editors set them.

    "Benign" and "benign" are a typing error far more often than two classes; two spellings of a
    patient would put that patient into training and test.
    """
    seen: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name.translate(_TYPED)).casefold()
        number = whole_number(plain.replace(",", "."))
        plain = re.sub(r"[\s_-]+", " ", plain) if number is None else str(number)
        plain = re.sub(r"(?<![\d.,])0+(?=\d)", "", plain)  # 1.05 is not 1.5
        if (other := seen.setdefault(plain, name)) != name:
            raise InputError(
                f"{origin} has the {what} {other!r} and {name!r}; write both alike if they are "
                "one, or rename one of them"
            )


def joined(names: Iterable[str], marks: str) -> tuple[str, list[str]] | None:
    """Return the first name that joins others of `names`, such as "a;b", and these; else None.

    At one of `marks` a part that occurs in two names is enough: "a;b" beside "b;c".
    """
    known = set(names)
    mark = re.compile(rf"\s*[{marks}]\s*")
    uses = Counter(part for name in known for part in {*mark.split(name)} - {""})
    for name in sorted(known):
        parts = _JOINTS.split(name)
        if len(parts) > 1 and known.issuperset(parts):
            return name, parts
        parts = mark.split(name)
        if len(parts) > 1 and any(uses[part] > 1 for part in parts):
            return name, parts
    return None


def is_list(name: str) -> bool:
    """Return whether a name is several values that a program wrote, or a decimal comma: `1,0`."""
    decimal = "," in name and whole_number(name.replace(",", ".")) is not None
    return decimal or _LIST.fullmatch(name) is not None


def is_missing(text: str) -> bool:
    """Return whether a cell of a table says that nobody knows."""
    return text.casefold() in _MISSING


def is_nobody(text: str) -> bool:
    """Return whether a cell that should name a patient names none."""
    return text.casefold() in _NOBODY


def is_rounded(text: str) -> bool:
    """Return whether a spreadsheet wrote a long number in short: others may now be the same."""
    return _ROUNDED.fullmatch(text) is not None
