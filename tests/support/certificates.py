"""Certificates for the tests, made by the openssl program: authorities, servers, clients, and wrong ones."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from pooler.dev.processes import Account, make_directory
from tests.support.install import need


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; everything lies in one directory that the account reads."""

    def __init__(self, directory: Path, owner: Account, name: str = "ca") -> None:
        need("openssl", "openssl")
        self.owner = owner
        self.directory = directory if directory.exists() else make_directory(directory, owner, 0o755)
        self.name = name
        self._own = self._request(name, f"/CN={name}")
        request = self.directory / f"{name}.csr"
        self._openssl(
            "x509", "-req", "-in", request, "-signkey", self._own.key, "-days", 30, "-out", self._own.cert,
            "-extfile", self._extensions(name, "basicConstraints=critical,CA:TRUE"),
        )  # fmt: skip
        self._give(self._own)

    @property
    def cert(self) -> Path:
        return self._own.cert

    def sign(
        self, name: str, subject: str, names: str = "", days: int = 30, key: str = "ec", ours: bool = False
    ) -> Pair:
        """A certificate for `subject` ("/CN=..."); `names`: subjectAltNames; negative days: expired; `ours`:
        its key belongs to whoever runs the tests, as libpq wants it."""
        pair = self._request(f"{self.name}-{name}", subject, key)
        request = self.directory / f"{self.name}-{name}.csr"
        text = f"subjectAltName={names}" if names else "basicConstraints=CA:FALSE"
        when: tuple[object, ...] = ("-days", days)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self._own.key, "-CAcreateserial",
            *when, "-out", pair.cert, "-extfile", self._extensions(name, text),
        )  # fmt: skip
        if not ours:
            self._give(pair)
        pair.key.chmod(0o600)
        return pair

    def _request(self, name: str, subject: str, key: str = "ec") -> Pair:
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        kind = ("rsa:2048",) if key == "rsa" else ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        self._openssl(
            "req", "-newkey", *kind, "-nodes", "-keyout", pair.key, "-subj", subject,
            "-out", self.directory / f"{name}.csr",
        )  # fmt: skip
        return pair

    def _extensions(self, name: str, text: str) -> Path:
        path = self.directory / f"{self.name}-{name}.ext"
        path.write_text(text + "\n")
        return path

    def _give(self, pair: Pair) -> None:
        pair.key.chmod(0o600)
        for path in (pair.cert, pair.key):
            self.owner.give(path)

    @staticmethod
    def _openssl(*arguments: object) -> None:
        result = subprocess.run(
            ["openssl", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert result.returncode == 0, result.stdout
