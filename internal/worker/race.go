//go:build race

package worker

// Heavy is how many times the memory a program takes that looks for data races.
const Heavy = 4
