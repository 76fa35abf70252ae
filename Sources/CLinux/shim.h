#pragma once
// System calls that glibc declares only under _GNU_SOURCE, which Swift's Glibc module is built without.
#include <malloc.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

static inline ssize_t lake_copy_file_range(int from, long long *from_offset, int to, long long *to_offset, size_t count) {
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, count, 0);
}
// Begins to write a part of a file to disk, and does not wait for it (sync_file_range(2), SYNC_FILE_RANGE_WRITE).
static inline int lake_begin_sync(int descriptor, long long offset, long long count) { return (int)syscall(SYS_sync_file_range, descriptor, offset, count, 2); }
// Shares the bytes of a file with another, where the file system can (ioctl_ficlone(2), FICLONE).
static inline int lake_clone(int from, int to) { return ioctl(to, _IOW(0x94, 9, int), from); }
static inline int lake_close_from(unsigned first) { return (int)syscall(SYS_close_range, first, ~0u, 0); }
// A file in memory that goes with its last descriptor (memfd_create(2), MFD_CLOEXEC).
static inline int lake_memory_file(const char *name) { return (int)syscall(SYS_memfd_create, name, 1u); }
static inline int lake_syncfs(int descriptor) { return (int)syscall(SYS_syncfs, descriptor); }
// mallopt(3), whose parameters are macros. Every thread would get an arena of its own, up to eight a core, and each keeps what it once
// took; and answers of some hundred KiB would be mapped and faulted in anew each time.
static inline void lake_tune_malloc(int arenas, int mmap_threshold, int trim_threshold) {
    mallopt(M_ARENA_MAX, arenas);
    mallopt(M_MMAP_THRESHOLD, mmap_threshold);
    mallopt(M_TRIM_THRESHOLD, trim_threshold);
}
// fallocate(2), whose flags glibc's posix_fallocate does not take.
static inline int lake_fallocate(int descriptor, int mode, long long offset, long long length) { return (int)syscall(SYS_fallocate, descriptor, mode, offset, length); }
// pthread_rwlockattr_setkind_np(3): writers before readers that come later (PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP).
#include <pthread.h>
extern int pthread_rwlockattr_setkind_np(pthread_rwlockattr_t *attributes, int kind);
static inline void lake_rwlock_init(pthread_rwlock_t *lock) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, 2);
    pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}
// What Landlock can do here (landlock(7)); less than 1 where there is none.
#include <linux/landlock.h>
#include <sys/prctl.h>
static inline int lake_landlock_version(void) { return (int)syscall(SYS_landlock_create_ruleset, (void *)0, 0, LANDLOCK_CREATE_RULESET_VERSION); }
// From here on this process and its children open nothing to write, and make, move or remove no file.
static inline int lake_forbid_writing(void) {
    unsigned long long access = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                                LANDLOCK_ACCESS_FS_MAKE_SYM;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &access, sizeof(access), 0);
    if (rules < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    int done = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
    return done;
}
// A file without a name in a folder (open(2), O_TMPFILE).
#include <fcntl.h>
static inline int lake_nameless_file(const char *folder) { return open(folder, 020000000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, 0600); }
// pipe2(2) with O_CLOEXEC.
static inline int lake_pipe(int *ends) { return (int)syscall(SYS_pipe2, ends, 02000000); }
