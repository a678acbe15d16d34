/* Allocations that fail, on order of a test: preloaded into pooler (tests/support/starving.py).
 *
 * The orders lie in a file that both have mapped.  Those that count are of one thread, by its name, or of the compiled
 * core, and not smaller than `least`; the one with number `left` fails, or all of them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { OFF, ONE, ALL };

struct orders { volatile int32_t mode, left, failed; uint32_t least; char thread[16]; };

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static struct orders *orders;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("POOLER_TEST_STARVE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) orders = p;
    if (fd >= 0) close(fd);
}

static int counts(const void *caller, size_t n) {
    char name[16] = {0};
    Dl_info where;
    if (n < orders->least) return 0;
    if (!orders->thread[0]) return dladdr(caller, &where) && where.dli_fname && strstr(where.dli_fname, "/_core.");
    return prctl(PR_GET_NAME, name) == 0 && strncmp(name, orders->thread, sizeof name) == 0;
}

static int fails(const void *caller, size_t n) {
    if (!orders || orders->mode == OFF || !counts(caller, n)) return 0;
    if (orders->mode == ONE && __atomic_sub_fetch(&orders->left, 1, __ATOMIC_SEQ_CST) != 0) return 0;
    __atomic_add_fetch(&orders->failed, 1, __ATOMIC_SEQ_CST);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n) { return fails(__builtin_return_address(0), n) ? NULL : __libc_malloc(n); }

void *calloc(size_t count, size_t n) { return fails(__builtin_return_address(0), count * n) ? NULL : __libc_calloc(count, n); }

void *realloc(void *p, size_t n) { return fails(__builtin_return_address(0), n) ? NULL : __libc_realloc(p, n); }

char *strdup(const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0), n) ? NULL : __libc_malloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}
