# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Python's door to the compiled core: `Tables` (the shared map) and `Relay` (one worker's byte mover).

Nothing is decided here: arguments are checked and converted, results become plain Python values.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

import os

cdef extern from "tables/layout.h" nogil:
    enum: PIN_REASONS, MAX_WORKERS, NOBODY, CANCEL_KEY_BYTES, WELCOME_BYTES, HISTOGRAM_BUCKETS, SL_STATES
    enum: SECRET_BYTES, CANCEL_MORE_BYTES, MAX_PEERS
    enum pool_kind: POOL_CLIENTS, POOL_LISTENER, POOL_AUTH
    enum: CHANNELS_MAX, CH_FREE, CH_HEARD
    enum: CL_FREE, CL_LOGIN, CL_IDLE, CL_WAITING, CL_ACTIVE
    enum: SL_FREE, SL_LOGIN, SL_IDLE, SL_ACTIVE, SL_PARKED, SL_CLOSING, SL_RECLAIM, SL_ELSEWHERE
    enum: SUSPENDED_NOT, SUSPENDED, SUSPENDED_FORCED
    enum: RETIRING_NOT, RETIRING, RETIRING_ALL
    enum: ORDER_HANDED, ORDER_CANCELED, ORDER_KILL, ORDER_WELCOME, ORDER_FAIL
    enum: CF_LOGIN_WAIT, CF_UNIX, CF_CONSOLE, CF_NOTIFIED, CF_COUNTED, CF_INTERNAL
    enum: SF_DIALED, SF_CLOSE_NEEDED, SF_UNIX, SF_WAS_BUSY, SF_ONCE, SF_RESERVE
    struct list:
        int32_t head, tail, count
    struct link:
        int32_t prev, next
    struct endpoint:
        char addr[48]
        char local_addr[48]
        int32_t port, local_port
    struct client_row:
        uint8_t state, flags, orders, kill_text, replication
        int16_t worker, cancel_requests
        int32_t pool, database, user, slot
        int32_t prepared_statements, listens
        uint64_t memory
        uint32_t pinned
        uint64_t pinned_at
        uint32_t cancel_pid, cancel_secret
        uint8_t long_key
        unsigned char cancel_more[28]
        uint64_t id, ticket, connected_at, wait_start, request_start, xact_start, idle_start, stuck_start
        double connect_time
        link queue, local_queue, attention
        endpoint where
        char application_name[64]
        char tls[96]
    struct digest:
        uint64_t high, low
    struct slot_row:
        uint8_t state, flags, orders, replication
        int32_t dedicated_row, host
        uint64_t dedicated_to
        int16_t owner, last_worker
        uint64_t canceling
        uint8_t guarded
        int32_t pool, client, evict_for
        uint32_t generation
        int32_t backend_pid
        uint16_t cancel_key_bytes, sockaddr_bytes
        uint8_t flushes
        uint64_t id, connected_at, used_at, expires_at, closing_at
        double connect_time
        link idle, attention
        endpoint where
        char tls[96]
        int16_t bridge
        uint32_t bridge_life
        unsigned char sockaddr[512]
        unsigned char cancel_key[256]
    struct pool_limits:
        int32_t mode, size, min_size, reserve_size, session_state, pin_limit
        uint64_t reserve_timeout_us, query_timeout_us, query_wait_timeout_us, idle_transaction_timeout_us
        uint64_t transaction_timeout_us, client_idle_timeout_us, server_lifetime_us
    struct pool_row:
        uint8_t used, kind, starved, forced_user
        int32_t database, user, instance
        pool_limits limits
        int32_t servers, evicting, clients
        int32_t by_state[8]
        list idle, waiting
        list waiting_of[64]
        list dedicated
        uint64_t mean_wait_us, retry_at
        uint32_t failures
        uint16_t welcome_bytes
        uint32_t welcome_version, defaults_version
        uint16_t scram_keys_bytes
        unsigned char scram_keys[64]
        uint16_t secret_bytes
        unsigned char secret[2048]
        char error_sqlstate[6]
        char error_text[256]
        unsigned char welcome[4096]
    enum: HOST_FREE, HOST_NAME, HOST_ZONE
    struct host_row:
        uint8_t kind, known
        uint32_t serial, turn
        uint64_t expires_at, asked_until
        char name[256]
        char addresses[512]
    struct listener:
        uint8_t state
        int16_t owner
        uint32_t generation
        char encoding[64]
    struct channel_row:
        uint8_t state
        int32_t database
        uint32_t id
        char name[64]
        int32_t clients[64]
    enum: CATALOG_NONE, CATALOG_READING, CATALOG_KNOWN, CATALOG_FAILED
    struct catalog_row:
        uint8_t state
        int16_t reader
        uint32_t row_generation, functions, relations, everything
        uint64_t bytes, read_at, known_since, cost_us, reader_bytes
    struct database_row:
        catalog_row catalog
        uint32_t generation
        listener listener
        uint32_t host_turn
        uint8_t used, paused, disabled
        uint8_t kept
        char name[64]
        int32_t max_db_connections, max_clients, servers, clients
    struct user_row:
        uint8_t used, kept
        char name[128]
        int32_t max_user_connections, max_clients, servers, clients
    struct instance_row:
        uint8_t used
        char name[280]
        int32_t max_server_connections, servers
    struct peer_row:
        int32_t id
        int32_t waiting[64]
        int32_t connecting[64]
        int32_t active[64]
    struct worker_row:
        int32_t pid, clients
        uint32_t restarts
        uint64_t relay_beat, hub_beat, started_at, sent, taken, hub_lag_us, console_logins, console_queries
        int32_t unflushed
        double start_time
        list client_attention, slot_attention
    struct counters:
        uint64_t server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time, query_time
        uint64_t wait_time, client_parse_count, server_parse_count, bind_count, client_login_count
        uint64_t session_asks, settings_applied, session_resets
        uint64_t pins[8]
        uint64_t query_histogram[64]
        uint64_t wait_histogram[64]
    struct prepared_set:
        uint16_t count
    struct sizes:
        int32_t workers, slots, clients, databases, users, pools, instances
    ctypedef struct pthread_mutex_t:
        pass
    struct header:
        pthread_mutex_t mutex
        sizes sizes
        uint64_t rebuilds
        uint8_t paused, suspended, draining, shutting_down, retiring, round_robin
        uint64_t suspended_by
        uint64_t check_delay_us
        int32_t max_clients, clients, clients_high, slots_high, pools_high, databases_high, users_high, instances_high, channels_high, hosts_high
        uint64_t marker_channel
        uint16_t peer_id
        list free_clients, free_slots, starved
    struct tables:
        header *h
        worker_row *workers
        database_row *databases
        user_row *users
        instance_row *instances
        pool_row *pools
        slot_row *slots
        client_row *clients
        counters *counters
        prepared_set *prepared
        channel_row *channels
        peer_row *peers
        host_row *hosts
        int doorbells[64]
        uint64_t map_bytes
        int fd

cdef extern from "notify/origin.h" nogil:
    void marker_channel(const tables *, char *)
    void marker_seal(const tables *, const endpoint *, uint32_t, const char *, char *)


cdef extern from "tables/tables.h" nogil:
    void keep_bytes(unsigned char *, uint16_t *, const void *, uint16_t)
    enum handoff_word: HANDOFF_TAKEN, HANDOFF_RELEASED, HANDOFF_WANTED, HANDOFF_GRANTED, HANDOFF_HURRY
    struct handoff_message:
        handoff_word word
        int32_t pool, rooms
    void handoff_retire(tables *, uint64_t, uint64_t *)
    int handoff_messages(tables *, uint64_t, handoff_message *, int)
    int32_t handoff_quota(const tables *, int32_t)
    bint handoff_told(tables *, const handoff_message *, uint64_t, uint64_t *)
    void handoff_left(tables *, uint64_t, uint64_t *)
    int32_t peer_wait(tables *, int32_t, int)
    bint peer_connect(tables *, int32_t, int, int32_t)
    void peer_sent(tables *, int32_t, int)
    void peer_done(tables *, int32_t, int, int)
    struct outcome:
        int32_t slot, dial, close, client
        uint64_t ring
    struct order:
        int32_t row
        uint8_t orders
        uint64_t id
    tables *tables_create(const sizes *)
    void tables_destroy(tables *)
    void tables_lock(tables *)
    bint tables_trylock(tables *, uint64_t)
    void tables_unlock(tables *)
    void tables_ring(tables *, uint64_t)
    void tables_rebuild(tables *)
    uint64_t now_us()
    void client_flag(tables *, int32_t, uint8_t)
    void slot_flag(tables *, int32_t, uint8_t)
    int32_t tables_database(tables *, const char *, bint)
    int32_t tables_user(tables *, const char *, bint)
    int32_t tables_instance(tables *, const char *, bint)
    int32_t tables_pool_of_kind(tables *, int32_t, int32_t, int32_t, pool_kind, bint)
    int tables_forget(tables *, uint64_t, uint64_t, uint64_t, int32_t *, int32_t *, int *, int)
    int32_t client_new(tables *, int, uint64_t)
    int client_login(tables *, int32_t, int32_t, int32_t, int32_t, uint8_t, bint)
    void client_free(tables *, int32_t, int, uint64_t, outcome *)
    void worker_starting(tables *, int, int32_t)
    void worker_died_locked(tables *, int, int32_t *, int32_t *, outcome *)
    void channel_heard(tables *, int32_t, uint32_t)
    bint channel_drop(tables *, int32_t, uint32_t)
    int32_t listener_reserve(tables *, int32_t, int, uint64_t, int32_t *)
    void listener_opened(tables *, int32_t, int32_t)
    bint listener_rest(tables *, int32_t)
    int listener_lost(tables *, int32_t, uint64_t)
    int listeners_kill(tables *, int32_t, int)
    void outcome_clear(outcome *)
    void pool_acquire(tables *, int32_t, uint64_t, outcome *)
    void pool_requeue(tables *, int32_t, uint64_t, outcome *)
    void pool_wait_welcome(tables *, int32_t, uint64_t, outcome *)
    void pool_wait_dedicated(tables *, int32_t, int, uint64_t, outcome *)
    bint pool_dedicated(tables *, int32_t, uint32_t, int32_t, uint64_t, int, uint64_t, outcome *)
    int32_t tables_host(tables *, const char *, int, uint64_t)
    bint host_read(tables *, int32_t, host_row *)
    void host_asked(tables *, int32_t, uint64_t)
    void host_answered(tables *, int32_t, const char *, uint64_t)
    void host_failed(tables *, int32_t, uint64_t)
    bint zone_answered(tables *, int32_t, uint32_t, uint32_t *)
    int host_obsolete(tables *, int32_t, const char *)
    void pool_release(tables *, int32_t, int, uint64_t, outcome *)
    void pool_detach(tables *, int32_t, uint64_t)
    void pool_place(tables *, int32_t, int, uint64_t, outcome *)
    void pool_begin_close(tables *, int32_t, int, bint)
    bint pool_claim_idle(tables *, int32_t, uint32_t, int)
    void pool_abandon(tables *, int32_t)
    void pool_freed(tables *, int32_t, int, uint64_t, outcome *)
    void pool_welcome_known(tables *, int32_t, uint64_t *)
    void pool_login_failed(tables *, int32_t, bint, const char *, const char *, uint64_t, uint64_t *)
    int pool_tick(tables *, int, uint64_t, int32_t *, int, uint64_t *)
    int pool_expired_idle(tables *, int, uint64_t, uint64_t, int32_t *, int)
    void pool_mark_obsolete(tables *, int32_t, uint64_t *)
    int pool_take_idle(tables *, int32_t, int32_t, int, bint, int32_t *, int)
    void pool_login_forgiven(tables *, int32_t)
    bint pool_take_reclaim(tables *, int32_t, int)
    bint pool_attention(tables *, int, order *, int *, order *, int *, int)
    bint cancel_key_fits(tables *, uint32_t, const unsigned char *, uint32_t)
    int cancel_begin(tables *, uint32_t, uint32_t, int, int32_t *, uint32_t *, int32_t *)
    void cancel_end(tables *, int32_t, uint32_t, int32_t, uint64_t, int, uint64_t)
    bint client_tell_locked(tables *, int32_t, uint64_t, uint8_t, uint8_t, uint64_t *)

cdef extern from *:
    """
    #include <stdatomic.h>
    static uint32_t host_turn_next(_Atomic uint32_t *turn) { return atomic_fetch_add(turn, 1); }
    static void host_turn_pass(_Atomic uint32_t *turn, uint32_t seen) { atomic_compare_exchange_strong(turn, &seen, seen + 1); }
    """
    uint32_t host_turn_next(uint32_t *)
    void host_turn_pass(uint32_t *, uint32_t)

cdef extern from "io/message_table.h" nogil:
    const uint8_t backend_effects_table "backend_effects"[256]
    const uint8_t frontend_effects_table "frontend_effects"[256]

cdef extern from "relay/relay.h" nogil:
    enum: TRACKED_MAX
    enum: EVENT_ACCEPT, EVENT_DIAL, EVENT_CANCEL, EVENT_LOGIN, EVENT_CLIENT_CLOSED, EVENT_SERVER_CLOSED, EVENT_WARNING
    enum: EVENT_LISTEN, EVENT_DATABASE
    enum: COMMAND_CLIENT, COMMAND_SERVER, COMMAND_CLOSE_SLOT, COMMAND_FREED_SLOT, COMMAND_KILL, COMMAND_SEND
    enum: COMMAND_DEDICATED
    enum: COMMAND_RECLAIM, COMMAND_OPTIONS, COMMAND_STOP
    enum: QUESTIONS, CATALOG_TEXTS
    struct event:
        uint8_t type
        int32_t a, b, database, user
        uint64_t id, age_us
        bint told
        int32_t port
        char addr[48]
        char text[200]
    struct command:
        uint8_t type
        int32_t a, b
        uint32_t generation
        uint64_t id, token
        tls *tls
        uint32_t data_bytes, extra_bytes
        unsigned char data[1]
    struct options:
        uint64_t check_delay_us, answer_timeout_us
        uint32_t max_packet_bytes, max_prepared_statements
        bint reset_always, disable_pqexec, has_check, fast_close
        char check_query[256]
        char trusted[2048]
        uint64_t catalog_bytes, client_bytes
        char reset_query[1024]
    struct relay:
        int event_bell
    const char *pin_reasons(uint32_t, char *, uint32_t)
    relay *relay_open(tables *, int, int, const int *, int, const char **, int, const char **)
    int relay_start(relay *)
    void relay_join(relay *)
    void relay_command(relay *, command *)
    int relay_events(relay *, event *, int)
    void server_learn(relay *, int32_t, uint32_t, int, bint)


class TablesBusy(Exception):
    """The lock of the tables could not be had in time: its holder is stopped."""


HANDOFF_WORDS = ("taken", "released", "wanted", "granted", "hurry")  # enum handoff_word
SESSION_STATES = ("off", "auto", "error", "strict")
POOL_MODES = ("session", "transaction", "statement")
REPLICATION = ("none", "logical", "physical")
KILL_TEXTS = {"admin forced disconnect": 0, "database removed": 1, "server shutting down": 2,
              "pooler is shutting down": 3, "database configuration changed": 4, "client_login_timeout": 5}
WELCOME_ROOM = WELCOME_BYTES
WELCOME, FAIL, KILL, CANCELED = ORDER_WELCOME, ORDER_FAIL, ORDER_KILL, ORDER_CANCELED
DIALING, CLOSING = SL_LOGIN, SL_CLOSING  # states of a slot whose connection is being opened, or ended
ACCEPT, DIAL, CANCEL, LOGIN = EVENT_ACCEPT, EVENT_DIAL, EVENT_CANCEL, EVENT_LOGIN
CLIENT_CLOSED, SERVER_CLOSED, WARNING = EVENT_CLIENT_CLOSED, EVENT_SERVER_CLOSED, EVENT_WARNING
LISTEN, DATABASE = EVENT_LISTEN, EVENT_DATABASE
LISTENER_STATES = ("none", "opening", "open", "refused")
COUNTER_NAMES = ("server_assignment_count", "xact_count", "query_count", "bytes_received", "bytes_sent", "xact_time",
                 "query_time", "wait_time", "client_parse_count", "server_parse_count", "bind_count",
                 "client_login_count")


def backend_effects():
    """The relay's table for messages of servers: 256 numbers (see pooler/protocol/transaction.py)."""
    return [backend_effects_table[i] for i in range(256)]


def frontend_effects():
    """The relay's table for messages of clients: 256 numbers."""
    return [frontend_effects_table[i] for i in range(256)]


def monotonic_us():
    """The clock of all stamps in the tables: CLOCK_MONOTONIC in microseconds."""
    return now_us()


cdef bytes encoded(text):
    return text.encode("utf-8", "surrogateescape")


cdef str decoded(const char *text):
    return text[:strlen(text)].decode("utf-8", "surrogateescape")


cdef void put_text(char *target, size_t room, bytes text):
    cdef size_t n = min(<size_t>len(text), room - 1)
    memcpy(target, <const char *>text, n)
    target[n] = 0


cdef void put_endpoint(endpoint *where, addr, int port, local_addr, int local_port):
    put_text(where.addr, 48, encoded(addr))
    put_text(where.local_addr, 48, encoded(local_addr))
    where.port, where.local_port = port, local_port


include "tls.pxi"


def _major(bytes welcome):
    """The major version in the parameters that a server reported: 18 of "18.1", 19 of "19devel"; 0: none."""
    fields = welcome.split(b"\0")
    for name, value in zip(fields[::2], fields[1::2]):
        if name == b"server_version":
            digits = value[: len(value) - len(value.lstrip(b"0123456789"))]
            return int(digits) if digits else 0
    return 0


cdef class Tables:
    """The shared tables.  Made by the master before any fork; every process uses the same object.

    Sizes are numbers of rows.  Rows that are never used cost no memory.  Raises OSError when the map
    or a doorbell cannot be made, ValueError for impossible sizes.
    """

    cdef tables *t
    cdef uint64_t patience_us

    def __cinit__(self, *, int workers, int slots, int clients, int databases=4096, int users=8192, int pools=4096,
                  int instances=1024):
        cdef sizes z
        if not 1 <= workers <= MAX_WORKERS or slots < 1 or not 1 <= clients <= 0xfffff:
            raise ValueError(f"workers 1..{MAX_WORKERS}, slots >= 1, clients 1..1048575")
        z.workers, z.slots, z.clients, z.databases = workers, slots, clients, databases
        z.users, z.pools, z.instances = users, pools, instances
        self.t = tables_create(&z)
        if self.t is NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.t is not NULL:
            tables_destroy(self.t)

    cdef int _take(self) except -1:
        """Takes the lock; raises TablesBusy when this process is not to wait longer than its patience."""
        if self.patience_us == 0:
            tables_lock(self.t)
        elif not tables_trylock(self.t, self.patience_us):
            raise TablesBusy
        return 0

    def set_patience(self, double seconds):
        """How long this process waits for the lock before TablesBusy (0: for ever).  The master must never hang
        on a lock whose holder is stopped: it is the one who kills that process."""
        self.patience_us = <uint64_t>(seconds * 1e6)

    # ---- workers

    @property
    def workers_count(self):
        return self.t.h.sizes.workers

    @property
    def rebuilds(self):
        """How often the derived parts had to be rebuilt after a process died inside the lock."""
        return self.t.h.rebuilds

    def doorbell(self, int worker):
        """The eventfd that wakes this worker's relay."""
        return self.t.doorbells[worker]

    def ring_all(self):
        tables_ring(self.t, <uint64_t>-1)

    def worker_starting(self, int worker, int pid):
        worker_starting(self.t, worker, pid)

    def worker_died(self, int worker, double timeout_s=0.1):
        """Takes stock after a worker's death; raises TablesBusy when the lock is held by a stopped process."""
        cdef int32_t clients, reclaim
        cdef outcome out
        if not tables_trylock(self.t, <uint64_t>(timeout_s * 1e6)):
            raise TablesBusy
        outcome_clear(&out)
        worker_died_locked(self.t, worker, &clients, &reclaim, &out)
        tables_unlock(self.t)
        tables_ring(self.t, out.ring)
        return {"clients": clients, "reclaim": reclaim}

    def beat(self, int worker, double lag_s=0.0):
        """The hub of this worker lives (its relay beats by itself), and its timer was this late."""
        self.t.workers[worker].hub_lag_us = <uint64_t>(max(lag_s, 0.0) * 1e6)
        self.t.workers[worker].hub_beat = now_us()

    def is_alive(self, int worker):
        """Whether this number has a process; it has none from its funeral to the fork of its replacement."""
        return self.t.workers[worker].pid != 0

    def heartbeat_age(self, int worker):
        cdef uint64_t oldest = min(self.t.workers[worker].relay_beat, self.t.workers[worker].hub_beat)
        cdef uint64_t now = now_us()
        return (now - oldest) / 1e6 if now > oldest else 0.0

    def load(self, int worker):
        cdef worker_row *w = &self.t.workers[worker]
        return w.clients + <int64_t>(w.sent - w.taken)

    def client_sent(self, int worker):
        self.t.workers[worker].sent += 1

    # ---- limits and flags

    def set_global_limits(self, int max_clients, bint round_robin, double check_delay_s=0.0):
        """What holds for all; an idle server is shown as `used` after check_delay_s (0: never)."""
        self.t.h.check_delay_us = <uint64_t>(check_delay_s * 1e6)
        self.t.h.max_clients = max_clients
        self.t.h.round_robin = round_robin

    def database(self, name, bint create=True):
        """Row of this database; -1 when there is none (or the table is full)."""
        cdef bytes b = encoded(name)
        self._take()
        cdef int32_t i = tables_database(self.t, b, create)
        tables_unlock(self.t)
        return i

    def meet_database(self, name):
        """Whether nobody has asked for this database before; from now on somebody has."""
        cdef bytes b = encoded(name)
        self._take()
        cdef bint new = tables_database(self.t, b, False) < 0
        if new:
            tables_database(self.t, b, True)
        tables_unlock(self.t)
        return new

    def user(self, name, bint create=True):
        cdef bytes b = encoded(name)
        self._take()
        cdef int32_t i = tables_user(self.t, b, create)
        tables_unlock(self.t)
        return i

    def instance(self, name, bint create=True):
        cdef bytes b = encoded(name)
        self._take()
        cdef int32_t i = tables_instance(self.t, b, create)
        tables_unlock(self.t)
        return i

    def set_database(self, int row, int max_db_connections, int max_clients, bint kept=True):
        """Limits (0: none); `kept`: named by the configuration, so it is never forgotten."""
        self.t.databases[row].max_db_connections = max_db_connections
        self.t.databases[row].max_clients = max_clients
        self.t.databases[row].kept = kept

    def set_user(self, int row, int max_user_connections, int max_clients, bint kept=True):
        self.t.users[row].max_user_connections = max_user_connections
        self.t.users[row].max_clients = max_clients
        self.t.users[row].kept = kept

    def set_instance(self, int row, int max_server_connections):
        self.t.instances[row].max_server_connections = max_server_connections

    def open_pool(self, int database, int user, int instance, bint create=True, bint auth=False):
        """Row of this pool (`auth`: of the one whose servers run auth_query); -1 when there is none, or the table
        is full."""
        self._take()
        cdef int32_t i = tables_pool_of_kind(self.t, database, user, instance, POOL_AUTH if auth else POOL_CLIENTS, create)
        tables_unlock(self.t)
        return i

    def set_pool(self, int row, *, str mode, int size, int min_size, int reserve_size, double reserve_timeout,
                 double query_timeout, double query_wait_timeout, double idle_transaction_timeout,
                 double transaction_timeout, double client_idle_timeout, double server_lifetime, bint forced_user,
                 str session_state="auto", int pin_limit=0):
        """Writes the limits of a pool (times in seconds, 0: none)."""
        cdef pool_limits *l = &self.t.pools[row].limits
        l.mode, l.size, l.min_size, l.reserve_size = POOL_MODES.index(mode), size, min_size, reserve_size
        l.session_state, l.pin_limit = SESSION_STATES.index(session_state), pin_limit
        l.reserve_timeout_us = <uint64_t>(reserve_timeout * 1e6)
        l.query_timeout_us = <uint64_t>(query_timeout * 1e6)
        l.query_wait_timeout_us = <uint64_t>(query_wait_timeout * 1e6)
        l.idle_transaction_timeout_us = <uint64_t>(idle_transaction_timeout * 1e6)
        l.transaction_timeout_us = <uint64_t>(transaction_timeout * 1e6)
        l.client_idle_timeout_us = <uint64_t>(client_idle_timeout * 1e6)
        l.server_lifetime_us = <uint64_t>(server_lifetime * 1e6)
        self.t.pools[row].forced_user = forced_user

    def login_forgiven(self, int pool):
        """What refused the last login of this pool may have changed: the next client asks at once."""
        pool_login_forgiven(self.t, pool)

    def pool_key(self, int row):
        """(database, user, instance) names of a pool."""
        cdef pool_row *p = &self.t.pools[row]
        return (decoded(self.t.databases[p.database].name), decoded(self.t.users[p.user].name),
                decoded(self.t.instances[p.instance].name))

    def is_auth_kind(self, int kind):
        """Whether pools of this kind (as handoff_retire tells it) run auth_query."""
        return kind == POOL_AUTH

    def is_auth_pool(self, int row):
        """Whether the servers of this pool run auth_query."""
        return self.t.pools[row].kind == POOL_AUTH

    def pool_rows(self):
        """The rows of all pools."""
        return [i for i in range(self.t.h.pools_high) if self.t.pools[i].used]

    def forget(self, double idle_s, double pool_idle_s, at_us=None):
        """Frees the rows of what the configuration does not name and nobody has used for idle_s (0: never), and of
        pools that nobody has used for pool_idle_s; returns the names of the databases, and the keys of the pools."""
        cdef int32_t found[256]
        cdef int32_t pools[256]
        cdef int pool_count = 0
        cdef uint64_t now = now_us() if at_us is None else at_us
        cdef int n = tables_forget(self.t, now, <uint64_t>(idle_s * 1e6), <uint64_t>(pool_idle_s * 1e6), found, pools,
                                   &pool_count, 256)
        return ([decoded(self.t.databases[found[i]].name) for i in range(min(n, 256))],
                [self.pool_key(pools[i]) for i in range(pool_count)])

    def set_paused(self, int database, bint paused):
        """Holds back a database's waiters (-1: all databases')."""
        if database < 0:
            self.t.h.paused = paused
        else:
            self.t.databases[database].paused = paused

    def set_draining(self, bint draining):
        self.t.h.draining = draining

    def set_shutting_down(self):
        """Known to all consoles at once, whichever worker was asked."""
        self.t.h.shutting_down = True

    def is_shutting_down(self):
        return bool(self.t.h.shutting_down)

    def pause_mode(self):
        """What holds all clients back: PAUSE, SUSPEND, or nothing."""
        return "SUSPEND" if self.t.h.suspended else "PAUSE" if self.t.h.paused else ""

    def is_paused(self, int database=-1):
        return bool(self.t.h.paused if database < 0 else self.t.databases[database].paused)

    def suspend(self, uint64_t client_id):
        """Read nothing more, from clients or from servers, once what is on its way has been passed on.  The
        console session with this id ends it when it leaves; 0: none does."""
        cdef int w
        for w in range(self.t.h.sizes.workers):
            self.t.workers[w].unflushed = -1
        self.t.h.suspended_by = client_id
        self.t.h.suspended = SUSPENDED
        self.ring_all()

    def suspend_left(self):
        """How many connections are not at the end of a message yet (or workers that have not looked)."""
        cdef int w
        cdef int left = 0
        for w in range(self.t.h.sizes.workers):
            if self.t.workers[w].pid:
                left += 1 if self.t.workers[w].unflushed < 0 else self.t.workers[w].unflushed
        return left

    def suspend_force(self):
        """Close what could not be flushed."""
        self.t.h.suspended = SUSPENDED_FORCED
        self.ring_all()

    def end_suspend(self):
        self.t.h.suspended = SUSPENDED_NOT
        self.ring_all()

    def is_suspended(self):
        return bool(self.t.h.suspended)

    def suspended_by(self):
        """The id of the console session that suspended us; 0: none."""
        return self.t.h.suspended_by if self.t.h.suspended else 0

    def set_disabled(self, int database, bint disabled):
        self.t.databases[database].disabled = disabled

    # ---- clients in their login, and on the console

    def client_new(self, int worker):
        """A row for a socket that begins to log in; -1 when the table is full."""
        return client_new(self.t, worker, now_us())

    def client_where(self, int row, addr, int port, local_addr, int local_port, bint unix):
        put_endpoint(&self.t.clients[row].where, addr, port, local_addr, local_port)
        if unix:
            client_flag(self.t, row, CF_UNIX)

    def client_application(self, int row, name):
        put_text(self.t.clients[row].application_name, 64, encoded(name))

    def client_tls(self, int row, text):
        """Version and cipher, for SHOW."""
        put_text(self.t.clients[row].tls, 96, encoded(text))

    def client_login(self, int row, int database, int user, int pool, console=None, bint own=False):
        """Counts an authenticated client: 0 when every limit allows it, else 1 max_client_conn, 2 the database's,
        3 the user's limit, 4 the database is disabled, 5 the rows were forgotten meanwhile: look them up again.
        `console`: what a client of the console may do; it fits in where max_client_conn are there, and an "admin"
        whatever the limits say.  `own`: one of pooler's own, which counts in its pool only."""
        cdef uint8_t special = CF_CONSOLE if console else CF_INTERNAL if own else 0
        cdef int verdict = client_login(self.t, row, database, user, pool, special, own or console == "admin")
        if verdict == 0:
            if console:
                self.t.clients[row].state = CL_IDLE
                self.t.workers[self.t.clients[row].worker].console_logins += 1
            if pool >= 0 and not own:
                self.t.counters[self.t.clients[row].worker * self.t.h.sizes.pools + pool].client_login_count += 1
        return verdict

    def client_free(self, int row):
        cdef outcome out
        client_free(self.t, row, NOBODY, now_us(), &out)
        tables_ring(self.t, out.ring)

    def client_id(self, int row):
        return self.t.clients[row].id

    def client_key(self, int row):
        """(pid, secret) for BackendKeyData, both below 2**32."""
        return self.t.clients[row].cancel_pid, self.t.clients[row].cancel_secret

    def client_long_key(self, int row):
        """The secret for BackendKeyData of protocol 3.2; from now on a cancel request has to show all of it."""
        cdef client_row *c = &self.t.clients[row]
        c.long_key = 1
        return c.cancel_secret.to_bytes(4, "big") + PyBytes_FromStringAndSize(<char *>c.cancel_more, CANCEL_MORE_BYTES)

    def kill_text(self, int row):
        """Why this client is to be closed, as kill_client was told."""
        return tuple(KILL_TEXTS)[self.t.clients[row].kill_text]

    def client_orders(self, int row):
        return self.t.clients[row].orders

    def wait_welcome(self, int row):
        """The client waits until its pool has logged in once; a LOGIN event (WELCOME or FAIL) follows."""
        cdef outcome out
        pool_wait_welcome(self.t, row, now_us(), &out)

    def wait_dedicated(self, int row, str replication):
        """The client waits for a server of its own, opened by its worker: a DIAL event follows for a slot whose
        slot_dedicated() is this client."""
        cdef outcome out
        pool_wait_dedicated(self.t, row, REPLICATION.index(replication), now_us(), &out)

    def slot_dedicated(self, int slot):
        """(row, id) of the client that this slot is opened for alone; None."""
        cdef slot_row *s = &self.t.slots[slot]
        return (s.dedicated_row, s.dedicated_to) if s.dedicated_to else None

    def slot_ready(self, int slot):
        """A server that is no pool's to give is logged in."""
        self.t.slots[slot].connect_time = _wall()
        self.t.slots[slot].connected_at = self.t.slots[slot].used_at = now_us()

    def pool_welcome(self, int pool):
        """What PostgreSQL reported at the first login of this pool (as stored by slot_login); None: not yet."""
        cdef pool_row *p = &self.t.pools[pool]
        cdef bytes welcome
        if not p.welcome_bytes:
            return None
        tables_lock(self.t)   # another worker may be writing it
        welcome = PyBytes_FromStringAndSize(<char *>p.welcome, p.welcome_bytes)
        tables_unlock(self.t)
        return welcome or None

    def pool_defaults_version(self, int pool):
        """Changes with what servers of the pool have by themselves."""
        return self.t.pools[pool].defaults_version

    def pool_scram_keys(self, int pool):
        """ClientKey and ServerKey (32 bytes each) of a client of this pool that logged in by SCRAM; None."""
        cdef pool_row *p = &self.t.pools[pool]
        cdef bytes both
        tables_lock(self.t)   # another worker may be writing them
        both = PyBytes_FromStringAndSize(<char *>p.scram_keys, p.scram_keys_bytes)
        tables_unlock(self.t)
        return (both[:32], both[32:]) if both else None

    def set_pool_scram_keys(self, int pool, bytes client_key, bytes server_key):
        cdef pool_row *p = &self.t.pools[pool]
        if len(client_key) != 32 or len(server_key) != 32:
            raise ValueError("SCRAM-SHA-256 keys have 32 bytes")
        cdef bytes both = client_key + server_key
        tables_lock(self.t)
        keep_bytes(p.scram_keys, &p.scram_keys_bytes, <const char *>both, 64)
        tables_unlock(self.t)

    def pool_secret(self, int pool):
        """What the last client of this pool had shown to a directory or PAM, or auth_query brought for it; None."""
        cdef pool_row *p = &self.t.pools[pool]
        cdef bytes secret
        tables_lock(self.t)
        secret = PyBytes_FromStringAndSize(<char *>p.secret, p.secret_bytes)
        tables_unlock(self.t)
        return secret or None

    def set_pool_secret(self, int pool, bytes secret):
        """Remembers it for logins at PostgreSQL, of whatever worker; empty: there is none (any more)."""
        cdef pool_row *p = &self.t.pools[pool]
        if len(secret) > SECRET_BYTES:
            raise ValueError("the secret is too long")
        tables_lock(self.t)
        keep_bytes(p.secret, &p.secret_bytes, <const char *>secret, <uint16_t>len(secret))
        tables_unlock(self.t)

    def pool_error(self, int pool):
        """(failures in a row, SQLSTATE, text) of the last failed server login."""
        cdef pool_row *p = &self.t.pools[pool]
        return p.failures, decoded(p.error_sqlstate), decoded(p.error_text)

    def find_client(self, uint64_t client_id):
        """Row of the client with this id; -1."""
        cdef int32_t i
        for i in range(self.t.h.clients_high):
            if self.t.clients[i].state != CL_FREE and self.t.clients[i].id == client_id:
                return i
        return -1

    def kill_client(self, int row, uint64_t client_id, str text):
        """Has the client's worker close it with one of KILL_TEXTS; False when it has left."""
        cdef uint64_t ring = 0
        cdef uint8_t number = KILL_TEXTS[text]
        self._take()
        cdef bint told = client_tell_locked(self.t, row, client_id, ORDER_KILL, number, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return told

    def kill_clients(self, int database, str text, bint waiting_only=False, int worker=-1):
        """The same for all clients of a database (-1: all, but not the console's); returns how many."""
        cdef int32_t i
        cdef client_row *c
        cdef int killed = 0
        cdef uint64_t ring = 0
        cdef uint8_t number = KILL_TEXTS[text]
        self._take()
        for i in range(self.t.h.clients_high):
            c = &self.t.clients[i]
            if c.state == CL_FREE or c.flags & CF_CONSOLE or (database >= 0 and c.database != database):
                continue
            if (waiting_only and c.state != CL_WAITING) or (worker >= 0 and c.worker != worker):
                continue
            killed += client_tell_locked(self.t, i, c.id, ORDER_KILL, number, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return killed

    # ---- servers: opening

    def slot(self, int slot):
        """(pool, generation, id, owner, state number) of a slot."""
        cdef slot_row *s = &self.t.slots[slot]
        return s.pool, s.generation, s.id, s.owner, s.state

    def slot_age_s(self, int slot):
        """Whole seconds since it was taken, or since its server is logged in."""
        cdef uint64_t now = now_us()
        return (now - self.t.slots[slot].connected_at) // 1000000 if now > self.t.slots[slot].connected_at else 0

    def slot_from_reserve(self, int slot):
        """Whether this slot is beyond pool_size."""
        return (self.t.slots[slot].flags & SF_RESERVE) != 0

    def slot_dialed(self, int slot):
        """A duplicate of the socket is with the master: from now on end of stream is needed to free the row."""
        slot_flag(self.t, slot, SF_DIALED)

    def slot_bump(self, int slot):
        """Another socket is tried for the same row: a new generation."""
        self.t.slots[slot].generation += 1
        return self.t.slots[slot].generation

    def slot_where(self, int slot, addr, int port, local_addr, int local_port, bint unix):
        """Both ends of a connection that is being opened."""
        put_endpoint(&self.t.slots[slot].where, addr, port, local_addr, local_port)
        if unix:
            slot_flag(self.t, slot, SF_UNIX)

    def slot_host(self, int slot, int host):
        """The name (a row of `host`, or -1) that led to the address of this server."""
        self.t.slots[slot].host = host

    def slot_key(self, int slot, uint32_t backend_pid, bytes cancel_key, target):
        """How to cancel what this server runs; `target` is where the request goes (pooler/worker/address.py)."""
        cdef slot_row *s = &self.t.slots[slot]
        cdef bytes t = encoded(target)
        if len(cancel_key) > CANCEL_KEY_BYTES or len(t) > 512:
            raise ValueError("cancel key or address is too long")
        s.backend_pid = <int32_t>backend_pid   # any 32 bits: a pooler in between, or a liar, chooses them
        s.cancel_key_bytes = <uint16_t>len(cancel_key)
        memcpy(s.cancel_key, <const char *>cancel_key, len(cancel_key))
        s.sockaddr_bytes = <uint16_t>len(t)
        memcpy(s.sockaddr, <const char *>t, len(t))

    def slot_tls(self, int slot, text, int bridge=-1):
        """Version and cipher of a server's TLS, and the worker whose bridge has the session (-1: nobody shares it)."""
        cdef slot_row *s = &self.t.slots[slot]
        if bridge >= 0:
            s.bridge, s.bridge_life = <int16_t>bridge, self.t.workers[bridge].restarts + 1
        put_text(s.tls, 96, encoded(text))

    def slot_secured(self, int slot):
        """(whether this slot's connection has TLS, the worker that has or had the session, or -1)."""
        cdef slot_row *s = &self.t.slots[slot]
        return s.tls[0] != 0, s.bridge if s.bridge_life else -1

    def slot_login(self, int slot, bytes welcome, double lifetime_s):
        """A server has logged in.  `lifetime_s` 0: to be used once.  `welcome` becomes the pool's, and clients in
        their login that waited for it go on."""
        cdef slot_row *s = &self.t.slots[slot]
        cdef pool_row *p = &self.t.pools[s.pool]
        cdef uint64_t ring = 0
        if len(welcome) > WELCOME_BYTES:
            raise ValueError("welcome parameters are too long")
        s.connect_time = _wall()
        s.connected_at = s.used_at = now_us()
        s.flushes = _major(welcome) >= 15
        if lifetime_s > 0:
            s.expires_at = s.connected_at + <uint64_t>(lifetime_s * 1e6)
        else:
            slot_flag(self.t, slot, SF_ONCE)
        tables_lock(self.t)
        if p.welcome_bytes != len(welcome) or memcmp(p.welcome, <const char *>welcome, len(welcome)) != 0:
            p.welcome_version += 1
            keep_bytes(p.welcome, &p.welcome_bytes, <const char *>welcome, <uint16_t>len(welcome))
        pool_welcome_known(self.t, s.pool, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)

    def login_failed(self, int pool, bint fatal, sqlstate, text, double retry_s):
        """A server login failed; `fatal`: clients in their login get this text.  No new try for retry_s."""
        cdef uint64_t ring = 0
        cdef bytes code = encoded(sqlstate), message = encoded(text)
        pool_login_failed(self.t, pool, fatal, code, message, now_us() + <uint64_t>(retry_s * 1e6), &ring)
        tables_ring(self.t, ring)

    def slot_failed(self, int slot, int worker, bint logged_in):
        """The login of a server failed, and its connection still has to end: CLOSING, this worker's.  It counts
        until then, but nobody waits for it.  `logged_in`: it may be running something."""
        pool_begin_close(self.t, slot, worker, logged_in)

    # ---- hosts

    def host_turn(self, int database):
        """A number that grows by one with each call: whose turn it is among the hosts of a list."""
        return host_turn_next(&self.t.databases[database].host_turn)

    def host_now(self, int database):
        """The same number, left as it is."""
        return self.t.databases[database].host_turn

    def host_passes(self, int database, uint32_t seen):
        """The host whose turn it was at `seen` has failed: the next one's turn, unless somebody said so before."""
        host_turn_pass(&self.t.databases[database].host_turn, seen)

    def host(self, name, bint zone=False):
        """Row of a name that is to be looked up, or of a zone; -1: a name that long cannot be looked up."""
        cdef bytes b = encoded(name)
        return tables_host(self.t, b, HOST_ZONE if zone else HOST_NAME, now_us())

    def host_entry(self, int row, bint turn=False):
        """(addresses, fresh): what the name led to when it was last answered, None if it never was; and whether that,
        or that it failed, is still to be believed.  `turn`: they begin with another one each time."""
        cdef host_row copy
        host_read(self.t, row, &copy)
        if turn:
            self.t.hosts[row].turn += 1
        addresses = decoded(copy.addresses).split() if copy.known else None
        if turn and addresses:
            first = copy.turn % len(addresses)
            addresses = addresses[first:] + addresses[:first]
        return addresses, copy.expires_at > now_us()

    def host_asked(self, int row, double for_s):
        """Somebody waits for an answer, so long at most."""
        host_asked(self.t, row, now_us() + <uint64_t>(for_s * 1e6))

    def host_answered(self, int row, addresses, double ttl_s):
        """What the DNS said; servers at addresses that are not among them any more are obsolete.  Returns how many."""
        cdef int count = 0
        before = self.host_entry(row)[0] or []
        host_answered(self.t, row, encoded(" ".join(addresses)), now_us() + <uint64_t>(ttl_s * 1e6))
        for address in before:
            if address not in addresses:
                count += host_obsolete(self.t, row, encoded(address))
        return count

    def host_failed(self, int row, double ttl_s):
        """The look-up failed; what was known before stays."""
        host_failed(self.t, row, now_us() + <uint64_t>(ttl_s * 1e6))

    def host_expire(self, int row):
        """It is to be looked up anew."""
        host_failed(self.t, row, 0)

    def zone_answered(self, int row, uint32_t serial):
        """The serial before, if it is another one now; None."""
        cdef uint32_t before = 0
        return before if zone_answered(self.t, row, serial, &before) else None

    def hosts(self, bint zones=False):
        """One dict per name (or zone) that was looked up."""
        cdef int32_t i
        cdef host_row copy
        cdef uint64_t now = now_us()
        rows = []
        for i in range(self.t.h.hosts_high):
            if host_read(self.t, i, &copy) and (copy.kind == HOST_ZONE) == zones:
                rows.append({"row": i, "name": decoded(copy.name), "serial": copy.serial if copy.known else 0,
                             "addresses": decoded(copy.addresses).split() if copy.known and not zones else [],
                             "ttl_s": (copy.expires_at - now) / 1e6 if copy.expires_at > now else 0.0,
                             "asking": copy.asked_until > now})
        return rows

    # ---- catalogs

    def catalogs(self):
        """What is known of the catalogs of each database: one dict per database that has a pool."""
        cdef int32_t i
        cdef database_row *d
        cdef catalog_row *c
        cdef uint64_t now = now_us()
        rows = []
        self._take()
        for i in range(self.t.h.databases_high):
            d = &self.t.databases[i]
            c = &d.catalog
            if not d.used or c.row_generation != d.generation:
                continue
            known = c.state == CATALOG_KNOWN
            current = known and catalog_is_current(self.t, i)
            rows.append({"database": decoded(d.name), "state": c.state, "current": bool(current), "reader": c.reader - 1,
                         "functions": c.functions, "relations": c.relations, "everything": c.everything != 0,
                         "known_s": (now - c.known_since) / 1e6 if known else None,
                         "looked_s": (now - c.read_at) / 1e6 if c.read_at else None,
                         "cost_us": c.cost_us, "bytes": c.bytes + c.reader_bytes})
        tables_unlock(self.t)
        return rows

    # ---- channels

    @property
    def marker_channel(self):
        """The channel on which a listening connection hears what relays tell it."""
        cdef char name[24]
        marker_channel(self.t, name)
        return name.decode()

    def marker_seal(self, int slot, uint32_t pid, bytes marker):
        """The seal of a note that this backend sent to the listening connection in `slot` (see core/notify/origin.h)."""
        cdef char seal[33]
        marker_seal(self.t, &self.t.slots[slot].where, pid, marker, seal)
        return <bytes>seal

    def channels(self, int database=-1):
        """What clients (of a database) listen on: dicts with row, id, name (as it came), heard, clients by worker."""
        cdef int32_t i
        cdef int w
        cdef channel_row *c
        rows = []
        self._take()
        for i in range(self.t.h.channels_high):
            c = &self.t.channels[i]
            if c.state != CH_FREE and (database < 0 or c.database == database):
                rows.append({"row": i, "id": c.id, "name": <bytes>c.name[:strlen(c.name)], "heard": c.state == CH_HEARD,
                             "database": decoded(self.t.databases[c.database].name),
                             "listener": self.listener(c.database),
                             "clients": [c.clients[w] for w in range(self.t.h.sizes.workers)]})
        tables_unlock(self.t)
        return rows

    def channel_workers(self, int row, uint32_t id):
        """The workers with clients that listen on it."""
        cdef int w
        cdef channel_row *c = &self.t.channels[row]
        if c.id != id:
            return []
        return [w for w in range(self.t.h.sizes.workers) if c.clients[w] > 0]

    def channel_heard(self, int row, uint32_t id):
        """LISTEN was said for it."""
        channel_heard(self.t, row, id)

    def channel_drop(self, int row, uint32_t id):
        """Frees the row of a channel; False when somebody listens on it."""
        return channel_drop(self.t, row, id)

    def listener(self, int database):
        """(state, worker, client_encoding) of the connection that listens for a database."""
        cdef listener *l = &self.t.databases[database].listener
        return LISTENER_STATES[l.state], l.owner, decoded(l.encoding)

    def listener_reserve(self, int pool, int worker):
        """(slot, whether to ask again soon) for a listening connection that logs in as the user of a pool; slot -1:
        a limit forbids it."""
        cdef int32_t ever = 0
        cdef int32_t slot = listener_reserve(self.t, pool, worker, now_us(), &ever)
        return slot, bool(ever)

    def listener_opened(self, int database, int slot):
        """It is logged in."""
        self.slot_ready(slot)
        listener_opened(self.t, database, slot)

    def listener_rest(self, int database):
        """It is not needed any more; False when it is."""
        return listener_rest(self.t, database)

    def listener_lost(self, int database, double refused_s=0.0):
        """It is gone, or could not be opened and shall not be tried again for so long; returns how many clients
        are closed because they may have missed something."""
        return listener_lost(self.t, database, now_us() + <uint64_t>(refused_s * 1e6) if refused_s > 0 else 0)

    def listeners_kill(self, int database, int worker):
        """Closes the listening clients of a worker that does not take their notifications; returns how many."""
        return listeners_kill(self.t, database, worker)

    # ---- housekeeping

    def tick(self, int worker):
        """Slots that this worker is to dial now (reserve pool, retries, min_pool_size)."""
        cdef int32_t dials[64]
        cdef uint64_t ring = 0
        cdef int n = pool_tick(self.t, worker, now_us(), dials, 64, &ring)
        tables_ring(self.t, ring)
        return [dials[i] for i in range(n)]

    def expired_idle(self, int worker, double idle_timeout_s):
        """Idle servers to be closed by this worker now: they are CLOSING and its own."""
        cdef int32_t found[256]
        cdef int n = pool_expired_idle(self.t, worker, now_us(), <uint64_t>(idle_timeout_s * 1e6), found, 256)
        return [found[i] for i in range(n)]

    def take_idle(self, int database, int worker, bint mark, int pool=-1):
        """All idle servers of a database and of a pool (-1: of all) become CLOSING and this worker's; `mark`: those in
        use are closed when they come back."""
        cdef int32_t found[1024]
        cdef int n, i
        taken = []
        while True:
            n = pool_take_idle(self.t, database, pool, worker, mark, found, 1024)
            taken += [found[i] for i in range(n)]
            if n < 1024:
                return taken

    def mark_close(self, int database):
        """All servers of a database are obsolete: idle ones end now, others when they are next free."""
        cdef uint64_t ring = 0
        self._take()
        pool_mark_obsolete(self.t, database, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)

    def busy_servers(self, int database=-1, bint marked_only=False):
        """How many servers (of a database) are not free yet; with `marked_only` those that are to be closed."""
        cdef int32_t i
        cdef int n = 0
        cdef slot_row *s
        for i in range(self.t.h.slots_high):
            s = &self.t.slots[i]
            if s.state in (SL_FREE, SL_ELSEWHERE) or (database >= 0 and self.t.pools[s.pool].database != database):
                continue
            if self.t.pools[s.pool].kind != POOL_CLIENTS:
                continue   # the listening connection stays as long as somebody listens
            n += not marked_only or (s.flags & SF_CLOSE_NEEDED) != 0
        return n

    def own_load(self, int worker):
        """(clients on pools, those of them that wait, clients on the console, servers in use) of one worker."""
        cdef int32_t i
        cdef int pooled = 0, waiting = 0, console = 0, servers = 0
        for i in range(self.t.h.clients_high):
            if self.t.clients[i].state != CL_FREE and self.t.clients[i].worker == worker:
                if self.t.clients[i].flags & CF_CONSOLE:
                    console += 1
                else:
                    pooled += 1
                    waiting += self.t.clients[i].state == CL_WAITING
        for i in range(self.t.h.slots_high):
            if self.t.slots[i].owner == worker and self.t.slots[i].state not in (SL_FREE, SL_IDLE):
                servers += 1
        return pooled, waiting, console, servers

    def overdue(self, int worker, double query_wait_notify_s, double client_write_timeout_s):
        """Clients of this worker that outstayed a limit: (what, row, id, token), what being query_wait_timeout,
        query_wait_notify, query_timeout, idle_transaction_timeout, transaction_timeout, client_idle_timeout or
        client_write_timeout.
        The token lets the relay see whether the client is still in the same state."""
        cdef int32_t i
        cdef client_row *c
        cdef pool_limits *l
        cdef uint64_t now = now_us(), notify = <uint64_t>(query_wait_notify_s * 1e6)
        cdef uint64_t write = <uint64_t>(client_write_timeout_s * 1e6)
        found = []
        for i in range(self.t.h.clients_high):
            c = &self.t.clients[i]
            if c.worker != worker or c.pool < 0 or c.state == CL_FREE or c.state == CL_LOGIN:
                continue
            l = &self.t.pools[c.pool].limits
            if c.state == CL_ACTIVE and c.replication:   # what it runs has no end, nor is it a transaction
                if _over(now, c.stuck_start, write):
                    found.append(("client_write_timeout", i, c.id, c.stuck_start))
            elif c.state == CL_WAITING:
                if _over(now, c.wait_start, l.query_wait_timeout_us):
                    found.append(("query_wait_timeout", i, c.id, c.wait_start))
                elif _over(now, c.wait_start, l.query_timeout_us):
                    found.append(("query_timeout waiting", i, c.id, c.wait_start))
                elif not c.flags & (CF_NOTIFIED | CF_LOGIN_WAIT) and _over(now, c.wait_start, notify):
                    client_flag(self.t, i, CF_NOTIFIED)
                    found.append(("query_wait_notify", i, c.id, c.wait_start))
            elif c.state == CL_ACTIVE:
                if _over(now, c.stuck_start, write):
                    found.append(("client_write_timeout", i, c.id, c.stuck_start))
                elif c.request_start and _over(now, c.request_start, l.query_timeout_us):
                    found.append(("query_timeout", i, c.id, c.request_start))
                elif c.xact_start and _over(now, c.xact_start, l.transaction_timeout_us):
                    found.append(("transaction_timeout", i, c.id, c.xact_start))
                elif not c.request_start and c.xact_start and _over(now, c.idle_start, l.idle_transaction_timeout_us):
                    found.append(("idle_transaction_timeout", i, c.id, c.idle_start))
                elif (c.pinned and not c.request_start and not c.xact_start   # a session in its hands, and idle
                      and _over(now, c.idle_start, l.client_idle_timeout_us)):
                    found.append(("client_idle_timeout", i, c.id, c.idle_start))
            elif c.state == CL_IDLE and _over(now, c.idle_start, l.client_idle_timeout_us):
                found.append(("client_idle_timeout", i, c.id, c.idle_start))
        return found

    def pins(self):
        """Session state by pool row, added up over workers: how often servers were pinned since the start, by
        reason, how often a server was asked what is left, settings were put in force, and a server was reset."""
        cdef int w, reason
        cdef int32_t i
        cdef counters *n
        totals = {}
        for i in range(self.t.h.pools_high):
            pins = [0] * PIN_REASONS
            asks = applied = resets = 0
            for w in range(self.t.h.sizes.workers):
                n = &self.t.counters[<int64_t>w * self.t.h.sizes.pools + i]
                asks += n.session_asks
                applied += n.settings_applied
                resets += n.session_resets
                for reason in range(PIN_REASONS):
                    pins[reason] += n.pins[reason]
            row = dict(zip(PIN_NAMES, pins))
            row["session_asks"], row["settings_applied"], row["session_resets"] = asks, applied, resets
            row["database"], row["user"], _ = self.pool_key(i)
            totals[i] = row
        return totals

    def closing_slots(self, int worker, double older_than_s):
        """(slot, generation) of this worker's that were to close and whose server has not let go for so long."""
        cdef int32_t i
        cdef slot_row *s
        cdef uint64_t now = now_us()
        found = []
        for i in range(self.t.h.slots_high):
            s = &self.t.slots[i]
            if s.state == SL_CLOSING and s.owner == worker and s.flags & SF_WAS_BUSY:
                if _over(now, s.closing_at, <uint64_t>(older_than_s * 1e6)):
                    s.closing_at = now
                    found.append((i, s.generation))
        return found

    # ---- two instances, one limit (tables/handoff.c)

    cdef object _pool_name(self, int32_t pool):
        cdef pool_row *p = &self.t.pools[pool]
        return [decoded(self.t.databases[p.database].name), decoded(self.t.users[p.user].name),
                decoded(self.t.instances[p.instance].name), p.kind]

    def handoff_retire(self):
        """Another instance replaces this one: open nothing beyond what there is.  Returns that: [database, user,
        instance, kind, rooms] per pool."""
        cdef uint64_t ring = 0
        cdef int32_t i
        self._take()
        handoff_retire(self.t, now_us(), &ring)
        held = [[*self._pool_name(i), handoff_quota(self.t, i)] for i in range(self.t.h.pools_high) if handoff_quota(self.t, i)]
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return held

    def handoff_retire_all(self):
        """Clients go as soon as they are between transactions."""
        self.t.h.retiring = RETIRING_ALL

    def handoff_resume(self):
        """It does not, after all."""
        self.t.h.retiring = RETIRING_NOT

    def handoff_messages(self):
        """What the other instance is to be told: (word, [database, user, instance, kind, rooms])."""
        cdef handoff_message found[64]
        cdef int n, i
        self._take()
        n = handoff_messages(self.t, now_us(), found, 64)
        news = [(HANDOFF_WORDS[found[i].word], [*self._pool_name(found[i].pool), found[i].rooms]) for i in range(n)]
        tables_unlock(self.t)
        return news

    def handoff_told(self, str word, pool):
        """The other instance says so of `pool`, as in handoff_messages; False when there are no rows for it."""
        cdef handoff_message news
        cdef uint64_t ring = 0
        database, user, instance, kind, rooms = pool
        cdef bytes database_name = encoded(database), user_name = encoded(user), instance_name = encoded(instance)
        cdef bint done = False
        cdef int said = HANDOFF_WORDS.index(word)
        self._take()
        cdef int32_t d, u, n
        d = tables_database(self.t, database_name, True)
        u = tables_user(self.t, user_name, True)
        n = tables_instance(self.t, instance_name, True)
        news.word, news.rooms = <handoff_word>said, rooms
        news.pool = NOBODY if min(d, u, n) < 0 else tables_pool_of_kind(
            self.t, d, u, n, <pool_kind><int>kind, True)
        if news.pool != NOBODY:
            done = handoff_told(self.t, &news, now_us(), &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return done

    def handoff_left(self):
        """The instance that this one replaced is gone."""
        cdef uint64_t ring = 0
        self._take()
        handoff_left(self.t, now_us(), &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)

    def in_use(self):
        """(clients but for the console's, sockets on their way to workers, rows of servers in use) over all workers."""
        cdef int32_t i
        cdef int clients = 0, servers = 0, arriving = 0
        for i in range(self.t.h.clients_high):
            clients += self.t.clients[i].state != CL_FREE and not self.t.clients[i].flags & CF_CONSOLE
        for i in range(self.t.h.slots_high):
            servers += self.t.slots[i].state != SL_FREE
        for i in range(self.t.h.sizes.workers):
            arriving += <int>(self.t.workers[i].sent - self.t.workers[i].taken)
        return clients, arriving, servers

    # ---- cancel requests

    def cancel_key_fits(self, uint32_t pid, bytes key):
        """Whether this is the whole secret, as long as it has to be, of the client that may have this pid."""
        return cancel_key_fits(self.t, pid, <const unsigned char *><const char *>key, <uint32_t>len(key))

    def cancel_begin(self, uint32_t pid, uint32_t secret, int worker):
        """Looks up a cancel key: ('nothing',), ('idle',), ('queued',), ('busy',) or ('forward', slot, generation, row,
        id).  After 'forward' the server is held until cancel_end."""
        cdef int32_t slot = NOBODY, row = NOBODY
        cdef uint32_t generation = 0
        cdef int verdict = cancel_begin(self.t, pid, secret, worker, &slot, &generation, &row)
        if verdict == 2:
            return "forward", slot, generation, row, self.t.clients[row].id
        return (("nothing",), ("queued",), (), ("busy",), ("idle",))[verdict]

    def set_peer_id(self, int peer_id):
        """What new clients' cancel keys say; 0: nothing."""
        self.t.h.peer_id = <uint16_t>peer_id

    def peer_wait(self, int peer_id, int worker):
        """A cancel request for a client of this peer waits to be sent; the row that counts it, or -1."""
        return peer_wait(self.t, peer_id, worker)

    def peer_connect(self, int row, int worker, int most):
        """Whether it may be sent now, with at most so many at a time over all workers (0: no limit)."""
        return peer_connect(self.t, row, worker, most)

    def peer_sent(self, int row, int worker):
        peer_sent(self.t, row, worker)

    def peer_done(self, int row, int worker, int state):
        """It is over; `state`: 0 it still waited, 1 it connected, 2 it was sent."""
        peer_done(self.t, row, worker, state)

    def peers(self):
        """One dict per peer that was ever forwarded to."""
        cdef int32_t i
        cdef int w
        rows = []
        for i in range(MAX_PEERS):
            if self.t.peers[i].id:
                sums = [0, 0, 0]
                for w in range(self.t.h.sizes.workers):
                    sums[0] += self.t.peers[i].waiting[w]
                    sums[1] += self.t.peers[i].connecting[w]
                    sums[2] += self.t.peers[i].active[w]
                rows.append({"peer_id": self.t.peers[i].id, "waiting": sums[0], "connecting": sums[1], "active": sums[2]})
        return rows

    def cancel_end(self, int slot, uint32_t generation, int row, uint64_t client_id, int worker):
        cancel_end(self.t, slot, generation, row, client_id, worker, now_us())

    def cancel_doubtful(self, int slot, uint32_t generation):
        """A cancel request may still be on its way to this server: nobody else may get it."""
        self._take()
        if self.t.slots[slot].generation == generation and self.t.slots[slot].state != SL_FREE:
            slot_flag(self.t, slot, SF_CLOSE_NEEDED)
        tables_unlock(self.t)

    def cancel_target(self, int slot):
        """(generation, target, backend pid, key) to cancel what this slot's server runs."""
        cdef slot_row *s = &self.t.slots[slot]
        return (s.generation, s.sockaddr[:s.sockaddr_bytes].decode("utf-8", "surrogateescape"),
                <uint32_t>s.backend_pid,
                PyBytes_FromStringAndSize(<char *>s.cancel_key, s.cancel_key_bytes))

    # ---- the pool's operations one by one: for simulations, where one process plays several workers

    def _play(self, str what, int row, int worker, uint64_t now):
        cdef outcome out
        outcome_clear(&out)
        if what == "acquire":
            pool_acquire(self.t, row, now, &out)
        elif what == "requeue":
            pool_requeue(self.t, row, now, &out)
        elif what == "release":
            pool_release(self.t, row, worker, now, &out)
        elif what == "place":
            pool_place(self.t, row, worker, now, &out)
        elif what == "freed":
            pool_freed(self.t, row, worker, now, &out)
        elif what == "client_free":
            client_free(self.t, row, worker, now, &out)
        elif what == "begin_close":
            pool_begin_close(self.t, row, worker, False)
        elif what == "detach":
            pool_detach(self.t, row, now)
        elif what == "used":
            self.t.slots[row].last_worker = <int16_t>worker
        elif what == "expires":
            self.t.slots[row].expires_at = now
        elif what == "abandon":
            pool_abandon(self.t, row)
        elif what == "wait_welcome":
            pool_wait_welcome(self.t, row, now, &out)
        elif what == "wait_dedicated":
            pool_wait_dedicated(self.t, row, 1, now, &out)
        elif what == "dedicated":   # the slot's client has got it
            pool_dedicated(self.t, row, self.t.slots[row].generation, self.t.slots[row].dedicated_row,
                           self.t.slots[row].dedicated_to, worker, now, &out)
        elif what == "idle":
            self.t.clients[row].state = CL_IDLE
        else:
            raise ValueError(what)
        return {"slot": out.slot, "dial": out.dial, "close": out.close, "client": out.client, "ring": out.ring}

    def _play_tick(self, int worker, uint64_t now):
        cdef int32_t dials[64]
        cdef uint64_t ring = 0
        cdef int n = pool_tick(self.t, worker, now, dials, 64, &ring)
        return [dials[i] for i in range(n)]

    def _play_attention(self, int worker):
        cdef order clients[64]
        cdef order slots[64]
        cdef int nc, ns, i
        pool_attention(self.t, worker, clients, &nc, slots, &ns, 64)
        return ([(clients[i].row, clients[i].id, clients[i].orders) for i in range(nc)],
                [(slots[i].row, slots[i].orders) for i in range(ns)])

    def _play_reclaim(self, int slot, int worker):
        return pool_take_reclaim(self.t, slot, worker)

    def _play_claim_idle(self, int slot, uint32_t generation, int worker):
        return pool_claim_idle(self.t, slot, generation, worker)

    def _play_login_failed(self, int pool, bint fatal, uint64_t retry_at):
        cdef uint64_t ring = 0
        pool_login_failed(self.t, pool, fatal, b"08P01", b"refused", retry_at, &ring)

    def _play_expired(self, int worker, uint64_t now, uint64_t idle_timeout_us):
        cdef int32_t found[256]
        cdef int n = pool_expired_idle(self.t, worker, now, idle_timeout_us, found, 256)
        return [found[i] for i in range(n)]

    def _play_unguard(self, int row):
        """What is under way on the server of this client, if it has one, is its own."""
        if self.t.clients[row].slot >= 0:
            self.t.slots[self.t.clients[row].slot].guarded = 0

    def _play_cancel_end(self, int slot, uint32_t generation, int row, uint64_t client_id, int worker, uint64_t now):
        cancel_end(self.t, slot, generation, row, client_id, worker, now)

    def _map(self):
        """(address, bytes, where its mutex is, bytes of that) of the map: for tests that look at every state it
        passes through."""
        cdef header *h = self.t.h
        return <size_t>h, self.t.map_bytes, <size_t>&h.mutex - <size_t>h, sizeof(h.mutex)

    def _truth(self):
        """The fields of the rows that a rebuild starts from: ({slot: ...}, {client row: ...}), free rows left out."""
        cdef int32_t i
        slots, clients = {}, {}
        for i in range(self.t.h.slots_high):
            if self.t.slots[i].state != SL_FREE:
                slots[i] = {name: value for name, value in (
                    ("state", self.t.slots[i].state), ("owner", self.t.slots[i].owner), ("pool", self.t.slots[i].pool),
                    ("client", self.t.slots[i].client), ("orders", self.t.slots[i].orders),
                    ("flags", self.t.slots[i].flags), ("canceling", self.t.slots[i].canceling),
                    ("evict_for", self.t.slots[i].evict_for), ("generation", self.t.slots[i].generation),
                    ("last_worker", self.t.slots[i].last_worker))}
        for i in range(self.t.h.clients_high):
            if self.t.clients[i].state != CL_FREE:
                clients[i] = {name: value for name, value in (
                    ("state", self.t.clients[i].state), ("worker", self.t.clients[i].worker),
                    ("pool", self.t.clients[i].pool), ("slot", self.t.clients[i].slot),
                    ("orders", self.t.clients[i].orders), ("flags", self.t.clients[i].flags),
                    ("ticket", self.t.clients[i].ticket), ("wait_start", self.t.clients[i].wait_start),
                    ("database", self.t.clients[i].database), ("user", self.t.clients[i].user))}
        return slots, clients

    def _derived(self):
        """Everything that a rebuild makes anew; lists as lists of rows."""
        cdef int32_t i
        cdef int w
        cdef header *h = self.t.h
        cdef pool_row *p
        pools = []
        for i in range(h.pools_high):
            p = &self.t.pools[i]
            pools.append({
                "servers": p.servers, "clients": p.clients, "evicting": p.evicting, "by_state": [n for n in p.by_state],
                "idle": _walk(self.t, &p.idle, LIST_IDLE), "waiting": _walk(self.t, &p.waiting, LIST_QUEUE),
                "waiting_of": [_walk(self.t, &p.waiting_of[w], LIST_LOCAL) for w in range(h.sizes.workers)],
                "dedicated": _walk(self.t, &p.dedicated, LIST_QUEUE)})
        return {
            "pools": pools, "clients": h.clients,
            "databases": [(self.t.databases[i].servers, self.t.databases[i].clients) for i in range(h.databases_high)],
            "users": [(self.t.users[i].servers, self.t.users[i].clients) for i in range(h.users_high)],
            "instances": [self.t.instances[i].servers for i in range(h.instances_high)],
            "free_clients": sorted(_walk(self.t, &h.free_clients, LIST_QUEUE)),
            "free_slots": sorted(_walk(self.t, &h.free_slots, LIST_IDLE)),
            "workers": [(self.t.workers[w].clients,
                         sorted(_walk(self.t, &self.t.workers[w].client_attention, LIST_CLIENT_ATTENTION)),
                         sorted(_walk(self.t, &self.t.workers[w].slot_attention, LIST_SLOT_ATTENTION)))
                        for w in range(h.sizes.workers)]}

    def _rebuild(self):
        tables_lock(self.t)
        tables_rebuild(self.t)
        tables_unlock(self.t)

    def _lock(self):
        """Takes the lock and does not give it back: for tests that die inside it."""
        tables_lock(self.t)

    # ---- snapshots

    def clients(self):
        """One dict per client that exists now."""
        cdef int32_t i
        cdef client_row copy
        cdef uint64_t now = now_us()
        rows = []
        for i in range(self.t.h.clients_high):
            memcpy(&copy, &self.t.clients[i], sizeof(client_row))
            if copy.state != CL_FREE:
                rows.append(_client_dict(self.t, i, &copy, now))
        return rows

    def servers(self):
        """One dict per server connection (or slot on its way to be one)."""
        cdef int32_t i
        cdef slot_row copy
        rows = []
        for i in range(self.t.h.slots_high):
            memcpy(&copy, &self.t.slots[i], sizeof(slot_row))
            if copy.state != SL_FREE:
                rows.append(_slot_dict(self.t, i, &copy, now_us()))
        return rows

    slots = servers

    def pools(self):
        """One dict per pool, counts by PgBouncer's states."""
        cdef int32_t i
        cdef pool_row *p
        cdef uint64_t now = now_us()
        cl = {}
        for c in self.clients():
            if c["pool"] >= 0:
                per = cl.setdefault(c["pool"], {})
                per[c["state"]] = per.get(c["state"], 0) + 1
        sv = {}
        for s in self.servers():
            per = sv.setdefault(s["pool"], {})
            per[s["state"]] = per.get(s["state"], 0) + 1
        rows = []
        shown = {}
        for i in range(self.t.h.pools_high):
            p = &self.t.pools[i]
            if p.used and p.kind != POOL_LISTENER:
                shown.setdefault((p.database, p.user, p.instance), []).append((p.kind, i))
        for found in shown.values():   # for who looks on, auth_query runs in the pool of its user, as in PgBouncer
            first, *others = [i for _, i in sorted(found)]
            for i in others:
                for per in (cl, sv):
                    for state, count in per.get(i, {}).items():
                        into = per.setdefault(first, {})
                        into[state] = into.get(state, 0) + count
            i = first
            p = &self.t.pools[i]
            c, s = cl.get(i, {}), sv.get(i, {})
            wait = 0
            for head in [self.t.pools[j].waiting.head for j in (first, *others)]:
                if head >= 0 and self.t.clients[head].wait_start < now:
                    wait = max(wait, now - self.t.clients[head].wait_start)
            rows.append({
                "pool": i, "database": decoded(self.t.databases[p.database].name),
                "user": decoded(self.t.users[p.user].name), "instance": decoded(self.t.instances[p.instance].name),
                "cl_active": c.get("active", 0) + c.get("idle", 0), "cl_idle": c.get("idle", 0),
                "cl_waiting": c.get("waiting", 0) + c.get("waiting_login", 0),
                "cl_active_cancel_req": c.get("active_cancel_req", 0),
                "cl_waiting_cancel_req": c.get("waiting_cancel_req", 0),
                "sv_active": s.get("active", 0), "sv_active_cancel": s.get("active_cancel", 0),
                "sv_being_canceled": s.get("being_canceled", 0), "sv_idle": s.get("idle", 0),
                "sv_used": s.get("used", 0), "sv_tested": s.get("tested", 0), "sv_login": s.get("new", 0),
                "sv_closing": s.get("closing", 0), "servers": sum(self.t.pools[j].servers for j in (first, *others)), "clients": p.clients,
                "maxwait_us": wait, "pool_mode": POOL_MODES[p.limits.mode], "pool_size": p.limits.size,
                "min_pool_size": p.limits.min_size, "reserve_pool_size": p.limits.reserve_size,
                "paused": bool(self.t.databases[p.database].paused), "mean_wait_us": p.mean_wait_us,
            })
        return rows

    def databases(self):
        cdef int32_t i
        return [{"index": i, "name": decoded(self.t.databases[i].name), "paused": bool(self.t.databases[i].paused),
                 "disabled": bool(self.t.databases[i].disabled), "server_count": self.t.databases[i].servers,
                 "client_count": self.t.databases[i].clients, "max_connections": self.t.databases[i].max_db_connections,
                 "max_client_connections": self.t.databases[i].max_clients}
                for i in range(self.t.h.databases_high) if self.t.databases[i].used]

    def users(self):
        cdef int32_t i
        return [{"index": i, "name": decoded(self.t.users[i].name), "server_count": self.t.users[i].servers,
                 "client_count": self.t.users[i].clients, "max_connections": self.t.users[i].max_user_connections,
                 "max_client_connections": self.t.users[i].max_clients}
                for i in range(self.t.h.users_high) if self.t.users[i].used]

    def instances(self):
        cdef int32_t i
        return [{"index": i, "name": decoded(self.t.instances[i].name), "server_count": self.t.instances[i].servers,
                 "max_connections": self.t.instances[i].max_server_connections}
                for i in range(self.t.h.instances_high) if self.t.instances[i].used]

    def workers(self):
        cdef int w
        busy = {}
        for c in self.clients():
            if c["state"].startswith("active"):
                busy[c["worker"]] = busy.get(c["worker"], 0) + 1
        return [{"worker": w, "pid": self.t.workers[w].pid, "clients": self.t.workers[w].clients,
                 "active": busy.get(w, 0), "heartbeat_age_s": self.heartbeat_age(w),
                 "started": self.t.workers[w].start_time, "restarts": self.t.workers[w].restarts, "loop_lag_us": self.t.workers[w].hub_lag_us}
                for w in range(self.t.h.sizes.workers)]

    def stats(self):
        """Counters since the start by pool row, added up over workers; times in microseconds.  -1: the console."""
        cdef int32_t i
        cdef int w
        cdef counters *n
        totals = {}
        for i in range(self.t.h.pools_high):
            if not self.t.pools[i].used or self.t.pools[i].kind != POOL_CLIENTS:
                continue
            sums = [0] * 12
            for w in range(self.t.h.sizes.workers):
                n = &self.t.counters[<int64_t>w * self.t.h.sizes.pools + i]
                values = (n.server_assignment_count, n.xact_count, n.query_count, n.bytes_received, n.bytes_sent,
                          n.xact_time, n.query_time, n.wait_time, n.client_parse_count, n.server_parse_count,
                          n.bind_count, n.client_login_count)
                sums = [a + b for a, b in zip(sums, values)]
            row = dict(zip(COUNTER_NAMES, sums))
            row["database"], row["user"], _ = self.pool_key(i)
            totals[i] = row
        console = dict.fromkeys(COUNTER_NAMES, 0) | {"database": "pgbouncer", "user": ""}
        for w in range(self.t.h.sizes.workers):
            console["client_login_count"] += self.t.workers[w].console_logins
            console["query_count"] += self.t.workers[w].console_queries
            console["xact_count"] += self.t.workers[w].console_queries
        return {**totals, -1: console}

    def count_console_query(self, int worker):
        """A client of the console, of this worker, has asked for something."""
        self.t.workers[worker].console_queries += 1

    def histograms(self, int pool):
        """(query times, waiting times): 64 counts each, bucket b from 2**(b/2) microseconds on."""
        cdef int w, b
        query, wait = [0] * HISTOGRAM_BUCKETS, [0] * HISTOGRAM_BUCKETS
        for w in range(self.t.h.sizes.workers):
            for b in range(HISTOGRAM_BUCKETS):
                query[b] += self.t.counters[<int64_t>w * self.t.h.sizes.pools + pool].query_histogram[b]
                wait[b] += self.t.counters[<int64_t>w * self.t.h.sizes.pools + pool].wait_histogram[b]
        return query, wait

    def counts(self):
        cdef int32_t i
        cdef header *h = self.t.h
        cdef int login = 0, used = 0, servers = 0
        for i in range(h.clients_high):
            if self.t.clients[i].state != CL_FREE and not self.t.clients[i].flags & CF_INTERNAL:
                used += 1
                login += self.t.clients[i].state == CL_LOGIN
        for i in range(h.slots_high):
            servers += self.t.slots[i].state != SL_FREE
        return {"free_clients": h.sizes.clients - used, "used_clients": used - login, "login_clients": login,
                "free_servers": h.sizes.slots - servers, "used_servers": servers,
                "pools": sum(self.t.pools[i].used for i in range(h.pools_high)),
                "databases": sum(self.t.databases[i].used for i in range(h.databases_high)),
                "users": sum(self.t.users[i].used for i in range(h.users_high))}

    def memory(self):
        """(name, row bytes, used rows, free rows, bytes of used rows) per table."""
        cdef header *h = self.t.h
        return [(name, size, used, total - used, used * size) for name, size, used, total in (
            ("client_cache", sizeof(client_row), h.clients_high, h.sizes.clients),
            ("server_cache", sizeof(slot_row), h.slots_high, h.sizes.slots),
            ("pool_cache", sizeof(pool_row), h.pools_high, h.sizes.pools),
            ("db_cache", sizeof(database_row), h.databases_high, h.sizes.databases),
            ("user_cache", sizeof(user_row), h.users_high, h.sizes.users),
            ("instance_cache", sizeof(instance_row), h.instances_high, h.sizes.instances),
            ("worker_cache", sizeof(worker_row), h.sizes.workers, h.sizes.workers))]


cdef enum:
    LIST_QUEUE, LIST_LOCAL, LIST_CLIENT_ATTENTION, LIST_IDLE, LIST_SLOT_ATTENTION


cdef link *_link(tables *t, int kind, int32_t i):
    if kind == LIST_QUEUE:
        return &t.clients[i].queue
    if kind == LIST_LOCAL:
        return &t.clients[i].local_queue
    if kind == LIST_CLIENT_ATTENTION:
        return &t.clients[i].attention
    return &t.slots[i].idle if kind == LIST_IDLE else &t.slots[i].attention


cdef object _walk(tables *t, list *l, int kind):
    """The rows of a list; ValueError when its links, its tail or its count are wrong."""
    cdef int32_t i = l.head, before = NOBODY
    rows = []
    while i != NOBODY and len(rows) <= l.count:
        rows.append(i)
        if _link(t, kind, i).prev != before:
            raise ValueError(f"list {kind}: {rows} does not lead back")
        before, i = i, _link(t, kind, i).next
    if len(rows) != l.count or l.tail != before:
        raise ValueError(f"list {kind}: {rows}, count {l.count}, tail {l.tail}")
    return rows


cdef bint _over(uint64_t now, uint64_t since, uint64_t limit):
    return limit > 0 and since > 0 and now > since and now - since > limit


cdef double _wall():
    import time
    return time.time()


cdef double _wall_of(uint64_t stamp, uint64_t now):
    if not stamp:
        return 0.0
    return _wall() - (now - stamp) / 1e6 if now > stamp else _wall()


def reasons_of(uint32_t pinned):
    """Why a server stays with its client, in words."""
    cdef char text[128]
    return decoded(pin_reasons(pinned, text, 128))


PIN_NAMES = tuple(reasons_of(1 << (reason + 1)) for reason in range(PIN_REASONS))


cdef dict _client_dict(tables *t, int32_t i, client_row *c, uint64_t now):
    names = ("free", "login", "idle", "waiting", "active")
    state = names[c.state]
    if c.state == CL_WAITING and c.flags & CF_LOGIN_WAIT:
        state = "waiting_login"
    slot = c.slot if c.state == CL_ACTIVE else NOBODY
    return {
        "id": c.id, "row": i, "worker": c.worker, "state": state, "pool": c.pool,
        "database": decoded(t.databases[c.database].name) if c.database >= 0 else "",
        "user": decoded(t.users[c.user].name) if c.user >= 0 else "",
        "addr": decoded(c.where.addr), "port": c.where.port, "local_addr": decoded(c.where.local_addr),
        "local_port": c.where.local_port, "connect_time": c.connect_time,
        "request_time": _wall_of(c.wait_start if c.state == CL_WAITING else c.request_start, now),
        "wait_us": now - c.wait_start if c.state == CL_WAITING and now > c.wait_start else 0,
        "link": t.slots[slot].id if slot >= 0 else 0, "slot": slot, "close_needed": bool(c.orders & ORDER_KILL),
        "tls": decoded(c.tls), "application_name": decoded(c.application_name), "prepared_statements": c.prepared_statements,
        "replication": REPLICATION[c.replication], "memory": c.memory,
        "remote_pid": t.slots[slot].backend_pid if slot >= 0 else 0, "pinned": reasons_of(c.pinned), "pinned_since": _wall_of(c.pinned_at, now) if c.pinned else 0.0,
        "pinned_s": (now - c.pinned_at) / 1e6 if c.pinned and now > c.pinned_at else 0.0,
        "is_unix": bool(c.flags & CF_UNIX), "console": bool(c.flags & CF_CONSOLE), "own": bool(c.flags & CF_INTERNAL),
    }


cdef dict _slot_dict(tables *t, int32_t i, slot_row *s, uint64_t now):
    names = ("free", "new", "idle", "active", "being_canceled", "closing", "closing", "elsewhere")
    state = names[s.state]
    if s.state == SL_ACTIVE and s.canceling:
        state = "active_cancel"
    if s.state == SL_IDLE and _over(now, s.used_at, t.h.check_delay_us):
        state = "used"
    cdef pool_row *p = &t.pools[s.pool]
    linked = s.state == SL_ACTIVE and s.client >= 0
    if s.state == SL_ACTIVE and not linked:
        state = "active" if p.kind == POOL_LISTENER else "tested"
    return {
        "id": s.id, "slot": i, "worker": s.owner if s.owner >= 0 else s.last_worker, "state": state, "pool": s.pool,
        "database": decoded(t.databases[p.database].name), "user": decoded(t.users[p.user].name),
        "addr": decoded(s.where.addr), "port": s.where.port, "local_addr": decoded(s.where.local_addr),
        "local_port": s.where.local_port, "connect_time": s.connect_time,
        "request_time": _wall_of(t.clients[s.client].request_start if linked else s.used_at, now),
        "close_needed": bool(s.flags & SF_CLOSE_NEEDED), "link": t.clients[s.client].id if linked else 0,
        "remote_pid": s.backend_pid, "tls": decoded(s.tls), "application_name": "", "prepared_statements": t.prepared[i].count,
        "replication": REPLICATION[s.replication], "generation": s.generation, "is_unix": bool(s.flags & SF_UNIX),
        "idle_s": (now - s.used_at) / 1e6 if s.state == SL_IDLE and now > s.used_at else 0.0,
    }


cdef extern from "tls/bridge.h" nogil:
    struct bridge:
        pass
    bridge *bridge_open(tables *)
    bint bridge_add(bridge *, int32_t, uint32_t, int, int, tls *, const void *, uint32_t)


cdef class Bridge:
    """A thread that copies between encrypted connections to PostgreSQL and the socket pairs that all workers use
    instead. Raises OSError."""

    cdef bridge *p

    def __cinit__(self, Tables shared):
        self.p = bridge_open(shared.t)
        if self.p is NULL:
            raise OSError(errno, os.strerror(errno))

    def add(self, int slot, uint32_t generation, int raw, int inner, TlsSession session, bytes early):
        """Takes over both descriptors (non-blocking) and the session, whose handshake is done and which is attached
        to `raw`, unless it raises; `early` was read behind the login."""
        cdef const char *bytes_of = early
        if not bridge_add(self.p, slot, generation, raw, inner, session.t, bytes_of, <uint32_t>len(early)):
            raise MemoryError
        session.t = NULL


cdef class Relay:
    """One worker's relay.  `outboxes` are the send ends of all workers' inboxes and, last, of the master's.

    `tracked` are the names of the parameters that follow a client.  Raises OSError.
    """

    cdef relay *r
    cdef Tables tables

    def __cinit__(self, Tables tables, int worker, int inbox, outboxes, tracked, questions):
        cdef int boxes[128]
        cdef const char *names[32]
        cdef const char *texts[128]
        cdef int i, n = 0
        held = [encoded(name) for name in tracked]
        if len(held) > TRACKED_MAX:
            raise ValueError(f"at most {TRACKED_MAX} parameters can be tracked")
        for i, fd in enumerate(outboxes):
            boxes[i] = fd
            n = i + 1
        for i in range(len(held)):
            names[i] = <const char *><bytes>held[i]
        asked = [encoded(text) for text in questions]
        if len(asked) != QUESTIONS + CATALOG_TEXTS:
            raise ValueError(f"{QUESTIONS + CATALOG_TEXTS} questions are asked, not {len(asked)}")
        for i in range(len(asked)):
            texts[i] = <const char *><bytes>asked[i]
        self.tables = tables
        self.r = relay_open(tables.t, worker, inbox, boxes, n, names, len(held), texts)
        if self.r is NULL:
            raise OSError(errno, os.strerror(errno))

    def start(self):
        cdef int rc = relay_start(self.r)
        if rc:
            raise OSError(rc, os.strerror(rc))

    @property
    def event_fd(self):
        return self.r.event_bell

    def learn(self, int slot, uint32_t generation, int fd, bint raw=False):
        """A duplicate inherited from the master; `raw`: an encrypted connection whose bridge died.  Only before
        start()."""
        server_learn(self.r, slot, generation, fd, raw)

    def events(self):
        """What happened: tuples (type, a, b, id, age_us, text, database row, user row, address, port, told)."""
        cdef event found[64]
        cdef int n = relay_events(self.r, found, 64)
        cdef int i
        return [(found[i].type, found[i].a, found[i].b, found[i].id, found[i].age_us, decoded(found[i].text),
                 found[i].database, found[i].user, decoded(found[i].addr), found[i].port, bool(found[i].told)) for i in range(n)]

    cdef void _command(self, int kind, int a, int b, uint32_t generation, uint64_t client_id, uint64_t token,
                       bytes data, bytes extra, tls *session=NULL):
        cdef command *c = <command *>malloc(sizeof(command) + len(data) + len(extra))
        if c is NULL:
            raise MemoryError
        c.type, c.a, c.b, c.generation, c.id, c.token = <uint8_t>kind, a, b, generation, client_id, token
        c.tls = session
        c.data_bytes, c.extra_bytes = <uint32_t>len(data), <uint32_t>len(extra)
        memcpy(c.data, <const char *>data, len(data))
        memcpy(&c.data[len(data)], <const char *>extra, len(extra))
        relay_command(self.r, c)

    def add_client(self, int row, int fd, bytes values, bytes head, bytes tail, bytes rest, bint usual,
                   TlsSession session=None, uint32_t given=0, uint32_t defaults=0):
        """Gives a logged-in client to the relay, which owns `fd` from now on.  `values`: the tracked parameters'
        values, each NUL-terminated, then other settings as names and values; `head`, `tail`: what it is greeted with
        before and behind its tracked parameters; `usual`: these are what the pool's servers have; `rest`: what was read behind the login (at most 64 kB).
        `session`: its TLS, which is used up.  `given`: bits of the tracked parameters that its startup packet has;
        `defaults`: what pool_defaults_version() said before the pool's welcome was read."""
        cdef tls *t = NULL
        cdef uint64_t facts = (<uint64_t>defaults << 32) | (<uint64_t>(given & 0x7fffffff) << 1) | usual
        if session is not None:
            t, session.t = session.t, NULL
        self._command(COMMAND_CLIENT, row, fd, len(head), facts, len(tail), values, head + tail + rest, t)

    def add_server(self, int slot, uint32_t generation, int fd, bytes values):
        """Gives a logged-in server to the relay.  Its duplicates must be on their way to all processes."""
        self._command(COMMAND_SERVER, slot, fd, generation, 0, 0, values, b"")

    def add_dedicated(self, int row, uint64_t client_id, int fd, int slot, uint32_t generation, int server_fd,
                      bytes values, bytes rest, TlsSession session=None):
        """Gives a client and the server that is its own to the relay, which owns both descriptors from now on.  The
        client has been greeted; `values` are the server's, `rest` was read behind the login.  `session`: the client's
        TLS, which is used up."""
        cdef tls *t = NULL
        if session is not None:
            t, session.t = session.t, NULL
        self._command(COMMAND_DEDICATED, row, fd, generation, client_id, <uint64_t>server_fd << 32 | <uint32_t>slot,
                      values, rest, t)

    def close_slot(self, int slot):
        """Ends the connection of a slot that is CLOSING and this worker's."""
        self._command(COMMAND_CLOSE_SLOT, slot, 0, 0, 0, 0, b"", b"")

    def freed_slot(self, int slot, uint32_t generation):
        """A slot in its login has no connection any more: end of stream was read, or it was never dialed."""
        self._command(COMMAND_FREED_SLOT, slot, 0, generation, 0, 0, b"", b"")

    def kill(self, int row, uint64_t client_id, uint64_t token, str sqlstate, str text):
        """Closes a client with a FATAL error, if it is still in the state that `token` stamps (0: always)."""
        self._command(COMMAND_KILL, row, 0, 0, client_id, token, encoded(sqlstate) + b"\0" + encoded(text) + b"\0", b"")

    def send(self, int row, uint64_t client_id, bytes data):
        """Sends whole messages to a client that is waiting for a server."""
        self._command(COMMAND_SEND, row, 0, 0, client_id, 0, data, b"")

    def reclaim(self):
        """Finishes the slots that dead workers left."""
        self._command(COMMAND_RECLAIM, 0, 0, 0, 0, 0, b"", b"")

    def options(self, *, double check_delay_s, check_query, reset_query, bint reset_always, bint disable_pqexec,
                bint fast_close, uint32_t max_packet_bytes, uint32_t max_prepared_statements,
                double answer_timeout_s, trusted_extensions=(), uint64_t catalog_bytes=64 << 20,
                uint64_t client_bytes=64 << 20):
        """What the relay has to know of the configuration; check_query None: no checks."""
        cdef options o
        memset(&o, 0, sizeof(options))
        o.check_delay_us = <uint64_t>(check_delay_s * 1e6)
        o.answer_timeout_us = <uint64_t>(answer_timeout_s * 1e6)
        o.max_packet_bytes = max_packet_bytes
        o.max_prepared_statements = max_prepared_statements
        o.reset_always, o.disable_pqexec, o.fast_close = reset_always, disable_pqexec, fast_close
        o.has_check = check_query is not None
        put_text(o.check_query, 256, encoded(check_query or ""))
        put_text(o.reset_query, 1024, encoded(reset_query))
        o.catalog_bytes = catalog_bytes
        o.client_bytes = client_bytes
        names = b"".join(encoded(name) + b"\0" for name in trusted_extensions)
        if len(names) >= 2048:
            raise ValueError("session_trusted_extensions is too long")
        memcpy(o.trusted, <char *>names, len(names))
        self._command(COMMAND_OPTIONS, 0, 0, 0, 0, 0, (<char *>&o)[:sizeof(options)], b"")

    def stop(self):
        """Ends the thread; connections stay as they are."""
        self._command(COMMAND_STOP, 0, 0, 0, 0, 0, b"", b"")
        with nogil:
            relay_join(self.r)


cdef extern from "catalog/store.h" nogil:
    bint catalog_is_current(const tables *, int32_t)


cdef extern from "io/server_messages.h" nogil:
    bint server_message_length_fits(uint8_t, uint32_t)
    bint server_message_well_formed(uint8_t, const unsigned char *, uint32_t, bint)


def server_message_fits(bytes kind, bytes body, bint own=False):
    """Whether the relay reads a message of a server (see core/io/server_messages.h), or closes that server for it.
    `own`: it answers a request of pooler's own."""
    cdef size_t n = len(body)
    # a copy of exactly this size: what reads beyond its end is found out by a sanitizer
    cdef unsigned char *copy = <unsigned char *>malloc(n if n else 1)
    if copy is NULL:
        raise MemoryError
    memcpy(copy, <const char *>body, n)
    fits = server_message_length_fits(kind[0], <uint32_t>n + 4) and server_message_well_formed(kind[0], copy, <uint32_t>n, own)
    free(copy)
    return bool(fits)


cdef extern from "sql/catalog_names.h" nogil:
    enum catalog_kind:
        pass
    struct catalog_entry:
        uint64_t hash
        uint32_t effect_flags, kind
    struct catalog:
        catalog_entry *entries
        uint32_t capacity
    uint32_t catalog_place(uint64_t, catalog_kind, uint32_t)


cdef extern from "sql/effects.h" nogil:
    struct words:
        pass
    struct scan_result "scan":
        uint32_t effect_flags, ends, names_bytes, unknown_count
        uint64_t work
        char names[4096]
    bint words_builtin(words *, uint64_t)
    void words_free(words *)
    uint64_t word_hash(const words *, const char *, uint32_t)
    void scan_text(const words *, const catalog *, const unsigned char *, uint32_t, bint, scan_result *)
    bint next_name(const char *, uint32_t, uint32_t *, char *, const char **)
    bint names_a_setting(const unsigned char *, uint32_t)
    enum: ASK_SETTINGS, ASK_LOCKS, ASK_TEMP, ASK_PREPARED, ASK_CURSORS, ASK_CHANNELS, ASK_ALL, PIN_OPAQUE, PIN_LOADED
    enum: PIN_SEQUENCE, EFFECT_CURRVAL, EFFECT_INSERT, EFFECT_NAMED, EFFECT_RESET, EFFECT_RESET_ALL, EFFECT_LISTEN
    enum: EFFECT_UNLISTEN, EFFECT_NOTIFY, EFFECT_SCHEMA, EFFECT_UNKNOWN, EFFECT_EXECUTE, EFFECT_DATABASE, EFFECT_UNSURE
    enum: EFFECT_ENCODING, EFFECT_FOLDS


EFFECT_FLAGS = {"settings": ASK_SETTINGS, "locks": ASK_LOCKS, "temp": ASK_TEMP, "prepared": ASK_PREPARED,
          "cursors": ASK_CURSORS, "channels": ASK_CHANNELS, "opaque": PIN_OPAQUE, "loaded": PIN_LOADED,
          "sequence": PIN_SEQUENCE, "currval": EFFECT_CURRVAL, "insert": EFFECT_INSERT, "named": EFFECT_NAMED,
          "reset": EFFECT_RESET, "reset_all": EFFECT_RESET_ALL, "listen": EFFECT_LISTEN, "unlisten": EFFECT_UNLISTEN,
          "notify": EFFECT_NOTIFY, "schema": EFFECT_SCHEMA, "unknown": EFFECT_UNKNOWN, "execute": EFFECT_EXECUTE,
          "database": EFFECT_DATABASE, "unsure": EFFECT_UNSURE, "encoding": EFFECT_ENCODING, "folds": EFFECT_FOLDS}


cdef extern from "catalog/rows.h" nogil:
    enum: CATALOG_CLASSES_ "CATALOG_CLASSES"
    enum: CATALOG_UNKNOWN, READING_PAGES
    enum catalog_kind:
        CATALOG_FUNCTION, CATALOG_RELATION, CATALOG_TYPE, CATALOG_OPERATOR
    struct graph:
        uint64_t key
        uint32_t symbol_count
        bint starved
    struct catalog_entry:
        uint64_t hash
        uint32_t effect_flags, kind
    struct customs_names "customs":
        uint32_t bytes
        char names[16384]
    struct catalog_reader:
        int phase
        uint8_t class_ "class"
        bint utf8
        uint32_t server_version
        graph graph
        customs_names customs
    void catalog_rows_take(catalog_reader *, const unsigned char *, uint32_t, bint, const char *)
    void catalog_rows_end(catalog_reader *)
    void graph_solve(graph *)
    bint graph_solve_step(graph *, uint32_t)
    uint32_t graph_effect_flags(const graph *, uint64_t)
    enum: SYMBOL_EVERYTHING
    bint graph_entry(const graph *, uint32_t, catalog_entry *)
    void graph_free(graph *)


cdef extern from "sql/lexer.h" nogil:
    uint64_t hash_of_word(uint64_t, const unsigned char *, uint32_t)


CATALOG_CLASSES = CATALOG_CLASSES_


cdef class CatalogGraph:
    """What rows of the catalogs say about names, as a worker reads them: for tests."""

    cdef catalog_reader *c
    cdef bytes trusted

    def __cinit__(self, int version=150000, bint utf8=True, trusted=(), uint64_t key=0x9e3779b97f4a7c15):
        self.trusted = b"".join(name.encode() + b"\0" for name in trusted) + b"\0"
        self.c = <catalog_reader *>calloc(1, sizeof(catalog_reader))
        if self.c is NULL:
            raise MemoryError
        self.c.phase, self.c.server_version, self.c.utf8 = READING_PAGES, version, utf8
        self.c.graph.key = key

    def __dealloc__(self):
        if self.c is not NULL:
            graph_free(&self.c.graph)
            free(self.c)

    def take(self, int number, fields):
        """A row of the class of that number: texts, or None."""
        cdef bytes body = len(fields).to_bytes(2, "big")
        for text in fields:
            body += b"\xff" * 4 if text is None else len(text).to_bytes(4, "big") + text
        cdef unsigned char *copy = <unsigned char *>malloc(len(body))   # exactly: a sanitizer sees what goes beyond
        if copy is NULL:
            raise MemoryError
        memcpy(copy, <const char *>body, len(body))
        self.c.class_ = <uint8_t>number
        catalog_rows_take(self.c, copy, <uint32_t>len(body), True, self.trusted)
        free(copy)

    def effects(self, str kind, str name):
        """The words of EFFECT_FLAGS and `unknown` for a name of that kind (function, relation, type, operator)."""
        cdef catalog_entry e
        cdef bytes text = name.encode()
        cdef uint64_t wanted = hash_of_word(self.c.graph.key, text, <uint32_t>len(text))
        cdef int number = ("function", "relation", "type", "operator").index(kind)
        cdef uint32_t i
        catalog_rows_end(self.c)
        graph_solve(&self.c.graph)
        while not graph_solve_step(&self.c.graph, 1000):
            pass
        for i in range(self.c.graph.symbol_count):
            if graph_entry(&self.c.graph, i, &e) and e.hash == wanted and e.kind == <uint32_t>number:
                found = {word for word, bit in EFFECT_FLAGS.items() if e.effect_flags & bit}
                return found | ({"unknown"} if e.effect_flags & CATALOG_UNKNOWN else set())
        return {"unknown"}

    def everything(self):
        """The words of EFFECT_FLAGS that any statement may leave."""
        catalog_rows_end(self.c)
        graph_solve(&self.c.graph)
        while not graph_solve_step(&self.c.graph, 1000):
            pass
        effect_flags = graph_effect_flags(&self.c.graph, SYMBOL_EVERYTHING)
        return {word for word, bit in EFFECT_FLAGS.items() if effect_flags & bit}

    @property
    def starved(self):
        """There was no memory for some of it."""
        return self.c.graph.starved

    def customs(self):
        """Names of settings that bodies and expressions have in them."""
        return (<bytes>self.c.customs.names[:self.c.customs.bytes]).decode().removesuffix("\0").split("\0")


cdef words _builtin
if not words_builtin(&_builtin, 0x9e3779b97f4a7c15):
    raise MemoryError


cdef scan_result _scanned(bytes text, bint backslash, known) except *:
    cdef scan_result found
    cdef catalog names
    cdef uint32_t at
    cdef uint64_t hash
    text = text.partition(b"\0")[0]   # where a text ends in the protocol, too
    cdef size_t n = len(text)
    # a copy of exactly this size: what reads beyond its end is found out by a sanitizer
    cdef unsigned char *copy = <unsigned char *>malloc(n if n else 1)
    memset(&names, 0, sizeof(names))
    names.capacity = 16
    while names.capacity < 8 * len(known):
        names.capacity *= 2
    names.entries = <catalog_entry *>calloc(names.capacity, sizeof(catalog_entry))
    if copy is NULL or names.entries is NULL:
        raise MemoryError
    for name, effect_flags in known.items():
        hash = word_hash(&_builtin, name, <uint32_t>len(name))
        for kind in range(4):
            at = catalog_place(hash, <catalog_kind>kind, names.capacity)
            while names.entries[at].hash:
                at = (at + 1) & (names.capacity - 1)
            names.entries[at].hash, names.entries[at].kind = hash, kind
            names.entries[at].effect_flags = sum(EFFECT_FLAGS[trait] for trait in effect_flags)
    memcpy(copy, <const char *>text, n)
    scan_text(&_builtin, &names, copy, <uint32_t>n, backslash, &found)
    free(copy)
    free(names.entries)
    return found


def scan(bytes text, bint backslash=False, dict known={}):
    """What the text of a statement says about its session, as (effect flags, ends, names): sets of words, and pairs of a
    letter and a name (see core/sql/effects.h).  `backslash`: standard_conforming_strings is off.  `known`: what the catalogs
    have, of whatever kind, and the effect flags of each; what is not there is unknown."""
    cdef scan_result found = _scanned(text, backslash, known)
    cdef uint32_t at = 0
    cdef char kind
    cdef const char *name
    names = []
    while next_name(found.names, found.names_bytes, &at, &kind, &name):
        names.append((chr(kind), decoded(name)))
    return ({word for word, bit in EFFECT_FLAGS.items() if found.effect_flags & bit},
            {word for word, bit in EFFECT_FLAGS.items() if found.ends & bit}, names)


def scan_work(bytes text, bint backslash=False):
    """How many tokens and bytes are read to scan a text."""
    return _scanned(text, backslash, {}).work


cdef extern from "session/settings.h" nogil:
    struct settings_set "settings":
        digest digest
        digest literals
        digest run
        uint32_t bytes
    struct settings_store:
        pass
    void settings_open(settings_store *, const uint64_t *, const char *const *, int)
    struct settings_scope:
        int32_t database
    settings_set *settings_intern(settings_store *, const settings_scope *, const char *, uint32_t, bint)
    void settings_drop(settings_store *, settings_set *)
    uint32_t settings_statement(const settings_store *, const settings_set *, bint, char *, uint32_t)


cdef tuple _digest_of(digest d):
    return (d.high, d.low)


cdef class Settings:
    """A store of sets of settings, for tests: see core/session/settings.h. `key`: of their digests, two numbers."""
    cdef settings_store store

    def __cinit__(self, key, *names):
        cdef uint64_t parts[2]
        cdef const char *tracked[32]
        for i, name in enumerate(names):
            tracked[i] = name
        parts[0], parts[1] = key
        settings_open(&self.store, parts, tracked, len(names))

    def look(self, bytes values, bint told=True, bint reset=False):
        """Of the set with these values, each with a NUL behind it (the tracked ones, then other names and values):
        its digest, those of what a Parse and of what the use of a statement goes by, the SQL that puts it in force.
        `told`: by a server."""
        cdef char text[65536]
        cdef settings_scope scope
        memset(&scope, 0, sizeof(scope))
        cdef settings_set *s = settings_intern(&self.store, &scope, <const char *>values, <uint32_t>len(values), told)
        if s is NULL:
            raise MemoryError
        cdef uint32_t n = settings_statement(&self.store, s, reset, text, sizeof(text))
        found = (_digest_of(s.digest), _digest_of(s.literals), _digest_of(s.run), text[:n])
        settings_drop(&self.store, s)
        return found
