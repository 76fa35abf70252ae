#pragma once
#include <curl/curl.h>

// curl_easy_setopt and curl_easy_getinfo are variadic, which Swift cannot call: one wrapper for each kind of value.
static inline CURLcode lake_curl_set_long(CURL *handle, CURLoption option, long value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode lake_curl_set_offset(CURL *handle, CURLoption option, curl_off_t value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode lake_curl_set_string(CURL *handle, CURLoption option, const char *value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode lake_curl_set_pointer(CURL *handle, CURLoption option, void *value) { return curl_easy_setopt(handle, option, value); }
typedef size_t (*lake_curl_transfer)(char *bytes, size_t size, size_t count, void *context);
static inline CURLcode lake_curl_set_transfer(CURL *handle, CURLoption option, lake_curl_transfer value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode lake_curl_get_long(CURL *handle, CURLINFO info, long *value) { return curl_easy_getinfo(handle, info, value); }
// Where an answer redirects to, made absolute; null if it does not. The handle's until it is reset (CURLINFO_REDIRECT_URL).
static inline const char *lake_curl_redirect(CURL *handle) {
    char *url = NULL;
    return curl_easy_getinfo(handle, CURLINFO_REDIRECT_URL, &url) == CURLE_OK ? url : NULL;
}
