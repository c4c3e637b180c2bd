package gitserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// refs lists what each ref of a repository points to.
func (h *Handler) refs(repo string) (map[string]string, error) {
	cmd := exec.Command(h.Git, "for-each-ref", "--format=%(refname) %(objectname)")
	cmd.Dir = filepath.Join(h.Root, filepath.FromSlash(repo))
	cmd.Env = append(append(os.Environ(), "GIT_DIR=."), gitConfig...)
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, object, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[name] = object
	}
	return refs, nil
}

// diff tells what moved, in the order of the refs' names.
func diff(repo string, before, after map[string]string) (moved []Push) {
	for ref, object := range after {
		if before[ref] != object {
			moved = append(moved, Push{Path: repo, Ref: ref, Revision: object})
		}
	}
	for ref := range before {
		if _, ok := after[ref]; !ok {
			moved = append(moved, Push{Path: repo, Ref: ref})
		}
	}
	slices.SortFunc(moved, func(a, b Push) int { return strings.Compare(a.Ref, b.Ref) })
	return moved
}
