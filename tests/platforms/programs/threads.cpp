// Threads: condition variables, mutexes, thread-local storage, and 64-bit atomics of all kinds.
//
//     threads SECONDS
//
// Prints one line for each part; "torn" counts 64-bit values that were read in halves of two
// different ones.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <queue>
#include <stdexcept>
#include <thread>
#include <vector>

static const int workers = 4;

// Runs work on several threads, which go on until stop says so.
static void run(double seconds, const std::function<void(int, std::atomic<bool> &)> &work)
{
	std::atomic<bool> stop{false};
	std::vector<std::thread> threads;
	for (int id = 0; id < workers; id++)
		threads.emplace_back([&, id] { work(id, stop); });
	std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
	stop = true;
	for (auto &thread : threads)
		thread.join();
}

static long produce_and_consume()
{
	std::mutex lock;
	std::condition_variable changed;
	std::queue<int> queue;
	bool finished = false;
	std::atomic<long> sum{0};
	std::vector<std::thread> consumers;
	for (int i = 0; i < workers; i++)
		consumers.emplace_back([&] {
			std::unique_lock<std::mutex> held(lock);
			for (;;) {
				changed.wait(held, [&] { return finished || !queue.empty(); });
				if (queue.empty())
					return;
				sum += queue.front();
				queue.pop();
			}
		});
	for (int i = 1; i <= 2000; i++) {
		std::lock_guard<std::mutex> held(lock);
		queue.push(i);
		changed.notify_one();
	}
	{
		std::lock_guard<std::mutex> held(lock);
		finished = true;
	}
	changed.notify_all();
	for (auto &thread : consumers)
		thread.join();
	return sum;
}

static bool add(double seconds)
{
	std::atomic<uint64_t> total{0}, expected{0};
	run(seconds, [&](int, std::atomic<bool> &stop) {
		uint64_t count = 0;
		// Each step carries from the low half into the high one.
		const uint64_t step = uint64_t(1) << 31;
		for (; !stop; count += step)
			total += step;
		expected += count;
	});
	return total == expected;
}

static bool compare_and_swap(double seconds)
{
	std::atomic<uint64_t> value{0}, turns{0};
	run(seconds, [&](int, std::atomic<bool> &stop) {
		while (!stop) {
			uint64_t old = value;
			if (value.compare_exchange_strong(old, old + (uint64_t(1) << 32 | 1)))
				turns++;
		}
	});
	return value == (turns << 32 | (turns & 0xffffffff));
}

static bool throw_and_catch()
{
	std::atomic<long> caught{0}, thrown{0};
	run(0.2, [&](int id, std::atomic<bool> &stop) {
		static thread_local int mine;
		for (mine = id; !stop; thrown++)
			try {
				throw std::runtime_error("x");
			} catch (const std::exception &) {
				caught += mine == id;
			}
	});
	return caught == thrown && thrown > 0;
}

// Counts loads that saw half of one store and half of another.
static uint64_t store(double seconds, std::memory_order order, uint64_t &loads)
{
	std::atomic<uint64_t> value{0}, torn{0}, total{0};
	run(seconds, [&](int id, std::atomic<bool> &stop) {
		if (id < workers / 2) {
			for (uint64_t i = id; !stop; i += 2)
				value.store(i << 32 | (i & 0xffffffff), order);
			return;
		}
		uint64_t mine = 0;
		for (; !stop; mine++) {
			uint64_t seen = value.load(std::memory_order_relaxed);
			torn += uint32_t(seen >> 32) != uint32_t(seen);
		}
		total += mine;
	});
	loads += total;
	return torn;
}

int main(int, char **argv)
{
	double seconds = std::atof(argv[1]);
	uint64_t loads = 0;
	std::printf("queue %ld\n", produce_and_consume());
	std::printf("add %s\n", add(seconds) ? "true" : "false");
	std::printf("compare-and-swap %s\n", compare_and_swap(seconds) ? "true" : "false");
	std::printf("exceptions %s\n", throw_and_catch() ? "true" : "false");
	std::printf("store torn %llu\n",
		    (unsigned long long)store(seconds, std::memory_order_seq_cst, loads));
	std::printf("relaxed store torn %llu\n",
		    (unsigned long long)store(seconds, std::memory_order_relaxed, loads));
	std::fprintf(stderr, "loads %llu\n", (unsigned long long)loads);
}
