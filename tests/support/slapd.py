"""A real directory: OpenLDAP's slapd from Debian's package, on free ports, with its data in a folder."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from pooler.dev.processes import free_port
from tests.support.install import need, run
from tests.support.processes import wait_for

BASE = "dc=example,dc=net"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "adminsecret"
SCHEMA = Path("/etc/ldap/schema")

CONFIG = """
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/cert.pem
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {folder}/data
access to attrs=userPassword by anonymous auth
access to * by * read
"""

ENTRIES = """
dn: {base}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=twins,{base}
objectClass: organizationalUnit
ou: twins

dn: uid=bouncer,{base}
objectClass: inetOrgPerson
uid: bouncer
cn: bouncer
sn: bouncer
mail: bouncer@example.net
userPassword: ldapsecret

dn: uid=suser,ou=people,{base}
objectClass: inetOrgPerson
uid: suser
cn: suser
sn: suser
userPassword: sfoo

dn: uid=muser,ou=people,{base}
objectClass: inetOrgPerson
uid: muser
cn: one
sn: one
userPassword: twin

dn: uid=muser,ou=twins,{base}
objectClass: inetOrgPerson
uid: muser
cn: two
sn: two
userPassword: twin

dn: uid=stranger,{base}
objectClass: inetOrgPerson
uid: stranger
cn: stranger
sn: stranger
userPassword: strange
"""


class Slapd:
    """One server; `uri` and `ldaps` are where it listens."""

    def __init__(self, folder: Path) -> None:
        need("slapd", "/usr/sbin/slapd")
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        values = {
            "schema": SCHEMA,
            "folder": folder,
            "base": BASE,
            "admin": ADMIN,
            "password": ADMIN_PASSWORD,
        }
        (folder / "data").mkdir()
        _certificate(folder)
        (folder / "slapd.conf").write_text(CONFIG.format(**values))
        (folder / "entries.ldif").write_text(ENTRIES.format(**values))
        run(["/usr/sbin/slapadd", "-f", str(folder / "slapd.conf"), "-l", str(folder / "entries.ldif")])

    def start(self) -> None:
        """Starts it and waits until it answers."""
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with open(self.folder / "out", "wb") as out:
            self.process = subprocess.Popen(
                ["/usr/sbin/slapd", "-f", str(self.folder / "slapd.conf"), "-h", urls, "-d", "0"],
                stdout=out,
                stderr=out,
            )
        wait_for(self._answers, 10, "slapd")

    def _answers(self) -> bool:
        try:
            ssl.get_server_certificate(("127.0.0.1", self.tls_port), timeout=1)
        except OSError:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "out").read_text()
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None


def _certificate(folder: Path) -> None:
    """A key and a certificate that signs itself, for 127.0.0.1."""
    need("openssl", "openssl")
    run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    )  # fmt: skip
