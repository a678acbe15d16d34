"""What somebody sees who tries to log in as a user that does not exist: what most users have who do.

The kind of secret decides what a client is asked (under `auth_type = md5`), and its iterations are told to
the client before it proves anything. So a stand-in has what is usual here: in the userlist, and at each
PostgreSQL that auth_query has asked. Each of those counts as much as any other: a tenant who runs the one
that is asked about his own users could else make up as many as it takes to tell others' users from those who
do not exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pooler.auth.passwords import Secret, parse_secret
from pooler.config import Config
from pooler.provisioning import instance_of

#: Iterations that differ, of one PostgreSQL; more of them say nothing about what is usual there.
KINDS_MAX = 64
#: PostgreSQLs; of more all are learnt anew.
INSTANCES_MAX = 256
#: Iterations of PostgreSQL's own verifiers (scram_iterations): what is usual where nothing is.
DEFAULT_ITERATIONS = 4096

#: In the place of the iterations of a secret that is none of SCRAM.
NO_SCRAM = 0


class UnknownUsers:
    """Of one worker; `key` makes their salts (see `pooler.master.login_key`)."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.have_scram = False
        self.iterations = 0  # 0: those of verifiers that pooler makes itself
        self._listed: Counter[int] = Counter()
        self._found: dict[str, Counter[int]] = {}
        self._instances: frozenset[str] = frozenset()  # of the configuration
        self._are_looked_up = False

    def adopt(self, config: Config) -> None:
        """Another configuration."""
        askers = {database.auth_user for database in config.databases.values()}
        if config.auto_database is not None:
            askers.add(config.auto_database.auth_user)
        askers.add(config.settings.auth_user)
        self._are_looked_up = askers != {None}
        self._instances = frozenset(_asked_instances(config))
        self._listed = Counter(
            _kind(parse_secret(text))
            for user, text in config.userlist.items()
            if text and user not in askers  # an account of pooler's own, not one of many
        )
        self._decide()

    def learn(self, instance: str, secret: Secret) -> None:
        """What auth_query has brought for a user, and from which PostgreSQL."""
        if not secret.text:
            return
        if instance not in self._found and len(self._found) >= INSTANCES_MAX:
            self._found.clear()
        found = self._found.setdefault(instance, Counter())
        if len(found) >= KINDS_MAX:
            found.clear()
        found[_kind(secret)] += 1
        self._decide()

    def _usual_at_servers(self) -> Counter[int]:
        """All users that were looked up, dealt out evenly to PostgreSQLs, each with what is usual there;
        those that were not asked yet have the default."""
        kinds: Counter[int] = Counter()
        users = sum(found.total() for found in self._found.values())
        not_asked = len(self._instances - self._found.keys()) if self._found else 0
        share = max(1, users // (len(self._found) + not_asked or 1))
        for found in self._found.values():
            kinds[_most_common(found)] += share
        kinds[DEFAULT_ITERATIONS] += share * not_asked
        return +kinds

    def _decide(self) -> None:
        kinds = self._listed + self._usual_at_servers()
        scram = Counter({kind: count for kind, count in kinds.items() if kind != NO_SCRAM})
        if not kinds:  # nothing is known: PostgreSQL's default since 14
            self.have_scram, self.iterations = self._are_looked_up, 0
            return
        self.have_scram = 2 * scram.total() > kinds.total()
        self.iterations = _most_common(scram) if self.have_scram else 0


def _asked_instances(config: Config) -> Iterator[str]:
    """PostgreSQLs that auth_query may ask."""
    for database in config.databases.values():
        if not (database.auth_user or config.settings.auth_user):
            continue
        name = database.auth_dbname or config.settings.auth_dbname
        target = database if name is None else config.find_database(name)
        if target is not None:
            yield instance_of(config, target)


def _kind(secret: Secret) -> int:
    return secret.verifier.iterations if secret.verifier is not None else NO_SCRAM


def _most_common(kinds: Counter[int]) -> int:
    """Of those that are as common as each other PostgreSQL's default, else the least."""
    return max(kinds, key=lambda kind: (kinds[kind], kind == DEFAULT_ITERATIONS, -kind))
