/* What compilers make of C: each function's result goes into an array. Freestanding. */
asm(".section .text.unlikely,\"ax\"\n jmp start\n .text");

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef __SIZE_TYPE__ size_t;

#ifdef __x86_64__
#define POPCOUNT __builtin_popcountll
#define TRAILING __builtin_ctzll
#define LEADING __builtin_clzll
#else
#define POPCOUNT(x) (__builtin_popcount(x) + __builtin_popcount(x >> 32))
#define TRAILING(x) ((u32)x ? __builtin_ctz(x) : 32 + __builtin_ctz(x >> 32))
#define LEADING(x) (x >> 32 ? __builtin_clz(x >> 32) : 32 + __builtin_clz(x | 1))
#endif

static u64 *const results = (u64 *)DATA;
static u8 *const buffer = (u8 *)(DATA + 0x10000);

void *memcpy(void *to, const void *from, size_t size) {
    u8 *t = to; const u8 *f = from;
    while (size--) *t++ = *f++;
    return to;
}
void *memset(void *to, int value, size_t size) {
    u8 *t = to;
    while (size--) *t++ = value;
    return to;
}

static u64 state;
static u64 rnd(void) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return state >> 20;
}

static __attribute__((noinline)) u32 crc32(const u8 *data, size_t size) {
    u32 crc = ~0u;
    for (u64 i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static __attribute__((noinline)) void sort(i64 *a, i64 low, i64 high) {
    while (low < high) {
        i64 pivot = a[(low + high) / 2], i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot) i++;
            while (a[j] > pivot) j--;
            if (i <= j) { i64 t = a[i]; a[i++] = a[j]; a[j--] = t; }
        }
        if (j - low < high - i) { sort(a, low, j); low = i; } else { sort(a, i, high); high = j; }
    }
}

static __attribute__((noinline)) u64 fibonacci(u32 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

/* A machine with a jump table. */
static __attribute__((noinline)) i64 interpret(const u8 *code, i64 x) {
    i64 stack[16]; int depth = 0; u64 steps = 0;
    for (;;) {
        if (++steps > 3000) return x;
        switch (*code++) {
        case 0: stack[depth++ & 15] = x; break;
        case 1: x += stack[--depth & 15]; break;
        case 2: x -= *code++; break;
        case 3: x *= 3; break;
        case 4: x ^= x >> 7; break;
        case 5: x = (u64)x << 5 | (u64)x >> 59; break;
        case 6: if (x & 1) code += 1; break;
        case 7: x = x / 7 + x % 5; break;
        case 8: x = ~x; break;
        case 9: code -= 12; break;
        default: x++;
        }
    }
}

static u32 rotate(u32 x, int n) { return x >> n | x << (32 - n); }
static __attribute__((noinline)) u32 mix(const u32 *words) {
    u32 a = 0x6a09e667, b = 0xbb67ae85, c = 0x3c6ef372, d = 0xa54ff53a;
    for (int i = 0; i < 256; i++) {
        u32 t = d + (rotate(a, 6) ^ rotate(a, 11) ^ rotate(a, 25)) + ((a & b) ^ (~a & c)) + words[i & 63];
        d = c; c = b; b = a; a = t + rotate(t, 13) + (t >> 3);
    }
    return a ^ b ^ c ^ d;
}

static __attribute__((noinline)) u64 divide(u64 seed) {
    u64 sum = 0;
    state = seed;
    for (int i = 0; i < 300; i++) {
        u64 a = rnd(), b = rnd() | 1;
        sum += a / b + a % b + (i64)(a - b) / (i64)(b >> 5 | 1) + (u32)a / ((u32)b | 1) + (int)a % (int)(b >> 9 | 1);
#ifdef __x86_64__
        sum ^= (u64)(((unsigned __int128)a * b) >> 64) + (u64)(((__int128)(i64)-a * (i64)b) >> 64);
#endif
    }
    return sum;
}

static __attribute__((noinline)) double matrix(int n) {
    double *a = (double *)(buffer + 0x8000), *b = a + n * n, *c = b + n * n;
    for (int i = 0; i < n * n; i++) { a[i] = i * 0.5 - 7; b[i] = 3.25 - i * 0.125; }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
    double total = 0;
    for (int i = 0; i < n * n; i++) total += c[i] / (1 + (i & 3));
    return total;
}

static __attribute__((noinline)) float singles(int n) {
    float sum = 0, x = 0.1f;
    for (int i = 0; i < n; i++) { sum += x * x - i; x = x * 1.0001f + (float)i / 3; if (sum < -1e6f) sum = -sum; }
    return sum;
}

static __attribute__((noinline)) u64 strings(void) {
    u64 hash = 5381, length = 0;
    char *text = (char *)buffer;
    for (int i = 0; i < 4000; i++) text[i] = 'a' + i * 7 % 26;
    text[4000] = 0;
    while (text[length]) length++;
    for (char *p = text; *p; p++) hash = hash * 33 + (u8)*p;
    for (u64 i = 0, j = length - 1; i < j; i++, j--) { char t = text[i]; text[i] = text[j]; text[j] = t; }
    __builtin_memcpy(text + 5000, text + 3, 3000);
    for (u64 i = 0; i < 3000; i++) hash = (hash << 7 | hash >> 57) ^ text[5000 + i] ^ (u64)(signed char)(text[i] + 100) << 9;
    return hash + length;
}

static __attribute__((noinline)) u64 bits(void) {
    u64 sum = 0;
    state = 99;
    for (int i = 0; i < 500; i++) {
        u64 x = rnd() | 1;
        sum += TRAILING(x) + LEADING(x) + POPCOUNT(x) + __builtin_bswap64(x) + __builtin_parity(x);
        sum ^= (u64)(u16)x << (x & 63);
        if (x >> (i & 63) & 1) sum += 3;
    }
    return sum;
}

#ifdef __i386__
/* What compilers call for numbers of 64 bits. */
u64 __udivmoddi4(u64 a, u64 b, u64 *rest) {
    u64 result = 0, left = 0;
    for (int bit = 63 - LEADING(a); bit >= 0; bit--) {
        left = left << 1 | (a >> bit & 1);
        if (left >= b) left -= b, result |= 1ull << bit;
    }
    if (rest) *rest = left;
    return result;
}
u64 __udivdi3(u64 a, u64 b) { return __udivmoddi4(a, b, 0); }
u64 __umoddi3(u64 a, u64 b) { u64 rest; __udivmoddi4(a, b, &rest); return rest; }
i64 __divdi3(i64 a, i64 b) {
    u64 result = __udivmoddi4(a < 0 ? -(u64)a : (u64)a, b < 0 ? -(u64)b : (u64)b, 0);
    return (a < 0) != (b < 0) ? -result : result;
}
i64 __moddi3(i64 a, i64 b) {
    u64 rest;
    __udivmoddi4(a < 0 ? -(u64)a : (u64)a, b < 0 ? -(u64)b : (u64)b, &rest);
    return a < 0 ? -rest : rest;
}
#endif

/* Code that changes itself: the immediate operand of `mov $1, %eax`. */
int changing(void);
asm(".balign 64\nchanging: .byte 0xb8, 1, 0, 0, 0\nimul $3, %eax, %eax\nret\n.balign 64");
static __attribute__((noinline)) u64 changes(void) {
    u64 sum = 0;
    for (u32 i = 0; i < 3000; i++) {
        if (i % 500 == 0) ((volatile u8 *)changing)[1] = i / 500 + 1;
        sum = sum * 5 + changing();
    }
    return sum;
}

__attribute__((noreturn)) void start(void) {
    static const u8 code[] = {10, 10, 10, 0, 3, 4, 5, 6, 2, 9, 1, 7, 8, 0, 6, 1, 3, 9, 10, 10};
    u64 *r = results;
    for (int round = 0; round < 4; round++) {
        state = round;
        for (int i = 0; i < 4096; i++) buffer[i] = rnd();
        *r++ = crc32(buffer, 2000);
        i64 *numbers = (i64 *)(buffer + 0x1000);
        for (int i = 0; i < 1000; i++) numbers[i] = rnd() - (1ull << 43);
        sort(numbers, 0, 999);
        for (int i = 1; i < 1000; i++) if (numbers[i - 1] > numbers[i]) *r = 1;
        *r++ = numbers[500];
        *r++ = fibonacci(15);
        for (int i = 0; i < 10; i++) *r++ = interpret(code + 3, i * 77 - 100);
        for (int i = 0; i < 10; i++) *r++ = mix((u32 *)buffer + i);
        *r++ = divide(round);
        *(double *)r++ = matrix(16);
        *(float *)r++ = singles(1000);
        *r++ = strings();
        *r++ = bits();
        *r++ = changes();
    }
    __builtin_trap();
}
