"""One worker's relay, its commands and its events: relay/relay.h; and the bridge: tls/bridge.h."""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t, int64_t

from pooler.core.binding.layout cimport tables
from pooler.core.binding.tls cimport tls

cdef extern from "relay/relay.h" nogil:
    struct options:
        uint64_t check_delay_us, answer_timeout_us
        uint32_t max_packet_bytes, max_prepared_statements
        bint reset_always, disable_pqexec, has_check, fast_close
        bint log_disconnections, log_pooler_errors, log_debug
        char check_query[256]
        char trusted[2048]
        uint64_t catalog_bytes, client_bytes
        char reset_query[1024]
    struct relay:
        int event_bell

cdef extern from "session/settings.h" nogil:
    enum: TRACKED_MAX

cdef extern from "relay/events.h" nogil:
    enum: EVENT_LOGIN_ASKS, EVENT_LOGIN_LEFT, EVENT_LOGIN_PASSED
    enum: EVENT_DIAL, EVENT_CANCEL, EVENT_LOGIN
    enum: EVENT_LISTEN, EVENT_DATABASE
    enum: DDL_BEGINS, DDL_DATABASE, DDL_ROLE, DDL_ROLE_GONE
    struct event:
        uint8_t type
        int32_t a, b
        uint64_t id
        char text[200]
        bint is_unix
        uint8_t how
        tls *tls
        unsigned char *data
        uint32_t data_bytes
    int relay_events(relay *, event *, int)

cdef extern from "relay/log.h" nogil:
    enum: LOG_LINE_BYTES, LEVEL_ERROR, LEVEL_WARNING, LEVEL_LOG, LEVEL_DEBUG
    struct log_record:
        uint16_t bytes
    struct log_batch:
        uint32_t bytes, count, lost
        log_record records[1]
        char lines[1]
    const log_batch *log_take(relay *)

cdef extern from "relay/shown_clients.h" nogil:
    enum: SHOWN_CLIENTS, SHOWN_SOCKETS, SHOWN_ACTIVE_SOCKETS   # enum shown_as
    struct shown:
        unsigned char *bytes
        uint64_t count
        int32_t rows
        bint starved
    void shown_clients(const tables *, int, bint, uint64_t, shown *)

cdef extern from "relay/commands.h" nogil:
    enum: COMMAND_CLIENT, COMMAND_SERVER, COMMAND_CLOSE_SLOT, COMMAND_FREED_SLOT, COMMAND_KILL, COMMAND_SEND
    enum: COMMAND_DEDICATED, DETAIL_BYTES
    enum: COMMAND_RECLAIM, COMMAND_OPTIONS, COMMAND_STOP
    enum: COMMAND_POLICY, COMMAND_UNKNOWN_USERS, COMMAND_DRAIN, COMMAND_LOGIN_ANSWER
    struct command:
        uint8_t type
        int32_t a, b
        uint32_t generation
        uint64_t id, token
        tls *tls
        uint32_t data_bytes, extra_bytes
        unsigned char data[1]
    void relay_command(relay *, command *)

cdef extern from "login/questions.h" nogil:
    enum: ANSWER_YES, ANSWER_NO, ANSWER_FAULT, ANSWER_LEFT
    enum: ASKS_SECRET, ASKS_LDAP, ASKS_PAM, ASKS_PREPARED, ASKS_PEER, ASKS_MAP, ASKS_POOL
    enum: PASS_CONSOLE, PASS_REPLICATION, PASS_CANCEL

cdef extern from "session/probe.h" nogil:
    enum: QUESTIONS

cdef extern from "catalog/read.h" nogil:
    enum: CATALOG_TEXTS

cdef extern from "session/pin.h" nogil:
    const char *pin_reasons(uint32_t, char *, uint32_t)

cdef extern from "relay/loop.h" nogil:
    relay *relay_open(tables *, int, int, const int *, int, const char **, int, const char **)
    int relay_start(relay *)
    void relay_join(relay *)

cdef extern from "relay/server.h" nogil:
    void server_learn(relay *, int32_t, uint32_t, int, bint)

cdef extern from "tls/bridge.h" nogil:
    struct bridge:
        pass
    struct bridged:
        uint32_t generation
        const uint32_t *latest
        uint32_t *over
    bridge *bridge_open()
    bint bridge_add(bridge *, const bridged *, int, int, tls *, const void *, uint32_t)
