//go:build race

package plumbtest

// raced: the tests look for data races, so plumb does too.
const raced = true
