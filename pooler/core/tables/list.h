/* Intrusive doubly linked lists over rows, by index: O(1), nothing allocated, rebuildable. */
#ifndef POOLER_TABLES_LIST_H
#define POOLER_TABLES_LIST_H

#include <stdint.h>

#include "tables/layout.h"

#define DEFINE_LIST(NAME, ROWS, LINK)                                                                  \
    static inline void NAME##_append(struct tables *t, struct list *l, int32_t i) {                    \
        t->ROWS[i].LINK.prev = l->tail;                                                                \
        t->ROWS[i].LINK.next = NO_ROW;                                                                 \
        if (l->tail == NO_ROW) l->head = i;                                                            \
        else t->ROWS[l->tail].LINK.next = i;                                                           \
        l->tail = i;                                                                                   \
        l->count++;                                                                                    \
    }                                                                                                  \
    static inline void NAME##_prepend(struct tables *t, struct list *l, int32_t i) {                   \
        t->ROWS[i].LINK.next = l->head;                                                                \
        t->ROWS[i].LINK.prev = NO_ROW;                                                                 \
        if (l->head == NO_ROW) l->tail = i;                                                            \
        else t->ROWS[l->head].LINK.prev = i;                                                           \
        l->head = i;                                                                                   \
        l->count++;                                                                                    \
    }                                                                                                  \
    static inline void NAME##_insert_before(struct tables *t, struct list *l, int32_t at, int32_t i) { \
        if (at == NO_ROW) {                                                                            \
            NAME##_append(t, l, i);                                                                    \
            return;                                                                                    \
        }                                                                                              \
        int32_t before = t->ROWS[at].LINK.prev;                                                        \
        if (before == NO_ROW) {                                                                        \
            NAME##_prepend(t, l, i);                                                                   \
            return;                                                                                    \
        }                                                                                              \
        t->ROWS[i].LINK.prev = before;                                                                 \
        t->ROWS[i].LINK.next = at;                                                                     \
        t->ROWS[before].LINK.next = i;                                                                 \
        t->ROWS[at].LINK.prev = i;                                                                     \
        l->count++;                                                                                    \
    }                                                                                                  \
    static inline void NAME##_remove(struct tables *t, struct list *l, int32_t i) {                    \
        struct link k = t->ROWS[i].LINK;                                                               \
        if ((k.prev == NO_ROW ? l->head : t->ROWS[k.prev].LINK.next) != i                              \
            || (k.next == NO_ROW ? l->tail : t->ROWS[k.next].LINK.prev) != i)                          \
            return; /* not on it */                                                                    \
        if (k.prev == NO_ROW) l->head = k.next;                                                        \
        else t->ROWS[k.prev].LINK.next = k.next;                                                       \
        if (k.next == NO_ROW) l->tail = k.prev;                                                        \
        else t->ROWS[k.next].LINK.prev = k.prev;                                                       \
        l->count--;                                                                                    \
    }

DEFINE_LIST(client_queue, clients, queue)         /* a pool's waiting clients; also the free client rows */
DEFINE_LIST(client_local, clients, local_queue)   /* the same, of one worker */
DEFINE_LIST(client_attention, clients, attention) /* rows with orders, by worker */
DEFINE_LIST(slot_idle, slots, idle)               /* a pool's idle servers; also the free slots */
DEFINE_LIST(slot_attention, slots, attention)
DEFINE_LIST(starved, pools, starved_link)

static inline void list_clear(struct list *l) {
    l->head = l->tail = NO_ROW;
    l->count = 0;
}

#endif
