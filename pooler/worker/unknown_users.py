"""What somebody sees who tries to log in as a user that does not exist: what most users have who do.

The kind of secret decides what a client is asked (under `auth_type = md5`), and its iterations are told to
the client before it proves anything. So a stand-in has what is usual here: in the userlist, and among the
users that auth_query has found.
"""

from __future__ import annotations

from collections import Counter

from pooler.auth.passwords import Secret, parse_secret
from pooler.config import Config

#: Iterations that differ; more of them say nothing about what is usual.
KINDS_MAX = 64

#: In the place of the iterations of a secret that is none of SCRAM.
NO_SCRAM = 0


class UnknownUsers:
    """Of one worker; `key` makes their salts (see `pooler.master.login_key`)."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.have_scram = False
        self.iterations = 0  # 0: those of verifiers that pooler makes itself
        self._listed: Counter[int] = Counter()
        self._found: Counter[int] = Counter()
        self._are_looked_up = False

    def adopt(self, config: Config) -> None:
        """Another configuration."""
        askers = {database.auth_user for database in config.databases.values()}
        if config.auto_database is not None:
            askers.add(config.auto_database.auth_user)
        askers.add(config.settings.auth_user)
        self._are_looked_up = askers != {None}
        self._listed = Counter(
            _kind(parse_secret(text))
            for user, text in config.userlist.items()
            if text and user not in askers  # an account of pooler's own, not one of many
        )
        self._decide()

    def learn(self, secret: Secret) -> None:
        """What auth_query has brought for a user."""
        if not secret.text:
            return
        if len(self._found) >= KINDS_MAX:
            self._found.clear()
        self._found[_kind(secret)] += 1
        self._decide()

    def _decide(self) -> None:
        kinds = self._listed + self._found
        scram = Counter({kind: count for kind, count in kinds.items() if kind != NO_SCRAM})
        if not kinds:  # nothing is known: PostgreSQL's default since 14
            self.have_scram, self.iterations = self._are_looked_up, 0
            return
        self.have_scram = 2 * scram.total() > kinds.total()
        self.iterations = scram.most_common(1)[0][0] if self.have_scram else 0


def _kind(secret: Secret) -> int:
    return secret.verifier.iterations if secret.verifier is not None else NO_SCRAM
