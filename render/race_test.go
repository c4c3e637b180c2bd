//go:build race

package render_test

// raced: what looks for data races has its own words when there is no memory
// left.
const raced = true
