/* sha256.c - see sha256.h. */
#include "storage/sha256.h"
#include <openssl/evp.h>

static doppler_status no_memory(error *e) { return fail(e, DOPPLER_NO_MEMORY, "SHA-256"); }

static bool begun(sha256 *s) {
    if (s->context) return true;
    s->context = EVP_MD_CTX_new();
    return s->context && EVP_DigestInit_ex(s->context, EVP_sha256(), NULL);
}

doppler_status sha256_add(error *e, sha256 *s, const void *data, size_t bytes) {
    return begun(s) && EVP_DigestUpdate(s->context, data, bytes) ? DOPPLER_OK : no_memory(e);
}

doppler_status sha256_end(error *e, sha256 *s, uint8_t out[SHA256_BYTES]) {
    bool ok = begun(s) && EVP_DigestFinal_ex(s->context, out, NULL);
    sha256_free(s);
    return ok ? DOPPLER_OK : no_memory(e);
}

void sha256_free(sha256 *s) {
    EVP_MD_CTX_free(s->context);
    s->context = NULL;
}

doppler_status sha256_of(error *e, const void *data, size_t bytes, uint8_t out[SHA256_BYTES]) {
    bool ok = EVP_Digest(data, bytes, out, NULL, EVP_sha256(), NULL);
    return ok ? DOPPLER_OK : no_memory(e);
}
