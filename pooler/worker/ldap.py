"""Whether a directory finds a password right. Runs in a thread, and may wait for the network.

By python-ldap, that is OpenLDAP's library, as in PgBouncer and PostgreSQL: its ldap.conf says which
authorities to trust for ldaps and ldaptls. Log texts are PgBouncer's.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

from pooler import log
from pooler.config.ldap import LdapOptions

#: For connecting to one server, and for each answer; client_login_timeout bounds all of it.
NETWORK_S = 3.0
ANSWER_S = 10.0

#: Would have to be escaped; names of users do not have them.
FORBIDDEN = frozenset("*()\\/")


def check(options: LdapOptions | None, user: str, password: bytes) -> bool:
    """Whether the password is right; logs why not. Never raises for what the directory does."""
    try:
        ldap = importlib.import_module("ldap")
    except ImportError:
        log.error("LDAP authentication needs the package python-ldap: pip install 'pooler[ldap]'")
        return False
    if options is None or not password:
        return False  # wrong options were logged when they were loaded
    try:
        return _Directory(ldap, options).admits(user, password)
    except (ldap.LDAPError, OSError, UnicodeError) as error:
        log.warning("LDAP server %s: %s", " ".join(options.hosts) or "by DNS", reason(error))
        return False


def reason(error: Exception) -> str:
    """What python-ldap says about an error, on one line."""
    detail = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    parts = [str(detail[key]) for key in ("desc", "info") if detail.get(key)]
    return ": ".join(parts) or str(error) or type(error).__name__


class _Directory:
    """One question to the servers of one set of options."""

    def __init__(self, ldap: Any, options: LdapOptions) -> None:
        self.ldap = ldap
        self.options = options
        hosts = options.hosts or self._hosts_by_dns()
        self.uris = " ".join(f"{options.ldapscheme}://{host}" for host in hosts)

    def admits(self, user: str, password: bytes) -> bool:
        options = self.options
        name: str | None = f"{options.ldapprefix or ''}{user}{options.ldapsuffix or ''}"
        if options.searches:
            name = self._search(user)
        if name is None:
            return False
        connection = self._connect()
        try:
            connection.simple_bind_s(name, password)
        except self.ldap.LDAPError as error:
            text = "LDAP login failed for user %s on server %s: %s"
            log.warning(text, name, options.ldapserver or self.uris, reason(error))
            return False
        finally:
            connection.unbind_s()
        return True

    def _connect(self) -> Any:
        connection = self.ldap.initialize(self.uris)
        connection.protocol_version = self.ldap.VERSION3
        connection.network_timeout = NETWORK_S
        connection.timeout = ANSWER_S
        connection.set_option(self.ldap.OPT_REFERRALS, 0)
        if self.options.ldaptls:
            try:
                connection.start_tls_s()
            except self.ldap.LDAPError as error:
                text = "could not start LDAP TLS session: %s, server: %s"
                log.warning(text, reason(error), self.uris)
                raise
        return connection

    def _search(self, user: str) -> str | None:
        """The name of the one entry that is this user's."""
        options, ldap = self.options, self.ldap
        if FORBIDDEN & set(user) or "\0" in user:
            log.warning("invalid character in user name for LDAP authentication")
            return None
        connection = self._connect()
        try:
            connection.simple_bind_s(options.ldapbinddn or "", options.ldapbindpasswd or "")
        except ldap.LDAPError as error:
            text = 'could not perform initial LDAP bind for ldapbinddn "%s" on server "%s": %s'
            log.warning(text, options.ldapbinddn or "", options.ldapserver or self.uris, reason(error))
            connection.unbind_s()
            return None
        scope = {"base": ldap.SCOPE_BASE, "one": ldap.SCOPE_ONELEVEL, "sub": ldap.SCOPE_SUBTREE}
        attribute = options.ldapsearchattribute or "uid"
        pattern = options.ldapsearchfilter or f"({attribute}=$username)"
        wanted = pattern.replace("$username", user)
        where = options.ldapserver or self.uris
        try:
            found = connection.search_st(
                options.ldapbasedn, scope[options.ldapscope], wanted, ["1.1"], timeout=ANSWER_S
            )
        except ldap.NO_SUCH_OBJECT:
            found = []
        except ldap.LDAPError as error:
            text = 'could not search LDAP for filter "%s" on server "%s": %s'
            log.warning(text, wanted, where, reason(error))
            return None
        finally:
            connection.unbind_s()
        names = [name for name, _ in found if name]  # without a name: a reference to another server
        if len(names) == 1:
            return str(names[0])
        log.warning('LDAP user "%s" %s', user, "is not unique" if names else "does not exist")
        text = 'LDAP search for filter "%s" on server "%s" returned %d entries.'
        log.warning(text, wanted, where, len(names))
        return None

    def _hosts_by_dns(self) -> list[str]:
        """The servers of the base DN's domain, by DNS SRV records, where no server is named."""
        parts = self.ldap.dn.explode_dn(self.options.ldapbasedn or "", flags=0)
        labels = [part.partition("=")[2] for part in parts if part.lower().startswith("dc=")]
        if not labels:
            log.warning("could not extract domain name from ldapbasedn")
            raise OSError("no server")
        return _srv(".".join(labels))


def _srv(domain: str) -> list[str]:
    """Hosts and ports of a domain's directory, by a function of OpenLDAP that python-ldap does not show."""
    library = ctypes.CDLL(importlib.import_module("_ldap").__file__)
    found = ctypes.c_char_p()
    if library.ldap_domain2hostlist(domain.encode("idna"), ctypes.byref(found)) or not found.value:
        raise OSError(f'LDAP authentication could not find DNS SRV records for "{domain}"')
    hosts = found.value.decode().split()
    library.ldap_memfree(found)
    return hosts
