"""Copies of the rows, as the console shows them."""


cdef class Snapshots(SharedMap):
    """Copies of the rows, as the console shows them."""

    def clients(self, bint pinned=False):
        """One dict per client that exists now; `pinned`: and keeps its server."""
        cdef int32_t i
        cdef client_row copy
        cdef uint64_t now = clock_us()
        rows = []
        for i in range(self.t.h.clients_high):
            if pinned and not self.t.clients[i].pinned:
                continue
            memcpy(&copy, &self.t.clients[i], sizeof(client_row))
            if copy.state != CL_FREE:
                rows.append(_client_dict(self.t, i, &copy, now))
        return rows

    def client_groups(self):
        """{(database, user, application name, state): clients}, as SHOW CLIENTS lists them, for figures."""
        cdef int32_t i
        cdef client_row copy
        groups = {}
        for i in range(self.t.h.clients_high):
            memcpy(&copy, &self.t.clients[i], sizeof(client_row))
            if copy.state not in (CL_IDLE, CL_WAITING, CL_ACTIVE) or copy.flags & CF_INTERNAL:
                continue
            copy.application_name[sizeof(copy.application_name) - 1] = 0
            state = CL_IDLE if copy.state == CL_ACTIVE and copy.slot == NO_ROW else copy.state
            key = copy.database, copy.user, <bytes>copy.application_name, state
            groups[key] = groups.get(key, 0) + 1
        names = {CL_IDLE: "idle", CL_ACTIVE: "active", CL_WAITING: "waiting"}
        return {(decoded(self.t.databases[d].name) if d >= 0 else "",
                 decoded(self.t.users[u].name) if u >= 0 else "", decoded(name), names[state]): count
                for (d, u, name, state), count in groups.items()}

    def shown_clients(self, str what, bint ours):
        """(DataRow messages, how many) of SHOW `what`: clients, sockets or active_sockets; `ours`: with
        pooler's own columns."""
        cdef shown found
        shown_clients(self.t, SHOWN_AS[what], ours, clock_us(), &found)
        try:
            if found.starved:
                raise MemoryError
            return PyBytes_FromStringAndSize(<char *>found.bytes, found.count), found.rows
        finally:
            free(found.bytes)

    def servers(self):
        """One dict per server connection (or slot on its way to be one)."""
        cdef int32_t i
        cdef slot_row copy
        rows = []
        for i in range(self.t.h.slots_high):
            memcpy(&copy, &self.t.slots[i], sizeof(slot_row))
            if copy.state != SL_FREE:
                rows.append(_slot_dict(self.t, i, &copy, clock_us()))
        return rows

    slots = servers

    def pools(self):
        """One dict per pool, counts by PgBouncer's states."""
        cdef int32_t i
        cdef pool_row *p
        cdef uint64_t now = clock_us()
        cl = _clients_by_pool(self.t)
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
        # for who looks on, auth_query runs in the pool of its user, as in PgBouncer
        for found in shown.values():
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
                "user": decoded(self.t.users[p.user].name),
                "instance": decoded(self.t.instances[p.instance].name),
                "cl_active": c.get("active", 0) + c.get("idle", 0), "cl_idle": c.get("idle", 0),
                "cl_waiting": c.get("waiting", 0), "cl_active_cancel_req": 0, "cl_waiting_cancel_req": 0,
                "sv_active": s.get("active", 0), "sv_active_cancel": s.get("active_cancel", 0),
                "sv_being_canceled": s.get("being_canceled", 0), "sv_idle": s.get("idle", 0),
                "sv_used": s.get("used", 0), "sv_tested": s.get("tested", 0), "sv_login": s.get("new", 0),
                "sv_closing": s.get("closing", 0), "servers": sum(self.t.pools[j].servers
                                                                  for j in (first,
                                                                            *others)), "clients": p.clients,
                "maxwait_us": wait, "pool_mode": POOL_MODES[p.limits.mode], "pool_size": p.limits.size,
                "min_pool_size": p.limits.min_size, "reserve_pool_size": p.limits.reserve_size,
                "paused": bool(self.t.databases[p.database].paused), "mean_wait_us": p.mean_wait_us,
            })
        return rows

    def waiting(self, int32_t most, uint64_t at=0):
        """One dict per pool that clients wait in: what keeps servers from them, who has those for longest,
        and the first WAITERS_MAX clients of its line.  The lock is held for a look at one pool at a time, and
        of each client a copy is made: those that are served meanwhile are left out.  So many clients at
        `most`, but the first of each line: to make what is shown of one takes 10 us."""
        cdef int32_t i, row
        cdef uint64_t now
        cdef waiting w
        cdef client_row c
        found = []
        for i in range(self.t.h.pools_high):
            if not self.t.pools[i].waiting.count and not self.t.pools[i].dedicated.count:
                continue
            self._take()
            now = at if at else clock_us()
            waiting_look(self.t, i, now, &w)
            tables_unlock(self.t)
            clients = []
            for row in w.clients[:min(w.named, max(1, most))]:
                memcpy(&c, &self.t.clients[row], sizeof(client_row))
                if c.state == CL_WAITING and c.pool == i:
                    clients.append(_client_dict(self.t, row, &c, now))
            if not clients:
                continue
            most -= <int32_t>len(clients)
            database, user, _ = self.pool_key(i)
            failures, sqlstate, error = self.pool_error(i)
            retry_s = self.t.pools[i].retry_at - now if self.t.pools[i].retry_at > now else 0
            found.append({"pool": i, "database": database, "user": user,
                          "cause": decoded(waiting_cause(w.cause)), "count": w.count,
                          "used": w.used, "limit": w.limit, "held": w.held,
                          "error": error if failures else "", "retry_s": retry_s / 1e6, "clients": clients,
                          "holders": [_hold_dict(self.t, &w.holds[n], now) for n in range(w.shown)]})
        return found

    def databases(self):
        cdef int32_t i
        return [{"index": i, "name": decoded(self.t.databases[i].name),
                 "paused": bool(self.t.databases[i].paused),
                 "disabled": bool(self.t.databases[i].disabled), "server_count": self.t.databases[i].servers,
                 "client_count": self.t.databases[i].clients,
                 "max_connections": self.t.databases[i].max_db_connections,
                 "max_client_connections": self.t.databases[i].max_clients}
                for i in range(self.t.h.databases_high) if self.t.databases[i].used]

    def users(self):
        cdef int32_t i
        return [{"index": i, "name": decoded(self.t.users[i].name), "server_count": self.t.users[i].servers,
                 "client_count": self.t.users[i].clients,
                 "max_connections": self.t.users[i].max_user_connections,
                 "max_client_connections": self.t.users[i].max_clients}
                for i in range(self.t.h.users_high) if self.t.users[i].used]

    def instances(self):
        cdef int32_t i
        return [{"index": i, "name": decoded(self.t.instances[i].name),
                 "server_count": self.t.instances[i].servers,
                 "max_connections": self.t.instances[i].max_server_connections}
                for i in range(self.t.h.instances_high) if self.t.instances[i].used]

    def workers(self):
        cdef int w
        cdef int32_t busy[MAX_WORKERS]
        workers_busy(self.t, busy)
        return [{"worker": w, "pid": self.t.workers[w].pid, "clients": self.t.workers[w].clients,
                 "active": busy[w], "heartbeat_age_s": self.heartbeat_age(w),
                 "started": self.t.workers[w].start_time, "restarts": self.t.workers[w].restarts,
                 "loop_lag_us": self.t.workers[w].hub_lag_us, "doorbells": self.t.workers[w].doorbells}
                for w in range(self.t.h.sizes.workers)]

    def turns(self, double for_s):
        """One dict per worker: how many turns its relay had, and how much CPU time the longest took, since
        this was asked last, if that is not longer ago than for_s."""
        cdef int w
        rows = []
        for w in range(self.t.h.sizes.workers):
            rows.append({"worker": w, "turns": self.t.workers[w].turns,
                         "longest_us": self.t.workers[w].longest_turn_us})
            self.t.workers[w].turns = self.t.workers[w].longest_turn_us = 0
        self.t.h.turns_until = clock_us() + <uint64_t>(for_s * 1e6)
        return rows

    def stats(self):
        """Counters since the start by pool row, added up over workers; times in microseconds.  -1: the
        console."""
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
                values = (n.server_assignment_count, n.xact_count, n.query_count, n.bytes_received,
                          n.bytes_sent,
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

    def pins(self):
        """Session state by pool row, added up over workers: how often servers were pinned since the start, by
        reason, how often a server was asked what is left, settings were put in force, and a server was
        reset."""
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

    def catalogs(self):
        """What is known of the catalogs of each database: one dict per database that has a pool.  The lock is
        held for the copy of one row at a time: whoever makes dicts may be put off by others for long."""
        cdef int32_t i
        cdef database_row d
        cdef bint current
        cdef uint64_t now
        rows = []
        for i in range(self.t.h.databases_high):
            self._take()
            memcpy(&d, &self.t.databases[i], sizeof(database_row))
            current = d.catalog.state == CATALOG_KNOWN and catalog_is_current(self.t, i)
            tables_unlock(self.t)
            now = clock_us()
            if not d.used or d.catalog.row_generation != d.generation:
                continue
            known = d.catalog.state == CATALOG_KNOWN
            rows.append({"database": decoded(d.name), "state": CatalogState(d.catalog.state),
                         "current": bool(current),
                         "reader": d.catalog.reader - 1,
                         "functions": d.catalog.totals.functions, "relations": d.catalog.totals.relations,
                         "everything": d.catalog.everything != 0,
                         "known_s": (now - d.catalog.known_since) / 1e6 if known else None,
                         "looked_s": (now - d.catalog.read_at) / 1e6 if d.catalog.read_at else None,
                         "cost_us": d.catalog.cost_us,
                         "bytes": d.catalog.bytes + d.catalog.totals.reader_bytes})
        return rows


cdef dict _hold_dict(tables *t, hold *h, uint64_t now):
    cdef client_row c
    memcpy(&c, &t.clients[h.client], sizeof(client_row))
    return _client_dict(t, h.client, &c, now) | {
        "activity": decoded(waiting_activity_name(h.activity)),
        "activity_s": (now - h.activity_since) / 1e6 if now > h.activity_since else 0.0,
    }


cdef dict _clients_by_pool(tables *t):
    """How many clients of each pool are in which state."""
    cdef int32_t i, pool, high = t.h.pools_high
    cdef uint8_t state
    cdef int32_t *counts = <int32_t *>calloc(CL_STATES * (high + 1), sizeof(int32_t))
    if counts is NULL:
        raise MemoryError
    for i in range(t.h.clients_high):
        pool, state = t.clients[i].pool, t.clients[i].state
        if 0 <= pool < high and state < CL_STATES:
            counts[CL_STATES * pool + state] += 1
    found = {}
    for pool in range(high):
        found[pool] = {"idle": counts[CL_STATES * pool + CL_IDLE],
                       "waiting": counts[CL_STATES * pool + CL_WAITING],
                       "active": counts[CL_STATES * pool + CL_ACTIVE]}
    free(counts)
    return found


cdef dict _client_dict(tables *t, int32_t i, client_row *c, uint64_t now):
    names = ("free", "login", "idle", "waiting", "active")
    state = names[c.state]
    if c.state == CL_WAITING and c.flags & CF_LOGIN_WAIT:
        state = "waiting_login"
    slot = c.slot if c.state == CL_ACTIVE else NO_ROW
    return {
        "id": c.id, "row": i, "worker": c.worker, "state": state, "pool": c.pool,
        "database": decoded(t.databases[c.database].name) if c.database >= 0 else "",
        "user": decoded(t.users[c.user].name) if c.user >= 0 else "",
        "addr": decoded(c.where.addr), "port": c.where.port, "local_addr": decoded(c.where.local_addr),
        "local_port": c.where.local_port, "connect_time": c.connect_time,
        "request_time": _wall_of(c.wait_start if c.state == CL_WAITING else c.request_start, now),
        "wait_us": now - c.wait_start if c.state == CL_WAITING and now > c.wait_start else 0,
        "link": t.slots[slot].id if slot >= 0 else 0, "slot": slot,
        "close_needed": bool(c.orders & ORDER_KILL),
        "tls": decoded(c.tls), "application_name": decoded(c.application_name),
        "prepared_statements": c.prepared_statements,
        "replication": REPLICATION[c.replication], "memory": c.memory,
        "remote_pid": t.slots[slot].backend_pid if slot >= 0 else 0, "pinned": reasons_of(c.pinned),
        "pinned_since": _wall_of(c.pinned_at, now) if c.pinned else 0.0,
        "pinned_s": (now - c.pinned_at) / 1e6 if c.pinned and now > c.pinned_at else 0.0,
        "is_unix": bool(c.flags & CF_UNIX), "console": bool(c.flags & CF_CONSOLE),
        "own": bool(c.flags & CF_INTERNAL),
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
        "id": s.id, "slot": i, "worker": s.owner if s.owner >= 0 else s.last_worker, "state": state,
        "pool": s.pool,
        "database": decoded(t.databases[p.database].name), "user": decoded(t.users[p.user].name),
        "addr": decoded(s.where.addr), "port": s.where.port, "local_addr": decoded(s.where.local_addr),
        "local_port": s.where.local_port, "connect_time": s.connect_time,
        "request_time": _wall_of(t.clients[s.client].request_start if linked else s.used_at, now),
        "close_needed": bool(s.flags & SF_CLOSE_NEEDED), "link": t.clients[s.client].id if linked else 0,
        "remote_pid": s.backend_pid, "tls": decoded(s.tls),
        "application_name": decoded(t.clients[s.client].application_name) if linked else "",
        "prepared_statements": t.prepared[i].count,
        "replication": REPLICATION[s.replication], "generation": s.generation,
        "is_unix": bool(s.flags & SF_UNIX),
        "idle_s": (now - s.used_at) / 1e6 if s.state == SL_IDLE and now > s.used_at else 0.0,
    }
