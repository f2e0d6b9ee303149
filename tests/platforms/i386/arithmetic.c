/*
 * Prints what the instructions of the x87 make of numbers without a pattern, as C libraries for
 * i386 use them: for each function a line per result, rounded to a double. Processors may differ
 * in the last of the 80 bits of a transcendental function, but not here.
 */
#include "start.h"

#define COUNT 300

static unsigned long long state = 0x9e3779b97f4a7c15;

static unsigned long long random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* A number of either sign with an exponent of base 2 from low up to high. */
static double random_number(int low, int high)
{
	union { unsigned long long bits; double value; } number;
	unsigned long long exponent = low + (int)(random_bits() >> 33) % (high - low + 1) + 1023;

	number.bits = (random_bits() & 0x800fffffffffffffULL) | exponent << 52;
	return number.value;
}

static double absolute(double x)
{
	return x < 0 ? -x : x;
}

static double add(double x, double y) { return (long double)x + y; }
static double subtract(double x, double y) { return (long double)x - y; }
static double multiply(double x, double y) { return (long double)x * y; }
static double divide(double x, double y) { return (long double)x / y; }

static double square_root(double x, double y)
{
	long double result;

	(void)y;
	__asm__("fsqrt" : "=t"(result) : "0"((long double)absolute(x)));
	return result;
}

static double fmod(double x, double y)
{
	long double result;

	__asm__("1: fprem\n fnstsw %%ax\n testb $4, %%ah\n jnz 1b"
		: "=t"(result) : "0"((long double)x), "u"((long double)y) : "ax", "cc");
	return result;
}

static double remainder(double x, double y)
{
	long double result;

	__asm__("1: fprem1\n fnstsw %%ax\n testb $4, %%ah\n jnz 1b"
		: "=t"(result) : "0"((long double)x), "u"((long double)y) : "ax", "cc");
	return result;
}

static long double log2_times(long double x, long double factor)
{
	long double result;

	__asm__("fyl2x" : "=t"(result) : "0"(x), "u"(factor) : "st(1)");
	return result;
}

/* 2 to the power of x, less 1. */
static long double power_of_2(long double x, long double *one)
{
	long double whole, rest, result;

	__asm__("frndint" : "=t"(whole) : "0"(x));
	__asm__("f2xm1" : "=t"(rest) : "0"(x - whole));
	__asm__("fscale" : "=t"(*one) : "0"(1.0L), "u"(whole));
	__asm__("fscale" : "=t"(result) : "0"(rest), "u"(whole));
	return result;
}

static double pow(double x, double y)
{
	long double one, rest = power_of_2(log2_times(absolute(x), y / 64), &one);

	return rest + one;
}

static double expm1(double x, double y)
{
	long double e, one, rest;

	(void)y;
	__asm__("fldl2e" : "=t"(e));
	rest = power_of_2(x * e, &one);
	return rest + (one - 1);
}

static double log1p(double x, double y)
{
	long double ln2, result, argument = x / 1024;

	(void)y;
	__asm__("fldln2" : "=t"(ln2));
	__asm__("fyl2xp1" : "=t"(result) : "0"(argument), "u"(ln2) : "st(1)");
	return result;
}

static double log(double x, double y)
{
	long double ln2;

	(void)y;
	__asm__("fldln2" : "=t"(ln2));
	return log2_times(absolute(x), ln2);
}

static double atan2(double x, double y)
{
	long double result;

	__asm__("fpatan" : "=t"(result) : "0"((long double)x), "u"((long double)y) : "st(1)");
	return result;
}

static double sin(double x, double y)
{
	long double result;

	(void)y;
	__asm__("fsin" : "=t"(result) : "0"((long double)x));
	return result;
}

static double cos(double x, double y)
{
	long double result;

	(void)y;
	__asm__("fcos" : "=t"(result) : "0"((long double)x));
	return result;
}

static double tan(double x, double y)
{
	long double one, result;

	(void)y;
	__asm__("fptan" : "=t"(one), "=u"(result) : "0"((long double)x));
	return result;
}

static const struct {
	const char *name;
	double (*function)(double, double);
	int low, high; /* the exponents of x */
} FUNCTIONS[] = {
	{ "add", add, -300, 300 },
	{ "subtract", subtract, -60, 60 },
	{ "multiply", multiply, -300, 300 },
	{ "divide", divide, -300, 300 },
	{ "square_root", square_root, -300, 300 },
	{ "fmod", fmod, -20, 300 },
	{ "remainder", remainder, -20, 300 },
	{ "pow", pow, -20, 20 },
	{ "expm1", expm1, -30, 8 },
	{ "log1p", log1p, -30, 7 },
	{ "log", log, -300, 300 },
	{ "atan2", atan2, -60, 60 },
	{ "sin", sin, -20, 2 },
	{ "cos", cos, -20, 2 },
	{ "tan", tan, -20, 2 },
};

int run(void)
{
	for (unsigned f = 0; f < sizeof FUNCTIONS / sizeof *FUNCTIONS; f++)
		for (int i = 0; i < COUNT; i++) {
			double x = random_number(FUNCTIONS[f].low, FUNCTIONS[f].high);
			union { double value; unsigned half[2]; } result = {
				FUNCTIONS[f].function(x, random_number(-10, 10))
			};

			put(FUNCTIONS[f].name);
			put(" ");
			put_hex(result.half[1]);
			put_hex(result.half[0]);
			put("\n");
		}
	flush();
	return 0;
}
