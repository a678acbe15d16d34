"""SASLprep (RFC 4013) as PostgreSQL applies it to passwords, so that both sides derive the same keys."""

from __future__ import annotations


def saslprep(password: bytes) -> bytes:
    """The prepared form of a password; the password itself where it has none.

    PostgreSQL uses a password as it is when it is not UTF-8, holds a prohibited character or would become
    empty. Following the RFC instead would lock out users whom PostgreSQL lets in.
    """
    if password.isascii():
        return password  # nothing below changes ASCII
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    prepared = _prepare(text)
    return password if prepared is None else prepared.encode("utf-8")


def _prepare(text: str) -> str | None:
    """Steps 1 to 4 of RFC 3454 with the profile of RFC 4013; None: prohibited."""
    import stringprep  # only passwords beyond ASCII need the tables
    import unicodedata

    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(_prohibited(char) for char in normal):
        return None
    if any(map(stringprep.in_table_d1, normal)):  # right-to-left text must be so from end to end
        mixed = any(map(stringprep.in_table_d2, normal))
        if mixed or not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])):
            return None
    return normal


def _prohibited(char: str) -> bool:
    import stringprep

    return (
        stringprep.in_table_a1(char)
        or stringprep.in_table_c12(char)
        or stringprep.in_table_c21_c22(char)
        or stringprep.in_table_c3(char)
        or stringprep.in_table_c4(char)
        or stringprep.in_table_c5(char)
        or stringprep.in_table_c6(char)
        or stringprep.in_table_c7(char)
        or stringprep.in_table_c8(char)
        or stringprep.in_table_c9(char)
    )
