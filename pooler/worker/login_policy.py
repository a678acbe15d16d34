"""What the configuration says of logins, as the tables that the core looks it up in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict

from pooler.auth.passwords import parse_secret
from pooler.config import CONSOLE_DATABASES, Config, Database
from pooler.core import LoginPolicy
from pooler.protocol import messages
from pooler.provisioning import instance_of

if TYPE_CHECKING:
    from pooler.config.hba import HbaRule
    from pooler.core import TlsContext

#: By the version of an address.
ADDRESS_BYTES = {4: 4, 6: 16}


class _DatabaseFacts(TypedDict):
    user: str | None
    auth_user: bool
    follows: bool
    instance: str


def login_policy(
    config: Config, client_tls: TlsContext | None, key: tuple[int, int], serial: int = 0
) -> LoginPolicy:
    """The tables of a configuration, for one relay; `key`: of their hashes, which no stranger may know;
    `serial`: by which questions about its rules say which configuration they mean."""
    settings = config.settings
    policy = LoginPolicy(
        key,
        auth_type=settings.auth_type,
        auth_user=settings.auth_user is not None,
        tls_required=config.tls.client.required,
        log_connections=settings.log_connections,
        log_disconnections=settings.log_disconnections,
        log_pooler_errors=settings.log_pooler_errors,
        verbose=settings.verbose > 0,
        add_host=settings.application_name_add_host,
        scram_iterations=settings.scram_iterations,
        max_unauthenticated=settings.max_unauthenticated,
        max_silent_per_address=settings.max_silent_per_address,
        login_timeout_s=settings.client_login_timeout,
        listen_port=settings.listen_port,
        own_uid=os.getuid(),
        serial=serial,
    )
    _add_users(policy, config)
    for database in config.databases.values():
        policy.add_database(database.name, **_facts_of(config, database))
    if config.auto_database is not None:
        policy.set_automatic(**_facts_of(config, config.auto_database))
    for name in CONSOLE_DATABASES:
        policy.add_console(name)
    for name in settings.ignore_startup_parameters:
        policy.add_ignored(name)
    for number, rule in enumerate(config.hba):
        _add_rule(policy, number, rule)
    policy.set_tls(client_tls)
    if settings.login_notify_message:
        policy.set_notice(messages.notice(settings.login_notify_message))
    return policy


def _add_users(policy: LoginPolicy, config: Config) -> None:
    for user, text in config.userlist.items():
        secret = parse_secret(text)
        policy.add_secret(user, secret.raw, secret.prepared)
    for options in config.users.values():
        if options.session_state is not None:
            policy.add_user(options.name, follows=options.session_state != "off")


def _facts_of(config: Config, database: Database) -> _DatabaseFacts:
    state = config.settings.session_state if database.session_state is None else database.session_state
    return {
        "user": database.user,
        "auth_user": database.auth_user is not None,
        "follows": state != "off",
        "instance": instance_of(config, database),
    }


def _add_rule(policy: LoginPolicy, number: int, rule: HbaRule) -> None:
    network = None
    if rule.network is not None:
        version, address, mask = rule.network
        size = ADDRESS_BYTES[version]
        network = (version, address.to_bytes(size, "big"), mask.to_bytes(size, "big"))
    policy.add_rule(
        rule.kind,
        rule.method,
        line=rule.line,
        number=number,
        mapped=rule.map is not None,
        database_words=rule.databases.keywords,
        databases=rule.databases.names,
        user_words=rule.users.keywords,
        users=rule.users.names,
        network=network,
    )
