#pragma once
// System calls that glibc declares only under _GNU_SOURCE, which Swift's Glibc module is built without.
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static inline ssize_t lake_copy_file_range(int from, long long *from_offset, int to, long long *to_offset, size_t count) {
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, count, 0);
}
static inline int lake_syncfs(int descriptor) { return (int)syscall(SYS_syncfs, descriptor); }
