"""SCRAM in the core: the example of RFC 7677, messages out of shape, and the same decisions as Python's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.auth import scram, scram_client
from pooler.auth.scram import ScramKeys, Verifier
from pooler.core._core import (
    LOGIN_SASL_LIMIT,
    LoginScram,
    login_initial_response,
    login_mock,
    login_stable_salt,
)
from pooler.errors import ClientFault
from pooler.protocol import frontend
from tests.support import scram_server, scram_texts
from tests.support.scram_texts import FIRST, KEYS, SALT, VERIFIER

RANDOM = b"s" * 18
HASH = bytes(range(32))

BOUND_FIRST = scram.BOUND + b",,n=,r=abc"

#: Reasons that Python has words for; others are those of its interpreter.
REASONS_FIRST = {
    "the channel binding flag is not that of the mechanism",
    "channel binding of another type was asked for",
    "the client supports channel binding but thinks the server does not",
    "an authorization identity is not supported",
    "attribute n expected",
    "attribute r expected",
    "the nonce has characters that are not allowed",
}
REASONS_FINAL = {
    "no proof",
    "attribute c expected",
    "channel binding differs from that of the first message",
    "altered nonce",
    "mandatory extension",
    "attribute p expected",
    "proof has the wrong length",
}
#: What they become: Python has an exception of its own there.
OWN_WORDS = {"it has too few fields", "the channel binding is no base64", "the proof is no base64"}


def begun(first: bytes = FIRST, plus: bool = False, certificate: bytes | None = None) -> LoginScram:
    exchange = LoginScram()
    assert exchange.client_first(first, plus, certificate) is None
    return exchange


def answered(exchange: LoginScram, salt: bytes = SALT, iterations: int = 4096) -> bytes:
    said = exchange.server_first(salt, iterations, RANDOM)
    assert said is not None
    return said


def refused(reason: str | None, message: str) -> str:
    """The words of a reason."""
    assert reason is not None
    assert reason.startswith(message + ": ")
    return reason.removeprefix(message + ": ")


def proof_of(
    said: bytes, keys: ScramKeys = KEYS, first: bytes = FIRST, channel: bytes = b"n,,"
) -> tuple[bytes, bytes]:
    """What a client that knows the keys answers, and what the server has to show then."""
    bare = first.split(b",", 2)[2]
    signed = b"c=%b,%b" % (scram.b64encode(channel), said.split(b",")[0])
    message = b",".join((bare, said, signed))
    proof = scram.xor(keys.client_key, scram.hmac_sha256(scram.sha256(keys.client_key), message))
    answer = b"v=" + scram.b64encode(scram.hmac_sha256(keys.server_key, message))
    return signed + b",p=" + scram.b64encode(proof), answer


# -- an exchange ---------------------------------------------------------------------------------------------


def test_both_sides() -> None:
    nonce = scram_client.new_nonce(b"c" * 18)
    exchange = begun(scram_client.client_first(nonce))
    said = answered(exchange)
    server = scram_client.parse_server_first(said, nonce)
    assert (server.salt, server.iterations) == (SALT, 4096)
    proof = scram_client.prove(KEYS, nonce, server)
    reason, wrong, client_key, final = exchange.client_final(
        proof.client_final, VERIFIER.stored_key, VERIFIER.server_key
    )
    assert (reason, wrong, client_key) == (None, False, KEYS.client_key)
    assert final is not None
    scram_client.check_server_final(final, proof.server_signature)


def test_rfc_7677() -> None:
    exchange = begun()
    exchange.say(scram_texts.SAID)
    got = exchange.client_final(scram_texts.FINAL, VERIFIER.stored_key, VERIFIER.server_key)
    assert got == (None, False, KEYS.client_key, scram_texts.ANSWER)


def test_server_first() -> None:
    assert answered(begun()) == (
        b"r=rOprNGfwEbeRWgbNEkqOc3Nzc3Nzc3Nzc3Nzc3Nzc3Nz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )


@pytest.mark.parametrize("length", [0, 20, 32, 48, 64])
def test_bound_to_a_certificate(length: int) -> None:
    certificate = bytes(range(length))
    exchange = begun(BOUND_FIRST, True, certificate)
    assert exchange.channel == scram.BOUND + b",," + certificate
    final, answer = proof_of(answered(exchange), first=BOUND_FIRST, channel=exchange.channel)
    got = exchange.client_final(final, VERIFIER.stored_key, VERIFIER.server_key)
    assert got == (None, False, KEYS.client_key, answer)


def test_bound_to_another_certificate() -> None:
    """Somebody between us has a certificate of his own."""
    for other in (b"", HASH[:-1], HASH[:-1] + b"x", HASH + b"x"):
        exchange = begun(BOUND_FIRST, True, HASH)
        channel = scram.BOUND + b",," + other
        final, _ = proof_of(answered(exchange), first=BOUND_FIRST, channel=channel)
        reason, wrong, *_ = exchange.client_final(final, VERIFIER.stored_key, VERIFIER.server_key)
        assert (reason, wrong) == (
            "client-final-message: channel binding differs from that of the first message",
            False,
        )


def test_a_hash_that_is_longer_than_any() -> None:
    assert LoginScram().client_first(BOUND_FIRST, True, bytes(65)) is not None


def test_client_that_supports_channel_binding_itself() -> None:
    exchange = begun(b"y,,n=,r=abc")
    assert exchange.channel == b"y,,"
    assert exchange.bare == b"n=,r=abc"


def test_name_inside_scram_does_not_count() -> None:
    assert begun(b"n,,n=postgres,r=abc,x=y").bare == b"n=postgres,r=abc,x=y"


def test_extensions_behind_the_nonce_are_signed() -> None:
    first = b"n,,n=,r=abc,x=y,"
    exchange = begun(first)
    final, answer = proof_of(answered(exchange), first=first)
    got = exchange.client_final(final, VERIFIER.stored_key, VERIFIER.server_key)
    assert got == (None, False, KEYS.client_key, answer)


def test_an_exchange_is_not_replayed() -> None:
    exchange = begun()
    final, _ = proof_of(answered(exchange))
    assert exchange.server_first(SALT, 4096, b"t" * 18) is not None
    reason, wrong, *_ = exchange.client_final(final, VERIFIER.stored_key, VERIFIER.server_key)
    assert (reason, wrong) == ("client-final-message: altered nonce", False)


def test_the_last_message_without_the_one_before() -> None:
    """Nothing is compared with what was never said."""
    for exchange in (LoginScram(), begun()):
        for final in (b"c=biws,,p=" + scram.b64encode(bytes(32)), b"c=biws,r=,p=AAAA", b"c=,,p=AAAA"):
            reason, wrong, *_ = exchange.client_final(final, VERIFIER.stored_key, VERIFIER.server_key)
            assert refused(reason, "client-final-message")
            assert not wrong
    assert LoginScram().server_first(SALT, 4096, RANDOM) is None
    failed = begun()
    assert answered(failed)
    assert failed.client_first(b"n,,") is not None
    assert failed.server_first(SALT, 4096, RANDOM) is None


def test_nobody_satisfies_the_mock() -> None:
    stored_key, server_key = login_mock(b"secret", b"user")
    salt = login_stable_salt(b"secret", b"user")
    exchange = begun()
    said = answered(exchange, salt)
    assert len(said) == len(answered(begun(), SALT)), "not to be told from a stored one"
    for keys in (KEYS, ScramKeys(stored_key, server_key), ScramKeys(bytes(32), server_key)):
        final, _ = proof_of(said, keys)
        assert exchange.client_final(final, stored_key, server_key) == ("wrong password", True, None, None)


def test_wrong_password() -> None:
    exchange = begun()
    final, _ = proof_of(answered(exchange), scram.derive_keys(b"pencils", SALT, 1))
    assert exchange.client_final(final, VERIFIER.stored_key, VERIFIER.server_key) == (
        "wrong password", True, None, None,
    )  # fmt: skip


# -- the client's first message ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b",",
        b",,,",
        b"n,,",
        b"n,,n=user",
        b"n,,n=user,",
        b"n,,n=user,r=",
        b"n,,n=user,r=a\0b",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=\x7f",
        b"n,,n=user,r=\xff",
        b"n,,r=abc,n=user",
        b"n,,m=ext,n=user,r=abc",
        b"n,a=other,n=user,r=abc",
        b"p=tls-server-end-point,,n=user,r=abc",
        b"p=tls-unique,,n=user,r=abc",
        b"p=,,n=user,r=abc",
        b"p,,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"N,,n=user,r=abc",
        b"nn,,n=user,r=abc",
        b",,n=user,r=abc",
        b"n=user,r=abc",
    ],
)
def test_client_first_refused(data: bytes) -> None:
    assert refused(LoginScram().client_first(data), "client-first-message")


@pytest.mark.parametrize(
    ("data", "plus", "certificate"),
    [
        (BOUND_FIRST, True, None),
        (BOUND_FIRST, False, HASH),
        (b"n,,n=,r=abc", True, HASH),
        (b"y,,n=,r=abc", True, HASH),
        (b"y,,n=,r=abc", False, HASH),
        (b"p=tls-unique,,n=,r=abc", True, HASH),
        (b"p=tls-server-end-poin,,n=,r=abc", True, HASH),
        (b"p=tls-server-end-points,,n=,r=abc", True, HASH),
    ],
)
def test_channel_binding_is_never_pretended(data: bytes, plus: bool, certificate: bytes | None) -> None:
    words = refused(LoginScram().client_first(data, plus, certificate), "client-first-message")
    assert words in REASONS_FIRST
    assert words == python_first(data, plus, certificate)


def test_client_first_cut_anywhere() -> None:
    for end in range(len(b"n,,n=user,r=") + 1):
        assert LoginScram().client_first(FIRST[:end]) is not None


def test_longest_first_message() -> None:
    assert LOGIN_SASL_LIMIT == 1_024
    longest = FIRST + b"x" * (LOGIN_SASL_LIMIT - len(FIRST))
    exchange = begun(longest)
    assert exchange.bare == longest[3:]
    assert answered(exchange).startswith(b"r=" + longest[12:])
    assert refused(LoginScram().client_first(longest + b"x"), "client-first-message") == "it is too long"


def python_first(
    data: bytes, plus: bool = False, certificate: bytes | None = None
) -> scram_server.ClientFirst | str:
    try:
        return scram_server.parse_client_first(data, plus, certificate)
    except ClientFault as fault:
        (note,) = fault.__notes__
        return refused(note, "client-first-message")


PARTS = st.sampled_from([
    b"n", b"y", scram.BOUND, b"p=tls-unique", b",", b",,", b"n=", b"n=user", b"r=", b"r=abc", b"a=x", b"m=x",
    b"=", b"x", b" ", b"\0", b"\xff", b"n,,n=,r=", b"y,,n=,r=", BOUND_FIRST, FIRST,
])  # fmt: skip


@given(
    st.lists(PARTS, max_size=8).map(b"".join) | st.binary(max_size=60),
    st.booleans(),
    st.sampled_from([None, HASH, b""]),
)
def test_the_same_first_messages_as_python(data: bytes, plus: bool, certificate: bytes | None) -> None:
    exchange = LoginScram()
    reason = exchange.client_first(data, plus, certificate)
    known = python_first(data, plus, certificate)
    if isinstance(known, str):
        words = refused(reason, "client-first-message")
        assert words == (known if known in REASONS_FIRST else "it has too few fields")
        return
    assert reason is None
    assert (exchange.channel, exchange.bare) == (known.channel, known.bare)
    assert exchange.server_first(SALT, 1, RANDOM) == scram_server.server_first(known, SALT, 1, RANDOM)


# -- the server's first message ------------------------------------------------------------------------------


@given(
    st.text("abc+/=", min_size=1, max_size=900).map(str.encode),
    st.binary(max_size=600),
    st.integers(1, 2**32 - 1),
    st.binary(min_size=18, max_size=18),
)
def test_the_same_answer_as_python(nonce: bytes, salt: bytes, iterations: int, random: bytes) -> None:
    first = b"n,,n=,r=" + nonce
    wanted = scram_server.server_first(scram_server.parse_client_first(first), salt, iterations, random)
    assert begun(first).server_first(salt, iterations, random) == wanted


@pytest.mark.parametrize("salt_bytes", [3072, 3073, 100_000, 2**20])
def test_a_salt_that_is_too_long(salt_bytes: int) -> None:
    exchange = begun()
    assert exchange.server_first(bytes(salt_bytes), 4096, RANDOM) is None
    reason, *_ = exchange.client_final(b"c=biws,,p=AAAA", VERIFIER.stored_key, VERIFIER.server_key)
    assert reason is not None


def test_lengths_around_the_longest_answer() -> None:
    made = [begun().server_first(bytes(n), 2**32 - 1, RANDOM) for n in range(2200, 2320)]
    lengths = [len(said) for said in made if said is not None]
    assert made[0] is not None
    assert made[-1] is None
    assert 3060 < max(lengths) < 3072


# -- the client's last message -------------------------------------------------------------------------------

SAID = answered(begun())
FINAL, ANSWER = proof_of(SAID)
SIGNED, _, PROOF = FINAL.rpartition(b",")
NONCE = SIGNED[7:]


def check(final: bytes, verifier: Verifier = VERIFIER) -> tuple[str | None, bool, bytes | None, bytes | None]:
    exchange = begun()
    assert answered(exchange) == SAID
    return exchange.client_final(final, verifier.stored_key, verifier.server_key)


def python_final(final: bytes, verifier: Verifier = VERIFIER) -> scram_server.Proven | tuple[str, bool]:
    """What Python makes of it: proven, or the reason, and whether it is the password alone."""
    first = scram_server.parse_client_first(FIRST)
    try:
        return scram_server.check_client_final(final, first, SAID, verifier)
    except ClientFault as fault:
        (note,) = fault.__notes__
        return note, fault.sqlstate == scram_server.WRONG_PASSWORD


FINALS = [
    b"",
    b",",
    b",,",
    b",,,",
    PROOF,
    SIGNED,
    SIGNED + b",p=",
    SIGNED + b",p",
    SIGNED + b",",
    SIGNED + b",p=AAAA",
    SIGNED + b",p=!" + PROOF[3:],
    SIGNED + b"," + PROOF[:-4],
    SIGNED + b"," + PROOF + b"\0",
    SIGNED + b"," + PROOF + b"=",
    SIGNED + b",q" + PROOF[1:],
    SIGNED + b",p=" + scram.b64encode(bytes(31)),
    SIGNED + b",p=" + scram.b64encode(bytes(33)),
    SIGNED + b",p=" + scram.b64encode(bytes(32)),
    SIGNED + b",p=" + scram.b64encode(bytes(600)),
    SIGNED + b",m=x," + PROOF,
    SIGNED + b",m=," + PROOF,
    SIGNED + b",x=y,m=x," + PROOF,
    SIGNED + b",x=y," + PROOF,
    SIGNED + b",," + PROOF,
    b"c=eSws," + NONCE + b"," + PROOF,
    b"c=biws=," + NONCE + b"," + PROOF,
    b"c=biwsAAAA," + NONCE + b"," + PROOF,
    b"c=" + b"AAAA" * 200 + b"," + NONCE + b"," + PROOF,
    b"c=!," + NONCE + b"," + PROOF,
    b"c=," + NONCE + b"," + PROOF,
    b"d=biws," + NONCE + b"," + PROOF,
    b"c=biws," + PROOF,
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO," + PROOF,
    b"c=biws," + NONCE + b"x," + PROOF,
    b"c=biws," + NONCE[:-1] + b"," + PROOF,
    b"c=biws,s" + NONCE[1:] + b"," + PROOF,
    b"c=biws,r=," + PROOF,
    b"c=biws,," + PROOF,
    NONCE + b",c=biws," + PROOF,
    FINAL + b"," + PROOF[:-4],
]


@pytest.mark.parametrize("final", FINALS)
def test_client_final_refused(final: bytes) -> None:
    reason, wrong, client_key, answer = check(final)
    assert (client_key, answer) == (None, None)
    assert_same(reason, wrong, python_final(final))


def assert_same(reason: str | None, wrong: bool, known: scram_server.Proven | tuple[str, bool]) -> None:
    assert isinstance(known, tuple)
    note, password = known
    assert wrong == password
    if password or note.removeprefix("client-final-message: ") in REASONS_FINAL:
        assert reason == note
    else:
        assert refused(reason, "client-final-message") in OWN_WORDS


@pytest.mark.parametrize("letter", [b"A", b"b", b"9"])
def test_an_altered_proof(letter: bytes) -> None:
    for at in range(2, len(PROOF) - 2):
        altered = PROOF[:at] + letter + PROOF[at + 1 :]
        if altered != PROOF:
            assert check(SIGNED + b"," + altered) == ("wrong password", True, None, None)


def test_client_final_cut_anywhere() -> None:
    for end in range(len(FINAL)):
        reason, wrong, client_key, answer = check(FINAL[:end])
        assert (client_key, answer) == (None, None)
        assert_same(reason, wrong, python_final(FINAL[:end]))
    assert check(FINAL) == (None, False, KEYS.client_key, ANSWER)


def test_longest_last_message() -> None:
    def longer(n: int) -> bytes:
        return SIGNED + b"," + b"x" * (n - len(FINAL) - 1) + b"," + PROOF

    assert check(longer(LOGIN_SASL_LIMIT)) == ("wrong password", True, None, None), (
        "it is not what was signed"
    )
    reason, wrong, *_ = check(longer(LOGIN_SASL_LIMIT + 1))
    assert (reason, wrong) == ("client-final-message: it is too long", False)


FINAL_PARTS = st.sampled_from([
    b"", b",", b"=", b"c=biws", b"c=", b"r=", b"p=", b"m=x", b"x=y", b"\0", b"A", b"AAAA", b"\xff", NONCE,
    SIGNED, PROOF,
])  # fmt: skip


@given(
    st.lists(FINAL_PARTS, max_size=6).map(b",".join)
    | st.tuples(st.integers(0, len(FINAL)), st.integers(0, 5), FINAL_PARTS).map(
        lambda change: FINAL[: change[0]] + change[2] + FINAL[change[0] + change[1] :]
    )
)
def test_the_same_last_messages_as_python(final: bytes) -> None:
    reason, wrong, client_key, answer = check(final)
    known = python_final(final)
    if isinstance(known, scram_server.Proven):
        assert (reason, wrong, client_key, answer) == (None, False, known.client_key, known.server_final)
    else:
        assert (client_key, answer) == (None, None)
        assert_same(reason, wrong, known)


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.sampled_from([FIRST, b"y,,n=,r=abc", b"n,,n=,r=abc,x=y"]),
    st.binary(min_size=1, max_size=64),
)
def test_any_keys(client_key: bytes, server_key: bytes, first: bytes, salt: bytes) -> None:
    keys = ScramKeys(client_key, server_key)
    exchange = begun(first)
    final, answer = proof_of(answered(exchange, salt, 1), keys, first, exchange.channel)
    stored_key = scram.sha256(client_key)
    assert exchange.client_final(final, stored_key, server_key) == (None, False, client_key, answer)


# -- SASLInitialResponse -------------------------------------------------------------------------------------


def response(mechanism: str, data: bytes) -> bytes:
    return frontend.sasl_initial_response(mechanism, data)[5:]


def test_initial_response() -> None:
    assert login_initial_response(response("SCRAM-SHA-256", FIRST)) == (False, FIRST)
    assert login_initial_response(response("SCRAM-SHA-256", FIRST), True) == (False, FIRST)
    assert login_initial_response(response("SCRAM-SHA-256-PLUS", FIRST), True) == (True, FIRST)
    assert login_initial_response(response("SCRAM-SHA-256", b"")) == (False, b"")


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "scram-sha-256", "", "PLAIN", "SCRAM-SHA-256-PLU",
    "SCRAM-SHA-256-PLUSS", "SCRAM-SHA-25", "SCRAM-SHA-2567", "x" * 900])  # fmt: skip
def test_wrong_mechanism(mechanism: str, bound: bool) -> None:
    assert login_initial_response(response(mechanism, FIRST), bound) == "mechanism"


def test_binding_that_was_not_offered() -> None:
    assert login_initial_response(response("SCRAM-SHA-256-PLUS", FIRST)) == "mechanism"


@pytest.mark.parametrize(
    "body", [b"", b"SCRAM-SHA-256", b"\xff", b"SCRAM-SHA-256-PLUS", b"\0", b"\0\0\0\0\0"]
)
def test_no_mechanism(body: bytes) -> None:
    assert login_initial_response(body) == "mechanism"


@pytest.mark.parametrize("inner", [-1, -2, -4, 0x7FFFFFFF, -0x80000000, 0, 1, 7, 9, 12, 100_000])
def test_cve_2026_6664_inner_length_of_sasl(inner: int) -> None:
    body = b"SCRAM-SHA-256\0" + inner.to_bytes(4, "big", signed=True) + b"n,,n=,r="
    assert login_initial_response(body) == "length"


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\0\0", b"\0\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1"])
def test_cve_2026_6664_inner_length_cut(rest: bytes) -> None:
    assert login_initial_response(b"SCRAM-SHA-256\0" + rest) == "length"


@given(
    st.binary(max_size=40) | st.binary(max_size=12).map(lambda rest: b"SCRAM-SHA-256\0" + rest), st.booleans()
)
def test_the_same_responses_as_are_read_in_python(body: bytes, bound: bool) -> None:
    name, terminator, rest = body.partition(b"\0")
    offered = {b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS"} if bound else {b"SCRAM-SHA-256"}
    wanted: tuple[bool, bytes] | str = (name.endswith(b"-PLUS"), rest[4:])
    if not terminator or name not in offered:
        wanted = "mechanism"
    elif len(rest) < 4 or int.from_bytes(rest[:4], "big") != len(rest) - 4:
        wanted = "length"
    assert login_initial_response(body, bound) == wanted
