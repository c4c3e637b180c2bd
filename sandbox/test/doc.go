// Package test runs the built plumb-sandbox as its users do. It holds no code
// but tests, and doesn't import the commands it tests, so that it builds in
// seconds.
package test
