package argocd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/watch/health/lua"
)

const (
	// settingsName is what begins the name of whoever reads settings: no unit and
	// no source.
	settingsName = "ApplicationSettings"
	// settingsPatience is how long a start waits for settings.
	settingsPatience = 10 * time.Second
)

// surroundingsKey is the request to look at what surrounds Applications. No
// Application has it.
var surroundingsKey = types.NamespacedName{Name: settingsName}

// Surroundings keep what surrounds Applications: ConfigMaps by a watch each,
// Secrets by one for those with the label of settings, and AppProjects. It is safe
// for concurrent use.
type surroundings struct {
	namespace string
	policy    cluster.KubeconfigPolicy
	client    client.Reader // from the cache
	refs      *lookup.Reader
	secrets   *lookup.Selection
	lua       *lua.Runner
	log       *slog.Logger

	is    atomic.Pointer[around]
	ready chan struct{} // closed once it is known what they are, or why not
	once  sync.Once
	told  map[string]bool // problems; only one survey is done at a time
}

// watchSurroundings begins to watch them. wake is called when they may be others.
func watchSurroundings(ctx context.Context, mgr ctrl.Manager, p control.Parts, o *Options, wake func()) (*surroundings, error) {
	if _, err := mgr.GetRESTMapper().RESTMapping(api.ProjectKind.GroupKind(), api.ProjectKind.Version); err != nil {
		return nil, fmt.Errorf("ask for the kind %s: %w; if the cluster does not have it, run: plumb install --crds", api.ProjectKind.Kind, err)
	}
	s := &surroundings{namespace: o.Namespace, policy: o.policy(), client: mgr.GetClient(), refs: p.Refs, lua: p.Lua, log: p.Log, ready: make(chan struct{})}
	s.secrets = p.Refs.Select(settingsName+"/"+s.namespace, s.namespace, secretTypes)
	informer, err := mgr.GetCache().GetInformer(ctx, projectExample())
	if err != nil {
		return nil, fmt.Errorf("watch AppProjects: %w", err)
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() }, UpdateFunc: func(_, _ any) { wake() }, DeleteFunc: func(any) { wake() },
	})
	if err != nil {
		return nil, fmt.Errorf("watch AppProjects: %w", err)
	}
	return s, nil
}

func projectExample() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(api.ProjectKind)
	return u
}

// now is what surrounds Applications now.
func (s *surroundings) now() *around {
	if w := s.is.Load(); w != nil {
		return w
	}
	s.is.CompareAndSwap(nil, unread(s.namespace, notYetRead(nil)))
	return s.is.Load()
}

func notYetRead(err error) error {
	if err == nil {
		return &fault.Error{Next: fault.Wait, Reason: fault.NotYetRead, Err: errors.New("the settings of Argo CD have not been read yet")}
	}
	return &fault.Error{Next: fault.Wait, Reason: fault.NotYetRead, Err: err}
}

// project reads an AppProject; nil: there is none.
func (s *surroundings) project(ctx context.Context) func(name string) (*unstructured.Unstructured, error) {
	return func(name string) (*unstructured.Unstructured, error) {
		u := projectExample()
		err := s.client.Get(ctx, types.NamespacedName{Namespace: s.namespace, Name: name}, u)
		if apierrors.IsNotFound(err) {
			return nil, nil //nolint:nilnil // as its contract says
		}
		return u, err
	}
}

// read reads them anew. What can't be read leaves all as it was, if it was read
// before.
func (s *surroundings) read(ctx context.Context) (before, after *around) {
	before = s.now()
	in := surrounding{namespace: s.namespace, policy: s.policy, lua: s.lua, before: before, projects: s.project(context.WithoutCancel(ctx))}
	session := s.refs.Begin(settingsName + "/" + s.namespace)
	var err error
	in.maps, err = readMaps(s.namespace, session.Get)
	session.End()
	if err == nil {
		in.secrets, err = s.secrets.Secrets()
	}
	switch {
	case err == nil:
		after = readAround(in)
	case before.wasRead:
		return before, before
	case fault.Of(err).Next == fault.Wait:
		after = unread(s.namespace, notYetRead(err))
	default:
		after = unread(s.namespace, fmt.Errorf("read the settings of Argo CD: %w", err))
	}
	s.is.Store(after)
	if !fault.Is(after.err, fault.NotYetRead) {
		s.once.Do(func() { close(s.ready) })
	}
	return before, after
}

// await waits until it is known what they are, but not for long.
func (s *surroundings) await(ctx context.Context) {
	timer := time.NewTimer(settingsPatience)
	defer timer.Stop()
	select {
	case <-s.ready:
	case <-timer.C:
		s.log.Warn("Argo CD's settings can't be read yet; until then its Applications wait", "namespace", s.namespace)
	case <-ctx.Done():
	}
}

// tell says once what can't be read or is not honoured.
func (s *surroundings) tell(w *around) {
	now := make(map[string]bool)
	for _, p := range w.found() {
		text := p.Error()
		if now[text] = true; !s.told[text] {
			s.log.Warn("one of Argo CD's settings is not honoured", "namespace", s.namespace, "err", text)
		}
	}
	s.told = now
}

// survey finds out what surrounds Applications, and has those put anew that it
// concerns.
func (r *applications) survey(ctx context.Context) error {
	before, after := r.around.read(ctx)
	if before == after {
		return nil
	}
	r.o.common.Store(after.common)
	keys := r.known.concerns(func(c concern) string { return after.print(c, r.sources.stores) })
	r.queue.Add(keys...)
	if before.Digest != after.Digest { // there may be other namespaces to look into
		all, err := r.all(ctx)
		if err != nil {
			return err
		}
		for i := range all {
			if key := client.ObjectKeyFromObject(&all[i]); !r.known.knows(key) && r.o.serves(key.Namespace, after) {
				r.queue.Add(key)
			}
		}
	}
	r.around.tell(after)
	return nil
}
