"""What the core asks about logins and Python answers: what has to wait for PostgreSQL, a directory or PAM,
what needs a regular expression or tables of Unicode, and rows that are to be made (core/login/questions.h).

Each question has a greenlet, which gives one answer, whatever goes wrong.
"""

from __future__ import annotations

import os
import pwd
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from pooler import log, provisioning
from pooler.auth.method import Method
from pooler.auth.passwords import parse_secret
from pooler.auth.saslprep import saslprep
from pooler.config import Config
from pooler.config.ldap import LdapOptions, parse_ldap_options
from pooler.core import LoginAnswer, LoginQuestion
from pooler.core.events import LoginAsks
from pooler.errors import NO_DATABASE, NOT_PERMITTED, ClientFault
from pooler.protocol.messages import decode, encode
from pooler.worker import external_auth
from pooler.worker.auth_query import Lookups, config_error
from pooler.worker.login_policy import login_policy
from pooler.worker.stream import Hangup, offload

if TYPE_CHECKING:
    from pooler.worker.context import WorkerContext
    from pooler.worker.unknown_users import UnknownUsers

#: Logins that began with a configuration may ask about its rules until they are over; those of more reloads
#: are refused.
CONFIGS_KEPT = 16

#: Passwords beyond ASCII that are prepared; a thousand bytes take up to 25 ms.
PREPARED_BYTES_MAX = 1024

NO_ROWS = "no more rows for databases of *"

Answer = tuple[LoginAnswer, tuple[bytes, ...]]


class LoginQuestions:
    """Of one worker."""

    def __init__(self, context: WorkerContext, lookups: Lookups, unknown_users: UnknownUsers) -> None:
        self._context = context
        self._lookups = lookups
        self._unknown_users = unknown_users
        self._asking: dict[int, Any] = {}  # greenlets that answer, by id of the client that asks
        self._configs: OrderedDict[int, Config] = OrderedDict()  # by serial number of their policy
        self._serial = 0
        self._key = (int.from_bytes(os.urandom(8), "big"), int.from_bytes(os.urandom(8), "big"))

    def adopt(self, config: Config) -> None:
        """Another configuration: logins that begin from now on go by it."""
        self._serial += 1
        self._configs[self._serial] = config
        while len(self._configs) > CONFIGS_KEPT:
            self._configs.popitem(last=False)
        policy = login_policy(config, self._context.tls.client, self._key, self._serial)
        self._context.relay.set_policy(policy)
        self._unknown_users.adopt(config)
        self._tell_usual()

    def asked(self, event: LoginAsks) -> None:
        """Answer, after a while."""
        self._asking[event.client_id] = self._context.spawn(self._answer, event)

    def _answer(self, event: LoginAsks) -> None:
        verdict, fields = LoginAnswer.FAULT, _fault(ClientFault("internal error"))
        try:
            verdict, fields = self._answers[LoginQuestion(event.question)](self, event)
        except ClientFault as fault:
            fields = _fault(fault)
        except Hangup:
            verdict, fields = LoginAnswer.LEFT, ()
        finally:  # a bug is the caller's to log; the client waits for an answer all the same
            self._asking.pop(event.client_id, None)
            self._context.relay.answer_login(event.row, event.client_id, verdict, fields)

    def left(self, client_id: int) -> None:
        """The client that asked has ended: what was begun for it ends, too."""
        greenlet = self._asking.pop(client_id, None)
        if greenlet is not None:
            greenlet.kill(Hangup("the client has left"), block=False)

    def _is_asking(self, event: LoginAsks) -> bool:
        return event.client_id in self._asking

    # -- secrets and passwords

    def _secret(self, event: LoginAsks) -> Answer:
        """auth_query. Each login looks again: a password that was changed counts at once."""
        user, database_name = map(decode, event.fields)
        database = self._context.config.find_database(database_name)
        found = self._lookups.find(database, user, lambda: not self._is_asking(event))
        if found is None:
            return LoginAnswer.NO, ()
        if found.secret is None:  # it exists, and nothing lets it in
            return LoginAnswer.YES, (encode(found.name), b"", b"", b"")
        secret = parse_secret(found.secret)
        self._unknown_users.learn(self._lookups.instance_of(database), secret)
        self._tell_usual()
        return LoginAnswer.YES, (encode(found.name), b"1", secret.raw, secret.prepared)

    def _ldap(self, event: LoginAsks) -> Answer:
        user, password, serial, number, address = event.fields
        config = self._config_of(serial)
        text = config.hba[int(number)].options if number else config.settings.auth_ldap_options or ""
        method = Method("ldap", options=ldap_options(text))
        wanted = partial(self._is_asking, event)
        return _verdict(external_auth.check(method, decode(user), password, decode(address), wanted)), ()

    def _pam(self, event: LoginAsks) -> Answer:
        user, password, _, _, address = event.fields
        wanted = partial(self._is_asking, event)
        right = external_auth.check(Method("pam"), decode(user), password, decode(address), wanted)
        return _verdict(right), ()

    def _prepared(self, event: LoginAsks) -> Answer:
        """A long one is taken as it is: what SASLprep costs and makes of it is a multiple of its length."""
        (password,) = event.fields
        if len(password) > PREPARED_BYTES_MAX:
            return LoginAnswer.YES, (password,)
        return LoginAnswer.YES, (offload(saslprep, password),)

    # -- who may be whom

    def _peer(self, event: LoginAsks) -> Answer:
        """The account at the other end of a unix socket has to be the user's."""
        user, known, serial, number, uid = event.fields
        method = self._method("peer", serial, number)
        account = offload(account_name, int(uid)) if uid else None  # the answer may come from a directory
        if account is not None and known and method.permits(account, decode(user)):
            return LoginAnswer.YES, ()
        raise _refused("unix socket login rejected", method, "ident map {} cannot be matched")

    def _map(self, event: LoginAsks) -> Answer:
        """The owner of a certificate has to be the user, by a map."""
        user, known, serial, number, common_name = event.fields
        method = self._method("cert", serial, number)
        if not method.permits(decode(common_name), decode(user)):
            raise _refused("certificate authentication failed", method, "ident map: {} does not have a match")
        if not known:
            raise ClientFault("certificate authentication failed", NOT_PERMITTED)
        return LoginAnswer.YES, ()

    def _method(self, name: str, serial: bytes, number: bytes) -> Method:
        return Method(name, self._config_of(serial).hba[int(number)].map) if number else Method(name)

    def _config_of(self, serial: bytes) -> Config:
        found = self._configs.get(int(serial))
        if found is None:
            raise config_error("the configuration was replaced too often while this client logged in")
        return found

    # -- rows

    def _pool(self, event: LoginAsks) -> Answer:
        """Rows for a client's database, user and pool."""
        database_name, user, where = map(decode, event.fields)
        tables, config = self._context.tables, self._context.config
        database = config.find_database(database_name)
        if database is None:
            raise ClientFault(f"no such database: {database_name}", NO_DATABASE)
        automatic = database.name not in config.databases
        if automatic and not provisioning.has_rows(tables, config, database, database.user or user):
            raise ClientFault(NO_ROWS)
        if automatic and tables.meet_database(database.name):
            who = f"C-{event.client_id}: {database_name}/{user}@{where}"
            log.info("%s registered new auto-database: %s", who, database.name)
        rows = provisioning.open_pool(tables, config, database, database.user or user)
        if automatic and min(rows) < 0:
            raise ClientFault(NO_ROWS)
        if min(*rows, provisioning.open_user(tables, config, user)) < 0:
            log.error("a shared table is full: restart with more workers' room for databases, users or pools")
            raise ClientFault("bouncer config error")
        return LoginAnswer.YES, ()

    def _tell_usual(self) -> None:
        """What users who do not exist look like."""
        usual = self._unknown_users
        self._context.relay.unknown_users(usual.have_scram, usual.iterations, usual.key)

    _answers: ClassVar[dict[LoginQuestion, Callable[[LoginQuestions, LoginAsks], Answer]]] = {
        LoginQuestion.SECRET: _secret,
        LoginQuestion.LDAP: _ldap,
        LoginQuestion.PAM: _pam,
        LoginQuestion.PREPARED: _prepared,
        LoginQuestion.PEER: _peer,
        LoginQuestion.MAP: _map,
        LoginQuestion.POOL: _pool,
    }


def account_name(uid: int) -> str | None:
    """The name of a system account; None: it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


@lru_cache(maxsize=256)
def ldap_options(text: str) -> LdapOptions | None:
    """The options in a text; None: they are wrong, as the log said when they were loaded."""
    try:
        return parse_ldap_options(text)
    except ValueError as error:
        log.warning("%s", error)
        return None


def _verdict(right: bool) -> LoginAnswer:
    return LoginAnswer.YES if right else LoginAnswer.NO


def _fault(fault: ClientFault) -> tuple[bytes, ...]:
    notes = getattr(fault, "__notes__", ())
    return encode(fault.sqlstate), encode(fault.message), encode("; ".join(notes))


def _refused(text: str, method: Method, note: str) -> ClientFault:
    fault = ClientFault(text, NOT_PERMITTED)
    if method.map is not None:
        fault.add_note(note.format(method.map.name))
    return fault
