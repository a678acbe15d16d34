"""What the configuration says about the login of one client, and where its password is to be found.

The order is PgBouncer's: auth_file first; who is not in there is looked up by auth_query, if an auth_user is
set for the database or for all. Each login looks again, nothing is kept: a password that was changed, or a
role that has expired, counts at once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pooler import log
from pooler.auth.method import Method
from pooler.auth.passwords import Secret, parse_secret
from pooler.config import CONSOLE_DATABASES, Config
from pooler.config.hba import Client as HbaClient
from pooler.config.hba import address_of, find_rule
from pooler.config.ldap import LdapOptions, parse_ldap_options
from pooler.errors import NOT_PERMITTED, ClientFault
from pooler.protocol.client_login import ClientSession
from pooler.protocol.conversation import AskSecret, CheckPassword, NeedTurn
from pooler.protocol.startup import StartupPacket
from pooler.worker import external_auth
from pooler.worker.auth_query import config_error
from pooler.worker.server import names_of

if TYPE_CHECKING:
    from pooler.worker.client import Client

#: What a pool remembers for logins at PostgreSQL; a row has space for that many bytes.
SECRET_BYTES_MAX = 2048

#: In the place of a password that is NULL: who has it exists, and an empty one never lets anybody in.
_NEVER = Secret("plain", "")


class Access:
    """Of one client; answers what its login asks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._packet: StartupPacket | None = None
        self._tls = False
        self._method: Method | None = None  # that was chosen
        self._name: str | None = None  # that auth_query gave, if it is another one
        self._secret: Secret | None = None  # that auth_query brought

    @property
    def _config(self) -> Config:
        return self._client.context.config

    # -- how

    def choose(self, packet: StartupPacket, tls: bool) -> Method | None:
        """The way in for this client; None: the rules know none."""
        self._method = self._choose(packet, tls)
        return self._method

    def _choose(self, packet: StartupPacket, tls: bool) -> Method | None:
        self._packet, self._tls = packet, tls
        self._client.attempt(packet)
        settings = self._config.settings
        if settings.auth_type == "pam":
            database = self._config.find_database(packet.database)
            if database is not None and database.auth_user is not None:
                raise config_error("PAM can't be used together with database authentication")
        if settings.auth_type == "hba":
            return self._rule(packet.user)
        if settings.auth_type == "ldap":
            return Method("ldap", options=ldap_options(settings.auth_ldap_options or ""))
        return Method(settings.auth_type)

    def _rule(self, user: str) -> Method | None:
        assert self._packet is not None
        addr = names_of(self._client.sock)[0]
        seen = HbaClient(
            self._packet.database,
            user,
            None if self._client.is_unix else address_of(addr),
            self._tls,
            self._packet.replication == "physical",
        )
        if seen.address is None and not self._client.is_unix:
            return None  # it has left already, or the address is none that a rule could fit
        rule = find_rule(self._config.hba, seen)
        if rule is None:
            return None
        log.debug("C-%d: HBA Line %d is matched", self._client.id, rule.line)
        options = ldap_options(rule.options) if rule.method == "ldap" else None
        return Method(rule.method, rule.map, options)

    # -- who

    def answer(self, request: AskSecret | CheckPassword | NeedTurn) -> object:
        """What the login asks for, possibly after a while."""
        login_queue = self._client.services.login_queue
        if isinstance(request, NeedTurn):
            login_queue.turns.take(self._client)
            return None
        if isinstance(request, CheckPassword):
            login_queue.suspend(self._client)
            right = external_auth.check(request, names_of(self._client.sock)[0])
            login_queue.resume(self._client)
            return right
        return self._stored(request.user, request.database)

    def _stored(self, user: str, database_name: str) -> Secret | None:
        text = self._config.userlist.get(user)
        if text is not None:
            return parse_secret(text)
        database = self._config.find_database(database_name)
        console = database_name in CONSOLE_DATABASES
        auth_user = (database.auth_user if database else None) or self._config.settings.auth_user
        if auth_user is None or (database is None and not console):
            log.info("C-%d: no such user: %s", self._client.id, user)
            return None
        self._client.waits_for_server = True
        self._client.services.login_queue.suspend(self._client)
        found = self._client.services.lookups.find(database, user, self._client.has_left)
        self._client.services.login_queue.resume(self._client)
        self._client.waits_for_server = False
        if found is None:
            if self._method is not None and self._method.name == "trust":  # nothing is proven there
                raise ClientFault("no such user", NOT_PERMITTED)
            log.info("C-%d: no such user: %s", self._client.id, user)
            return None  # told as late, and in the same words, as a wrong password
        if found.name != user:
            self._rename(user, found.name)
        self._secret = _NEVER if found.secret is None else parse_secret(found.secret)
        self._client.services.unknown_users.learn(self._secret)
        return self._secret

    def _rename(self, user: str, name: str) -> None:
        """auth_query calls the user by another name, which is the one that counts; for the rules, too."""
        if self._config.settings.auth_type == "hba" and self._rule(user) != self._rule(name):
            fault = ClientFault("login rejected", NOT_PERMITTED)
            fault.add_note(
                f"auth_query calls the user {name}, for whom another line of auth_hba_file decides"
            )
            raise fault
        self._name = name

    def confirmed(self, session: ClientSession) -> ClientSession:
        """The session of a client that is in, under the name that counts."""
        return session if self._name is None else replace(session, user=self._name)

    # -- for PostgreSQL

    def remember(self, session: ClientSession, pool: int) -> None:
        """Keep for the pool's servers what this login has shown, or auth_query brought.

        Where it has neither, what an earlier one has left stays (as in PgBouncer), unless auth_file has a
        password, which is then the newer word.
        """
        secret = session.password or b""
        if not secret and self._secret is not None and self._secret.kind != "scram":
            secret = self._secret.raw
        if len(secret) > SECRET_BYTES_MAX:
            log.warning("C-%d: its password is too long to log in to PostgreSQL with", self._client.id)
        elif secret or self._config.userlist.get(session.user):
            self._client.context.tables.set_pool_secret(pool, secret)


@lru_cache(maxsize=256)
def ldap_options(text: str) -> LdapOptions | None:
    """The options in a text; None: they are wrong, as the log said when they were loaded."""
    try:
        return parse_ldap_options(text)
    except ValueError as error:
        log.warning("%s", error)
        return None
