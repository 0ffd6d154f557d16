"""Room `ops` (imports `engines` and below): CRM exports as records: CSV with headers, JSON, JSON lines.

Pure reading. What cannot be read comes out as a `Refused` with its line and the reason, in its place; no row ends the
reading. Of JSON that is one document the line is the record's number. A mark of byte order says UTF-16, else it is
UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from antiphon.domains.market import fields
from antiphon.model.errors import AntiphonError, InvalidInput, LimitExceeded, NotFound, Unavailable
from antiphon.ops.market_cells import MARKS, UNSURE, value_of
from antiphon.ops.market_fields import (
    COMPANY,
    FIRST,
    ID,
    IGNORED,
    LAST,
    MODIFIED,
    SORTS,
    STAGE,
    check_map,
    is_percent,
    plain_header,
    target_of,
)

CSV_HEADERS_MAX: Final = 512
CSV_LINE_CHARS_MAX: Final = 4 << 20
JSON_FILE_BYTES_MAX: Final = 64 << 20
"""A JSON file that is one document is read whole; larger ones come as JSON lines, or CSV."""
JSON_LINE_BYTES_MAX: Final = 4 << 20
_HOLDS: Final = ("results", "records", "data", "items", "rows", "value")
"""Where exports keep their list."""
_INSIDE: Final = ("properties", "attributes", "fields")
"""Where records keep their fields."""
_WIDE: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_BYTES: Final = 4_096


class Record(msgspec.Struct, frozen=True):
    """One record: its fields, what the other system calls it, since when it is so, a deal's stage, a company's name.

    `since` has fields' own times; `others` are what the other system calls the same thing besides. *Units*: ms since
    1970.
    """

    line: int
    fields: dict[str, Any]
    id: str | None = None
    at: int | None = None
    stage: str | None = None
    company: str | None = None
    since: dict[str, int] = {}
    others: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """A row that is not taken, and why."""

    line: int
    reason: str


class Rows:
    """The records of a file, as often as they are asked for. `unmapped` are the headers whose cells go nowhere, once
    they were met.

    `mark` stands before fractions. Where nobody says, it is a point in JSON, and in CSV whose cells commas part; of
    other CSV nobody knows, and a number that may be two is refused.
    """

    def __init__(
        self,
        path: Path,
        sort: str,
        *,
        mapped: Mapping[str, str] | None = None,
        form: str = "auto",
        mark: str | None = None,
    ) -> None:
        if mark is not None and mark not in MARKS:
            raise InvalidInput(f"market: a fraction stands behind . or , and not behind {mark!r:.60}")
        self._given, self._mark = dict(mapped or {}), mark
        self._here = mark or UNSURE
        self.unit = "line"
        check_map(sort, self._given)
        if form not in ("auto", "csv", "json"):
            raise InvalidInput(f"market: a file is csv or json, not {form!r:.60}")
        self._path, self._sort, self._form = path, sort, form
        self.unmapped: dict[str, None] = {}

    def __iter__(self) -> Iterator[Record | Refused]:
        try:
            with self._path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
                file.seek(0)
                # what is no text of its encoding becomes lone surrogates, and so spoils its own row alone
                wide = head.startswith(_WIDE)
                encoding, errors = ("utf-16", "surrogatepass") if wide else ("utf-8-sig", "surrogateescape")
                begins = head.decode(encoding, "ignore").lstrip()[:1]
                if not wide and b"\0" in head:
                    raise InvalidInput(
                        f"{self._path} is no text: export CSV or JSON, as UTF-8, or as UTF-16 with a mark of byte order"
                    )
                form = self._form
                if form == "auto":
                    form = "json" if begins in ("[", "{") else "csv"
                text = io.TextIOWrapper(file, encoding, errors=errors, newline="")
                yield from self._csv(text) if form == "csv" else self._json(text)
        except UnicodeDecodeError:
            raise InvalidInput(f"{self._path} is no UTF-16, though it begins so: save it as UTF-8") from None
        except FileNotFoundError:
            raise NotFound(f"there is no file {self._path}") from None
        except OSError as error:
            raise Unavailable(f"cannot read {self._path}: {error.strerror or error}") from None

    # -- CSV -------------------------------------------------------------------------------------------------------

    def _csv(self, text: TextIO) -> Iterator[Record | Refused]:
        lines = _lines_of(text)
        first = next(lines, "")
        delimiter = max(",;\t|", key=first.count)
        self.unit, self._here = "line", self._mark or ("." if delimiter == "," else UNSURE)
        reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
        headers = next(reader, [])
        if len(headers) > CSV_HEADERS_MAX:
            raise LimitExceeded("CSV_HEADERS_MAX", got=len(headers), allowed=CSV_HEADERS_MAX, what="the headers")
        if not any(header.strip() for header in headers):
            raise InvalidInput(f"{self._path}: its first line has no headers: name the columns there")
        if any(not _is_text(header) for header in headers):
            raise InvalidInput(f"{self._path}: its first line is not UTF-8 text: save the file as UTF-8")
        self._check_headers(headers)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield Refused(line, f"it is not CSV: {error}")
                continue
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(headers):
                yield Refused(line, f"it has {len(cells)} cells, and there are {len(headers)} headers")
                continue
            yield self._record(line, dict(zip(headers, cells, strict=False)))

    def _check_headers(self, headers: list[str]) -> None:
        """Raises InvalidInput where two go to one field, or one that `--map` names is not there."""
        taken: dict[str, str] = {}
        for header in headers:
            target = target_of(self._sort, header, self._given)
            if target is None or target == IGNORED:
                continue
            if target in taken:
                raise InvalidInput(
                    f"{self._path}: the headers {taken[target]!r} and {header!r} both go to {target}: leave one out "
                    f"with --map '{header}=-'"
                )
            taken[target] = header
        missing = [name for name in self._given if name not in headers]
        if missing:
            raise InvalidInput(f"--map {missing[0]}=…: {self._path} has no such header; it has {', '.join(headers)}")

    # -- JSON ------------------------------------------------------------------------------------------------------

    def _json(self, text: TextIO) -> Iterator[Record | Refused]:
        self.unit, self._here = "line", self._mark or "."
        start = text.readline(JSON_LINE_BYTES_MAX)
        if start.lstrip().startswith("{") and _decoded(start) is not None:
            following = text.readline(JSON_LINE_BYTES_MAX)
            held = self._held(_decoded(start))
            if following.strip() or held is None:
                yield from self._lines([start, following], text)
                return
            yield from self._listed(held)
            return
        whole = start + text.read(JSON_FILE_BYTES_MAX + 1)
        if len(whole) > JSON_FILE_BYTES_MAX:
            raise LimitExceeded(
                "JSON_FILE_BYTES_MAX", got=len(whole), allowed=JSON_FILE_BYTES_MAX, what=f"the JSON in {self._path}"
            )
        document = _decoded(whole)
        held = document if isinstance(document, list) else self._held(document)
        if held is None:
            raise InvalidInput(f"{self._path}: it is no JSON list of records, nor an object that holds one")
        yield from self._listed(held)

    def _held(self, document: Any) -> list[Any] | None:
        if not isinstance(document, dict):
            return None
        return next((document[name] for name in _HOLDS if isinstance(document.get(name), list)), None)

    def _lines(self, first: list[str], text: TextIO) -> Iterator[Record | Refused]:
        number = 0
        pending = iter(first)
        while line := next(pending, None) or text.readline(JSON_LINE_BYTES_MAX):
            number += 1
            if not line.strip():
                continue
            if len(line) >= JSON_LINE_BYTES_MAX and not line.endswith("\n"):
                while (rest := text.readline(JSON_LINE_BYTES_MAX)) and not rest.endswith("\n"):
                    pass
                yield Refused(number, f"it is longer than JSON_LINE_BYTES_MAX ({JSON_LINE_BYTES_MAX:,})")
                continue
            found = _decoded(line)
            yield (
                Refused(number, "it is no JSON object") if not isinstance(found, dict) else self._object(number, found)
            )

    def _listed(self, items: list[Any]) -> Iterator[Record | Refused]:
        self.unit = "record"
        for number, item in enumerate(items, 1):
            if isinstance(item, dict):
                yield self._object(number, item)
            else:
                yield Refused(number, "it is no JSON object")

    def _object(self, line: int, item: dict[str, Any]) -> Record | Refused:
        flat = {name: value for name, value in item.items() if name not in _INSIDE}
        for name in _INSIDE:
            if isinstance(item.get(name), dict):
                flat = {**flat, **item[name]}
        return self._record(line, flat)

    # -- both ------------------------------------------------------------------------------------------------------

    def _record(self, line: int, cells: Mapping[str, Any]) -> Record | Refused:
        said: dict[str, Any] = {}
        for header, cell in cells.items():
            target = target_of(self._sort, header, self._given)
            if target is None:
                self.unmapped.setdefault(header)
                continue
            if target == IGNORED:
                continue
            if isinstance(cell, str) and not _is_text(cell):
                return Refused(line, f"{header}: it is not UTF-8 text: save the file as UTF-8")
            try:
                value = value_of(self._sort, target, cell, mark=self._here, percent=is_percent(header))
            except InvalidInput as error:
                return Refused(line, str(error) if plain_header(header) == target else f"{header}: {error}")
            if value is not None:
                said[target] = value
        return record_of(self._sort, line, said)


def record_of(sort: str, line: int, said: dict[str, Any]) -> Record | Refused:
    """The record that mapped values make, checked."""
    parts = [said.pop(name, None) for name in (FIRST, LAST)]
    if "name" not in said and any(parts):
        said["name"] = " ".join(part for part in parts if part)
    kept = {name: said.pop(name, None) for name in (ID, MODIFIED, STAGE, COMPANY)}
    try:
        found = fields.checked(SORTS[sort], said)
    except AntiphonError as error:
        return Refused(line, str(error))
    return Record(line, found, kept[ID], kept[MODIFIED], kept[STAGE], kept[COMPANY])


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines_of(text: TextIO) -> Iterator[str]:
    """The lines of a text. Raises LimitExceeded where one is no line that somebody wrote."""
    while line := text.readline(CSV_LINE_CHARS_MAX + 1):
        if len(line) > CSV_LINE_CHARS_MAX:
            raise LimitExceeded(
                "CSV_LINE_CHARS_MAX", got=len(line), allowed=CSV_LINE_CHARS_MAX, what="the length of a line"
            )
        yield line


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
