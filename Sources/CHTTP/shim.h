#pragma once
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <microhttpd.h>

// MHD_start_daemon is variadic; MHD_OPTION_ARRAY carries all options in one argument.
static inline struct MHD_Daemon *lake_http_start(unsigned int flags, MHD_AccessHandlerCallback handler, void *context, struct MHD_OptionItem *options) {
    return MHD_start_daemon(flags, 0, NULL, NULL, handler, context, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}
// Options that take callbacks: a function pointer in an integer field of MHD_OptionItem.
static inline intptr_t lake_http_function(void *function) { return (intptr_t)function; }
typedef void *(*lake_http_uri_callback)(void *context, const char *uri, struct MHD_Connection *connection);
typedef size_t (*lake_http_unescape_callback)(void *context, struct MHD_Connection *connection, char *text);
typedef void (*lake_http_completed_callback)(void *context, struct MHD_Connection *connection, void **request, enum MHD_RequestTerminationCode code);
static inline intptr_t lake_http_uri(lake_http_uri_callback function) { return (intptr_t)function; }
static inline intptr_t lake_http_unescape(lake_http_unescape_callback function) { return (intptr_t)function; }
static inline intptr_t lake_http_completed(lake_http_completed_callback function) { return (intptr_t)function; }
// accept4(2), which glibc declares only under _GNU_SOURCE; the connection is not inherited and does not block.
static inline int lake_http_accept(int socket, struct sockaddr *peer, socklen_t *length) {
    return (int)syscall(SYS_accept4, socket, peer, length, SOCK_CLOEXEC | SOCK_NONBLOCK);
}
#include <sys/ioctl.h>
#include <linux/sockios.h>
// Bytes that were received and not read; bytes that were written and not acknowledged (tcp(7), SIOCINQ and SIOCOUTQ).
static inline int lake_http_unread(int socket, int *count) { return ioctl(socket, SIOCINQ, count); }
static inline int lake_http_unsent(int socket) { int count = 0; return ioctl(socket, SIOCOUTQ, &count) == 0 ? count : 0; }
typedef void (*lake_http_connection_callback)(void *context, struct MHD_Connection *connection, void **socket_context, enum MHD_ConnectionNotificationCode code);
static inline intptr_t lake_http_connection(lake_http_connection_callback function) { return (intptr_t)function; }
typedef enum MHD_Result (*lake_http_header_callback)(void *context, enum MHD_ValueKind kind, const char *name, size_t name_size, const char *value, size_t value_size);
// MHD_get_connection_info is variadic.
static inline int lake_http_socket(struct MHD_Connection *connection) { return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd; }
static inline void *lake_http_socket_context(struct MHD_Connection *connection) { return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context; }
