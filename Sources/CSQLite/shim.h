#pragma once
#include <sqlite3.h>

// SQLITE_TRANSIENT and SQLITE_STATIC are casts of integers to function pointers, which Swift cannot import.
static inline int lake_bind_blob_static(sqlite3_stmt *statement, int index, const void *bytes, int count) {
    // A zero-length blob must not become NULL: SQLite takes a null pointer for NULL.
    if (count == 0) return sqlite3_bind_zeroblob(statement, index, 0);
    return sqlite3_bind_blob(statement, index, bytes, count, SQLITE_STATIC);
}
