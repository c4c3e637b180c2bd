//go:build !race

package plumbtest

const raced = false
