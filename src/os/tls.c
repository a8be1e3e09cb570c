/* TLS contexts, keys and certificates: see tls.h. */
#include "os/tls_inner.h"

#include "os/child.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where systems keep all authorities in one file. */
static const char *const authorities[] = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
};

enum { PEM_MAX_BYTES = 1024 * 1024, CERTIFICATE_DAYS = 3650 };

const char *tls_last_error(void)
{
    unsigned long error = ERR_get_error();
    const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
    ERR_clear_error();
    return reason != NULL ? reason : "unknown reason";
}

void tls_init(void)
{
    unsigned char byte;
    must(OPENSSL_init_ssl(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS, NULL) == 1);
    must(RAND_bytes(&byte, 1) == 1);
}

static struct tls_context *context_new(const SSL_METHOD *method)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    if (context != NULL)
        context->ssl = SSL_CTX_new(method);
    if (context == NULL || context->ssl == NULL) {
        free(context);
        return NULL;
    }
    (void)SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);      /* RFC 8996 */
    (void)SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE);
    (void)SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_num_tickets(context->ssl, 0);             /* edges share no ticket key, and a table of sessions would grow */
    (void)SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_cipher_list(context->ssl, "DEFAULT:!kRSA:!PSK:!SRP:!aNULL");  /* forward secrecy; keys signs, it never decrypts */
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

/* ---- servers ----------------------------------------------------------------------------------------------------- */

static enum rc use_chain(SSL_CTX *ssl, const char *pem, size_t len, X509 **leaf, struct fault *fault)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL;
    *leaf = certificate;
    if (certificate == NULL || SSL_CTX_use_certificate(ssl, certificate) != 1) {
        BIO_free(bio);
        return fault_perm(fault, 0, "not a certificate in PEM: %s", tls_last_error());
    }
    for (X509 *next; (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;)
        if (SSL_CTX_add0_chain_cert(ssl, next) != 1)
            X509_free(next);
    ERR_clear_error();                  /* the end of the file is how the loop ends */
    BIO_free(bio);
    return RC_OK;
}

enum rc tls_server_new(const char *pem_chain, size_t pem_len, uint32_t key, const struct tls_signer *signer, struct tls_context **out, struct fault *fault)
{
    struct tls_context *context = context_new(TLS_server_method());
    X509 *leaf = NULL;
    if (context == NULL)
        return fault_no_memory(fault);
    enum rc rc = use_chain(context->ssl, pem_chain, pem_len, &leaf, fault);
    EVP_PKEY *remote = rc == RC_OK ? remote_key_new(X509_get0_pubkey(leaf), key, signer) : NULL;
    if (rc == RC_OK && (remote == NULL || SSL_CTX_use_PrivateKey(context->ssl, remote) != 1))
        rc = fault_perm(fault, 0, "the certificate's key cannot be used (RSA and ECDSA can): %s", tls_last_error());
    EVP_PKEY_free(remote);
    X509_free(leaf);
    if (rc != RC_OK) {
        tls_context_free(context);
        return rc;
    }
    *out = context;
    return RC_OK;
}

enum rc tls_server_new_with_key(const char *chain_file, const char *key_file, struct tls_context **out, struct fault *fault)
{
    struct tls_context *context = context_new(TLS_server_method());
    if (context == NULL)
        return fault_no_memory(fault);
    if (SSL_CTX_use_certificate_chain_file(context->ssl, chain_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(context->ssl, key_file, SSL_FILETYPE_PEM) != 1) {
        tls_context_free(context);
        return fault_perm(fault, 0, "cannot use %s with %s: %s", chain_file, key_file, tls_last_error());
    }
    *out = context;
    return RC_OK;
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

enum rc tls_client_new(bool verify, const char *ca_file, struct tls_context **out, struct fault *fault)
{
    struct tls_context *context = context_new(TLS_client_method());
    if (context == NULL)
        return fault_no_memory(fault);
    (void)SSL_CTX_set_default_verify_paths(context->ssl);
    for (size_t i = 0; i < sizeof(authorities) / sizeof(authorities[0]); i++)
        if (SSL_CTX_load_verify_file(context->ssl, authorities[i]) == 1)
            break;                              /* whole, now: a role that opens no files cannot look later */
    ERR_clear_error();
    if (ca_file != NULL && SSL_CTX_load_verify_locations(context->ssl, ca_file, NULL) != 1) {
        tls_context_free(context);
        return fault_perm(fault, 0, "cannot read certificates from %s: %s", ca_file, tls_last_error());
    }
    SSL_CTX_set_verify(context->ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    *out = context;
    return RC_OK;
}

/* ---- files and certificates -------------------------------------------------------------------------------------- */

static enum rc load(const char *file, struct buf *pem, struct fault *fault)
{
    buf_init(pem, PEM_MAX_BYTES + 1);
    enum rc rc = file_read_all(file, PEM_MAX_BYTES, pem, fault);
    return rc == RC_NONE ? RC_PERM : rc;
}

enum rc tls_check_pair(const char *chain_file, const char *key_file, struct fault *fault)
{
    struct buf chain, key;
    X509 *certificate = NULL;
    EVP_PKEY *pkey = NULL;
    enum rc rc = load(chain_file, &chain, fault);
    enum rc rc_key = rc == RC_OK ? load(key_file, &key, fault) : rc;
    if (rc == RC_OK && rc_key == RC_OK) {
        BIO *bio = BIO_new_mem_buf(buf_slice(&chain).ptr, (int)buf_len(&chain));
        certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        BIO_free(bio);
        bio = BIO_new_mem_buf(buf_slice(&key).ptr, (int)buf_len(&key));
        pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        if (certificate == NULL)
            rc = fault_perm(fault, 0, "%s holds no certificate in PEM", chain_file);
        else if (pkey == NULL)
            rc = fault_perm(fault, 0, "%s holds no private key in PEM (or an encrypted one)", key_file);
        else if (X509_check_private_key(certificate, pkey) != 1)
            rc = fault_perm(fault, 0, "the key in %s does not belong to the certificate in %s", key_file, chain_file);
    }
    ERR_clear_error();
    X509_free(certificate);
    EVP_PKEY_free(pkey);
    buf_free(&chain);
    if (rc == RC_OK && rc_key != RC_OK)
        return rc_key;
    if (rc_key == RC_OK)
        buf_free(&key);
    return rc;
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool is_added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static bool fill_certificate(X509 *certificate, EVP_PKEY *pkey, const char *const *names, size_t name_count)
{
    struct buf alternatives;
    uint64_t serial = random_u64() >> 1;
    X509_NAME *name = X509_get_subject_name(certificate);
    buf_init(&alternatives, 64 * 1024);
    for (size_t i = 0; i < name_count; i++) {
        bool is_address = strspn(names[i], "0123456789.") == strlen(names[i]) || strchr(names[i], ':') != NULL;
        (void)buf_printf(&alternatives, "%s%s:%s", i == 0 ? "" : ",", is_address ? "IP" : "DNS", names[i]);
    }
    (void)buf_append_byte(&alternatives, '\0');
    bool is_filled = !alternatives.overflow && X509_set_version(certificate, 2) == 1 &&
                     ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial) == 1 &&
                     X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != NULL &&
                     X509_time_adj_ex(X509_getm_notAfter(certificate), CERTIFICATE_DAYS, 0, NULL) != NULL &&
                     X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)names[0], -1, -1, 0) == 1 &&
                     X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, pkey) == 1 &&
                     add_extension(certificate, NID_subject_alt_name, buf_slice(&alternatives).ptr) &&
                     add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                     X509_sign(certificate, pkey, EVP_sha256()) > 0;
    buf_free(&alternatives);
    return is_filled;
}

static bool drain(BIO *bio, struct buf *out)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    return len > 0 && buf_append(out, (struct slice){ data, (size_t)len });
}

enum rc tls_make_self_signed(const char *const *names, size_t name_count, struct buf *chain_pem, struct buf *key_pem, struct fault *fault)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    BIO *chain = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
    bool is_made = name_count > 0 && pkey != NULL && certificate != NULL && chain != NULL && key != NULL &&
                   fill_certificate(certificate, pkey, names, name_count) && PEM_write_bio_X509(chain, certificate) == 1 &&
                   PEM_write_bio_PrivateKey(key, pkey, NULL, NULL, 0, NULL, NULL) == 1 && drain(chain, chain_pem) && drain(key, key_pem);
    BIO_free(chain);
    BIO_free(key);
    X509_free(certificate);
    EVP_PKEY_free(pkey);
    return is_made ? RC_OK : fault_temp(fault, 0, "cannot make a certificate: %s", tls_last_error());
}
