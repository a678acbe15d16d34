/* The shared tables: one memory map, made before the first fork, that is the truth about the pool.
 *
 * Theory.  Every fact that several processes need is a field of a fixed-size row.  A row's `state` says
 * what the row is; lists, queues and counts are *derived*: they can be rebuilt from the rows alone
 * (tables_rebuild), which is what happens when a process was killed while it held the lock.  For that to
 * be sound, an operation writes the fields of a row first and its `state` last (COMMIT between them), and
 * a slot belongs to at most one worker at any time: `owner` is the right to read and write its connection.
 *
 *      slot:   FREE -> LOGIN -> ACTIVE <-> IDLE          (LOGIN: the row is taken *before* connect())
 *                 ^      |         |  \-> PARKED          (PARKED: a cancel request is still on its way)
 *                 |      v         v
 *                 +--- CLOSING <- RECLAIM                 (only end of stream from PostgreSQL frees a row;
 *                                                          RECLAIM: its owner died)
 *      client: FREE -> LOGIN <-> WAITING <-> ACTIVE <-> IDLE
 *
 * Inside the lock nothing waits and nothing allocates.  Times are monotonic microseconds, sizes bytes.
 */
#ifndef POOLER_TABLES_LAYOUT_H
#define POOLER_TABLES_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "sql/digest.h"
#include "tables/error_classes.h"
#include "tables/refusals.h"
#include "tables/states.h"

struct prepared_set;

#define MAX_WORKERS 64 /* doorbells and per-worker queues are arrays; a ring mask is one 64-bit word */
#define DATABASE_NAME_BYTES 64 /* NAMEDATALEN of PostgreSQL */
#define USER_NAME_BYTES 128    /* PgBouncer's limit */
#define TLS_NAME_BYTES 96      /* version and cipher */
#define ADDRESS_BYTES 48       /* INET6_ADDRSTRLEN is 46 */
#define APPLICATION_NAME_BYTES 64
#define CANCEL_KEY_BYTES 256 /* protocol 3.2 allows up to 256 */
#define CANCEL_MORE_BYTES 28 /* as PostgreSQL 18: 32 bytes in all */
#define WELCOME_BYTES 4096   /* ParameterStatus values of one pool; PostgreSQL 18 reports about 500 bytes */
#define ERROR_TEXT_BYTES 256
#define SQLSTATE_BYTES 6     /* with its NUL */
#define SECRET_BYTES 2048    /* passwords that are tokens of a cloud have some 1500 */
#define HISTOGRAM_BUCKETS 64 /* two per power of two: 1 us .. 1 h */
#define LOGIN_METHODS 12     /* ways to log in: enum method (login/rules.h) */
#define NO_ROW (-1)
#define SEQUENCE_MIXED UINT64_MAX
/* names that clients listen on, over all databases; one more: its client keeps a server */
#define CHANNELS_MAX 4096
#define CHANNEL_NAME_BYTES 64           /* NAMEDATALEN */
#define MAX_PEERS 256                   /* of which cancel requests to may be under way at once */
#define HOSTS_MAX 256                   /* names of hosts that were looked up, and of their zones */
#define CATALOG_STORE_BYTES (64u << 20) /* of address space: what is known of the catalogs of all databases */
#define HOST_NAME_BYTES 256             /* a name of the DNS has at most 253 */
#define HOST_ADDRESSES_BYTES 512        /* 12 IPv6 addresses; what is beyond is not used */
#define PIN_REASONS 10                  /* bits 1 to 10 of enum effect_flag (sql/effects.h) */

struct list { int32_t head, tail, count; };
struct link { int32_t prev, next; };

struct endpoint {
    char addr[ADDRESS_BYTES];
    char local_addr[ADDRESS_BYTES];
    int32_t port, local_port;
};

struct client_row {
    uint8_t state;
    _Atomic uint8_t flags; /* changed by the owner's two threads and, under the lock, by others */
    _Atomic uint8_t orders;
    uint8_t kill_text;   /* index into kill_texts[] */
    uint8_t replication; /* enum replication */
    int16_t worker;
    int16_t cancel_requests; /* cancel requests in flight for this client */
    int32_t pool, database, user, slot;
    int32_t prepared_statements; /* names, for SHOW only */
    int32_t listens;             /* on so many channels that the listening connection hears for it */
    uint64_t memory;             /* bytes that its worker keeps for it, when they last grew; for SHOW only */
    uint32_t pinned;             /* why it keeps its server between transactions: bits of enum effect_flag */
    uint64_t pinned_at;
    struct digest settings; /* a server that has the same is preferred */
    uint32_t cancel_pid, cancel_secret;
    uint8_t long_key; /* protocol 3.2: the secret goes on with cancel_more */
    unsigned char cancel_more[CANCEL_MORE_BYTES];
    uint64_t id;
    uint64_t ticket; /* order in the queue, from one counter */
    uint64_t connected_at, wait_start, request_start, xact_start, idle_start, stuck_start;
    double connect_time;                       /* wall clock, for SHOW only */
    struct link queue, local_queue, attention; /* derived */
    struct endpoint where;
    char application_name[APPLICATION_NAME_BYTES];
    char tls[TLS_NAME_BYTES]; /* for SHOW; empty: none */
};

struct slot_row {
    uint8_t state;
    _Atomic uint8_t flags;
    _Atomic uint8_t orders;
    uint8_t close_reason; /* enum close_reason, for the log */
    uint8_t replication;  /* enum replication: it is one client's from its login to its end */
    int16_t owner;        /* worker that may use the connection, or NO_ROW */
    int16_t last_worker;  /* the last owner: watches an idle connection for end of stream */
    int32_t pool, client;
    int32_t dedicated_row;      /* in its login: the client it is opened for alone, */
    uint64_t dedicated_to;      /* and the id of that; 0: for whoever is next */
    int32_t host;               /* row of the name that led to its address, or NO_ROW */
    uint64_t unnamed_of;        /* id of the client whose unnamed statement is there; 0: none, */
    uint64_t unnamed_number;    /* and which of all that it has had */
    uint8_t served;             /* a client has had it */
    uint64_t asked_at;          /* when it got its last request of ours behind which no client waits */
    uint8_t temporary;          /* its temporary schema may have been used */
    _Atomic uint64_t canceling; /* workers with a cancel request in flight; not reusable while any */
    /* a request of ours is or may be under way: no cancel request is sent (relay/cancel_guard.c) */
    _Atomic uint8_t guarded;
    int32_t evict_for;   /* pool for which this slot is being closed, or NO_ROW */
    uint32_t generation; /* a reused row is another connection */
    int32_t backend_pid;
    uint16_t cancel_key_bytes, sockaddr_bytes;
    uint64_t id;
    uint8_t flushes;           /* its PostgreSQL has pg_stat_force_next_flush() */
    uint8_t left;              /* enum leftover, */
    uint64_t left_by, left_at; /* id of the client that may have left it, or more than one; since when */
    uint64_t folded_by; /* id of the client whose settings, of any name, may be in plans there; 0: none */
    /* what literals of functions were read under there; of nothing: none were (session/plans.c) */
    struct digest planned_under;
    uint64_t sequence_of; /* id of the client that used sequences there; 0: none, SEQUENCE_MIXED: several */
    /* cancel_pid of the client whose notifications come from there, as the listener of that generation was
     * told; 0: no particular one */
    uint32_t notifier, notifier_of;
    struct digest settings, login_settings; /* what is in force now, and was at login; of nothing: unknown */
    uint64_t connected_at, used_at, expires_at, closing_at;
    double connect_time;
    struct link idle, attention; /* derived; a free row uses idle.next */
    struct endpoint where;
    char tls[TLS_NAME_BYTES]; /* empty: none; a cancel request needs it too then */
    int16_t bridge;           /* worker that has the TLS session, */
    /* in which of its lives (restarts + 1); 0: what is shared is the connection itself */
    uint32_t bridge_life;
    _Atomic uint32_t over;       /* generation whose end of stream the bridge has read */
    unsigned char sockaddr[512]; /* where a cancel request goes, and the name of that host */
    unsigned char cancel_key[CANCEL_KEY_BYTES];
};

struct pool_limits {
    int32_t mode, size, min_size, reserve_size, session_state, pin_limit;
    uint64_t reserve_timeout_us, query_timeout_us, query_wait_timeout_us, idle_transaction_timeout_us,
        transaction_timeout_us, client_idle_timeout_us, server_lifetime_us;
};

#define DEFAULTS_MAX 16
#define DEFAULT_VALUE_BYTES 128

/* What servers have by themselves: `version` when it last changed, 0: not since it is known
 * (session/server_defaults.h). */
struct default_value {
    uint32_t version;
    char name[32], value[DEFAULT_VALUE_BYTES];
};

struct pool_row {
    uint8_t used;
    uint8_t kind;                      /* enum pool_kind */
    uint64_t idle_since, forgotten_at; /* registry.c */
    uint8_t starved;                   /* derived: on the list of pools that a shared limit holds back */
    uint8_t currval_seen;              /* a client has used currval or lastval */
    uint16_t sequence_lessons;         /* pins for nextval so far, while nobody did */
    uint8_t beyond;     /* something may run there that no reset undoes (session/server_reset.h), */
    uint64_t beyond_at; /* when that was last seen, */
    uint64_t looked_at, look_took;   /* when it was last looked for, and for how long; */
    uint32_t last_function, plpgsql; /* the newest function then; oid of the language */
    uint8_t forced_user;             /* min_size holds without clients */
    int32_t database, user, instance;
    struct pool_limits limits;
    int32_t servers, by_state[SL_STATES], evicting, clients;  /* derived */
    int32_t next_in_database, next_in_user, next_in_instance; /* derived */
    struct link starved_link;                                 /* derived */
    int32_t quota; /* while we are being replaced: servers this pool may have (handoff.c) */
    /* servers that the instance we replace is to be given; was given, and not told yet */
    int32_t owed, granted;
    uint8_t asked, hurried, hurrying;    /* more quota was asked for; our clients are to go; theirs are */
    struct list idle, waiting;           /* derived; idle: most recently used first */
    struct list waiting_of[MAX_WORKERS]; /* derived */
    struct list dedicated;               /* derived; clients that wait for a server of their own */
    uint64_t mean_wait_us, retry_at;
    uint32_t failures; /* failed server logins in a row */
    uint16_t welcome_bytes, error_bytes;
    /* of a client that proved who it is: good for SCRAM at the server too; 0: none */
    uint16_t scram_keys_bytes;
    unsigned char scram_keys[64]; /* ClientKey, ServerKey */
    uint16_t secret_bytes;        /* of what a client of this pool has shown, or auth_query brought */
    unsigned char secret[SECRET_BYTES];
    char error_sqlstate[SQLSTATE_BYTES];
    char error_text[ERROR_TEXT_BYTES];
    uint32_t welcome_version; /* changes with the bytes of `welcome` */
    _Atomic uint64_t defaults_checked_at;
    uint32_t defaults_version; /* of the latest change of `defaults` */
    uint8_t default_count;
    char roles_mark[48]; /* of the settings of its database and user; empty: not known */
    struct default_value defaults[DEFAULTS_MAX];
    unsigned char welcome[WELCOME_BYTES];
};

/* What a name leads to, as the DNS said last: for all workers (hosts.c).  Of a zone only the serial is
 * known. */
struct host_row {
    uint8_t kind;  /* enum host_kind */
    uint8_t known; /* `addresses`, or `serial`, is what was once answered */
    uint32_t serial;
    uint32_t turn;                    /* whose turn it is among the addresses */
    uint64_t expires_at, asked_until; /* asked_until: a worker waits for an answer */
    char name[HOST_NAME_BYTES];
    char addresses[HOST_ADDRESSES_BYTES]; /* one after the other, with spaces between them */
};

/* The connection that listens for the clients of one database. */
struct listener {
    uint8_t state;       /* enum listener_state */
    int16_t owner;       /* worker that has it, or opens it */
    uint32_t generation; /* changes when notifications may have been missed */
    uint64_t refused_until;
    char encoding[CHANNEL_NAME_BYTES]; /* client_encoding: texts are the same for clients with the same */
};

/* One name that clients listen on.  */
struct channel_row {
    uint8_t state;
    int32_t database;
    uint32_t id; /* a reused row is another channel */
    char name[CHANNEL_NAME_BYTES];
    int32_t clients[MAX_WORKERS]; /* that listen, or are about to, by worker */
};

/* For SHOW: how many names a snapshot has, and bytes of memory in its reader. */
struct catalog_totals {
    uint32_t functions, relations;
    uint64_t reader_bytes;
};

/* What is known of the catalogs of a database (catalog/store.h). */
struct catalog_row {
    uint8_t state;        /* enum catalog_state */
    _Atomic uint8_t used; /* something ran there since the last look began */
    int16_t reader;       /* worker + 1 that reads them; 0: none */
    uint32_t reader_life; /* its restarts then */
    uint64_t reader_until;
    uint32_t row_generation;     /* of the database's row: it may have become another database's */
    _Atomic uint32_t generation; /* of the snapshot that is published; 0: none */
    _Atomic uint32_t version;    /* schema_version when it was read */
    uint64_t offset, bytes;      /* its extent */
    /* read_at: when the look began that was published last */
    uint64_t looked_at, read_at, known_since, cost_us;
    _Atomic uint64_t wanted_at; /* when a look was due last, and not begun for those of others there: */
    int32_t wanted_instance;
    struct catalog_totals totals;
    _Atomic uint32_t everything; /* for SHOW: what every statement is asked for, for what it need not name */
};

struct database_row {
    uint8_t used, paused, disabled;
    uint8_t kept;        /* the configuration names it: it is never forgotten */
    uint32_t generation; /* a reused row is another database */
    uint64_t idle_since, forgotten_at;
    _Atomic uint32_t schema_version; /* changes with every DDL that passes through */
    struct catalog_row catalog;
    char name[DATABASE_NAME_BYTES];
    int32_t max_db_connections, max_clients;
    _Atomic uint64_t altered; /* when statements may have changed their meaning: some DDL was seen */
    struct listener listener;
    _Atomic uint32_t host_turn;           /* whose turn it is among the hosts of a list */
    int32_t servers, clients, first_pool; /* derived */
};

struct user_row {
    uint8_t used, kept;
    uint32_t generation;
    uint64_t idle_since, forgotten_at;
    char name[USER_NAME_BYTES];
    int32_t max_user_connections, max_clients;
    int32_t servers, clients, first_pool; /* derived */
};

struct instance_row {
    uint8_t used, kept; /* kept: never set; instances live as long as their pools */
    uint32_t generation;
    uint64_t idle_since, forgotten_at;
    char name[280];      /* host:port */
    uint64_t catalog_at; /* before that no catalogs are read there (catalog/store.h) */
    int32_t max_server_connections;
    int32_t servers, first_pool; /* derived */
};

/* Cancel requests for clients of a peer, by worker: what a dead one counted is forgotten. */
struct peer_row {
    int32_t id; /* of [peers]; 0: free */
    int32_t waiting[MAX_WORKERS], connecting[MAX_WORKERS], active[MAX_WORKERS];
};

/* Limits that are no pool's: query_wait_notify and client_write_timeout; 0: none. */
struct common_limits { uint64_t notify_us, write_us; };

/* Of the logins by one method: from the connection until the client has proven who it is. */
struct login_times { uint64_t time, histogram[HISTOGRAM_BUCKETS]; };

struct worker_row {
    _Atomic int32_t pid;
    _Atomic uint32_t restarts;
    _Atomic uint64_t relay_beat, hub_beat, started_at;
    _Atomic uint64_t sent, taken; /* sockets the master sent / the worker took, ever */
    _Atomic int32_t clients;
    _Atomic uint64_t hub_lag_us; /* how late the hub's timer last was */
    /* connections in the middle of a message while we are suspended; -1: not looked yet */
    _Atomic int32_t unflushed;
    _Atomic uint64_t console_logins, console_queries;
    _Atomic uint64_t turns, longest_turn_us; /* of its relay, since they were asked for (relay/turns.h) */
    double start_time;
    uint64_t extent_offset, extent_bytes; /* of the snapshot of catalogs that it writes; 0 bytes: none */
    int32_t extent_database;
    struct list client_attention, slot_attention; /* derived */
    struct login_times logins[LOGIN_METHODS];
    uint64_t refusals[REFUSAL_COUNT]; /* of clients in their login */
    uint64_t doorbells;               /* times that its relay was woken for the tables' sake */
    struct common_limits watched;     /* as its clients were last looked at for (deadlines.h) */
} __attribute__((aligned(64)));

struct counters {
    uint64_t server_assignment_count, xact_count, query_count, bytes_received, bytes_sent, xact_time,
        query_time, wait_time, client_parse_count, server_parse_count, bind_count, client_login_count;
    uint64_t pins[PIN_REASONS], session_asks, settings_applied, session_resets;
    uint64_t query_histogram[HISTOGRAM_BUCKETS], wait_histogram[HISTOGRAM_BUCKETS],
        xact_histogram[HISTOGRAM_BUCKETS];
    /* of servers that were opened; the hub's thread writes them, the relay's all others */
    uint64_t dial_time, dial_histogram[HISTOGRAM_BUCKETS];
    uint64_t errors[ERROR_CLASSES]; /* of PostgreSQL, that clients were told */
} __attribute__((aligned(64)));

struct sizes { int32_t workers, slots, clients, databases, users, pools, instances; };

struct header {
    uint64_t statement_key[2]; /* of the hash of statement texts and of sets of settings */
    uint64_t notify_key[2];    /* seals what listeners hear from ourselves (notify/origin.h), */
    uint64_t marker_channel;   /* on the channel of this name */
    _Atomic uint64_t next_marker;
    _Atomic uint64_t turns_until; /* turns of relays are measured until then */
    uint64_t begun_at;            /* when the tables were made */
    pthread_mutex_t mutex;        /* process-shared and robust */
    struct sizes sizes;
    _Atomic uint64_t next_id, next_ticket;
    uint64_t rebuilds;
    _Atomic uint8_t paused, suspended, draining, shutting_down;
    _Atomic uint8_t retiring;      /* enum retiring */
    _Atomic uint64_t suspended_by; /* id of the console session */
    uint8_t round_robin;
    uint16_t peer_id;        /* in the cancel keys of new clients; 0: no peers */
    int32_t owing;           /* sum of `owed` */
    uint64_t check_delay_us; /* idle for longer: shown as `used`; 0: never */
    int32_t max_clients;
    int32_t clients; /* derived: CF_COUNTED rows that are not CF_CONSOLE */
    /* rows ever used: beyond them memory was never touched */
    int32_t clients_high, slots_high, pools_high, databases_high, users_high, instances_high, channels_high,
        hosts_high;
    struct list free_clients, free_slots, starved; /* derived */
};

/* Process-local handle: pointers into the map (same address in every process: mapped before fork). */
struct tables {
    struct header *h;
    struct worker_row *workers;
    struct database_row *databases;
    struct user_row *users;
    struct instance_row *instances;
    struct pool_row *pools;
    struct slot_row *slots;
    struct client_row *clients;
    _Atomic uint32_t *due;         /* [client]: deadlines.h */
    struct counters *counters;     /* [worker][pool] */
    struct prepared_set *prepared; /* [slot] */
    struct channel_row *channels;
    struct peer_row *peers;
    struct host_row *hosts;
    unsigned char *catalogs; /* extents (catalog/store.h) */
    int doorbells[MAX_WORKERS];
    uint64_t map_bytes;
    int fd;
};

#define COMMIT() atomic_thread_fence(memory_order_release)

#endif
