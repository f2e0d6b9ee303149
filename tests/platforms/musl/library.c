// What a C library does by the processor's help: threads, signals, jumps, printing and reading of
// floating-point numbers, and functions of the math library.
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;
static _Thread_local long own;
static sigjmp_buf back;

static void *count(void *limit) {
  for (; own < (long)limit; own++) {
    pthread_mutex_lock(&mutex);
    counter++;
    pthread_mutex_unlock(&mutex);
  }
  return (void *)own;
}

static void handle(int signal) { siglongjmp(back, signal); }

static int compare(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

int main(void) {
  pthread_t threads[4];
  for (long i = 0; i < 4; i++) pthread_create(&threads[i], 0, count, (void *)(1000 * (i + 1)));
  long sum = 0;
  for (int i = 0; i < 4; i++) {
    void *result;
    pthread_join(threads[i], &result);
    sum += (long)result;
  }
  printf("threads %ld %ld %ld\n", counter, sum, own);

  signal(SIGSEGV, handle);
  volatile char *volatile nowhere = (char *)8;
  int caught = sigsetjmp(back, 1);
  if (!caught) *nowhere = 1;
  printf("signal %d\n", caught);

  printf("numbers %.17g %a %.30Lf %g\n", 0.1, 1.0 / 3, 1.0L / 3, strtod("4.9406564584124654e-324", 0));
  printf("functions %.15g %.15g %.15g %.15Lg\n", sin(1), pow(2, 0.5), exp(1), sqrtl(2));

  static uint32_t numbers[10000];
  for (uint32_t i = 0, x = 1; i < 10000; i++) numbers[i] = x = x * 1664525 + 1013904223;
  qsort(numbers, 10000, 4, compare);
  uint32_t hash = 0;
  for (int i = 0; i < 10000; i++) hash = hash * 31 + numbers[i];
  char *copy = malloc(40000);
  memcpy(copy, numbers, 40000);
  printf("memory %u %d\n", hash, memcmp(copy, numbers, 40000));
  return 0;
}
