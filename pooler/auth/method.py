"""How one client has to prove who it is, as the configuration chose for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class IdentityMap(Protocol):
    """A name map: who the system, or a certificate, calls `system` may be some users."""

    @property
    def name(self) -> str: ...

    def permits(self, system: str, user: str) -> bool: ...


@dataclass(frozen=True)
class Method:
    """A way to log in, and what belongs to it."""

    name: str  # any trust reject plain md5 scram-sha-256 peer cert ldap pam
    map: IdentityMap | None = None  # of peer and cert
    options: Any = None  # of ldap; whoever asks the directory understands them

    def permits(self, system: str, user: str) -> bool:
        """Whether somebody whom the system calls `system` may be `user`."""
        return system == user if self.map is None else self.map.permits(system, user)
