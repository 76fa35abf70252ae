#pragma once
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>


// The loop's configuration is opaque and its functions are versioned by macros, which Swift cannot call.
static inline int lake_fuse_loop(struct fuse_session *session, unsigned int threads) {
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 0);
    fuse_loop_cfg_set_max_threads(config, threads);
    int status = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return status;
}
