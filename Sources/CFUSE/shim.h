#pragma once
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>


// Files that the kernel reads by itself (linux/fuse.h of 6.9, FUSE_DEV_IOC_BACKING_OPEN and _CLOSE; Debian 12's headers lack them).
struct lake_fuse_backing { int fd; unsigned int flags; unsigned long long padding; };
static inline int lake_fuse_backing_open(int session, int descriptor) {
    struct lake_fuse_backing map = { .fd = descriptor };
    return ioctl(session, _IOW(229, 1, struct lake_fuse_backing), &map);
}
static inline int lake_fuse_backing_close(int session, int number) {
    unsigned int id = (unsigned int)number;
    return ioctl(session, _IOW(229, 2, unsigned int), &id);
}
// The loop's configuration is opaque and its functions are versioned by macros, which Swift cannot call.
static inline int lake_fuse_loop(struct fuse_session *session, unsigned int threads) {
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, threads);
    int status = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return status;
}
