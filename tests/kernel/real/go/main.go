// SPDX-License-Identifier: Apache-2.0
// A Go program at work: goroutines, channels, timers, garbage collection under pressure, files, HTTP on loopback, signals, panics.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func goroutines() {
	work := make(chan int)
	results := make(chan int, 16)
	var group sync.WaitGroup
	for worker := 0; worker < 200; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range work {
				results <- n * n
			}
		}()
	}
	go func() {
		for n := 0; n < 5000; n++ {
			work <- n
		}
		close(work)
		group.Wait()
		close(results)
	}()
	sum := 0
	for value := range results {
		sum += value
	}
	fmt.Println("squares", sum)
}

func collect() {
	var live [][]byte
	total := 0
	for round := 0; round < 2000; round++ {
		block := make([]byte, 16384)
		block[round%16384] = byte(round)
		if round%40 == 0 {
			live = append(live, block)
		}
		total += len(block)
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	fmt.Println("allocated", total, "kept", len(live), "collected", stats.NumGC > 2, "heap small", stats.HeapAlloc < 16<<20)
	tree := map[string][]int{}
	for n := 0; n < 20000; n++ {
		key := fmt.Sprintf("key-%d", n%997)
		tree[key] = append(tree[key], n)
	}
	fmt.Println("keys", len(tree), len(tree["key-5"]))
}

func timers() {
	start := time.Now()
	ticks := 0
	ticker := time.NewTicker(2 * time.Millisecond)
	done := time.After(50 * time.Millisecond)
loop:
	for {
		select {
		case <-ticker.C:
			ticks++
		case <-done:
			break loop
		}
	}
	ticker.Stop()
	fmt.Println("ticked", ticks > 0, "waited", time.Since(start) >= 50*time.Millisecond)
	var fired int32
	var group sync.WaitGroup
	for n := 0; n < 100; n++ {
		group.Add(1)
		time.AfterFunc(time.Duration(n%10)*time.Millisecond, func() { atomic.AddInt32(&fired, 1); group.Done() })
	}
	group.Wait()
	fmt.Println("fired", fired)
	// A goroutine that never calls anything must still be preempted: the runtime does it by SIGURG.
	stop := int32(0)
	go func() {
		for atomic.LoadInt32(&stop) == 0 {
		}
	}()
	time.Sleep(5 * time.Millisecond)
	atomic.StoreInt32(&stop, 1)
	fmt.Println("preempted")
}

func files() {
	dir, err := os.MkdirTemp("/scratch", "go")
	check(err)
	for n := 0; n < 50; n++ {
		check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d", n)), bytes.Repeat([]byte{byte(n)}, n*100), 0o640))
	}
	entries, err := os.ReadDir(dir)
	check(err)
	sum := sha256.New()
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		check(err)
		sum.Write(data)
	}
	fmt.Printf("files %d %x\n", len(entries), sum.Sum(nil))
	check(os.Rename(filepath.Join(dir, "f01"), filepath.Join(dir, "renamed")))
	_, err = os.Stat(filepath.Join(dir, "f01"))
	fmt.Println("gone", errors.Is(err, os.ErrNotExist))
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	writer.Write(bytes.Repeat([]byte("compress me "), 10000))
	writer.Close()
	reader, err := gzip.NewReader(&packed)
	check(err)
	plain, err := io.ReadAll(reader)
	check(err)
	fmt.Println("unpacked", len(plain))
	check(os.RemoveAll(dir))
	host, err := os.Hostname()
	fmt.Println(host, err, os.Getenv("GIVEN"), os.Args[1:])
}

func web() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(map[string]interface{}{"path": r.URL.Path, "length": len(body)})
	})}
	go server.Serve(listener)
	var group sync.WaitGroup
	lines := make([]string, 40)
	for n := range lines {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			answer, err := http.Post(fmt.Sprintf("http://%s/page/%d", listener.Addr(), n), "text/plain", bytes.NewReader(make([]byte, n*1000)))
			if err != nil {
				lines[n] = err.Error()
				return
			}
			line, _ := bufio.NewReader(answer.Body).ReadString('\n')
			answer.Body.Close()
			lines[n] = line
		}(n)
	}
	group.Wait()
	sort.Strings(lines)
	fmt.Print(lines[0], lines[20], lines[39])
	fmt.Println("closed", server.Close())
	_, err = net.DialTimeout("tcp", listener.Addr().String(), time.Second)
	fmt.Println("refused", errors.Is(err, syscall.ECONNREFUSED))
}

func signals() {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGUSR1)
	syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
	fmt.Println("caught", <-caught)
	defer func() { fmt.Println("recovered:", recover()) }()
	var nothing *int
	fmt.Println(*nothing)
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func main() {
	goroutines()
	collect()
	timers()
	files()
	web()
	signals()
	os.Exit(5)
}
