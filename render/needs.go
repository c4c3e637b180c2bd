package render

import (
	"fmt"
	"path"
	"strings"

	"plumb.dev/plumb/fault"
)

// A Need is a chart that a build needs, and the tree does not have.
type Need struct {
	By   string // the file that says so
	At   string // the directory where it is looked for
	Name string
	// Version is a version or a range, and Repository the address of those who have
	// it, as it is written.
	Version, Repository string
}

// Needs is the error of a build for which charts are missing that are to be had
// elsewhere. Whoever can have them fetched lays them into the tree, and builds again.
type Needs struct{ All []Need }

// Error names the first of them.
func (n *Needs) Error() string { return n.Fault().Error() }

// Fault is the error for who can't.
func (n *Needs) Fault() *fault.Error {
	first := n.All[0]
	return &fault.Error{
		Next: fault.Stall, Reason: "InvalidChart",
		Err:  fmt.Errorf("%s: it depends on the chart %s %s of %s, which is not in %s", first.By, first.Name, first.Version, ShownURL(first.Repository), path.Dir(first.At)),
		Hint: fmt.Sprintf("run helm dependency build %s, and commit what is in its directory charts", path.Dir(first.By)),
	}
}

// ShownURL is an address without what may be secret in it.
func ShownURL(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + "://" + rest
}
