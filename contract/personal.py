"""Finds personal data in any text: e-mail addresses, telephone numbers, card and identity numbers, names of people.

`SUSPECT` is a simple regular expression that both databases read alike and match fast (nothing in it looks around). A
database selects by it the texts in which there may be something; `found` then says what there is.

Invariants:
- What a mask makes (`contract.masks`) is not found.
- Text is taken as it is stored (in Unicode's composed form, as keyboards give it).
- A name is found by its shape: a Vietnamese family name with a usual middle name and a third word, with its accents or
  without, or a common English first and last name. Names alone in a text of other words are not found; in columns that
  hold names `contract.masks.form_of` is the proof.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from contract.masks import DOMAIN, MOBILE_PREFIXES, NOBODYS_MOBILE, WORD

_APART = "(?<![0-9A-Za-z])"
_END = "(?![0-9A-Za-z])"
_SEPARATED = "[ .-]?"
_BREAK = r""" \t\r\n0-9.,;:!?"'(){}<>/|\[\]"""
"""What a name's word ends at."""


def _plain(word: str) -> str:
    """The word without accents."""
    letters = unicodedata.normalize("NFD", word.replace("Đ", "D").replace("đ", "d"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _any(words: tuple[str, ...]) -> str:
    return "(?:" + "|".join(dict.fromkeys([*words, *map(_plain, words)])) + ")"


_FAMILY: Final = (
    "Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Huỳnh", "Phan", "Vũ", "Võ", "Đặng", "Bùi", "Đỗ", "Hồ", "Ngô", "Dương",
    "Lý", "Đinh", "Đoàn", "Trịnh", "Trương", "Lâm", "Phùng", "Tạ", "Cao", "Lưu", "Tô",
)  # fmt: skip
_MIDDLE: Final = (
    "Văn", "Thị", "Hữu", "Đức", "Ngọc", "Minh", "Thanh", "Quốc", "Xuân", "Kim", "Gia", "Bảo", "Anh", "Công", "Đình",
    "Hồng", "Thu", "Thuỳ", "Thùy", "Quang", "Thành", "Hoàng", "Phương", "Tuấn", "Như", "Mỹ", "Bá", "Trọng", "Nhật",
)  # fmt: skip
_FIRST: Final = (
    "James", "Mary", "John", "Emma", "David", "Anna", "Peter", "Laura", "Mark", "Helen", "Paul", "Alice", "Simon",
    "Michael", "Sarah", "Robert", "Linda", "William", "Susan", "Thomas", "Karen", "Daniel", "Nancy", "Jennifer",
)  # fmt: skip
_LAST: Final = (
    "Smith", "Jones", "Brown", "Taylor", "Wilson", "Evans", "Walker", "Johnson", "Williams", "Davis", "Miller",
    "Anderson", "Thompson", "Martin", "Clark", "Lewis", "Robinson", "Wright", "Nguyen", "Tran", "Pham", "Le",
)  # fmt: skip
_WORD_END = f"(?![^{_BREAK}])"
_NOT_MASKED = f"{_WORD_END}(?! {WORD})"

_MOBILE = "(?:" + "|".join(_SEPARATED.join(prefix) for prefix in MOBILE_PREFIXES) + ")"
_SEVEN = f"(?:{_SEPARATED}[0-9]){{7}}"
_SCHEMES: Final = re.compile(
    r"4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|3[47]|35(?:2[89]|[3-8])|36|6011|64[4-9]|65|62|9704"
)
_TEST_CARDS: Final = (
    "400000", "411111", "424242", "555555", "510510", "222300", "378282", "371449", "356600", "353011", "601111",
    "970400",
)  # fmt: skip
_STREETS: Final = frozenset({
    "Phan Đình Phùng", "Lê Văn Sỹ", "Nguyễn Văn Cừ", "Nguyễn Thị Minh", "Lê Văn Việt", "Nguyễn Văn Linh",
    "Võ Văn Kiệt", "Võ Thị Sáu", "Phạm Văn Đồng", "Hoàng Văn Thụ", "Nguyễn Văn Trỗi", "Lê Đức Thọ", "Phạm Ngọc Thạch",
    "Võ Văn Tần", "Nguyễn Đình Chiểu", "Nguyễn Công Trứ", "Lê Thanh Nghị", "Trần Quốc Toản", "Nguyễn Hữu Thọ",
})  # fmt: skip
"""People after whom streets are named, as far as the pattern takes a name."""

_PATTERNS: Final = {
    "email": (
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@"
        rf"(?!{re.escape(DOMAIN)}(?![A-Za-z0-9-]|\.[A-Za-z0-9]))[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{{2,}}"
    ),
    "phone": (
        rf"{_APART}(?:(?:\+84|84|0){_SEPARATED}(?:{_MOBILE}{_SEVEN}|2(?:{_SEPARATED}[0-9]){{9}}){_END}"
        rf"|\+(?!999[0-9]{{11}}{_END}|84{NOBODYS_MOBILE}{_END})[1-9](?:{_SEPARATED}[0-9]){{7,14}}{_END})"
    ),
    "card": rf"{_APART}(?<![0-9][.])[2-69](?:[ -]?[0-9]){{12,18}}{_END}",
    "national_id": rf"{_APART}(?<![0-9][.])0(?:0[1-9]|[1-8][0-9]|9[0-6])[0-3][0-9]{{8}}{_END}",
    "name": (
        rf"(?<![^{_BREAK}])(?:{_any(_FAMILY)} {_any(_MIDDLE)} [^{_BREAK}]{{1,7}}{_NOT_MASKED}"
        rf"|{_any(_FIRST)} {_any(_LAST)}{_NOT_MASKED})"
    ),
}

SUSPECT: Final = "|".join((
    r"@[A-Za-z0-9-]+\.[A-Za-z]",
    rf"(?:^|[^0-9A-Za-z])(?:\+[1-9]|84|0)(?:{_SEPARATED}[0-9]){{7}}",
    r"(?:^|[^0-9A-Za-z])[2-69](?:[ -]?[0-9]){12}",
    rf"{_any(_FAMILY)} {_any(_MIDDLE)} ",
    rf"{_any(_FIRST)} {_any(_LAST)}",
))  # fmt: skip
"""What a text fits in part when there may be personal data in it: all that `found` finds, and more."""

_UUID: Final = re.compile("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
"""Digits in it are no number of anything."""
_COMPILED: Final = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def found(text: str) -> frozenset[str]:
    """The kinds of personal data in a text: of `contract.privacy.FINDINGS`."""
    text = _UUID.sub("", text)
    return frozenset(
        kind
        for kind, pattern in _COMPILED.items()
        if any(_CONFIRM.get(kind, _always)(match[0]) for match in pattern.finditer(text))
    )


def luhn(digits: str) -> bool:
    """Whether a card number's check digit is right (ISO/IEC 7812-1)."""
    total = 0
    for place, letter in enumerate(reversed(digits)):
        value = int(letter) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(text: str) -> bool:
    digits = re.sub("[ -]", "", text)
    return luhn(digits) and _SCHEMES.match(digits) is not None and not digits.startswith(_TEST_CARDS)


def _name(text: str) -> bool:
    return text not in _STREETS


def _always(_: str) -> bool:
    return True


_CONFIRM: Final = {"card": _card, "name": _name}
