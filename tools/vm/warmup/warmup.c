/*
 * A program for an interpreter to begin with: code of many kinds, most of which
 * is executed only a few times, as when a dynamic linker and a shell start.
 *
 * What counts is the interpreter's own code, which translates this: while it
 * does so, the emulator and the browser compile it.  So it is the number of
 * different instructions that matters here, and nothing is done with the results.
 * No C library: it is to be small, and the same for each processor.
 */
#include <stddef.h>
#include <stdint.h>

#define KEEP __attribute__((noinline, noclone))

struct node {
	struct node *next;
	uint64_t key;
	uint32_t count;
	uint16_t kind;
	uint8_t name[18];
};

static struct node nodes[24];
static uint8_t text[256];
static volatile uint64_t sink;

void *memset(void *target, int value, size_t size)
{
	for (volatile uint8_t *p = target; size > 0; size--)
		*p++ = (uint8_t)value;
	return target;
}

void *memcpy(void *target, const void *source, size_t size)
{
	volatile uint8_t *to = target;

	for (const uint8_t *from = source; size > 0; size--)
		*to++ = *from++;
	return target;
}

/* -- The same for each kind of integer ------------------------------------ */

#define FOR_TYPE(type, name)                                                  \
	static type values_##name[32];                                        \
                                                                              \
	KEEP static void fill_##name(type seed)                               \
	{                                                                     \
		for (size_t i = 0; i < 32; i++) {                             \
			seed = (type)(seed * 77 + 41);                        \
			values_##name[i] = (type)(seed ^ (type)(seed >> 3));  \
		}                                                             \
	}                                                                     \
                                                                              \
	KEEP static type total_##name(const type *v, size_t n)                \
	{                                                                     \
		type total = 0;                                               \
                                                                              \
		for (size_t i = 0; i < n; i++)                                \
			total += v[i];                                        \
		return total;                                                 \
	}                                                                     \
                                                                              \
	KEEP static void sort_##name(type *v, size_t n)                       \
	{                                                                     \
		for (size_t i = 1; i < n; i++) {                              \
			type moved = v[i];                                    \
			size_t j = i;                                         \
			for (; j > 0 && v[j - 1] > moved; j--)                \
				v[j] = v[j - 1];                              \
			v[j] = moved;                                         \
		}                                                             \
	}                                                                     \
                                                                              \
	KEEP static size_t find_##name(const type *v, size_t n, type wanted)  \
	{                                                                     \
		size_t low = 0, high = n;                                     \
                                                                              \
		while (low < high) {                                          \
			size_t middle = low + (high - low) / 2;               \
			if (v[middle] < wanted)                               \
				low = middle + 1;                             \
			else                                                  \
				high = middle;                                \
		}                                                             \
		return low;                                                   \
	}                                                                     \
                                                                              \
	KEEP static type bits_##name(type a, type b, unsigned int shift)      \
	{                                                                     \
		type c = (type)((a & ~b) | (b << (shift & 7)));               \
                                                                              \
		if (c & 1)                                                    \
			c = (type)(c ^ (a >> 2));                             \
		else if ((type)(a + b) < b)                                   \
			c = (type)~c;                                         \
		return (type)(c - (a == b ? 3 : a > b ? b : 5));              \
	}                                                                     \
                                                                              \
	KEEP static type arithmetic_##name(type a, type b, type c)            \
	{                                                                     \
		type product = (type)(a * b + c);                             \
		type divisor = (type)(b | 1);                                 \
                                                                              \
		product = (type)(product / divisor + product % divisor);      \
		return (type)(product + (type)(c * 10) - (type)(a / 7));      \
	}                                                                     \
                                                                              \
	KEEP static void run_##name(type seed)                                \
	{                                                                     \
		fill_##name(seed);                                            \
		sink += (uint64_t)total_##name(values_##name, 32);            \
		sort_##name(values_##name, 12);                               \
		sink += find_##name(values_##name, 12, seed);                 \
		sink += (uint64_t)bits_##name(seed, values_##name[3], 5);     \
		sink += (uint64_t)arithmetic_##name(seed, values_##name[4], 9); \
	}

FOR_TYPE(uint8_t, u8)
FOR_TYPE(int8_t, s8)
FOR_TYPE(uint16_t, u16)
FOR_TYPE(int16_t, s16)
FOR_TYPE(uint32_t, u32)
FOR_TYPE(int32_t, s32)
FOR_TYPE(uint64_t, u64)
FOR_TYPE(int64_t, s64)

/* -- As programs do it ------------------------------------------------------ */

KEEP static size_t length(const uint8_t *string)
{
	const uint8_t *end = string;

	while (*end)
		end++;
	return (size_t)(end - string);
}

KEEP static int compare(const uint8_t *a, const uint8_t *b)
{
	for (; *a && *a == *b; a++)
		b++;
	return *a - *b;
}

KEEP static const uint8_t *last_of(const uint8_t *string, uint8_t wanted)
{
	const uint8_t *found = NULL;

	do
		if (*string == wanted)
			found = string;
	while (*string++);
	return found;
}

/* As symbols of shared objects are found: DT_GNU_HASH. */
KEEP static uint32_t hash(const uint8_t *name)
{
	uint32_t value = 5381;

	for (; *name; name++)
		value = (value << 5) + value + *name;
	return value;
}

KEEP static uint8_t *print_number(uint8_t *out, uint64_t value, unsigned int base,
				  int width)
{
	uint8_t digits[64];
	int n = 0;

	do {
		unsigned int digit = (unsigned int)(value % base);
		digits[n++] = (uint8_t)(digit < 10 ? '0' + digit
						   : 'a' + digit - 10);
		value /= base;
	} while (value);
	while (width-- > n)
		*out++ = ' ';
	while (n > 0)
		*out++ = digits[--n];
	*out = 0;
	return out;
}

KEEP static int64_t parse_number(const uint8_t **at)
{
	const uint8_t *p = *at;
	int64_t value = 0;
	int negative = 0;

	while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
		p++;
	if (*p == '-' || *p == '+')
		negative = *p++ == '-';
	for (; *p >= '0' && *p <= '9'; p++)
		value = value * 10 + (*p - '0');
	*at = p;
	return negative ? -value : value;
}

/* The smallest printf that there is. */
KEEP static uint8_t *format(uint8_t *out, const char *pattern, const uint64_t *values)
{
	for (; *pattern; pattern++) {
		if (*pattern != '%') {
			*out++ = (uint8_t)*pattern;
			continue;
		}
		switch (*++pattern) {
		case 'd':
			if ((int64_t)*values < 0) {
				*out++ = '-';
				out = print_number(out, -*values++, 10, 0);
				break;
			}
			/* fall through */
		case 'u':
			out = print_number(out, *values++, 10, 4);
			break;
		case 'x':
			out = print_number(out, *values++, 16, 0);
			break;
		case 'o':
			out = print_number(out, *values++, 8, 0);
			break;
		case 'c':
			*out++ = (uint8_t)*values++;
			break;
		default:
			*out++ = (uint8_t)*pattern;
		}
	}
	*out = 0;
	return out;
}

KEEP static struct node *insert(struct node *list, struct node *node)
{
	struct node **at = &list;

	while (*at && (*at)->key < node->key)
		at = &(*at)->next;
	node->next = *at;
	*at = node;
	return list;
}

KEEP static uint64_t walk(const struct node *node, int (*wanted)(const struct node *))
{
	uint64_t total = 0;

	for (; node; node = node->next)
		if (wanted(node))
			total += node->key * node->count + node->kind;
	return total;
}

static int is_even(const struct node *node)
{
	return (node->kind & 1) == 0;
}

static int has_name(const struct node *node)
{
	return node->name[0] != 0 && length(node->name) > 2;
}

KEEP static void run_lists(void)
{
	struct node *list = NULL;

	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
		struct node *node = &nodes[i];
		const uint64_t values[] = {i, i * i, ~i};
		struct node copy;

		format(text, "%d:%x %o", values);
		copy.key = hash(text) ^ (uint64_t)hash(text + 1) << 32;
		copy.count = (uint32_t)length(text);
		copy.kind = (uint16_t)(i * 3);
		memcpy(copy.name, text, 8);
		copy.name[8] = 0;
		*node = copy;
		list = insert(list, node);
	}
	sink += walk(list, is_even) + walk(list, has_name);
	sink += (uint64_t)compare(nodes[2].name, nodes[3].name);
	sink += last_of(text, ':') ? 1 : 0;
}

KEEP static void run_text(void)
{
	const uint64_t values[] = {12, (uint64_t)-345, 0xfeed, 'x', 0777};
	const uint8_t *at = text;

	format(text, "%u %d %x%c %o%%", values);
	sink += (uint64_t)parse_number(&at);
	sink += (uint64_t)parse_number(&at);
	sink += (uint64_t)(at - text);
}

KEEP static void run_floating(double x)
{
	double sum = 0;

	for (int i = 1; i < 9; i++)
		sum += x / i - (sum > 2 ? 0.5 : 0.25) * (float)i;
	sink += (uint64_t)(int64_t)(sum * 1000);
}

/* Vectors of 16 bytes, in a way that both compilers and processors have. */
typedef uint8_t vector __attribute__((vector_size(16), may_alias));

KEEP static void run_vectors(void)
{
	vector a = *(vector *)text, b = *(vector *)(text + 16);
	vector equal = (vector)(a == b), sum = a + b, mixed = (a ^ b) & ~sum;

	*(vector *)(text + 32) = equal | (mixed >> 1);
	*(vector *)(text + 48) = sum - mixed;
	sink += text[40];
}

static _Noreturn void end(void)
{
	/* exit_group(0) */
#if defined __x86_64__
	__asm__ volatile("syscall" ::"a"(231), "D"(0));
#elif defined __aarch64__
	register long number __asm__("x8") = 94;
	register long code __asm__("x0") = 0;
	__asm__ volatile("svc 0" ::"r"(number), "r"(code));
#elif defined __riscv
	register long number __asm__("a7") = 94;
	register long code __asm__("a0") = 0;
	__asm__ volatile("ecall" ::"r"(number), "r"(code));
#endif
	__builtin_unreachable();
}

__attribute__((used)) _Noreturn void run(void)
{
	run_u8(3);
	run_s8(5);
	run_u16(7);
	run_s16(11);
	run_u32(13);
	run_s32(17);
	run_u64(19);
	run_s64(23);
	run_lists();
	run_text();
	run_vectors();
	run_floating(3.25);
	end();
}

#if defined __x86_64__
__asm__(".globl _start\n_start: and $-16, %rsp\n call run\n");
#elif defined __aarch64__
__asm__(".globl _start\n_start: b run\n");
#elif defined __riscv
__asm__(".globl _start\n_start: tail run\n");
#endif
