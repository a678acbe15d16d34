"""Ways to log in with a password or without one, spoken byte for byte by a client that the test plays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from pooler.auth import passwords, scram
from pooler.config import Database
from pooler.core import LoginPolicy, LoginQuestion, _core
from pooler.errors import ClientFault
from pooler.protocol import codes, frontend, messages
from pooler.worker.login_policy import login_policy
from tests.support.login_peer import Peer
from tests.support.logins import Machine
from tests.support.stored_secrets import scram_secret
from tests.unit.login.conftest import MakeMachine

MD5 = "md5" + hashlib.md5(b"secretme").hexdigest()
SCRAM = scram_secret("secret")
SASL = (codes.AUTH_SASL, b"SCRAM-SHA-256\0\0")
WRONG_PASSWORD = "password authentication failed"
SASL_FAILED = "SASL authentication failed"


def others(kind: str) -> dict[str, str]:
    """Three more users, whose secrets are what is usual then."""
    return {f"{kind}{number}": SCRAM if kind == "scram" else MD5 for number in range(3)}


# -- methods without a password --


def test_any(make_machine: MakeMachine) -> None:
    machine = make_machine("any", databases={"db": Database("db", user="bouncer")})
    machine.start("whoever").welcome()
    assert machine.asked == []
    machine.logged("C-1: db/whoever@unix(", "login attempt: db=db user=whoever tls=no replication=no")


def test_any_needs_a_user_for_servers(make_machine: MakeMachine) -> None:
    assert make_machine("any").start().refused() == "bouncer config error"


def test_trust(make_machine: MakeMachine) -> None:
    machine = make_machine("trust", {"me": ""})
    machine.start().welcome()
    assert machine.start("ghost").refused() == '"trust" authentication failed'
    machine.logged("C-", "no such user: ghost", 'closing because: "trust" authentication failed (age=0s)')


def test_unknown_method(make_machine: MakeMachine) -> None:
    machine = make_machine("magic", {"me": "secret"})
    assert machine.start().refused() == "bouncer config error"


# -- clear text --


@pytest.mark.parametrize("stored", ["secret", MD5, SCRAM])
@pytest.mark.parametrize("usual", ["md5", "scram"])
def test_plain(make_machine: MakeMachine, stored: str, usual: str) -> None:
    machine = make_machine("plain", {"me": stored, "empty": "", **others(usual)}, scram_iterations=10)
    peer = machine.start()
    assert peer.request() == (codes.AUTH_CLEARTEXT, b"")
    peer.say(frontend.password(b"secret")).welcome()
    assert machine.asked == []
    assert machine.tables.pool_scram_keys(machine.pool()) is None
    peers = []
    for user in ("me", "ghost", "empty"):
        for wrong in (b"", b"wrong", b"no such user", MD5.encode(), SCRAM.encode()):
            peers.append(machine.start(user).say(frontend.password(wrong)))
    for peer in peers:
        assert peer.request() == (codes.AUTH_CLEARTEXT, b"")
        assert peer.refused() == WRONG_PASSWORD


@pytest.mark.parametrize("word", ["pa\u00a0ss", "sécret", "\u00aa"])
def test_a_password_that_has_to_be_prepared(make_machine: MakeMachine, word: str) -> None:
    """Python knows SASLprep; of ASCII it is not asked."""
    machine = make_machine("plain", {"me": scram_secret(word)})
    machine.log_in(word)
    assert machine.questions[0] == (LoginQuestion.PREPARED, [word.encode()])
    assert machine.start().say(frontend.password("wröng".encode())).request() == (codes.AUTH_CLEARTEXT, b"")


def test_plain_with_the_longest_password(make_machine: MakeMachine) -> None:
    longest = "p" * 65_531
    machine = make_machine("plain", {"me": longest})
    machine.log_in(longest)
    peer = machine.start()
    peer.request()
    assert (
        peer.say(frontend.password(longest.encode() + b"p")[:5])
        .refused()
        .startswith("bad packet header: '70")
    )


@pytest.mark.parametrize("body", [b"", b"secret", b"sec\0ret\0", b"secret\0\0", b"\0secret\0"])
@pytest.mark.parametrize("auth_type", ["plain", "md5"])
def test_password_message_out_of_shape(make_machine: MakeMachine, auth_type: str, body: bytes) -> None:
    peer = make_machine(auth_type, {"me": "secret"}).start()
    peer.request()
    assert peer.say(messages.message(b"p", body)).refused() == "bad password packet"


# -- md5 --


def md5_of(peer: Peer, stored: bytes) -> bytes:
    """The answer to the challenge of somebody who has this secret."""
    code, salt = peer.request()
    assert (code, len(salt)) == (codes.AUTH_MD5, 4)
    return frontend.password(passwords.md5_answer(stored, salt))


@pytest.mark.parametrize("stored", ["secret", MD5])
def test_md5(make_machine: MakeMachine, stored: str) -> None:
    machine = make_machine("md5", {"me": stored})
    peer = machine.start()
    peer.say(md5_of(peer, MD5.encode())).welcome()
    for userlist in ({"me": "other", "x": "x"}, {"x": "x"}, {"me": "", "x": "x"}):
        peer = make_machine("md5", userlist).start()
        assert peer.say(md5_of(peer, MD5.encode())).refused() == WRONG_PASSWORD


@pytest.mark.parametrize("password", [b"", b"\x00no such user"])
@pytest.mark.parametrize("userlist", [{"me": "", "x": "x"}, {"x": "x"}])
def test_md5_of_no_password_lets_nobody_in(
    make_machine: MakeMachine, userlist: dict[str, str], password: bytes
) -> None:
    peer = make_machine("md5", userlist).start()
    assert peer.say(md5_of(peer, passwords.md5_secret(password, b"me"))).refused() == WRONG_PASSWORD


def test_challenges_differ(make_machine: MakeMachine) -> None:
    machine = make_machine("md5", {"me": "secret"})
    assert len({machine.start().request() for _ in range(20)}) > 15


# -- SCRAM --


def scram_first(peer: Peer) -> tuple[bytes, bytes]:
    """Play the client up to its final message; returns its first and the server's first message."""
    assert peer.request() == SASL
    peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=clientnonce"))
    code, said = peer.request()
    assert code == codes.AUTH_SASL_CONTINUE
    return b"n=,r=clientnonce", said


def scram_final(password: bytes, bare: bytes, said: bytes) -> tuple[bytes, bytes]:
    """The client's final message, and what the server has to answer."""
    nonce, salt, count = (part[2:] for part in said.split(b","))
    keys = scram.derive_keys(password, scram.b64decode(salt), int(count))
    signed = b"c=biws,r=" + nonce
    message = b",".join((bare, said, signed))
    proof = scram.xor(keys.client_key, scram.hmac_sha256(scram.sha256(keys.client_key), message))
    answer = b"v=" + scram.b64encode(scram.hmac_sha256(keys.server_key, message))
    return signed + b",p=" + scram.b64encode(proof), answer


@pytest.mark.parametrize("auth_type", ["md5", "scram-sha-256"])
def test_scram_with_a_stored_verifier(make_machine: MakeMachine, auth_type: str) -> None:
    machine = make_machine(auth_type, {"me": SCRAM})
    peer = machine.start()
    bare, said = scram_first(peer)
    assert said.endswith(b",s=" + scram.b64encode(b"0123456789abcdef") + b",i=1000")
    final, answer = scram_final(b"secret", bare, said)
    peer.say(frontend.sasl_response(final))
    assert peer.request() == (codes.AUTH_SASL_FINAL, answer)
    peer.welcome()
    keys = scram.derive_keys(b"secret", b"0123456789abcdef", 1000)
    assert machine.tables.pool_scram_keys(machine.pool()) == (keys.client_key, keys.server_key)
    assert machine.asked == []


def test_scram_with_a_plain_password(make_machine: MakeMachine) -> None:
    """Keys with a salt of our own are of no use at a server."""
    machine = make_machine("scram-sha-256", {"me": "secret"}, scram_iterations=1234)
    for _ in range(2):  # the second login finds the keys
        peer = machine.start()
        bare, said = scram_first(peer)
        assert said.endswith(b",i=1234")
        final, answer = scram_final(b"secret", bare, said)
        peer.say(frontend.sasl_response(final))
        assert peer.request() == (codes.AUTH_SASL_FINAL, answer)
        peer.welcome()
    assert machine.tables.pool_scram_keys(machine.pool()) is None


@pytest.mark.parametrize(("iterations", "uses"), [(1234, True), (1233, False)])
def test_keys_that_are_there_are_not_derived_again(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, iterations: int, uses: bool
) -> None:
    """These are wrong ones: the right password does not fit them. Those of other iterations do not count."""

    def mark(*arguments: Any) -> LoginPolicy:
        policy = login_policy(*arguments)
        _core.login_mark_derived(policy, b"me", iterations)
        return policy

    monkeypatch.setattr("pooler.worker.login_questions.login_policy", mark)
    machine = make_machine("scram-sha-256", {"me": "secret"}, scram_iterations=1234)
    peer = machine.start()
    peer.say(frontend.sasl_response(scram_final(b"secret", *scram_first(peer))[0]))
    if uses:
        assert peer.refused() == SASL_FAILED
    else:
        assert peer.request()[0] == codes.AUTH_SASL_FINAL


@pytest.mark.parametrize(
    "secret", [None, "", MD5, "other", scram_secret("other")], ids=["none", "empty", "md5", "plain", "scram"]
)
def test_scram_fails_alike_for_everybody(make_machine: MakeMachine, secret: str | None) -> None:
    userlist = {"x": "x"} if secret is None else {"me": secret, "x": "x"}
    machine = make_machine("scram-sha-256", userlist)
    peer = machine.start()
    final = frontend.sasl_response(scram_final(b"secret", *scram_first(peer))[0])
    fault = peer.say(final).fault()
    assert (fault.message, fault.sqlstate) == (SASL_FAILED, "28P01")
    machine.logged(
        f"closing because: {SASL_FAILED} (age=0s)", "wrong password", f"pooler error: {SASL_FAILED}"
    )


def said_to(machine: Machine, user: str) -> bytes:
    return scram_first(machine.start(user))[1].partition(b",")[2]


def test_unknown_user_has_a_stable_salt(make_machine: MakeMachine) -> None:
    machine = make_machine("scram-sha-256", {"plain": "x"})
    ghost, plain = said_to(machine, "ghost"), said_to(machine, "plain")
    assert said_to(machine, "ghost") == ghost
    assert said_to(machine, "plain") == plain
    assert said_to(machine, "spectre") != ghost
    assert len(ghost) == len(plain)
    machine = make_machine("scram-sha-256", {"plain": "x"})
    assert said_to(machine, "ghost") == ghost
    machine = make_machine("scram-sha-256", {"plain": "x"}, login_key=b"o" * 32)
    assert said_to(machine, "ghost") != ghost


def test_unknown_user_under_md5_may_look_like_scram(make_machine: MakeMachine) -> None:
    peer = make_machine("md5", others("scram")).start()
    assert peer.say(frontend.sasl_response(scram_final(b"x", *scram_first(peer))[0])).refused() == SASL_FAILED


@pytest.mark.parametrize("user", ["ghost", "empty"])
def test_iterations_of_who_has_no_secret_are_the_usual_ones(make_machine: MakeMachine, user: str) -> None:
    """Not those of pooler's own, which a client whose password is kept in clear is told."""
    users = {f"u{number}": scram_secret("x", iterations=777) for number in range(3)}
    machine = make_machine("scram-sha-256", {**users, "empty": "", "plain": "x"}, scram_iterations=55)
    assert said_to(machine, user).endswith(b",i=777")
    assert said_to(machine, "plain").endswith(b",i=55")
    assert said_to(make_machine("scram-sha-256", {"x": "x"}, scram_iterations=55), user).endswith(b",i=55")


@pytest.mark.parametrize(
    "mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "scram-sha-256", "", "PLAIN", "x" * 900]
)
def test_wrong_mechanism(make_machine: MakeMachine, mechanism: str) -> None:
    peer = make_machine("scram-sha-256", {"me": SCRAM}).start()
    peer.request()
    text = peer.say(frontend.sasl_initial_response(mechanism, b"n,,n=,r=x")).refused()
    assert text == "client selected an invalid SASL authentication mechanism"


@pytest.mark.parametrize(
    ("first", "note"),
    [
        (b"n,,n=,r=", "client-first-message: the nonce has characters that are not allowed"),
        (b"n,a=x,n=,r=abc", "client-first-message: an authorization identity is not supported"),
    ],
)
def test_the_log_knows_why(make_machine: MakeMachine, first: bytes, note: str) -> None:
    machine = make_machine("scram-sha-256", {"me": SCRAM})
    peer = machine.start()
    peer.request()
    fault = peer.say(frontend.sasl_initial_response("SCRAM-SHA-256", first)).fault()
    assert (fault.message, fault.sqlstate) == (SASL_FAILED, "08P01")
    machine.logged(note)


@pytest.mark.parametrize("length", [1025, 1 << 20])
def test_sasl_message_too_long(make_machine: MakeMachine, length: int) -> None:
    """It is refused by its header: what would follow is not waited for."""
    machine = make_machine("scram-sha-256", {"me": SCRAM})
    header = b"p" + (length + 4).to_bytes(4, "big")
    peer = machine.start()
    peer.request()
    assert peer.say(header).refused() == f"bad packet header: '{header.hex()}'"
    peer = machine.start()
    scram_first(peer)
    assert peer.say(header).refused() == f"bad packet header: '{header.hex()}'"


@pytest.mark.parametrize(("auth_type", "most"), [("plain", 65_532), ("md5", 1024), ("scram-sha-256", 1024)])
def test_the_longest_message_of_each_method(make_machine: MakeMachine, auth_type: str, most: int) -> None:
    machine = make_machine(auth_type, {"me": "secret"})
    peer = machine.start()
    peer.request()
    assert "authentication" in peer.say(messages.message(b"p", b"x" * (most - 1) + b"\0")).refused()
    peer = machine.start()
    peer.request()
    header = messages.message(b"p", b"x" * (most + 1))[:5]
    assert peer.say(header).refused() == f"bad packet header: '{header.hex()}'"


# -- the console --


@pytest.mark.parametrize("database", ["pgbouncer", "pooler"])
def test_own_user_needs_no_password(make_machine: MakeMachine, database: str) -> None:
    machine = make_machine("scram-sha-256")
    peer = machine.start("pgbouncer", database, extra_float_digits="2")
    assert peer.request() == (codes.AUTH_OK, b"")
    _, _, _, user, known_as, own, minor, application = machine.passed_as().fields
    assert (user, known_as, own, minor, application) == (b"pgbouncer", database.encode(), b"1", b"0", b"")


@pytest.mark.parametrize(
    ("user", "database", "tcp", "others_account"),
    [
        ("pgbouncer", "pgbouncer", False, True),
        ("pgbouncer", "pgbouncer", True, False),
        ("pgbouncer", "db", False, False),
        ("postgres", "pgbouncer", False, False),
    ],
)
def test_everybody_else_does(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch,
    user: str, database: str, tcp: bool, others_account: bool,
) -> None:  # fmt: skip
    if others_account:
        monkeypatch.setattr("pooler.worker.login_policy.os.getuid", lambda: 2**31 - 5)
    machine = make_machine("md5", {"x": "x"})
    peer = machine.connect(tcp).start(user, database)
    assert peer.request()[0] == codes.AUTH_MD5
    assert machine.passed == []


def test_a_user_of_the_console_has_a_password(make_machine: MakeMachine) -> None:
    machine = make_machine("md5", {"me": "secret"}, stats_users=("me",))
    assert machine.log_in(database="pgbouncer").parameters["server_version"]
    fault = machine.start("me", "pgbouncer").say(frontend.password(b"x"))
    assert fault.request()[0] == codes.AUTH_MD5
    assert fault.refused() == WRONG_PASSWORD


# -- what follows the proof --


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_nothing_of_databases_is_told_before_the_proof(make_machine: MakeMachine, method: str) -> None:
    machine = make_machine(method, {"me": "secret"})
    with pytest.raises(ClientFault, match="authentication failed"):
        machine.log_in("wrong", database="nowhere")
    with pytest.raises(ClientFault, match="no such database: nowhere"):
        machine.log_in(database="nowhere")
    machine.logged("closing because: no such database: nowhere")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ({"max_db_client_connections": 1}, "client connections exceeded (max_db_client_connections)"),
        ({"max_user_client_connections": 1}, "client connections exceeded (max_user_client_connections)"),
    ],
)
def test_limits(make_machine: MakeMachine, limit: Mapping[str, int], text: str) -> None:
    machine = make_machine("md5", {"me": "secret"}, **limit)
    machine.log_in()
    peer = machine.start()
    with pytest.raises(ClientFault, match=text.partition("(")[0]) as caught:
        peer.prove("secret")
    assert str(caught.value) == text
    machine.logged(f"closing because: {text}")


def test_no_server_is_waited_for(make_machine: MakeMachine) -> None:
    """The client hears that it is in when its pool has had a server."""
    machine = make_machine("plain", {"me": "secret"}, client_login_timeout=0.3)
    machine.has_servers = False
    peer = machine.start()
    peer.request()
    fault = peer.say(frontend.password(b"secret")).fault()
    assert fault.message == "client_login_timeout (server down)"


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256", "trust"])
def test_the_end_of_its_time(make_machine: MakeMachine, method: str) -> None:
    machine = make_machine(method, {"me": "secret"}, client_login_timeout=0.2)
    peer = machine.connect() if method == "trust" else machine.start()
    if method != "trust":
        peer.request()
    assert peer.refused() == "client_login_timeout"


# -- shape of the conversation --


def test_byte_by_byte_is_the_same(make_machine: MakeMachine) -> None:
    machine = make_machine("scram-sha-256", {"me": SCRAM})
    peer = machine.connect().bytewise(frontend.ssl_request())
    assert peer.hear(1) == b"N"
    peer.bytewise(frontend.startup("me", "db", {}))
    assert peer.request() == SASL
    peer.bytewise(frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=clientnonce"))
    _, said = peer.request()
    peer.bytewise(frontend.sasl_response(scram_final(b"secret", b"n=,r=clientnonce", said)[0]))
    assert peer.request()[0] == codes.AUTH_SASL_FINAL
    peer.welcome()
    assert machine.tables.pool_scram_keys(machine.pool()) is not None


def test_client_may_go_at_any_byte(make_machine: MakeMachine) -> None:
    machine = make_machine("plain", {"me": "secret"}, clients=128)
    whole = frontend.startup("me", "db", {}) + frontend.password(b"secret")
    for end in range(len(whole)):
        machine.connect().say(whole[:end]).close()
    eof = "closing because: client unexpected eof"
    machine.until(lambda: machine.text().count(eof) == len(whole), "all have left")
    assert machine.queries == []


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_terminate_instead_of_a_password(make_machine: MakeMachine, auth_type: str) -> None:
    machine = make_machine(auth_type, {"me": "secret"})
    peer = machine.start()
    peer.request()
    assert peer.say(frontend.terminate()).refused() == "client close request"


@pytest.mark.parametrize("kind", [b"Q", b"P", b"S", b"F", b"R", b"\0"])
@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_another_message_than_the_answer(make_machine: MakeMachine, auth_type: str, kind: bytes) -> None:
    peer = make_machine(auth_type, {"me": "secret"}).start()
    peer.request()
    assert peer.say(messages.message(kind, b"secret\0")).refused() == "unknown pkt"


def test_what_is_sent_behind_the_password_is_the_first_query(make_machine: MakeMachine) -> None:
    machine = make_machine("plain", {"me": "secret"})
    startup, password = frontend.startup("me", "db", {}), frontend.password(b"secret")
    peer = machine.connect().say(startup, password, frontend.query("SELECT 1"))
    assert peer.request() == (codes.AUTH_CLEARTEXT, b"")
    peer.welcome()
    assert [peer.message()[0] for _ in range(4)] == [b"T", b"D", b"C", b"Z"]
    assert machine.queries == [b"SELECT 1\0"]


def test_what_is_sent_behind_a_wrong_password_is_nobodys(make_machine: MakeMachine) -> None:
    machine = make_machine("plain", {"me": "secret"})
    peer = machine.start().say(
        frontend.password(b"wrong"), frontend.password(b"secret"), frontend.query("SELECT 1")
    )
    assert peer.request() == (codes.AUTH_CLEARTEXT, b"")
    assert peer.refused() == WRONG_PASSWORD
    assert machine.queries == []


def test_neither_log_nor_questions_show_a_secret(make_machine: MakeMachine) -> None:
    machine = make_machine("plain", {"me": "deep-secret"}, verbose=2)
    machine.log_in("deep-secret")
    with pytest.raises(ClientFault, match=WRONG_PASSWORD):
        machine.log_in("deep-wrong")
    machine.logged("closing because")
    assert "deep" not in machine.text()
