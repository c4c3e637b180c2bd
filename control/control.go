// Package control is what plumb serve hands to the dialects, and asks of them.
// Each dialect is a folder of its own and knows no other; which there are,
// only cmd/plumb says.
//
// All of them share one engine, one keeper of sources and one reader of what
// they refer to: a unit of one can depend on a unit of another, and what two
// are made from is fetched once. What these three have to say of something goes
// to the dialect whose names begin as its own does.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/watch/health/lua"
)

// A Dialect can be looked at and served.
type Dialect interface {
	view.Dialect

	// ServeFlags adds the settings that only its controllers have.
	ServeFlags(*pflag.FlagSet)

	// Slim is the [k8s.io/client-go/tools/cache.TransformFunc] for the cache
	// of its custom resources.
	Slim(any) (any, error)

	// Setup adds its controllers to mgr. They run until ctx is done, put
	// units and sources as these come and change, and delete those that go.
	Setup(ctx context.Context, mgr ctrl.Manager, p Parts) (Controllers, error)
}

// Pushable is a dialect whose users keep the secrets of forges in Secrets of its
// own.
type Pushable interface {
	// WebhookSecrets are those Secrets.
	WebhookSecrets() []lookup.Ref
}

// Controllers are those of a dialect, set up.
type Controllers interface {
	// Names are what the names of its units and sources begin with, up to the
	// first slash. No other dialect has one of them.
	Names() []string

	// Load puts every unit that there is, and names every source. It is called
	// once the cache is filled, and before the engine begins: what that does
	// not know of claims nothing.
	Load(context.Context) (sources []string, err error)

	// Wake is told the name of a unit or source that refers to something which
	// has been read or has changed, and of a source of which there is news. It
	// may not block.
	Wake(name string)

	// Looked is told how the server of a source has answered. It may not block.
	Looked(source.Look)

	// Touched records, for people, which units a commit to a source touches, and
	// reports whether it does: then the status of the others may say so later.
	// It may not block.
	Touched(source, from, to string, units []string) bool

	// Missing says why a source has no artifact.
	Missing(ctx context.Context, source string) error
}

// Options are what is served with.
type Options struct {
	Stores    *stores.Stores
	Clientset kubernetes.Interface
	Events    record.EventRecorder
	Log       *slog.Logger
	// ArtifactHost is where third parties would fetch artifacts from.
	ArtifactHost string

	RenderMemory int64 // bytes
	Renders      *render.Folder
	Renderers    *render.Workers
	JQ           ignore.Finder
	Concurrent   int // units at once
	// Lua runs the rules that users write for the health of kinds.
	Lua *lua.Runner
}

// Parts are what controllers are made of.
type Parts struct {
	Options
	Engine  *engine.Engine
	Sources *source.Keeper
	Refs    *lookup.Reader
}

// A Control is the controllers of all dialects, and what they share.
type Control struct {
	Parts
	all    []Controllers
	byKind map[string]Controllers // by what names begin with
	ctx    context.Context        //nolint:containedctx // of the process
	known  chan struct{}          // closed once all controllers are
}

// Setup adds the controllers of all dialects to mgr. They run until ctx is done.
func Setup(ctx context.Context, mgr ctrl.Manager, dialects []Dialect, o Options) (*Control, error) {
	c := &Control{Parts: Parts{Options: o}, byKind: make(map[string]Controllers), ctx: ctx, known: make(chan struct{})}
	var err error
	c.Engine, err = engine.New(ctx, engine.Options{
		Config: mgr.GetConfig(), Log: o.Log, Artifact: c.artifact, Touched: c.touched, RenderMemory: o.RenderMemory, Renders: o.Renders, Renderers: o.Renderers, JQ: o.JQ,
		Workers: o.Concurrent, Elsewhere: max(1, o.Concurrent/4),
	})
	if err != nil {
		return nil, err
	}
	c.Sources = source.NewKeeper(ctx, source.Options{
		Stores: o.Stores.All(), Log: o.Log, Published: c.Engine.Published, Changed: c.wake, Looked: c.looked,
	})
	c.Refs = lookup.New(ctx, o.Clientset, c.wake)
	for _, d := range dialects {
		cs, err := d.Setup(ctx, mgr, c.Parts)
		if err != nil {
			return nil, err
		}
		c.all = append(c.all, cs)
		for _, name := range cs.Names() {
			if c.byKind[name] != nil {
				return nil, fmt.Errorf("two dialects have units or sources that are called %s/…", name)
			}
			c.byKind[name] = cs
		}
	}
	close(c.known)
	return c, mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return c.begin(ctx, mgr) }))
}

// begin starts the engine once it knows of all units.
func (c *Control) begin(ctx context.Context, mgr ctrl.Manager) error {
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		return nil // it ends
	}
	var sources []string
	for _, cs := range c.all {
		names, err := cs.Load(ctx)
		if err != nil {
			return err
		}
		sources = append(sources, names...)
	}
	c.Sources.Expect(sources)
	for _, name := range sources {
		c.wake(name) // also those that go just now
	}
	c.Engine.Start(ctx)
	<-ctx.Done()
	return nil
}

// Hint has the sources with the given URL polled now, or all of them if there
// is none. It returns how many they are.
func (c *Control) Hint(url string) int { return c.Sources.Hint(url) }

// Pushed has the sources polled now that are at one of those URLs, whichever way
// they get there, and returns how many they are.
func (c *Control) Pushed(urls []string) int {
	places := make(map[string]bool, len(urls))
	for _, u := range urls {
		if a, err := address.Parse(u); err == nil {
			places[a.Place()] = true
		}
	}
	return c.Sources.HintAt(func(url string) bool {
		a, err := address.Parse(url)
		return err == nil && places[a.Place()]
	})
}

// Secrets returns what is in some Secrets, by key. One that there is not has
// nothing; an error says that it is not known yet.
func (c *Control) Secrets(refs []lookup.Ref) (all map[string][]string, err error) {
	session := c.Refs.Begin(webhooks)
	defer session.End()
	all = make(map[string][]string)
	var errs []error
	for _, ref := range refs {
		data, _, err := session.Get(ref)
		errs = append(errs, err)
		for key, value := range data {
			all[key] = append(all[key], string(value))
		}
	}
	return all, errors.Join(errs...)
}

// webhooks is who refers to the Secrets of forges. No unit is called so.
const webhooks = "Webhooks"

func (c *Control) of(name string) Controllers {
	kind, _, _ := strings.Cut(name, "/")
	return c.byKind[kind]
}

// wake wakes who has that name. What a dialect watches from its setup on may come
// before all dialects are known; it waits for that.
func (c *Control) wake(name string) {
	select {
	case <-c.known:
	case <-c.ctx.Done():
		return
	}
	if cs := c.of(name); cs != nil {
		cs.Wake(name)
	}
}

func (c *Control) looked(l source.Look) {
	if cs := c.of(l.Source); cs != nil {
		cs.Looked(l)
	}
}

func (c *Control) touched(source, from, to string, units []string) bool {
	cs := c.of(source)
	return cs != nil && cs.Touched(source, from, to, units)
}

// artifact returns the newest artifact of a source, or why there is none.
func (c *Control) artifact(ctx context.Context, name string) (*source.Artifact, error) {
	if a := c.Sources.Get(name); a != nil {
		return a, nil
	}
	cs := c.of(name)
	if cs == nil {
		return nil, fmt.Errorf("%s: there are no sources of that kind", name)
	}
	return nil, cs.Missing(ctx, name)
}
