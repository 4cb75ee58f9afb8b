/* The search of the sha256 puzzle in C: one SHA-256 block (FIPS 180-4) per nonce.

   A try hashes a part's 32-byte seed and an 8-byte nonce, which with the padding fill one block. WAYS nonces are
   hashed side by side, since a single hash waits for its own last step most of the time. The processor's own SHA
   instructions are used where it has them, and vectors elsewhere. The module is optional: without it hashlib's loop
   gives the same nonces. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define X86 1
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && (defined(__ARM_FEATURE_SHA2) || (defined(__GNUC__) && !defined(__clang__)))
#define ARM 1 /* clang before 16 knows the instructions only where the whole module may use them */
#include <arm_neon.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif
#endif

#define HIGH 8 /* the block's words with the nonce's bits */
#define LOW 9

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

#if defined(__GNUC__) || defined(__clang__)
#define WAYS 4
#define UNROLLED _Pragma("GCC unroll 16")
typedef uint32_t Word __attribute__((vector_size(4 * WAYS))); /* a word of each of WAYS hashes */
#else
#define WAYS 1
#define UNROLLED
typedef uint32_t Word;
#endif

/* The digests of WAYS blocks, which differ from `block` in the nonce's low word alone: it counts up. */
typedef void (*Compress)(const uint32_t block[16], uint32_t digests[WAYS][8]);

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

#define STEP(a, b, c, d, e, f, g, h, i)                                                                       \
    do {                                                                                                      \
        Word one = h + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + (g ^ (e & (f ^ g))) + ROUND[i] + \
                       w[i];                                                                                  \
        d += one;                                                                                             \
        h = one + (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) | (c & (a | b)));                  \
    } while (0)

static const uint32_t UP[4] = {0, 1, 2, 3};

static void compress_plainly(const uint32_t block[16], uint32_t digests[WAYS][8])
{
    Word w[64], zero = {0}, up;
    memcpy(&up, UP, sizeof up);
    Word a = zero + INITIAL[0], b = zero + INITIAL[1], c = zero + INITIAL[2], d = zero + INITIAL[3];
    Word e = zero + INITIAL[4], f = zero + INITIAL[5], g = zero + INITIAL[6], h = zero + INITIAL[7];
    for (int i = 0; i < 16; i++)
        w[i] = zero + block[i];
    w[LOW] += up;
    for (int i = 16; i < 64; i++) {
        Word old = w[i - 15], new = w[i - 2];
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
    const Word last[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) {
        uint32_t words[WAYS];
        Word sum = last[i] + INITIAL[i];
        memcpy(words, &sum, sizeof words);
        for (int way = 0; way < WAYS; way++)
            digests[way][i] = words[way];
    }
}

#ifdef X86
/* SHA-NI keeps the state as {f, e, b, a} and {h, g, d, c}. */
__attribute__((target("sha,sse4.1"))) static void compress_sha_ni(const uint32_t block[16],
                                                                  uint32_t digests[WAYS][8])
{
    const __m128i abef = _mm_set_epi32(INITIAL[0], INITIAL[1], INITIAL[4], INITIAL[5]);
    const __m128i cdgh = _mm_set_epi32(INITIAL[2], INITIAL[3], INITIAL[6], INITIAL[7]);
    __m128i one[WAYS], two[WAYS], w[WAYS][4];
    for (int way = 0; way < WAYS; way++) {
        one[way] = abef, two[way] = cdgh;
        for (int i = 0; i < 4; i++)
            w[way][i] = _mm_loadu_si128((const __m128i *)(block + 4 * i));
        w[way][LOW / 4] = _mm_add_epi32(w[way][LOW / 4], _mm_set_epi32(0, 0, UP[way], 0));
    }
    UNROLLED for (int i = 0; i < 16; i++) {
        const __m128i constants = _mm_loadu_si128((const __m128i *)(ROUND + 4 * i));
        UNROLLED for (int way = 0; way < WAYS; way++) {
            __m128i now = w[way][i & 3], sum = _mm_add_epi32(now, constants);
            two[way] = _mm_sha256rnds2_epu32(two[way], one[way], sum);
            one[way] = _mm_sha256rnds2_epu32(one[way], two[way], _mm_shuffle_epi32(sum, 0x0e));
            if (i < 12) {
                __m128i last = w[way][(i + 3) & 3];
                __m128i next = _mm_sha256msg1_epu32(now, w[way][(i + 1) & 3]);
                next = _mm_add_epi32(next, _mm_alignr_epi8(last, w[way][(i + 2) & 3], 4));
                w[way][i & 3] = _mm_sha256msg2_epu32(next, last);
            }
        }
    }
    for (int way = 0; way < WAYS; way++) {
        uint32_t first[4], second[4], *digest = digests[way];
        _mm_storeu_si128((__m128i *)first, _mm_add_epi32(one[way], abef));
        _mm_storeu_si128((__m128i *)second, _mm_add_epi32(two[way], cdgh));
        digest[0] = first[3], digest[1] = first[2], digest[2] = second[3], digest[3] = second[2];
        digest[4] = first[1], digest[5] = first[0], digest[6] = second[1], digest[7] = second[0];
    }
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
#ifndef __clang__
__attribute__((target("+crypto")))
#endif
static void compress_armv8(const uint32_t block[16], uint32_t digests[WAYS][8])
{
    const uint32x4_t start0 = vld1q_u32(INITIAL), start1 = vld1q_u32(INITIAL + 4);
    uint32x4_t one[WAYS], two[WAYS], w[WAYS][4];
    for (int way = 0; way < WAYS; way++) {
        one[way] = start0, two[way] = start1;
        for (int i = 0; i < 4; i++)
            w[way][i] = vld1q_u32(block + 4 * i);
        w[way][LOW / 4] = vsetq_lane_u32(block[LOW] + UP[way], w[way][LOW / 4], LOW % 4);
    }
    UNROLLED for (int i = 0; i < 16; i++) {
        const uint32x4_t constants = vld1q_u32(ROUND + 4 * i);
        UNROLLED for (int way = 0; way < WAYS; way++) {
            uint32x4_t sum = vaddq_u32(w[way][i & 3], constants), before = one[way];
            if (i < 12)
                w[way][i & 3] = vsha256su1q_u32(vsha256su0q_u32(w[way][i & 3], w[way][(i + 1) & 3]),
                                                w[way][(i + 2) & 3], w[way][(i + 3) & 3]);
            one[way] = vsha256hq_u32(one[way], two[way], sum);
            two[way] = vsha256h2q_u32(two[way], before, sum);
        }
    }
    for (int way = 0; way < WAYS; way++) {
        vst1q_u32(digests[way], vaddq_u32(one[way], start0));
        vst1q_u32(digests[way] + 4, vaddq_u32(two[way], start1));
    }
}

static int has_armv8_sha(void)
{
#ifdef __linux__
    return getauxval(AT_HWCAP) >> 6 & 1; /* HWCAP_SHA2 */
#elif defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}
#endif

static Compress chosen(const char **name)
{
#ifdef X86
    if (has_sha_ni())
        return *name = "SHA-NI", compress_sha_ni;
#endif
#ifdef ARM
    if (has_armv8_sha())
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

/* The first of so many nonces, counted from `start`, that solves, or `count`. */
static uint64_t first_solution(Compress compress, uint32_t block[16], const uint32_t largest[8], uint64_t start,
                               uint64_t count)
{
    uint32_t digests[WAYS][8];
    uint64_t tried = 0;
    while (tried < count) {
        uint64_t nonce = start + tried, left = count - tried;
        /* all ways have the high word of the first, so none may pass the low word's end */
        uint64_t ways = (uint32_t)nonce > UINT32_MAX - (WAYS - 1) ? 1 : WAYS;
        block[HIGH] = (uint32_t)(nonce >> 32), block[LOW] = (uint32_t)nonce;
        compress(block, digests);
        for (uint64_t way = 0; way < ways && way < left; way++)
            if (solves(digests[way], largest))
                return tried + way;
        tried += ways < left ? ways : left;
    }
    return count;
}

static PyObject *search(PyObject *self, PyObject *arguments)
{
    const unsigned char *seed, *largest;
    Py_ssize_t seed_length, largest_length;
    unsigned long long start, count, tried;
    int plainly = 0;
    if (!PyArg_ParseTuple(arguments, "y#y#KK|p", &seed, &seed_length, &largest, &largest_length, &start, &count,
                          &plainly))
        return NULL;
    if (seed_length != 32 || largest_length != 32) {
        PyErr_SetString(PyExc_ValueError, "seed and largest must have 32 bytes each");
        return NULL;
    }
    const char *name;
    Compress compress = plainly ? compress_plainly : chosen(&name);
    uint32_t block[16] = {0}, limit[8];
    for (int i = 0; i < 8; i++)
        block[i] = word_of(seed + 4 * i), limit[i] = word_of(largest + 4 * i);
    block[10] = 0x80000000; /* the padding's first bit, and the length of 40 bytes */
    block[15] = 320;
    Py_BEGIN_ALLOW_THREADS
    tried = first_solution(compress, block, limit, start, count);
    Py_END_ALLOW_THREADS
    if (tried == count)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(start + tried);
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
