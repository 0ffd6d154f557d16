"""Room `engines` (imports all below it): URLs with `${NAME}` in them: a variable's value, written as its place asks.

A value is taken as it is, never as if it had percent signs already: what a password has of `@`, `/` or `#` stays in
the password. No error shows a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from antiphon.model.errors import InvalidInput

VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:,%\[\]-]+")
"""Names, addresses and ports, several behind each other as PostgreSQL takes them."""
_SAID: Final = "write @ as %40, / as %2F, # as %23 and ? as %3F there, or put a variable there, as ${PGPASSWORD}"


def variables_of(template: str) -> list[str]:
    """The names that a URL asks the environment for, in order."""
    return list(dict.fromkeys(VARIABLE.findall(template)))


def filled(template: str, known: Mapping[str, str]) -> str:
    """The URL. Raises InvalidInput, naming the variable, for one that is not known, is empty, or cannot stand there.

    A variable that is the whole URL is a URL itself.
    """
    whole = VARIABLE.fullmatch(template)
    if whole is not None:
        url = _value(whole[1], known)
        if "://" not in url:
            raise InvalidInput(f"${{{whole[1]}}} is no URL, and stands where one has to be", variable=whole[1])
        check_url(url)
        return url
    check_url(VARIABLE.sub("0", template))
    begin = template.find("://") + 3
    end = next((at for at in range(begin, len(template)) if template[at] in "/?#"), len(template))
    at_host = template.rfind("@", begin, end) + 1 or begin

    def written(match: re.Match[str]) -> str:
        value = _value(match[1], known)
        if match.start() < begin:
            raise InvalidInput(f"${{{match[1]}}} stands before ://: there a URL says of itself which engine it means")
        if at_host <= match.start() < end:
            if not _HOST.fullmatch(value):
                raise InvalidInput(f"${{{match[1]}}} is no host and no port, and stands where a URL has them")
            return value
        return quote(value, safe="")

    return VARIABLE.sub(written, template)


def _value(name: str, known: Mapping[str, str]) -> str:
    found = known.get(name)
    if found is None:
        raise InvalidInput(f"it asks for ${{{name}}}, which is not in the environment", variable=name)
    if not found:
        raise InvalidInput(f"it asks for ${{{name}}}, which is empty in the environment", variable=name)
    return found


def check_url(url: str) -> None:
    """Raises InvalidInput where a user or password has signs that end it: its rest would be taken for host or path."""
    begin = url.find("://") + 3
    if begin < 3:
        return
    host = re.split("[/?#]", url[begin:], maxsplit=1)[0]
    if host.count("@") > 1 or "#" in url or "@" in url[begin + len(host) :] or not _has_port(url, host):
        raise InvalidInput(f"the user or password of this URL has signs that end it, or its port is no number: {_SAID}")


def _has_port(url: str, host: str) -> bool:
    """Whether what stands for a port is a number, or nothing; of several hosts, as PostgreSQL takes them, not asked."""
    try:
        return "," in host or urlsplit(url).port != -1
    except ValueError:
        return False
