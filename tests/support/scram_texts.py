"""Messages of SCRAM-SHA-256: the example of RFC 7677, and texts that look like some."""

from __future__ import annotations

from hypothesis import strategies as st

from pooler.auth import scram
from tests.support.stored_secrets import verifier_of

# RFC 7677, section 3: user `user`, password `pencil`
SALT = scram.b64decode(b"W22ZaJ0SNY7soEsUEjb6gQ==")
KEYS = scram.derive_keys(b"pencil", SALT, 4096)
VERIFIER = verifier_of(KEYS, SALT, 4096)
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SAID = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
SIGNED = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
PROOF = b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
FINAL = SIGNED + b"," + PROOF
ANSWER = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

#: Attributes in any order, some with values of that kind.
TEXTS = st.lists(
    st.sampled_from(
        [b"n", b"y", b"p=x", b"", b"n=", b"r=abc", b"r=abcdef", b"c=biws", b"i=1", b"i=99999999999", b"m="]
    )
    | st.binary(max_size=8).map(lambda raw: b"s=" + scram.b64encode(raw))
    | st.binary(max_size=40).map(lambda raw: b"p=" + scram.b64encode(raw))
    | st.binary(max_size=8)
).map(b",".join)
