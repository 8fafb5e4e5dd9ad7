"""Which mailbox a name stands for. The server knows one user; the mailbox is made when the user first logs on."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from replay.server.errors import UNKNOWN_USER, RopError
from replay.server.mailbox import Mailbox, default_dn, open_mailbox
from replay.server.store import Store


class Regions(list[Any]):
    """Locked regions of streams (session.Region). A class of its own, since plain lists have no weak references."""


class Directory:
    """The one user of a store.

    dn: the legacy distinguished name of the mailbox. With `any_dn` every name a client logs on with is taken for that
    mailbox, so that captured logons of other mailboxes can be replayed as they are; without it another name is
    ecUnknownUser.
    """

    def __init__(self, store: Store, user: str, dn: str | None = None, any_dn: bool = True) -> None:
        self.store, self.user, self.any_dn = store, user, any_dn
        self.dn = dn or default_dn(user)
        self._regions: WeakValueDictionary[tuple[int, int], Regions] = WeakValueDictionary()

    def regions_of(self, bag: int, prop_id: int) -> Regions:
        """The locked regions of a property's streams: one list for as long as somebody has one open."""
        return self._regions.setdefault((bag, prop_id), Regions())

    def check(self, dn: str) -> None:
        if dn and not self.any_dn and dn.casefold() != self.dn.casefold():
            raise RopError(UNKNOWN_USER)

    def mailbox(self, dn: str) -> Mailbox:
        """The mailbox of a name ('' is the user's own). Call inside a transaction."""
        self.check(dn)
        return open_mailbox(self.store, self.user, self.dn)
