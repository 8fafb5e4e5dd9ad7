"""Which mailbox a name stands for. A mailbox is made when its user first logs on or is sent something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

from replay.server.errors import LOGIN_PERMISSION, UNKNOWN_USER, RopError
from replay.server.mailbox import Mailbox, default_dn, open_mailbox
from replay.server.store import Store


class Regions(list[Any]):
    """Locked regions of streams (session.Region). A class of its own, since plain lists have no weak references."""


class Directory:
    """The users of a store.

    users: names as they log on; all have the same password. dn: the legacy distinguished name of the first one's
    mailbox (others have the one made of their name). With `any_dn` every name that is nobody's is taken for the user's
    own mailbox, so that captured logons of other mailboxes can be replayed as they are; without it such a name is
    ecUnknownUser. The mailbox of another user is ecLoginPerm.
    """

    def __init__(self, store: Store, users: Sequence[str], dn: str | None = None, any_dn: bool = True) -> None:
        self.store, self.users, self.any_dn = store, tuple(dict.fromkeys(users)), any_dn
        self._dns = {user: default_dn(user) for user in self.users}
        if dn:
            self._dns[self.users[0]] = dn
        self._owners = {name.casefold(): user for user, name in self._dns.items()}
        self._regions: WeakValueDictionary[tuple[int, int], Regions] = WeakValueDictionary()

    def regions_of(self, bag: int, prop_id: int) -> Regions:
        """The locked regions of a property's streams: one list for as long as somebody has one open."""
        return self._regions.setdefault((bag, prop_id), Regions())

    def mailbox(self, dn: str, user: str) -> Mailbox:
        """The mailbox that a user logs on to by a name ('' is the user's own). Call inside a transaction."""
        owner = self._owners.get(dn.casefold()) if dn else user
        if owner is None and not self.any_dn:
            raise RopError(UNKNOWN_USER)
        if owner not in (None, user):
            raise RopError(LOGIN_PERMISSION)
        return self.own_mailbox(user)

    def own_mailbox(self, user: str) -> Mailbox:
        return open_mailbox(self.store, user, self._dns[user])

    def mailboxes(self) -> Iterator[Mailbox]:
        """Those of all users. Call inside a transaction."""
        return map(self.own_mailbox, self.users)
