/*
 * Loops that GCC makes AVX2, FMA and BMI of with -O3 -march=x86-64-v3, and a few that only intrinsics are
 * sure to be. Prints what they compute, which the processor's is to be equal to.
 */
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 4096 };

static float singles[SIZE], more[SIZE];
static double doubles[SIZE];
static int32_t words[SIZE], places[SIZE];
static uint8_t bytes[SIZE];
static uint64_t wide[SIZE];

static uint64_t state = 1;

static uint32_t next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

/* Not inlined, so that each is one loop. */
#define LOOP __attribute__((noinline))

static LOOP void axpy(float a, int n)
{
    for (int i = 0; i < n; i++)
        more[i] = a * singles[i] + more[i];
}

static LOOP double dot(int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum = fma(doubles[i], doubles[SIZE - 1 - i], sum);
    return sum;
}

static LOOP int64_t gathered(int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += words[places[i]];
    return sum;
}

static LOOP void chosen(int n)
{
    for (int i = 0; i < n; i++)
        words[i] = words[i] > 0 ? words[i] >> (places[i] & 15) : words[i] ^ places[i];
}

static LOOP unsigned counted(int n)
{
    unsigned count = 0;
    for (int i = 0; i < n; i++)
        count += bytes[i] == 'a' || bytes[i] == 'z';
    return count;
}

static LOOP uint64_t bits(int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++) {
        uint64_t x = wide[i];
        sum += __builtin_ctzll(x | 1ull << 63) + __builtin_clzll(x | 1) + __builtin_popcountll(x & (x - 1));
        sum ^= _pdep_u64(x, wide[i ^ 1]) + _pext_u64(x, wide[i ^ 2]) + _bextr_u64(x, i & 63, i >> 6);
        sum = (sum << 7 | sum >> 57) ^ (~x & wide[i ^ 3]) ^ (uint64_t)((unsigned __int128)x * sum >> 64);
    }
    return sum;
}

static LOOP float halves(int n)
{
    float sum = 0;
    for (int i = 0; i < n; i += 8) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(singles + i), 0);
        sum += _mm256_cvtss_f32(_mm256_hadd_ps(_mm256_cvtph_ps(half), _mm256_cvtph_ps(half)));
    }
    return sum;
}

static LOOP uint64_t permuted(int n)
{
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < n; i += 8) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(words + i));
        __m256i order = _mm256_loadu_si256((const __m256i *)(places + i));
        sum = _mm256_add_epi64(_mm256_permutevar8x32_epi32(x, order), _mm256_permute4x64_epi64(sum, 0x93));
        sum = _mm256_xor_si256(sum, _mm256_maskload_epi32(words + i, order));
        sum = _mm256_add_epi32(sum, _mm256_i32gather_epi32(words, order, 4));
    }
    uint64_t out[4];
    _mm256_storeu_si256((__m256i *)out, sum);
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}

/* The upper halves are there again behind a signal handler that has changed them. */
static void handler(int number)
{
    __m256i junk = _mm256_set1_epi32(number);
    __asm__ volatile("vmovdqa %0, %%ymm7" : : "x"(junk) : "xmm7");
}

static LOOP uint64_t interrupted(void)
{
    uint64_t out[4];
    long result = 62; /* kill */
    __asm__ volatile("vmovdqu %2, %%ymm7\n\tsyscall\n\tvmovdqu %%ymm7, %1"
                     : "+a"(result), "=m"(out)
                     : "m"(*(char(*)[32])words), "D"((long)getpid()), "S"((long)SIGUSR1)
                     : "rcx", "r11", "xmm7", "memory");
    return out[0] ^ out[1] << 1 ^ out[2] << 2 ^ out[3] << 3;
}

static uint64_t digest(const void *data, size_t size)
{
    const uint8_t *at = data;
    uint64_t sum = 14695981039346656037u;
    while (size--)
        sum = (sum ^ *at++) * 1099511628211u;
    return sum;
}

int main(void)
{
    signal(SIGUSR1, handler);
    for (int i = 0; i < SIZE; i++) {
        singles[i] = (int32_t)next() / 65536.0f - 16384;
        more[i] = (int32_t)next() / 1048576.0f;
        doubles[i] = (int32_t)next() / 3.0 - 1e8;
        words[i] = next() - 0x40000000;
        places[i] = next() % SIZE;
        bytes[i] = next();
        wide[i] = (uint64_t)next() << 33 ^ next() << 2;
    }
    for (int turn = 0; turn < 40; turn++) {
        int n = SIZE - turn;
        axpy(1.0f / (turn + 1), n);
        chosen(n);
        if (turn % 10 == 0) {
            printf("%d %.17g %lld %u %016llx %.9g %016llx\n", turn, dot(n), (long long)gathered(n), counted(n),
                   (unsigned long long)bits(n & ~3), halves(SIZE), (unsigned long long)permuted(SIZE));
            printf("%016llx %016llx\n", (unsigned long long)digest(more, sizeof more),
                   (unsigned long long)digest(words, sizeof words));
        }
    }
    printf("%016llx\n", (unsigned long long)interrupted());
    printf("%zu %zu %d\n", strlen((char *)memset(bytes, 'x', 777)), strnlen((char *)bytes + 3, 500),
           memcmp(bytes, bytes + 1, 700));
    return 0;
}
