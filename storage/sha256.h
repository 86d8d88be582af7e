/* sha256.h - SHA-256 (FIPS 180-4) natively, by OpenSSL. Pages use WebCrypto. */
#ifndef STORAGE_SHA256_H
#define STORAGE_SHA256_H

#include "memory/status.h"

enum { SHA256_BYTES = 32 };

/* A hash of bytes that come in pieces; zero-initialise, used again after sha256_end. */
typedef struct sha256 { struct evp_md_ctx_st *context; } sha256;

/* Fails with NO_MEMORY only, in any of these. */
doppler_status sha256_add(error *e, sha256 *s, const void *data, size_t bytes);
doppler_status sha256_end(error *e, sha256 *s, uint8_t out[SHA256_BYTES]);
void sha256_free(sha256 *s);

doppler_status sha256_of(error *e, const void *data, size_t bytes, uint8_t out[SHA256_BYTES]);

#endif
