/* What the disk gives: objects of 1 KiB, each a file made durable with two syncs, as fast as N threads can.
 *
 *   durable_writes FOLDER THREADS SECONDS
 *
 * An object: create a temporary file, write, fdatasync, rename into place, fsync the folder. Each thread has a folder of
 * its own: in a shared one they wait for its lock, and 32 threads are slower than 8. Prints objects per second. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int root;
static double end;
static atomic_long written;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void must(int condition, const char *what) {
    if (!condition) {
        perror(what);
        exit(1);
    }
}

static void *write_objects(void *thread) {
    char body[1024], temporary[64], name[64];
    memset(body, 'x', sizeof body);
    snprintf(name, sizeof name, "%ld", (long)thread);
    must(mkdirat(root, name, 0755) == 0, name);
    int folder = openat(root, name, O_DIRECTORY | O_RDONLY);
    must(folder >= 0, name);
    for (long n = 0; now() < end; n++) {
        snprintf(temporary, sizeof temporary, ".%ld", n);
        snprintf(name, sizeof name, "%ld", n);
        int file = openat(folder, temporary, O_CREAT | O_EXCL | O_WRONLY, 0644);
        must(file >= 0, temporary);
        must(write(file, body, sizeof body) == sizeof body, "write");
        must(fdatasync(file) == 0, "fdatasync");
        must(close(file) == 0, "close");
        must(renameat(folder, temporary, folder, name) == 0, "rename");
        must(fsync(folder) == 0, "fsync of the folder");
        atomic_fetch_add(&written, 1);
    }
    close(folder);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: durable_writes FOLDER THREADS SECONDS\n");
        return 2;
    }
    root = open(arguments[1], O_DIRECTORY | O_RDONLY);
    must(root >= 0, arguments[1]);
    long threads = atol(arguments[2]);
    pthread_t handles[threads];
    double start = now();
    end = start + atof(arguments[3]);
    for (long n = 0; n < threads; n++) must(pthread_create(&handles[n], NULL, write_objects, (void *)n) == 0, "thread");
    for (long n = 0; n < threads; n++) pthread_join(handles[n], NULL);
    printf("%.1f\n", atomic_load(&written) / (now() - start));
    return 0;
}
