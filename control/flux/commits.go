package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/control/view"
)

// lastCommits is the annotation of a source with its last commits, as
// [view.Commits] has them. The status of a unit that they don't touch may say
// an older revision for a while; by this, whoever reads it knows better.
const lastCommits = "plumb.dev/last-commits"

// Bounds of what is recorded of commits.
const (
	commitsFor  = 2 * time.Minute // how long one is: twice as long as a status may be behind, and more
	mostCommits = 50
	mostTouched = 200 // units, by all of them
)

// commitsOf is what is recorded of the last commits to a source. What can't be
// read is not there.
func commitsOf(u *unstructured.Unstructured) (all view.Commits) {
	if json.Unmarshal([]byte(u.GetAnnotations()[lastCommits]), &all) != nil {
		return nil
	}
	return all
}

// commits are the last ones of each source.
type commits struct {
	mu sync.Mutex
	of map[types.NamespacedName][]commit
}

type commit struct {
	view.CommitTo
	at time.Time
}

// add records a commit, and reports whether it could.
func (c *commits) add(key types.NamespacedName, from, to string, units []string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[types.NamespacedName][]commit)
	}
	all := c.of[key]
	if len(all) == 0 || all[len(all)-1].Revision != from {
		all = []commit{{CommitTo: view.CommitTo{Revision: from}, at: now}}
	}
	all = append(all, commit{CommitTo: view.CommitTo{Revision: to, Touched: slices.Sorted(slices.Values(units))}, at: now})
	// The first is where the others begin.
	for len(all) > 2 && all[1].at.Add(commitsFor).Before(now) {
		all = all[1:]
		all[0].Touched = nil
	}
	touched := 0
	for _, one := range all {
		touched += len(one.Touched)
	}
	if touched > mostTouched || len(all) > mostCommits {
		delete(c.of, key)
		return false
	}
	c.of[key] = all
	return true
}

func (c *commits) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, key)
}

// record is what the annotation is to say.
func (c *commits) record(key types.NamespacedName) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all view.Commits
	for _, one := range c.of[key] {
		all = append(all, one.CommitTo)
	}
	if len(all) == 0 {
		return "", nil
	}
	b, err := json.Marshal(all)
	return string(b), err
}

// write stores what is recorded of the commits to a source, if it is new. After a
// start nothing is recorded, and what was before holds for as long as it ends with
// the newest revision.
func (c *commits) write(ctx context.Context, to client.Client, u *unstructured.Unstructured, newest string) error {
	record, err := c.record(client.ObjectKeyFromObject(u))
	if err != nil || record == u.GetAnnotations()[lastCommits] {
		return err
	}
	if stored := commitsOf(u); record == "" && len(stored) > 0 && stored[len(stored)-1].Revision == newest {
		return nil
	}
	with := u.DeepCopy()
	ann := with.GetAnnotations()
	if ann == nil {
		ann = make(map[string]string, 1)
	}
	if ann[lastCommits] = record; record == "" {
		delete(ann, lastCommits)
	}
	with.SetAnnotations(ann)
	if err := to.Patch(ctx, with, client.MergeFrom(u), client.FieldOwner(sourceManager)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("record what the last commits touch: %w", err)
	}
	return nil
}
