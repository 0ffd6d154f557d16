"""Room `ops` (imports `engines` and below): cells of CRMs' exports, and what their messages say, as values of columns.

Pure. What is not sure is refused, not guessed: a number of which nobody can say what stands before its fraction, a text
with characters that no engine keeps.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from antiphon.domains.market import fields, names
from antiphon.domains.market.parties import PERCENT
from antiphon.model import limits, times
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Column, Type
from antiphon.model.values import shown
from antiphon.ops.market_fields import MODIFIED, SORTS, SPECIAL, STAGE

NUMBER_CHARS_MAX: Final = 64
"""Characters of a number."""
MARKS: Final = (".", ",")
"""What can stand before a fraction."""
UNSURE: Final = ""
"""Where nobody has said which of them it is."""
_STAGES: Final = {
    "appointmentscheduled": "prospecting", "new": "prospecting", "lead": "prospecting", "qualifiedtobuy":
    "qualification", "qualified": "qualification", "needsanalysis": "qualification", "valueproposition": "proposal",
    "presentationscheduled": "proposal", "proposalpricequote": "proposal", "perceptionanalysis": "proposal",
    "iddecisionmakers": "proposal", "quote": "proposal", "decisionmakerboughtin": "negotiation", "contractsent":
    "negotiation", "negotiationreview": "negotiation", "contract": "negotiation", "closedwon": names.WON,
    "won": names.WON, "closedlost": names.LOST, "lost": names.LOST,
    **{stage.replace("_", ""): stage for stage in names.STAGES},
}  # fmt: skip
_TRUE: Final = frozenset({"true", "yes", "y", "1", "x"})
_FALSE: Final = frozenset({"false", "no", "n", "0"})
_MONEY: Final = re.compile(r"^[$€£¥]\s*|\s*[$€£¥]$|\s*(USD|EUR|GBP|CHF)$|^(USD|EUR|GBP|CHF)\s*")
_LISTS: Final = re.compile(r"[;|\n]")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SECONDS_BELOW: Final = 10**11
"""A whole number below is seconds since 1970 (until the year 5138), above it milliseconds (from 1973 on)."""
_TIME_BELOW: Final = 1 << 53


def _form(mark: str) -> re.Pattern[str]:
    """Numbers with this mark before their fraction: sign, thousands in groups or not, fraction, exponent."""
    between = {".": ",", ",": "."}[mark] + "'’ \u00a0\u202f"
    whole = rf"[1-9]\d{{0,2}}([{between}])\d{{3}}(?:\3\d{{3}})*|\d*"
    return re.compile(rf"([+-]?)({whole})(?:{re.escape(mark)}(\d*))?(?:[eE]([+-]?\d{{1,3}}))?", re.ASCII)


_FORMS: Final = {mark: _form(mark) for mark in MARKS}


def value_of(sort: str, target: str, cell: Any, *, mark: str = ".", percent: bool = False) -> Any:
    """A cell as the value of its column; None where it is empty. Raises InvalidInput, saying what is wrong with it.

    `mark` stands before fractions (UNSURE where nobody says); `percent`: the header says that it is one.
    """
    if isinstance(cell, str):
        cell = cell.strip()
        if not cell:
            return None
    if cell is None:
        return None
    _check_characters(target, cell)
    column = None if target in SPECIAL else fields.TABLES[SORTS[sort]].column(target)
    try:
        if column is None:
            return _special(target, cell)
        found = _value(column, cell, mark, percent=percent)
    except (ValueError, TypeError, InvalidOperation, RecursionError, msgspec.MsgspecError):
        what = "value" if column is None else column.type
        seen = "what is there" if column is not None and column.pii else shown(cell)
        raise InvalidInput(f"{target}: {seen} is no {what}{_advice(column, cell, mark)}") from None
    if found is not cell:
        _check_characters(target, found)
    return found


def _special(target: str, cell: Any) -> Any:
    if target == STAGE:
        return stage_of(cell)
    return time_of(cell) if target == MODIFIED else str(cell)


def _advice(column: Column | None, cell: Any, mark: str) -> str:
    """What to do about a number that another mark would make one."""
    other = {".": ",", ",": "."}.get(mark)
    if column is None or column.type not in (Type.DECIMAL, Type.INTEGER) or other is None or not isinstance(cell, str):
        return ""
    if len(cell) > NUMBER_CHARS_MAX or _read(_bare(cell), other) is None:
        return ""
    return f": where {other!r} stands before fractions, say --decimal {other}"


def _check_characters(target: str, said: Any, depth: int = 0) -> None:
    """Raises InvalidInput where a text has a control character: PostgreSQL keeps no NUL, nobody reads the others."""
    if isinstance(said, str):
        found = _CONTROL.search(said)
        if found is not None:
            raise InvalidInput(
                f"{target}: it has a control character (U+{ord(found[0]):04X}) at its character {found.start() + 1:,}: "
                "take it out"
            )
    elif isinstance(said, dict | list) and depth <= limits.JSON_DEPTH_MAX:
        for one in [*said, *said.values()] if isinstance(said, dict) else said:
            _check_characters(target, one, depth + 1)


def stage_of(cell: Any) -> str | None:
    """The stage that a CRM's word means. Raises InvalidInput where it is none that is known."""
    if cell is None:
        return None
    plain = re.sub(r"[\W_]+", "", str(cell)).casefold()
    if plain not in _STAGES:
        raise InvalidInput(
            f"stage: {shown(cell)} is none of {', '.join(names.STAGES)}, nor a common CRM's word for one"
        )
    return _STAGES[plain]


def time_of(cell: Any) -> int:
    """Milliseconds since 1970 from ISO 8601 text, seconds or milliseconds. Raises InvalidInput."""
    if isinstance(cell, str) and re.fullmatch(r"-?\d{1,15}", cell):
        cell = int(cell)
    if isinstance(cell, bool) or not isinstance(cell, int | str):
        raise InvalidInput(f"a time: {shown(cell)} is none")
    if isinstance(cell, int):
        if abs(cell) >= _TIME_BELOW:
            raise InvalidInput(f"a time: {shown(cell)} is none")
        return cell * 1_000 if abs(cell) < _SECONDS_BELOW else cell
    return times.to_ms(cell)


def _value(column: Column, cell: Any, mark: str, *, percent: bool) -> Any:
    match column.type:
        case Type.TEXT:
            return cell if isinstance(cell, str) else str(cell)
        case Type.ENUM:
            text = str(cell)
            return next((value for value in column.values if value.casefold() == text.casefold()), text)
        case Type.INTEGER | Type.DECIMAL:
            return _amount(column, cell, mark, percent=percent)
        case Type.BOOLEAN:
            return _boolean(cell)
        case Type.DATE:
            return times.iso(time_of(cell))[:10]
        case Type.TIMESTAMP:
            return time_of(cell)
        case Type.LIST | Type.SET:
            return _list(cell)
        case _:  # JSON, points, vectors
            return msgspec.json.decode(cell) if isinstance(cell, str) and cell[:1] in "[{" else cell


def _amount(column: Column, cell: Any, mark: str, *, percent: bool) -> Any:
    """A whole number or a decimal; a percentage as the share that it is, but where the column has percentages."""
    found = _numbers(cell, mark)
    if column.type == Type.INTEGER:
        whole = [int(one) for one in found if one == one.to_integral_value()]
        _check_sure(column, cell, [Decimal(one) for one in whole])
        return whole[0]
    _check_sure(column, cell, found)
    is_share = percent or (isinstance(cell, str) and cell.endswith("%"))
    return found[0].scaleb(-2) if is_share and column.check != PERCENT else found[0]


def _check_sure(column: Column, cell: Any, found: list[Decimal]) -> None:
    if not found:
        raise ValueError
    if len({*found}) > 1:
        raise InvalidInput(
            f"{column.name}: {shown(cell)} may be {' or '.join(f'{one:f}' for one in found)}: say --decimal . or "
            "--decimal ,"
        )


def _numbers(cell: Any, mark: str) -> list[Decimal]:
    """What a cell may say: one number, or one for each mark that may be meant; none where it is no number."""
    if isinstance(cell, bool):
        raise TypeError
    if isinstance(cell, str):
        text = "" if len(cell) > NUMBER_CHARS_MAX else _bare(cell)
        return [one for one in (_read(text, each) for each in ((mark,) if mark else MARKS)) if one is not None]
    if type(cell) is int and cell.bit_length() > 4 * NUMBER_CHARS_MAX:  # Python writes none of thousands of digits
        return []
    found = Decimal(str(cell))
    return [found] if found.is_finite() else []


def _bare(cell: str) -> str:
    """A number's text without a currency or a sign of percent."""
    return _MONEY.sub("", cell).strip().removesuffix("%").strip()


def _read(text: str, mark: str) -> Decimal | None:
    """The number that a text is with this mark, None where it is none."""
    found = _FORMS[mark].fullmatch(text)
    if found is None or not (found[2] or found[4]):
        return None
    whole = "".join(char for char in found[2] if char in "0123456789")
    fraction = f".{found[4]}" if found[4] else ""
    return Decimal(f"{found[1]}{whole or 0}{fraction}E{found[5] or 0}")


def _boolean(cell: Any) -> bool:
    if isinstance(cell, bool):
        return cell
    text = str(cell).casefold()
    if text not in _TRUE | _FALSE:
        raise ValueError
    return text in _TRUE


def _list(cell: Any) -> list[Any]:
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        raise TypeError
    if cell.startswith("["):
        return msgspec.json.decode(cell, type=list[Any])
    parts = _LISTS.split(cell) if _LISTS.search(cell) else cell.split(",")
    return [part.strip() for part in parts if part.strip()]
