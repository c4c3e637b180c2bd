// Package lua judges objects by rules that users write in Lua, as Argo CD has
// them in its ConfigMap argocd-cm.
//
// A rule is given the object as obj and returns a table with status and message.
// It has the basic functions of Lua and those of tables, and no other library:
// what it says follows from the object alone, so it is asked once for each
// version of one. It runs in a process that can be ended ([Job]); one that takes
// too long or too much memory costs nobody else anything, and is not tried again
// for a while.
//
// A rule that has no answer is an error that names where the rule is from. It is
// never a judgement.
package lua

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/lru"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
	"plumb.dev/plumb/watch/health"
)

// Kind is that of the jobs of a worker that judge by Lua.
const Kind = "health-lua"

const (
	// work is how long a rule may work on one object.
	work = time.Second
	// Time is after which time its process is to be ended: what a rule does in a
	// single step, such as to make a long text, it does to its end.
	Time = 3 * time.Second
	// queued is how long a judgement may take, with waiting for others.
	queued = 10 * time.Second
	// Memory is how much a process is to have, in bytes, with what it has of its
	// own.
	Memory = 160 << 20
	// mostKept is how many judgements are kept.
	mostKept = 4000
	// firstPause is how long a rule is not tried that ended its process, or took
	// too long. Each further one is twice as long, up to lastPause.
	firstPause = time.Minute
	lastPause  = time.Hour
)

// A Runner runs rules. It is safe for concurrent use.
type Runner struct {
	pool *worker.Pool
	kept *lru.Cache[[sha256.Size]byte, judgement]

	mu     sync.Mutex
	paused map[rule]*pause
}

type pause struct {
	err   error
	until time.Time
	next  time.Duration
}

// NewRunner returns a runner on a pool whose processes do [Job], and end after
// [Time] and with more than [Memory].
func NewRunner(pool *worker.Pool) *Runner {
	return &Runner{
		pool: pool,
		kept: lru.New[[sha256.Size]byte, judgement](mostKept), paused: map[rule]*pause{},
	}
}

// A rule is a script and where it is from.
type rule struct{ from, script string }

// A judge judges by a rule. Two of the same rule are equal.
type judge struct {
	runner *Runner
	rule
}

// request and response are what is said to a worker and what it says.
type request struct {
	Script string
	Object []byte // as JSON
}

type response struct {
	Status, Message string
	// Deletion is the message for an object that is being deleted. With one, the
	// status is for that, too.
	Deletion string
	// Wrong is why there is no status, and Late that it took too long.
	Wrong string
	Late  bool
}

// A judgement is what a rule says of an object, and what of its deletion if it
// has a word for that.
type judgement struct {
	health.Result
	deletion string
}

var deleting = health.Result{Status: health.Terminating, Message: "being deleted"}

// Of implements [health.Judge]. Of an object that is being deleted a rule has a
// word only if it gives a message for that.
func (j judge) Of(u *unstructured.Unstructured) health.Result {
	if u.GetDeletionTimestamp() == nil {
		return j.says(u).Result
	}
	if !strings.Contains(j.script, fieldDeletion) {
		return deleting
	}
	switch said := j.says(u); {
	case said.Err != nil:
		return said.Result
	case said.deletion == "":
		return deleting
	default:
		return health.Result{Status: said.Status, Message: said.deletion}
	}
}

// Ended implements [health.Ender].
func (j judge) Ended(u *unstructured.Unstructured) health.Result { return j.says(u).Result }

// says is what the rule says of an object, asked once for each version of it.
func (j judge) says(u *unstructured.Unstructured) judgement {
	key := j.key(u)
	if said, ok := j.runner.kept.Get(key); ok {
		return said
	}
	ctx, cancel := context.WithTimeout(context.Background(), queued)
	defer cancel()
	said := j.runner.ask(ctx, j.rule, u)
	if said.Err == nil || fault.Of(said.Err).Next != fault.Retry {
		j.runner.kept.Add(key, said, 1)
	}
	return said
}

// key names a rule and a version of an object.
func (j judge) key(u *unstructured.Unstructured) (sum [sha256.Size]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q ", j.from, j.script)
	if uid, v := u.GetUID(), u.GetResourceVersion(); uid != "" && v != "" {
		fmt.Fprintf(h, "%q %q %q", uid, v, u.GroupVersionKind())
	} else {
		_ = json.NewEncoder(h).Encode(u.Object) // what is no JSON is told by ask
	}
	h.Sum(sum[:0])
	return sum
}

// ask has a process judge u.
func (r *Runner) ask(ctx context.Context, by rule, u *unstructured.Unstructured) judgement {
	if err := r.before(by); err != nil {
		return failed(err)
	}
	object, err := json.Marshal(u.Object)
	if err != nil {
		return judgement{Result: health.Result{Status: health.Unknown, Message: "the object is no JSON"}}
	}
	input, err := cbor.Marshal(request{by.script, object})
	if err != nil {
		return failed(by.retry(err))
	}
	out, err := r.pool.Do(ctx, worker.Job{Kind: Kind, Input: input, Tree: tree.FromFiles(nil)})
	var ended *worker.Failure
	switch {
	case errors.As(err, &ended) && ended.Cause != worker.Killed:
		return failed(r.after(by, by.wrong("%s", ending(ended))))
	case err != nil:
		return failed(by.retry(err))
	}
	var a response
	if err := cbor.Unmarshal(out, &a); err != nil {
		return failed(by.retry(err))
	}
	if a.Late {
		return failed(r.after(by, by.wrong("it works for longer than %s on one object", work)))
	}
	r.worked(by)
	return by.result(u, a)
}

// ending says what a rule has done to its process.
func ending(f *worker.Failure) string {
	switch f.Cause {
	case worker.Time:
		return fmt.Sprintf("it works for longer than %s on one object", work)
	case worker.Memory, worker.Crowded:
		return fmt.Sprintf("it takes more than %d MiB of memory", Memory>>20)
	}
	return fmt.Sprintf("it has ended its process, as what takes too much memory at once does: %v", f)
}

// result is what an answer says of u.
func (by rule) result(u *unstructured.Unstructured, a response) judgement {
	secret := object.IsSecret(u)
	if a.Wrong != "" {
		if secret {
			a.Wrong = "it fails; why is not shown, because that may quote a Secret's values"
		}
		return failed(by.wrong("%s", a.Wrong))
	}
	status, known := statuses[a.Status]
	switch {
	case a.Status == "":
		return judgement{Result: health.Result{Unruled: true}}
	case !known:
		return failed(by.wrong("it returns the status %q, which is none of Healthy, Progressing, Suspended, Degraded, Missing and Unknown", a.Status))
	case secret:
		a.Message = ""
		if a.Deletion != "" {
			a.Deletion = deleting.Message
		}
	}
	line := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	return judgement{health.Result{Status: status, Message: line(a.Message)}, line(a.Deletion)}
}

var statuses = map[string]health.Status{
	"Healthy": health.Current, "Progressing": health.InProgress, "Suspended": health.Suspended,
	"Degraded": health.Failed, "Missing": health.Missing, "Unknown": health.Unknown,
}

// before returns why a rule is not tried now.
func (r *Runner) before(by rule) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.paused[by]
	if p == nil || time.Until(p.until) <= 0 {
		return nil
	}
	again := *fault.Of(p.err)
	again.Next = fault.Retry // of this object nothing is known yet
	return &again
}

// after has a rule pause.
func (r *Runner) after(by rule, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.paused[by]
	if p == nil {
		p = &pause{next: firstPause}
		r.paused[by] = p
	}
	p.err, p.until, p.next = err, time.Now().Add(p.next), min(2*p.next, lastPause)
	for other, o := range r.paused { // those of rules that are no more
		if time.Since(o.until) > lastPause {
			delete(r.paused, other)
		}
	}
	return err
}

func (r *Runner) worked(by rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.paused, by)
}

func failed(err error) judgement { return judgement{Result: unjudged(err)} }

func unjudged(err error) health.Result {
	return health.Result{Status: health.Unknown, Message: err.Error(), Err: err}
}

// wrong is an error that another rule, or another object, mends.
func (by rule) wrong(format string, args ...any) error {
	return &fault.Error{Next: fault.Wait, Reason: fault.HealthRuleFailed, Err: fmt.Errorf("%s: "+format, append([]any{by.from}, args...)...), Hint: "correct the rule there"}
}

func (by rule) retry(err error) error {
	return &fault.Error{Next: fault.Retry, Reason: fault.HealthRuleFailed, Err: fmt.Errorf("%s: it could not be run: %w", by.from, err)}
}
