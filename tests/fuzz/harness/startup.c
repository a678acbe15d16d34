/* A packet of a stranger that opens a connection, and what it asks to be set. */
#include <stdlib.h>
#include <string.h>

#include "claim.h"
#include "login/names.h"
#include "login/packet.h"

#define TRACKED 2

static struct name_set ignored;

/* Reads all of a text: the sanitizer looks whether it ends. */
static void read_text(const char *text) { claim(strlen(text) < STARTUP_BYTES_MAX, "a text of the packet"); }

static void check_fault(const struct fault *f) {
    claim(memchr(f->text, 0, sizeof f->text) && f->text[0], "a fault without a text");
    claim(strlen(f->sqlstate) == 5, "a fault without SQLSTATE");
}

static void want(const struct packet *p, bool accept_unknown) {
    static const char *const names[TRACKED] = {"IntervalStyle", "application_name"};
    struct wanted w;
    struct fault fault = {0};
    if (!packet_wanted(&w, p, names, TRACKED, &ignored, accept_unknown, &fault)) {
        check_fault(&fault);
        return;
    }
    for (int i = 0; i < TRACKED; i++)
        if (w.tracked[i]) read_text(w.tracked[i]);
    claim(accept_unknown || !w.other_count, "a setting that nobody accepts");
    for (uint32_t i = 0; i < w.other_count; i++) {
        read_text(w.others[i].name);
        read_text(w.others[i].value);
        claim(!names_get(&ignored, w.others[i].name), "a setting that is to be passed over");
        for (uint32_t k = 0; k < i; k++)
            claim(strcmp(w.others[i].name, w.others[k].name) != 0, "a setting that stands there twice");
    }
    wanted_free(&w);
}

static void check_startup(const struct packet *p) {
    claim(*p->user && strlen(p->user) <= USER_BYTES_MAX, "the user");
    claim(*p->database && strlen(p->database) <= USER_BYTES_MAX, "the database");
    read_text(p->options);
    for (uint32_t i = 0; i < p->setting_count; i++) {
        read_text(p->settings[i].name);
        read_text(p->settings[i].value);
    }
    for (uint32_t i = 0; i < p->extension_count; i++) read_text(p->extensions[i]);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct packet p;
    struct fault fault = {0};
    void *old;
    if (!ignored.count) claim(names_put(&ignored, "extra", NULL, &old), "no memory");
    unsigned char *exactly = malloc(size ? size : 1); /* a byte behind it is seen */
    claim(exactly != NULL, "no memory");
    if (size) memcpy(exactly, data, size);
    if (!packet_read(&p, exactly, (uint32_t)size, &fault)) check_fault(&fault);
    else if (p.kind == PACKET_STARTUP) {
        check_startup(&p);
        want(&p, size & 1);
        packet_free(&p);
    } else if (p.kind == PACKET_CANCEL)
        claim(p.cancel_key + p.cancel_key_bytes == exactly + size, "the key of a cancel request");
    free(exactly);
    return 0;
}
