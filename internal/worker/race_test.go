//go:build race

package worker_test

// raced: what looks for data races takes some times the memory, and has its own
// words when there is none left.
const raced = true
