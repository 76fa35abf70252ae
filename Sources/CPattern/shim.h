#pragma once
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
// Names that the header makes of macros.
static inline pcre2_code *lake_pattern_compile(const unsigned char *text, size_t count, int *error, size_t *offset) {
    return pcre2_compile(text, count, PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY, error, offset, NULL);
}
static inline void lake_pattern_free(pcre2_code *code) { pcre2_code_free(code); }
static inline int lake_pattern_message(int error, unsigned char *buffer, size_t count) { return pcre2_get_error_message(error, buffer, count); }
static inline pcre2_match_data *lake_pattern_data(pcre2_code *code) { return pcre2_match_data_create_from_pattern(code, NULL); }
static inline void lake_pattern_data_free(pcre2_match_data *data) { pcre2_match_data_free(data); }
static inline int lake_pattern_match(pcre2_code *code, const unsigned char *text, size_t count, size_t start, pcre2_match_data *data, unsigned steps) {
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    if (!context) return PCRE2_ERROR_NOMEMORY;
    pcre2_set_match_limit(context, steps);
    pcre2_set_heap_limit(context, 20000);  // KiB
    int result = pcre2_match(code, text, count, start, 0, data, context);
    pcre2_match_context_free(context);
    return result;
}
static inline size_t *lake_pattern_places(pcre2_match_data *data) { return pcre2_get_ovector_pointer(data); }
static inline unsigned lake_pattern_groups(pcre2_match_data *data) { return pcre2_get_ovector_count(data); }
