// Package gittest serves Git repositories to tests, over HTTP and SSH, by the
// git program itself.
//
// Every commit is by the same author at times that only count up, so the same
// steps give the same hashes. A [Server] counts what is asked of it and can be
// made to fail in the ways that servers do.
//
// It needs git on the PATH. What it starts ends with the test.
package gittest
