/* HTTP requests on connections that are kept alive, each waiting for its answer: as many as a server can answer.
 *
 *   load PORT CONNECTIONS SECONDS HEADER <REQUESTS
 *
 * REQUESTS are lines "METHOD TARGET" or "METHOD TARGET BODY", bodies in JSON; HEADER is one header line for all of them.
 * With SECONDS 0 each line is sent once, in order; else random lines until the time is up. All of the input is read
 * before the first is sent. Bodies of answers are dropped in the kernel. Prints one line of JSON; ends with 1 at the
 * first answer that is no success. One thread: beside a server it takes a small part of a core, told as `cpu_seconds`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    int socket;
    double began;
    size_t used;     /* bytes in `head` */
    long remaining;  /* of the answer's body; -1 while its head is read */
    char head[8192];
} Connection;

static char *input;
static char **lines;
static size_t line_count, sent, latency_count, latency_room;
static uint32_t *latencies;  /* microseconds */
static double seconds, start;
static const char *header, *port;

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

static void fail(const char *what, const Connection *connection) {
    fprintf(stderr, "load: %s: %.*s\n", what, (int)connection->used, connection->head);
    exit(1);
}

static void read_input(void) {
    size_t used = 0, room = 1 << 24;
    ssize_t got;
    must((input = malloc(room)) != NULL, "malloc");
    while ((got = read(0, input + used, room - used - 1)) > 0) {
        used += got;
        if (used == room - 1) must((input = realloc(input, room *= 2)) != NULL, "realloc");
    }
    must(got == 0, "read");
    input[used] = 0;
    for (char *at = input; at < input + used; at++) line_count += *at == '\n';
    must((lines = malloc(line_count * sizeof *lines)) != NULL, "malloc");
    size_t line = 0;
    for (char *at = input, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        *end = 0;
        lines[line++] = at;
    }
}

static uint64_t next_random(void) {  /* xorshift64 */
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

/* False if there is nothing more to send. */
static int send_next(Connection *connection) {
    if (seconds > 0 ? now() - start >= seconds : sent == line_count) return 0;
    const char *line = lines[seconds > 0 ? next_random() % line_count : sent];
    sent++;
    const char *target = strchr(line, ' '), *body = target ? strchr(target + 1, ' ') : NULL;
    int size = target && body ? (int)(body - line) : (int)strlen(line);
    static char request[65536];
    int length = snprintf(request, sizeof request, "%.*s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n%s\r\n", size, line, port, header);
    if (body) {
        length += snprintf(request + length, sizeof request - length,
                           "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body + 1), body + 1);
    } else {
        length += snprintf(request + length, sizeof request - length, "\r\n");
    }
    must(length < (int)sizeof request, "a request of more than 64 KiB");
    connection->began = now();
    connection->used = 0;
    connection->remaining = -1;
    must(send(connection->socket, request, length, MSG_NOSIGNAL) == length, "send");
    return 1;
}

/* True when the answer is all in. */
static int receive(Connection *connection) {
    if (connection->remaining < 0) {
        ssize_t got = recv(connection->socket, connection->head + connection->used, sizeof connection->head - 1 - connection->used, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        if (got <= 0) fail("the connection was lost, or the head of an answer is longer than 8 KiB", connection);
        connection->used += got;
        connection->head[connection->used] = 0;
        char *end = strstr(connection->head, "\r\n\r\n");
        if (!end) return 0;
        if (strncmp(connection->head, "HTTP/1.1 2", 10) != 0) fail("no success", connection);
        char *length = strcasestr(connection->head, "\r\nContent-Length:");
        if (!length || length > end) fail("an answer without a length", connection);
        connection->remaining = atol(length + 17) - (long)(connection->used - (end + 4 - connection->head));
    } else {
        static char dropped[1 << 20];  /* stays untouched: MSG_TRUNC (tcp(7)) */
        size_t size = connection->remaining < (long)sizeof dropped ? (size_t)connection->remaining : sizeof dropped;
        ssize_t got = recv(connection->socket, dropped, size, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        if (got <= 0) fail("the connection was lost in a body", connection);
        connection->remaining -= got;
    }
    return connection->remaining == 0;
}

static void note_latency(double took) {
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 16;
        must((latencies = realloc(latencies, latency_room * sizeof *latencies)) != NULL, "realloc");
    }
    latencies[latency_count++] = (uint32_t)(took * 1e6);
}

static int ascending(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS HEADER <REQUESTS\n");
        return 2;
    }
    port = arguments[1];
    int connection_count = atoi(arguments[2]), running = 0;
    seconds = atof(arguments[3]);
    header = arguments[4];
    read_input();
    Connection *connections = calloc(connection_count, sizeof *connections);
    must(connections != NULL, "calloc");
    int poll = epoll_create1(0), yes = 1;
    must(poll >= 0, "epoll_create1");
    for (int n = 0; n < connection_count; n++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[n]};
        must((connections[n].socket = socket(AF_INET, SOCK_STREAM, 0)) >= 0, "socket");
        must(connect(connections[n].socket, (struct sockaddr *)&address, sizeof address) == 0, "connect");
        must(setsockopt(connections[n].socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) == 0, "TCP_NODELAY");
        must(epoll_ctl(poll, EPOLL_CTL_ADD, connections[n].socket, &event) == 0, "epoll_ctl");
    }
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    start = now();
    for (int n = 0; n < connection_count; n++) running += send_next(&connections[n]);
    while (running > 0) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 60000);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) {
            fprintf(stderr, "load: no answer within 60 s\n");
            return 1;
        }
        for (int n = 0; n < ready; n++) {
            Connection *connection = events[n].data.ptr;
            if (!receive(connection)) continue;
            note_latency(now() - connection->began);
            if (!send_next(connection)) running--;
        }
    }
    double took = now() - start;
    getrusage(RUSAGE_SELF, &after);
    double cpu = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) + (after.ru_stime.tv_sec - before.ru_stime.tv_sec)
        + ((after.ru_utime.tv_usec - before.ru_utime.tv_usec) + (after.ru_stime.tv_usec - before.ru_stime.tv_usec)) / 1e6;
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, \"cpu_seconds\": %.3f}\n", latency_count, took,
           latency_count ? latencies[latency_count / 2] : 0, latency_count ? latencies[latency_count * 99 / 100] : 0, cpu);
    return 0;
}
