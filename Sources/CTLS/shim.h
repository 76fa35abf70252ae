#pragma once
#include <stdint.h>
#include <gnutls/gnutls.h>
#include <gnutls/abstract.h>

// What libmicrohttpd asks for a certificate with: a function pointer in a field of MHD_OptionItem.
typedef int (*lake_tls_certificate)(gnutls_session_t session, const gnutls_datum_t *authorities, int authority_count,
                                    const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
                                    gnutls_pcert_st **certificates, unsigned int *count, gnutls_privkey_t *key);
static inline void *lake_tls_function(lake_tls_certificate function) { return (void *)function; }
// gnutls_free is a variable.
static inline void lake_tls_free(void *memory) { gnutls_free(memory); }
