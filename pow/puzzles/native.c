/* The search of the sha256 puzzle in C: one SHA-256 block (FIPS 180-4) per nonce.

   A try hashes a part's 32-byte seed and an 8-byte nonce, which with the padding fill one block. The processor's
   own SHA instructions are used where it has them. The module is optional: without it hashlib's loop gives the
   same nonces. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define X86 1
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO))
#define ARM 1
#include <arm_neon.h>
#endif

static const uint32_t INITIAL[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

typedef void (*Compress)(const uint32_t block[16], uint32_t digest[8]);

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

#define STEP(a, b, c, d, e, f, g, h, i)                                                                       \
    do {                                                                                                      \
        uint32_t one = h + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + (g ^ (e & (f ^ g))) + ROUND[i] + \
                       w[i];                                                                                  \
        d += one;                                                                                             \
        h = one + (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) | (c & (a | b)));                  \
    } while (0)

/* The digest of one block, as eight words. */
static void compress_plainly(const uint32_t block[16], uint32_t digest[8])
{
    uint32_t w[64], a = INITIAL[0], b = INITIAL[1], c = INITIAL[2], d = INITIAL[3];
    uint32_t e = INITIAL[4], f = INITIAL[5], g = INITIAL[6], h = INITIAL[7];
    memcpy(w, block, 64);
    for (int i = 16; i < 64; i++) {
        uint32_t old = w[i - 15], new = w[i - 2];
        w[i] = w[i - 16] + (ROTATE(old, 7) ^ ROTATE(old, 18) ^ (old >> 3)) + w[i - 7] +
               (ROTATE(new, 17) ^ ROTATE(new, 19) ^ (new >> 10));
    }
    for (int i = 0; i < 64; i += 8) {
        STEP(a, b, c, d, e, f, g, h, i);
        STEP(h, a, b, c, d, e, f, g, i + 1);
        STEP(g, h, a, b, c, d, e, f, i + 2);
        STEP(f, g, h, a, b, c, d, e, i + 3);
        STEP(e, f, g, h, a, b, c, d, i + 4);
        STEP(d, e, f, g, h, a, b, c, i + 5);
        STEP(c, d, e, f, g, h, a, b, i + 6);
        STEP(b, c, d, e, f, g, h, a, i + 7);
    }
    const uint32_t last[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++)
        digest[i] = INITIAL[i] + last[i];
}

#ifdef X86
/* SHA-NI keeps the state as {f, e, b, a} and {h, g, d, c}. */
__attribute__((target("sha,sse4.1"))) static void compress_sha_ni(const uint32_t block[16], uint32_t digest[8])
{
    const __m128i abef = _mm_set_epi32(INITIAL[0], INITIAL[1], INITIAL[4], INITIAL[5]);
    const __m128i cdgh = _mm_set_epi32(INITIAL[2], INITIAL[3], INITIAL[6], INITIAL[7]);
    __m128i one = abef, two = cdgh, w[4];
    for (int i = 0; i < 4; i++)
        w[i] = _mm_loadu_si128((const __m128i *)(block + 4 * i));
    for (int i = 0; i < 16; i++) {
        __m128i now = w[i & 3];
        __m128i sum = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(ROUND + 4 * i)));
        two = _mm_sha256rnds2_epu32(two, one, sum);
        one = _mm_sha256rnds2_epu32(one, two, _mm_shuffle_epi32(sum, 0x0e));
        if (i < 12) {
            __m128i last = w[(i + 3) & 3];
            __m128i next = _mm_sha256msg1_epu32(now, w[(i + 1) & 3]);
            next = _mm_add_epi32(next, _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
            w[i & 3] = _mm_sha256msg2_epu32(next, last);
        }
    }
    uint32_t first[4], second[4];
    _mm_storeu_si128((__m128i *)first, _mm_add_epi32(one, abef));
    _mm_storeu_si128((__m128i *)second, _mm_add_epi32(two, cdgh));
    digest[0] = first[3], digest[1] = first[2], digest[2] = second[3], digest[3] = second[2];
    digest[4] = first[1], digest[5] = first[0], digest[6] = second[1], digest[7] = second[0];
}

static int has_sha_ni(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}
#endif

#ifdef ARM
static void compress_armv8(const uint32_t block[16], uint32_t digest[8])
{
    const uint32x4_t start0 = vld1q_u32(INITIAL), start1 = vld1q_u32(INITIAL + 4);
    uint32x4_t one = start0, two = start1, w[4];
    for (int i = 0; i < 4; i++)
        w[i] = vld1q_u32(block + 4 * i);
    for (int i = 0; i < 16; i++) {
        uint32x4_t sum = vaddq_u32(w[i & 3], vld1q_u32(ROUND + 4 * i)), before = one;
        if (i < 12)
            w[i & 3] = vsha256su1q_u32(vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3],
                                       w[(i + 3) & 3]);
        one = vsha256hq_u32(one, two, sum);
        two = vsha256h2q_u32(two, before, sum);
    }
    vst1q_u32(digest, vaddq_u32(one, start0));
    vst1q_u32(digest + 4, vaddq_u32(two, start1));
}
#endif

static Compress chosen(const char **name)
{
#ifdef X86
    if (has_sha_ni())
        return *name = "SHA-NI", compress_sha_ni;
#endif
#ifdef ARM
    return *name = "ARMv8", compress_armv8;
#endif
    return *name = "C", compress_plainly;
}

static uint32_t word_of(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Whether the digest is at most the largest that solves. */
static int solves(const uint32_t digest[8], const uint32_t largest[8])
{
    for (int i = 0; i < 8; i++)
        if (digest[i] != largest[i])
            return digest[i] < largest[i];
    return 1;
}

static PyObject *search(PyObject *self, PyObject *arguments)
{
    const unsigned char *seed, *largest;
    Py_ssize_t seed_length, largest_length;
    unsigned long long start, count, tried;
    int plainly = 0, found = 0;
    if (!PyArg_ParseTuple(arguments, "y#y#KK|p", &seed, &seed_length, &largest, &largest_length, &start, &count,
                          &plainly))
        return NULL;
    if (seed_length != 32 || largest_length != 32) {
        PyErr_SetString(PyExc_ValueError, "seed and largest must have 32 bytes each");
        return NULL;
    }
    const char *name;
    Compress compress = plainly ? compress_plainly : chosen(&name);
    uint32_t block[16] = {0}, digest[8], limit[8];
    for (int i = 0; i < 8; i++)
        block[i] = word_of(seed + 4 * i), limit[i] = word_of(largest + 4 * i);
    block[10] = 0x80000000; /* the padding's first bit, and the length of 40 bytes */
    block[15] = 320;
    Py_BEGIN_ALLOW_THREADS
    for (tried = 0; tried < count && !found; tried++) {
        uint64_t nonce = start + tried;
        block[8] = (uint32_t)(nonce >> 32), block[9] = (uint32_t)nonce;
        compress(block, digest);
        found = solves(digest, limit);
    }
    Py_END_ALLOW_THREADS
    if (!found)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(start + tried - 1);
}

static PyObject *instructions(PyObject *self, PyObject *arguments)
{
    const char *name;
    chosen(&name);
    return PyUnicode_FromString(name);
}

static PyMethodDef METHODS[] = {
    {"search", search, METH_VARARGS,
     "search(seed, largest, start, count, plainly=False): the first nonce that solves, or None.\n\n"
     "Other threads go on meanwhile. `plainly` leaves the processor's SHA instructions aside."},
    {"instructions", instructions, METH_NOARGS, "What hashes: SHA-NI, ARMv8 or C."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "native",
    .m_doc = "The search of the sha256 puzzle in C.",
    .m_size = -1,
    .m_methods = METHODS,
};

PyMODINIT_FUNC PyInit_native(void)
{
    return PyModule_Create(&MODULE);
}
