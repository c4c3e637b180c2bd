package main

import (
	"fmt"
	"os"
	"path/filepath"

	"plumb.dev/plumb/sandbox/internal/component"
)

func main() {
	// The cluster's processes are this executable, called by another name.
	if name := filepath.Base(os.Args[0]); component.Known(name) {
		os.Exit(component.Main(name, os.Args[1:]))
	}
	if len(os.Args) > 1 && component.Known(os.Args[1]) {
		os.Exit(component.Main(os.Args[1], os.Args[2:]))
	}
	if err := command().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "plumb-sandbox: %v\n", err)
		os.Exit(1)
	}
}
