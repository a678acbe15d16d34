"""What can be done with the shared tables: tables/tables.h and its neighbours."""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t, int64_t

from pooler.core.binding.layout cimport *

cdef extern from "notify/origin.h" nogil:
    void marker_channel(const tables *, char *)
    void marker_seal(const tables *, const endpoint *, uint32_t, const char *, char *)


cdef extern from "tables/tables.h" nogil:
    void keep_bytes(unsigned char *, uint16_t *, const void *, uint16_t)
    tables *tables_create(const sizes *)
    void tables_destroy(tables *)
    void tables_lock(tables *)
    bint tables_trylock(tables *, uint64_t)
    void tables_unlock(tables *)
    void tables_ring(tables *, uint64_t)

cdef extern from "tables/accept.h" nogil:
    enum accept_end: ACCEPT_EMPTY, ACCEPT_MORE, ACCEPT_KEPT, ACCEPT_SHORT
    struct accept_result:
        accept_end end
        int fd, error

cdef extern from "tables/acceptor.h" nogil:
    struct acceptor
    struct acceptor_stop:
        accept_result result
        int listener
        bint is_unix
    acceptor *acceptor_open(tables *, const int *, int, int)
    void acceptor_close(acceptor *)
    void acceptor_close_in_child(acceptor *)
    int acceptor_bell(const acceptor *)
    void acceptor_eligible(acceptor *, uint64_t)
    int acceptor_watch(acceptor *, int, bint)
    void acceptor_forget(acceptor *, int)
    void acceptor_go(acceptor *)
    void acceptor_halt(acceptor *)
    bint acceptor_take(acceptor *, acceptor_stop *)
    accept_result acceptor_give(acceptor *, int, bint)
    void acceptor_hold(acceptor *)
    void acceptor_release(acceptor *)

cdef extern from "tables/deadlines.h" nogil:
    struct overdue:
        int32_t row
        int limit   # enum client_limit
        uint64_t id, since
    void deadlines_look(tables *, int32_t)
    void deadlines_look_at_all(tables *)
    const char *deadlines_name(int)
    uint64_t deadlines_quiet(const tables *, int, uint64_t)
    int deadlines_over(tables *, int, uint64_t, const common_limits *, int32_t *, overdue *, int)

cdef extern from "tables/handoff.h" nogil:
    enum handoff_word: HANDOFF_TAKEN, HANDOFF_RELEASED, HANDOFF_WANTED, HANDOFF_GRANTED, HANDOFF_HURRY
    struct handoff_message:
        handoff_word word
        int32_t pool, servers
    void handoff_retire(tables *, uint64_t, uint64_t *)
    int handoff_messages(tables *, uint64_t, handoff_message *, int)
    int32_t handoff_quota(const tables *, int32_t)
    bint handoff_told(tables *, const handoff_message *, uint64_t, uint64_t *)
    void handoff_left(tables *, uint64_t, uint64_t *)

cdef extern from "tables/peers.h" nogil:
    int32_t peer_wait(tables *, int32_t, int)
    bint peer_connect(tables *, int32_t, int, int32_t)
    void peer_sent(tables *, int32_t, int)
    void peer_done(tables *, int32_t, int, peer_state)
    enum peer_state: PEER_WAITING, PEER_CONNECTING, PEER_ACTIVE

cdef extern from "tables/cancel.h" nogil:
    enum cancel_verdict: CANCEL_NOTHING, CANCEL_QUEUED, CANCEL_FORWARD, CANCEL_BUSY, CANCEL_IDLE
    bint cancel_key_fits(tables *, uint32_t, const unsigned char *, uint32_t)
    int32_t cancel_instance(tables *, uint32_t, const unsigned char *, uint32_t)
    cancel_verdict cancel_begin(tables *, uint32_t, uint32_t, int, int32_t *, uint32_t *, int32_t *)
    void cancel_end(tables *, int32_t, uint32_t, int32_t, uint64_t, int, uint64_t)

cdef extern from "tables/outcome.h" nogil:
    struct outcome:
        int32_t slot, dial, close, client
        uint64_t ring
    void outcome_clear(outcome *)

cdef extern from "tables/clients.h" nogil:
    enum login_verdict:
        LOGIN_OK, LOGIN_MAX_CLIENT_CONN, LOGIN_MAX_DB, LOGIN_MAX_USER, LOGIN_DISABLED, LOGIN_FORGOTTEN
    void client_flag(tables *, int32_t, uint8_t)
    int32_t client_new(tables *, int, uint64_t)
    login_verdict client_login(tables *, int32_t, int32_t, int32_t, int32_t, uint8_t, bint)
    void client_free(tables *, int32_t, int, uint64_t, outcome *)

cdef extern from "tables/mailbox.h" nogil:
    struct order:
        int32_t row
        uint8_t orders
        uint64_t id
    bint mailbox_take(tables *, int, order *, int *, order *, int *, int)
    bint mailbox_tell_locked(tables *, int32_t, uint64_t, uint8_t, uint8_t, uint64_t *)

cdef extern from "tables/rebuild.h" nogil:
    void tables_rebuild(tables *)

cdef extern from "tables/clock.h" nogil:
    uint64_t clock_us()

cdef extern from "tables/slots.h" nogil:
    void slot_flag(tables *, int32_t, uint8_t)

cdef extern from "tables/registry.h" nogil:
    int32_t tables_database(tables *, const char *, bint)
    void tables_automatic(tables *, int32_t *, int32_t *)
    int32_t tables_user(tables *, const char *, bint)
    int32_t tables_instance(tables *, const char *, bint)
    int32_t tables_pool_of_kind(tables *, int32_t, int32_t, int32_t, pool_kind, bint)
    int tables_forget(tables *, uint64_t, uint64_t, uint64_t, int32_t *, int32_t *, int *, int)

cdef extern from "tables/workers.h" nogil:
    void worker_starting(tables *, int, int32_t)
    void worker_died_locked(tables *, int, int32_t *, int32_t *, outcome *)
    void workers_busy(const tables *, int32_t *)

cdef extern from "tables/channels.h" nogil:
    void channel_heard(tables *, int32_t, uint32_t)
    bint channel_drop(tables *, int32_t, uint32_t)
    int32_t listener_reserve(tables *, int32_t, int, uint64_t, int32_t *)
    void listener_opened(tables *, int32_t, int32_t)
    bint listener_rest(tables *, int32_t)
    int listener_lost(tables *, int32_t, uint64_t)
    int listeners_kill(tables *, int32_t, int)

cdef extern from "tables/pool.h" nogil:
    void pool_acquire(tables *, int32_t, uint64_t, outcome *)
    void pool_requeue(tables *, int32_t, uint64_t, outcome *)
    void pool_wait_welcome(tables *, int32_t, uint64_t, outcome *)
    void pool_release(tables *, int32_t, int, uint64_t, outcome *)
    void pool_detach(tables *, int32_t, uint64_t)
    void pool_place(tables *, int32_t, int, uint64_t, outcome *)
    void pool_begin_close(tables *, int32_t, int, bint)
    bint pool_claim_idle(tables *, int32_t, uint32_t, int)
    void pool_abandon(tables *, int32_t)
    void pool_freed(tables *, int32_t, int, uint64_t, outcome *)
    void pool_welcome_known(tables *, int32_t, uint64_t *)
    void pool_error_of(tables *, int32_t, char *, char *)
    void pool_login_failed(tables *, int32_t, bint, const char *, const char *, uint64_t, uint64_t *)
    void pool_login_forgiven(tables *, int32_t)

cdef extern from "tables/walsender_queue.h" nogil:
    void walsender_wait(tables *, int32_t, int, uint64_t, outcome *)
    bint walsender_attach(tables *, int32_t, uint32_t, int32_t, uint64_t, int, uint64_t, outcome *)

cdef extern from "tables/hosts.h" nogil:
    int32_t host_find(tables *, const char *, int, uint64_t)
    bint host_read(tables *, int32_t, host_row *)
    void host_asked(tables *, int32_t, uint64_t)
    void host_answered(tables *, int32_t, const char *, uint64_t)
    void host_failed(tables *, int32_t, uint64_t)
    bint host_zone_answered(tables *, int32_t, uint32_t, uint32_t *)
    int host_obsolete(tables *, int32_t, const char *)

cdef extern from "tables/maintenance.h" nogil:
    int pool_tick(tables *, int, uint64_t, int32_t *, int, uint64_t *)
    int pool_expired_idle(tables *, int, uint64_t, uint64_t, int32_t *, int)
    void pool_mark_obsolete(tables *, int32_t, uint64_t *)
    int pool_take_idle(tables *, int32_t, int32_t, int, bint, int32_t *, int)
    bint pool_take_reclaim(tables *, int32_t, int)

cdef extern from *:
    """
    #include <stdatomic.h>
    static uint32_t host_turn_next(_Atomic uint32_t *turn) { return atomic_fetch_add(turn, 1); }
    static void host_turn_pass(_Atomic uint32_t *turn, uint32_t seen) {
        atomic_compare_exchange_strong(turn, &seen, seen + 1);
    }
    """
    uint32_t host_turn_next(uint32_t *)
    void host_turn_pass(uint32_t *, uint32_t)

cdef extern from "catalog/store.h" nogil:
    bint catalog_is_current(const tables *, int32_t)

cdef extern from "tables/waiting.h" nogil:
    enum: WAITERS_MAX, HOLDERS_MAX
    enum wait_cause:
        pass
    enum activity:
        pass
    struct hold:
        int32_t slot, client
        activity activity
        uint64_t since, activity_since
    struct waiting:
        wait_cause cause
        int32_t count, named, used, limit, held, shown
        int32_t clients[256]
        hold holds[3]
    const char *waiting_cause(wait_cause cause)
    const char *waiting_activity_name(activity activity)
    void waiting_look(tables *t, int32_t pool, uint64_t now, waiting *out)
