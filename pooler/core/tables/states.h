/* States, orders and flags of the rows in the shared tables (layout.h). */
#ifndef POOLER_TABLES_STATES_H
#define POOLER_TABLES_STATES_H

enum session_state { SESSION_OFF, SESSION_AUTO, SESSION_ERROR, SESSION_STRICT };

enum client_state { CL_FREE, CL_LOGIN, CL_IDLE, CL_WAITING, CL_ACTIVE, CL_STATES };
enum slot_state {
    SL_FREE,
    SL_LOGIN,
    SL_IDLE,
    SL_ACTIVE,
    SL_PARKED,
    SL_CLOSING,
    SL_RECLAIM,
    SL_ELSEWHERE, /* not ours: of the instance that this one replaces (handoff.c) */
    SL_STATES
};
enum pool_mode { MODE_SESSION, MODE_TRANSACTION, MODE_STATEMENT };

/* Orders: what another process wants the owner of a row to do.  Truth (flags in the row); the lists are
 * derived. */
enum client_order {
    ORDER_HANDED = 1,      /* a slot was handed to this waiting client */
    ORDER_CANCELED = 2,    /* its queued query was canceled: answer 57014 */
    ORDER_KILL = 4,        /* close it, with the text of kill_text */
    ORDER_WELCOME = 8,     /* logging in: the pool's welcome parameters are known now */
    ORDER_FAIL = 16,       /* logging in: PostgreSQL refused; text in the pool's row */
    ORDER_UNCANCELED = 32, /* a cancel request for it has been where it was going */
};
enum { KILL_UNHEARD = 6, KILL_REFUSED = 7 }; /* of kill_texts in relay/orders.c */
enum slot_order { ORDER_DIAL = 1, ORDER_PLACE = 2, ORDER_CLOSE = 4 };

enum client_flag {
    CF_LOGIN_WAIT = 1,
    CF_UNIX = 2,
    CF_CONSOLE = 4,
    CF_NOTIFIED = 8,
    CF_COUNTED = 16,
    CF_DEDICATED = 32, /* it gets a server of its own (walsender_queue.c) */
    CF_INTERNAL = 64
}; /* pooler's own: runs auth_query, and counts in its pool only */
enum slot_flag {
    SF_DIALED = 1,
    SF_CLOSE_NEEDED = 2,
    SF_USED = 4,
    SF_UNIX = 8,
    SF_WAS_BUSY = 16,
    SF_ONCE = 32,
    SF_RESERVE = 64,
    SF_EXTRAS = 128
}; /* settings are in force there that no tracked parameter tells of */
enum close_reason {
    CLOSE_ORDER,
    CLOSE_IDLE,
    CLOSE_LIFETIME,
    CLOSE_OBSOLETE,
    CLOSE_LIMIT,
    CLOSE_EVICTED,
    CLOSE_PAUSED,
    CLOSE_REPLACED,
    CLOSE_CHANGED,
    CLOSE_BEYOND
};
/* What a client may have left on a server since that was last reset; the higher the less is known of it. */
enum leftover {
    LEFT_NOTHING,
    LEFT_NOTED,   /* what auto saw was taken away, or is its client's */
    LEFT_UNNOTED, /* session_state was off */
    LEFT_SESSION
}; /* in session pooling */
enum blocked_by {
    BLOCKED_NOT,
    BLOCKED_SIZE,
    BLOCKED_DATABASE,
    BLOCKED_USER,
    BLOCKED_INSTANCE,
    BLOCKED_ROWS,
    BLOCKED_ELSEWHERE
};

enum suspended { SUSPENDED_NOT, SUSPENDED, SUSPENDED_FORCED }; /* FORCED: what is not flushed is closed */
/* ALL: clients are closed between their transactions */
enum retiring { RETIRING_NOT, RETIRING, RETIRING_ALL };
enum replication { REPLICATION_NONE, REPLICATION_LOGICAL, REPLICATION_PHYSICAL };
/* LISTENER: of the one connection that listens for a database; AUTH: of those that run auth_query there */
enum pool_kind { POOL_CLIENTS, POOL_LISTENER, POOL_AUTH };
enum channel_state { CH_FREE, CH_WANTED, CH_HEARD };
enum listener_state { LISTENER_NONE, LISTENER_WANTED, LISTENER_OPEN, LISTENER_REFUSED };

enum host_kind { HOST_FREE, HOST_NAME, HOST_ZONE };

enum catalog_state { CATALOG_NONE, CATALOG_READING, CATALOG_KNOWN, CATALOG_FAILED };

#endif
