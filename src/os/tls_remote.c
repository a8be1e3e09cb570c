/* A private key that is elsewhere: OpenSSL signs with it, and the signature is asked of whoever has it.
 *
 * Made with the key methods of OpenSSL 1.1, which OpenSSL 3 keeps for this purpose and marks as deprecated: its own way, a
 * provider, takes many times the code for the same two callbacks. This is the one file that needs them. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "os/tls_inner.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdlib.h>

enum { SIGN_RSA = 1, SIGN_ECDSA = 2 };

struct remote_key {
    struct tls_signer signer;
    uint32_t number;
};

static void forget(void *parent, void *data, CRYPTO_EX_DATA *ex, int index, long argl, void *argp)
{
    (void)parent, (void)ex, (void)index, (void)argl, (void)argp;
    free(data);
}

/* Made on first use, by one thread: the places where OpenSSL keeps our pointer beside a key. */
static int rsa_place(void)
{
    static int place = -1;
    if (place < 0)
        place = RSA_get_ex_new_index(0, NULL, NULL, NULL, forget);
    return place;
}

static int ec_place(void)
{
    static int place = -1;
    if (place < 0)
        place = EC_KEY_get_ex_new_index(0, NULL, NULL, NULL, forget);
    return place;
}

static int rsa_private(int len, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    const struct remote_key *key = RSA_get_ex_data(rsa, rsa_place());
    if (key == NULL || len < 0)
        return -1;
    return key->signer.sign(key->signer.self, key->number, SIGN_RSA, padding, from, (size_t)len, to, (size_t)RSA_size(rsa));
}

static int ecdsa_sign(int type, const unsigned char *digest, int len, unsigned char *to, unsigned *to_len, const BIGNUM *kinv,
                      const BIGNUM *r, EC_KEY *ec)
{
    const struct remote_key *key = EC_KEY_get_ex_data(ec, ec_place());
    (void)type, (void)kinv, (void)r;
    if (key == NULL || len < 0)
        return 0;
    int put = key->signer.sign(key->signer.self, key->number, SIGN_ECDSA, 0, digest, (size_t)len, to, (size_t)ECDSA_size(ec));
    if (put <= 0)
        return 0;
    *to_len = (unsigned)put;
    return 1;
}

static const RSA_METHOD *rsa_method(void)
{
    static RSA_METHOD *method;
    if (method == NULL && (method = RSA_meth_dup(RSA_PKCS1_OpenSSL())) != NULL) {
        (void)RSA_meth_set1_name(method, "remote");
        (void)RSA_meth_set_priv_enc(method, rsa_private);
        (void)RSA_meth_set_flags(method, RSA_meth_get_flags(method) | RSA_FLAG_EXT_PKEY);
    }
    return method;
}

static const EC_KEY_METHOD *ec_method(void)
{
    static EC_KEY_METHOD *method;
    if (method == NULL && (method = EC_KEY_METHOD_new(EC_KEY_OpenSSL())) != NULL)
        EC_KEY_METHOD_set_sign(method, ecdsa_sign, NULL, NULL);
    return method;
}

static EVP_PKEY *wrap_rsa(EVP_PKEY *public_key, struct remote_key *key)
{
    const RSA *theirs = EVP_PKEY_get0_RSA(public_key);
    RSA *rsa = theirs != NULL ? RSAPublicKey_dup(theirs) : NULL;
    EVP_PKEY *pkey = EVP_PKEY_new();
    if (rsa == NULL || pkey == NULL || RSA_set_method(rsa, rsa_method()) != 1 || RSA_set_ex_data(rsa, rsa_place(), key) != 1 ||
        EVP_PKEY_assign_RSA(pkey, rsa) != 1) {
        RSA_free(rsa);
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

static EVP_PKEY *wrap_ec(EVP_PKEY *public_key, struct remote_key *key)
{
    const EC_KEY *theirs = EVP_PKEY_get0_EC_KEY(public_key);
    EC_KEY *ec = theirs != NULL ? EC_KEY_dup(theirs) : NULL;
    EVP_PKEY *pkey = EVP_PKEY_new();
    if (ec == NULL || pkey == NULL || EC_KEY_set_method(ec, ec_method()) != 1 || EC_KEY_set_ex_data(ec, ec_place(), key) != 1 ||
        EVP_PKEY_assign_EC_KEY(pkey, ec) != 1) {
        EC_KEY_free(ec);
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

EVP_PKEY *remote_key_new(EVP_PKEY *public_key, uint32_t number, const struct tls_signer *signer)
{
    struct remote_key *key = calloc(1, sizeof(*key));
    if (key == NULL)
        return NULL;
    key->signer = *signer;
    key->number = number;
    int kind = EVP_PKEY_base_id(public_key);
    EVP_PKEY *pkey = kind == EVP_PKEY_RSA ? wrap_rsa(public_key, key) : kind == EVP_PKEY_EC ? wrap_ec(public_key, key) : NULL;
    if (pkey == NULL)
        free(key);
    return pkey;
}

/* ---- the side that has the key ----------------------------------------------------------------------------------- */

struct tls_key {
    RSA *rsa;
    EC_KEY *ec;
};

enum rc tls_key_new(const char *pem, size_t len, struct tls_key **key, struct fault *fault)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    EVP_PKEY *pkey = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (pkey == NULL)
        return fault_perm(fault, 0, "not a private key in PEM: %s", tls_last_error());
    *key = calloc(1, sizeof(**key));
    must(*key != NULL);
    (*key)->rsa = EVP_PKEY_base_id(pkey) == EVP_PKEY_RSA ? EVP_PKEY_get1_RSA(pkey) : NULL;
    (*key)->ec = EVP_PKEY_base_id(pkey) == EVP_PKEY_EC ? EVP_PKEY_get1_EC_KEY(pkey) : NULL;
    EVP_PKEY_free(pkey);
    if ((*key)->rsa != NULL || (*key)->ec != NULL)
        return RC_OK;
    free(*key);
    return fault_perm(fault, 0, "a private key of a kind that is not served: RSA or ECDSA (P-256, P-384) is");
}

void tls_key_free(struct tls_key *key)
{
    if (key == NULL)
        return;
    RSA_free(key->rsa);
    EC_KEY_free(key->ec);
    free(key);
}

/* What an edge may ask for: an RSA operation of exactly one block, or a digest signed with ECDSA. */
int tls_key_sign(struct tls_key *key, int kind, int padding, const unsigned char *in, size_t in_len, unsigned char *out, size_t out_max)
{
    if (kind == SIGN_RSA && key->rsa != NULL) {
        if (out_max < (size_t)RSA_size(key->rsa) || in_len > (size_t)RSA_size(key->rsa) ||
            (padding != RSA_PKCS1_PADDING && padding != RSA_NO_PADDING))
            return -1;
        return RSA_private_encrypt((int)in_len, in, out, key->rsa, padding);
    }
    if (kind == SIGN_ECDSA && key->ec != NULL) {
        unsigned len = 0;
        if (out_max < (size_t)ECDSA_size(key->ec) || in_len > 64)
            return -1;
        return ECDSA_sign(0, in, (int)in_len, out, &len, key->ec) == 1 ? (int)len : -1;
    }
    return -1;
}
