"""Room `cli` (imports everything): agents by the names that they have here, where ids would be shown otherwise."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from antiphon.model.errors import AntiphonError
from antiphon.model.text import id_text
from antiphon.replica.records import names_in

if TYPE_CHECKING:
    from collections.abc import Collection

    from antiphon.home import Home
    from antiphon.replica.core import Replica

FILES_MAX: Final = 256
"""So many agents' files of a home are looked into for names; ids are shown of the rest."""


def known_names(replica: Replica, wanted: Collection[str], home: Home | None = None) -> dict[str, str]:
    """The names of agents by their ids as text: those that the file knows, then those of the home's other agents.

    *Cost*: nothing more where the file knows them all, else 10 ms for each agent of the home.
    """
    found = {id_text(agent): name for agent, name in names_in(replica).items()}
    for name in home.names()[:FILES_MAX] if home is not None else ():
        if found.keys() >= set(wanted):
            break
        if home is None or name in found.values():
            continue
        with contextlib.suppress(AntiphonError), home.open_file(home.path_of(name), read_only=True) as other:
            found |= {
                id_text(agent): called for agent, called in names_in(other).items() if id_text(agent) not in found
            }
    return found
