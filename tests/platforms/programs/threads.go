// Goroutines on several threads: channels, mutexes, and 64-bit atomics of all kinds.
//
//	threads SECONDS
//
// Prints one line for each part; "torn" counts 64-bit values that were read in halves of two
// different ones.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const workers = 4

// run starts work on several goroutines, which go on until stop says so.
func run(duration time.Duration, work func(id int, stop *int32)) {
	var group sync.WaitGroup
	var stop int32
	for id := 0; id < workers; id++ {
		group.Add(1)
		go func(id int) {
			defer group.Done()
			work(id, &stop)
		}(id)
	}
	time.Sleep(duration)
	atomic.StoreInt32(&stop, 1)
	group.Wait()
}

func pipeline() int {
	numbers, squares := make(chan int), make(chan int)
	go func() {
		for i := 1; i <= 1000; i++ {
			numbers <- i
		}
		close(numbers)
	}()
	var group sync.WaitGroup
	for i := 0; i < workers; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range numbers {
				squares <- n * n
			}
		}()
	}
	go func() {
		group.Wait()
		close(squares)
	}()
	sum := 0
	for n := range squares {
		sum += n
	}
	return sum
}

func adding(duration time.Duration) bool {
	var total, expected uint64
	run(duration, func(id int, stop *int32) {
		count := uint64(0)
		// Each step carries from the low half into the high one.
		for step := uint64(1) << 31; atomic.LoadInt32(stop) == 0; count += step {
			atomic.AddUint64(&total, step)
		}
		atomic.AddUint64(&expected, count)
	})
	return total == expected
}

func swapping(duration time.Duration) bool {
	var value, turns uint64
	run(duration, func(id int, stop *int32) {
		for atomic.LoadInt32(stop) == 0 {
			old := atomic.LoadUint64(&value)
			if atomic.CompareAndSwapUint64(&value, old, old+(1<<32|1)) {
				atomic.AddUint64(&turns, 1)
			}
		}
	})
	return value == turns<<32|turns&0xffffffff
}

func locking(duration time.Duration) bool {
	var lock sync.Mutex
	var counter, turns uint64
	run(duration, func(id int, stop *int32) {
		for atomic.LoadInt32(stop) == 0 {
			lock.Lock()
			counter++
			lock.Unlock()
			atomic.AddUint64(&turns, 1)
		}
	})
	return counter == turns
}

// storing counts loads that saw half of one store and half of another.
func storing(duration time.Duration) (torn, loads uint64) {
	var value uint64
	run(duration, func(id int, stop *int32) {
		if id < workers/2 {
			for i := uint64(id); atomic.LoadInt32(stop) == 0; i += 2 {
				atomic.StoreUint64(&value, i<<32|i&0xffffffff)
			}
			return
		}
		mine := uint64(0)
		for atomic.LoadInt32(stop) == 0 {
			seen := atomic.LoadUint64(&value)
			if uint32(seen>>32) != uint32(seen) {
				atomic.AddUint64(&torn, 1)
			}
			mine++
		}
		atomic.AddUint64(&loads, mine)
	})
	return torn, loads
}

func main() {
	runtime.GOMAXPROCS(workers)
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	if err != nil {
		panic(err)
	}
	duration := time.Duration(seconds * float64(time.Second))
	fmt.Println("pipeline", pipeline())
	fmt.Println("add", adding(duration))
	fmt.Println("compare-and-swap", swapping(duration))
	fmt.Println("mutex", locking(duration))
	torn, loads := storing(duration)
	fmt.Println("store torn", torn)
	fmt.Fprintln(os.Stderr, "loads", loads)
}
