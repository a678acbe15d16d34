"""What auth_ldap_options, or a rule of auth_hba_file with the method ldap, says about the directory to ask.

`key=value` with white space or commas between; both may be in "..." with `""` for a quote. Either
ldapprefix and ldapsuffix make the name to log in with, or that name is searched for below ldapbasedn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

_BEGIN = re.compile(r"\s*,?\s*")
_NAME = re.compile(r'"((?:[^"]|"")*)"=|([^="]+)=')
_VALUE = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')

PORTS = {"ldap": 389, "ldaps": 636}
SCOPES = ("base", "one", "sub")

#: Keys whose text is taken as it stands.
_TEXTS = (
    "ldapserver",
    "ldapprefix",
    "ldapsuffix",
    "ldapbasedn",
    "ldapbinddn",
    "ldapbindpasswd",
    "ldapsearchattribute",
    "ldapsearchfilter",
)


@dataclass(frozen=True)
class LdapOptions:
    """The directory, and how a user is found in it. None: not given."""

    ldapscheme: str = "ldap"
    ldapserver: str | None = None  # names separated by spaces, tried in this order
    ldapport: int = 0
    ldaptls: bool = False
    ldapprefix: str | None = None
    ldapsuffix: str | None = None
    ldapbasedn: str | None = None
    ldapbinddn: str | None = None
    ldapbindpasswd: str | None = field(default=None, repr=False)
    ldapsearchattribute: str | None = None
    ldapsearchfilter: str | None = None
    ldapscope: str = "sub"

    @property
    def hosts(self) -> list[str]:
        """Host and port of each server; none: they are to be found by the base DN."""
        port = self.ldapport or PORTS[self.ldapscheme]
        return [f"{name}:{port}" for name in (self.ldapserver or "").split()]

    @property
    def searches(self) -> bool:
        """Whether the user is searched for, and not made of prefix and suffix."""
        return self.ldapbasedn is not None


def parse_ldap_options(text: str) -> LdapOptions:
    """The options in a text; raises ValueError with a text for the operator, which shows no password."""
    options = LdapOptions()
    at = _BEGIN.match(text, 0).end()  # type: ignore[union-attr]  # it matches nothing, too
    while at < len(text) and text[at] != "#":
        name = _NAME.match(text, at)
        value = _VALUE.match(text, name.end()) if name is not None else None
        if name is None or value is None:
            raise ValueError(f"expected key=value at character {at + 1} of the LDAP options")
        options = _with(options, _text(name).strip(), _text(value))
        at = _BEGIN.match(text, value.end()).end()  # type: ignore[union-attr]
    _check(options)
    return options


def _text(match: re.Match[str]) -> str:
    return match[2] if match[1] is None else match[1].replace('""', '"')


def _with(options: LdapOptions, key: str, value: str) -> LdapOptions:
    if key in _TEXTS:
        changes: dict[str, Any] = {key: value}
        return replace(options, **changes)
    if key == "ldaptls":
        return replace(options, ldaptls=value == "1")
    if key == "ldapscheme":
        if value not in PORTS:
            raise ValueError(f'invalid ldapscheme value: "{value}"')
        return replace(options, ldapscheme=value)
    if key == "ldapport":
        if not re.fullmatch("[0-9]{1,5}", value) or not 0 < int(value) < 65536:
            raise ValueError(f'invalid LDAP port number: "{value}"')
        return replace(options, ldapport=int(value))
    if key == "ldapurl":
        return _with_url(options, value)
    raise ValueError(f'invalid LDAP key parameter: "{key[:40]}"')


def _with_url(options: LdapOptions, url: str) -> LdapOptions:
    """`ldap://host:port/basedn?attribute?scope?filter` (RFC 4516)."""
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError as error:
        raise ValueError(f'could not parse LDAP URL "{url}": {error}') from None
    if parts.scheme not in PORTS:
        raise ValueError(f"unsupported LDAP URL scheme: {parts.scheme}")
    attributes, scope, search, *_ = (*parts.query.split("?", 2), "", "", "")
    if scope and scope not in SCOPES:
        raise ValueError(f'could not parse LDAP URL "{url}": unknown scope')
    return replace(
        options,
        ldapscheme=parts.scheme,
        ldapserver=parts.hostname or options.ldapserver,
        ldapport=port,
        ldapbasedn=unquote(parts.path[1:]) or options.ldapbasedn,
        ldapsearchattribute=unquote(attributes.split(",")[0]) or None,
        ldapscope=scope or "base",
        ldapsearchfilter=unquote(search.split("?")[0]) or None,
    )


def _check(options: LdapOptions) -> None:
    """What must not be mixed, in PgBouncer's words."""
    searching = (
        options.ldapbasedn,
        options.ldapbinddn,
        options.ldapbindpasswd,
        options.ldapsearchattribute,
        options.ldapsearchfilter,
    )
    if options.ldapprefix is not None or options.ldapsuffix is not None:
        if any(text is not None for text in searching):
            raise ValueError(
                "cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, "
                "or ldapurl together with ldapprefix"
            )
    elif options.ldapbasedn is None:
        raise ValueError(
            'authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix"'
            " to be set"
        )
    if options.ldapsearchattribute is not None and options.ldapsearchfilter is not None:
        raise ValueError("cannot use ldapsearchattribute together with ldapsearchfilter")
    if not options.hosts and not options.ldapbasedn:
        raise ValueError("LDAP server not specified, and no ldapbasedn")
