/* Loaded before the daemon's processes (LD_PRELOAD): a clock that can be moved, and syncs of files that can fail.
 *
 * CDCD_SHIM names a file of 16 bytes that the test writes while the processes run: the clock's offset in microseconds
 * (8 bytes), how many syncs are still to fail (4), and in which process (4; -1: in any).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    volatile int64_t offset_us;
    int32_t failing_syncs;
    volatile int32_t pid;
};

static struct orders *orders;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("CDCD_SHIM");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) orders = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = real_gettime(clock, now);
    if (result || !orders || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    int64_t ns = now->tv_nsec + (orders->offset_us % 1000000) * 1000;
    now->tv_sec += orders->offset_us / 1000000 + (ns < 0 ? -1 : ns >= 1000000000);
    now->tv_nsec = (ns + 1000000000) % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}

static int fails(void) {
    if (!orders || orders->failing_syncs <= 0 || (orders->pid != -1 && orders->pid != getpid())) return 0;
    if (__atomic_fetch_sub(&orders->failing_syncs, 1, __ATOMIC_SEQ_CST) <= 0) return 0;
    errno = EIO;
    return 1;
}

int fsync(int file) { return fails() ? -1 : real_fsync(file); }

int fdatasync(int file) { return fails() ? -1 : real_fdatasync(file); }
