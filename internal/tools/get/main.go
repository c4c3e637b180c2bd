// Get builds a program that work on plumb needs, or finds it built, and
// prints its path, or puts it where -o says.
package main

import (
	"flag"
	"fmt"
	"os"

	"plumb.dev/plumb/internal/tools"
)

func main() {
	path := flag.String("o", "", "put the program here instead of printing where it is")
	flag.Parse()
	if err := get(flag.Arg(0), *path); err != nil {
		fmt.Fprintf(os.Stderr, "get: %v\n", err)
		os.Exit(1)
	}
}

func get(name, path string) error {
	root, err := tools.Root()
	if err != nil {
		return err
	}
	for _, p := range tools.All {
		if p.Name != name {
			continue
		}
		if path != "" {
			return tools.Install(root, p, path, os.Stderr)
		}
		exe, err := tools.Build(root, p, os.Stderr)
		if err == nil {
			fmt.Println(exe)
		}
		return err
	}
	return fmt.Errorf("unknown program %q; there are plumb-sandbox, golangci-lint and helm", name)
}
