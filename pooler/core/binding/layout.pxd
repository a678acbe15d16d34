"""The rows of the shared tables, as far as Python reads or writes them: tables/layout.h."""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t, int64_t

cdef extern from "tables/states.h" nogil:
    enum: SL_STATES
    enum pool_kind: POOL_CLIENTS, POOL_LISTENER, POOL_AUTH
    enum: CH_FREE, CH_HEARD
    enum: CL_FREE, CL_LOGIN, CL_IDLE, CL_WAITING, CL_ACTIVE, CL_STATES
    enum: SL_FREE, SL_LOGIN, SL_IDLE, SL_ACTIVE, SL_PARKED, SL_CLOSING, SL_RECLAIM, SL_ELSEWHERE
    enum: SUSPENDED_NOT, SUSPENDED, SUSPENDED_FORCED
    enum: RETIRING_NOT, RETIRING, RETIRING_ALL
    enum: ORDER_HANDED, ORDER_CANCELED, ORDER_KILL, ORDER_WELCOME, ORDER_FAIL
    enum: CF_LOGIN_WAIT, CF_UNIX, CF_CONSOLE, CF_NOTIFIED, CF_COUNTED, CF_INTERNAL
    enum: SF_DIALED, SF_CLOSE_NEEDED, SF_UNIX, SF_WAS_BUSY, SF_ONCE, SF_RESERVE
    enum: HOST_FREE, HOST_NAME, HOST_ZONE
    enum: CATALOG_NONE, CATALOG_READING, CATALOG_KNOWN, CATALOG_FAILED

cdef extern from "sql/digest.h" nogil:
    struct digest:
        uint64_t high, low

cdef extern from "tables/refusals.h" nogil:
    enum: REFUSAL_COUNT
    const char *refusal_words[64]

cdef extern from "tables/error_classes.h" nogil:
    enum: ERROR_CLASSES
    const char error_class_names[64][6]

cdef extern from "tables/histogram.h" nogil:
    void histogram_add(uint64_t *histogram, uint64_t us)
    void histogram_sum(uint64_t *sums, const uint64_t *histogram)

cdef extern from "tables/server_statements.h" nogil:
    struct prepared_set:
        uint16_t count

cdef extern from "tables/layout.h" nogil:
    enum: PIN_REASONS, MAX_WORKERS, NO_ROW, CANCEL_KEY_BYTES, WELCOME_BYTES, HISTOGRAM_BUCKETS
    enum: SECRET_BYTES, CANCEL_MORE_BYTES, MAX_PEERS, SQLSTATE_BYTES, ERROR_TEXT_BYTES
    enum: CHANNELS_MAX
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
    struct slot_row:
        uint32_t over
        uint8_t state, flags, orders, replication
        int32_t dedicated_row, host
        uint64_t dedicated_to
        int16_t owner, last_worker
        uint64_t canceling
        uint8_t guarded
        digest settings
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
    struct catalog_totals:
        uint32_t functions, relations
        uint64_t reader_bytes
    struct catalog_row:
        uint8_t state
        int16_t reader
        uint32_t row_generation, everything
        uint64_t bytes, read_at, known_since, cost_us
        catalog_totals totals
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
    struct common_limits:
        uint64_t notify_us, write_us
    struct login_times:
        uint64_t time
        uint64_t histogram[64]
    struct worker_row:
        int32_t pid, clients
        uint32_t restarts
        uint64_t turns, longest_turn_us
        uint64_t relay_beat, hub_beat, started_at, sent, taken, hub_lag_us, console_logins, console_queries
        int32_t unflushed
        double start_time
        list client_attention, slot_attention
        login_times logins[12]
        uint64_t refusals[64]
        uint64_t doorbells
    struct counters:
        uint64_t server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time
        uint64_t query_time
        uint64_t wait_time, client_parse_count, server_parse_count, bind_count, client_login_count
        uint64_t session_asks, settings_applied, session_resets
        uint64_t pins[PIN_REASONS]
        uint64_t query_histogram[64]
        uint64_t wait_histogram[64]
        uint64_t xact_histogram[64]
        uint64_t dial_time
        uint64_t dial_histogram[64]
        uint64_t errors[64]
    struct sizes:
        int32_t workers, slots, clients, databases, users, pools, instances
    ctypedef struct pthread_mutex_t:
        pass
    struct header:
        pthread_mutex_t mutex
        sizes sizes
        uint64_t rebuilds
        uint8_t paused, suspended, draining, shutting_down, retiring, round_robin
        uint64_t suspended_by, turns_until
        uint64_t check_delay_us
        int32_t max_clients, clients, clients_high, slots_high, pools_high, databases_high, users_high
        int32_t instances_high, channels_high, hosts_high
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
