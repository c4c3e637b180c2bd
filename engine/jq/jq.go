// Package jq evaluates the jq expressions of users in processes of their own,
// where they can be ended: one that loops or asks for all memory there is costs
// its own answer, and nothing else.
//
// [Job] does the work in such a process, and a [Finder] gives it. Of each
// expression and object it asks once, and one that had no answer is not asked
// again for a while.
package jq

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/fxamacker/cbor/v2"

	"plumb.dev/plumb/internal/lru"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/tree"
)

// Kind is that of the jobs.
const Kind = "jq"

// Limits of a process, and of what is kept of answers.
const (
	Memory   = worker.Heavy * 128 << 20 // bytes that it may have, half of which the program takes
	Together = worker.Heavy * 192 << 20 // and all of them
	Time     = 5 * time.Second          // that an expression may take which does not heed [ignore.Patience]

	maxKept   = 4 << 20 // bytes
	maxFailed = 1000
	pause     = time.Minute
)

// A question is what a process is asked, and an answer what it says.
type question struct {
	Expression string
	Object     []byte
}

type answer struct {
	Paths [][]any
	Fault string
}

// Job does a job in a worker.
func Job(ctx context.Context, _ tree.Tree, input []byte) (output []byte, spent bool) {
	var q question
	var a answer
	err := cbor.Unmarshal(input, &q)
	if err == nil {
		a.Paths, err = ignore.Evaluate(ctx, q.Expression, q.Object)
	}
	if err != nil {
		a = answer{Fault: err.Error()}
	}
	if output, err = cbor.Marshal(a); err != nil {
		panic(err) // text and numbers can be encoded
	}
	return output, false
}

// A Finder has expressions evaluated by workers. It implements
// [ignore.Finder].
type Finder struct {
	pool   *worker.Pool
	seed   maphash.Seed
	kept   *lru.Cache[key, [][]any]
	failed *lru.Cache[string, failure]
	now    func() time.Time
}

// key is an expression and an object.
type key struct {
	expression string
	object     uint64
}

// A failure is that of an expression, which is not evaluated again until then.
type failure struct {
	err   error
	until time.Time
}

// NewFinder returns a Finder that works by a pool.
func NewFinder(pool *worker.Pool) *Finder {
	return &Finder{
		pool: pool, seed: maphash.MakeSeed(), now: time.Now,
		kept: lru.New[key, [][]any](maxKept), failed: lru.New[string, failure](4 * maxFailed),
	}
}

// Find implements [ignore.Finder].
func (f *Finder) Find(expression string, object []byte) ([][]any, error) {
	k := key{expression, maphash.Bytes(f.seed, object)}
	if paths, ok := f.kept.Get(k); ok {
		return paths, nil
	}
	if was, ok := f.failed.Get(expression); ok && f.now().Before(was.until) {
		return nil, was.err
	}
	paths, hopeless, err := f.ask(expression, object)
	if hopeless {
		f.failed.Add(expression, failure{err, f.now().Add(pause)}, 1)
	}
	if err != nil {
		return nil, err
	}
	cost := int64(64 + len(expression))
	for _, p := range paths {
		cost += 24 + 32*int64(len(p))
	}
	f.kept.Add(k, paths, cost)
	return paths, nil
}

// ask has a worker evaluate an expression. hopeless says that an error is about
// the expression, and not about workers.
func (f *Finder) ask(expression string, object []byte) (paths [][]any, hopeless bool, err error) {
	input, err := cbor.Marshal(question{expression, object})
	if err != nil {
		return nil, false, err
	}
	output, err := f.pool.Do(context.Background(), worker.Job{Kind: Kind, Input: input, Tree: tree.FromFiles(nil)})
	if err != nil {
		hopeless, err = about(err)
		return nil, hopeless, err
	}
	var a answer
	if err := answers.Unmarshal(output, &a); err != nil {
		return nil, true, fmt.Errorf("read the answer: %w", err)
	}
	if a.Fault != "" {
		return nil, true, errors.New(a.Fault)
	}
	paths, err = plain(a.Paths)
	return paths, err != nil, err
}

// answers decodes what a worker says: no more than an expression may select.
var answers = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxArrayElements: 1 << 14, MaxMapPairs: 16, MaxNestedLevels: 8}.DecMode()
	if err != nil {
		panic(err) // only for options that don't exist
	}
	return m
}()

// about says what a worker's end says of the expression.
func about(err error) (hopeless bool, as error) {
	var failed *worker.Failure
	if !errors.As(err, &failed) {
		return false, err
	}
	switch failed.Cause {
	case worker.Time:
		return true, ignore.ErrTime
	case worker.Memory, worker.Crowded: // of several, who has most is ended
		return true, fmt.Errorf("it takes more than %d MiB of memory", Memory>>20)
	case worker.Crashed, worker.Broken:
		return true, fmt.Errorf("it takes down the process that evaluates it: %w", err)
	case worker.Killed: // by somebody else
	}
	return false, err
}

// plain returns paths of what paths are made of.
func plain(paths [][]any) ([][]any, error) {
	for _, p := range paths {
		for i, step := range p {
			switch step := step.(type) {
			case string:
			case uint64:
				p[i] = int(step) //nolint:gosec // where it is in a list that is in memory
			default:
				return nil, fmt.Errorf("the answer has a step %v", step)
			}
		}
	}
	return paths, nil
}
