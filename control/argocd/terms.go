package argocd

import (
	"fmt"
	"strings"
	"time"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source/stores"
)

// Terms are what an Application may do, and where: by its project, by the Secret
// of its cluster, and by the settings. A unit keeps them; nobody changes them.
type terms struct {
	common  *common
	project *project.Project
	to      project.Destination
	cluster settings.Cluster
	target  engine.Target
	windows project.Windows
}

// termsOf returns the terms of a unit; nil: it may do nothing.
func termsOf(u engine.Unit) *terms {
	if a, ok := u.Origin.(*application); ok {
		return a.terms
	}
	return nil
}

// where is the cluster of a, where it may do nothing: what it has applied there
// stays its own.
func (w *around) where(a *application) engine.Target {
	d := a.Spec.Destination
	c, _ := w.Cluster(d.Server, d.Name, a.project()) // with an error, it is not known
	c.Target.Invalid = true
	return c.Target
}

// terms are those of a, wherever it takes its objects from.
func (w *around) terms(a *application) (t *terms, err error) {
	if w.err != nil {
		return nil, w.err
	}
	p, err := w.project(a.project())
	if err != nil {
		return nil, err
	}
	if err := p.Admits(a.Name, a.Namespace); err != nil {
		return nil, err
	}
	if err := p.Verifies(); err != nil {
		return nil, err
	}
	d := a.Spec.Destination
	c, err := w.Cluster(d.Server, d.Name, p.Name)
	if err != nil {
		if err = fmt.Errorf("spec.destination: %w", err); w.hidden != nil {
			err = fmt.Errorf("%w (%w)", err, w.hidden)
		}
		return nil, err
	}
	to := project.Destination{Server: c.Server, Name: c.Name, Namespace: d.Namespace, ByName: d.Name != ""}
	if err := p.Destination(to); err != nil {
		return nil, err
	}
	target := c.Target
	if w.Impersonate {
		if target.User, err = p.Account(to, a.Namespace, w.Enforced); err != nil {
			return nil, err
		}
	}
	return &terms{
		common: w.common, project: p, to: to, cluster: c, target: target,
		windows: p.Windows(project.Application{Name: a.Name, Server: d.Server, Cluster: d.Name, Namespace: d.Namespace}),
	}, nil
}

// skips reports whether all Applications of the cluster of a are left alone.
func (w *around) skips(a *application) bool {
	t, err := w.terms(a)
	return err == nil && t.cluster.Skipped
}

// sources reports why a may not take from repositories.
func (t *terms) sources(urls ...string) error {
	for _, url := range urls {
		if err := t.project.Source(url); err != nil {
			return err
		}
	}
	return nil
}

// from are the terms of a, if it may take its objects from these sources. They are
// returned also where it may not.
func (w *around) from(a *application, sources []api.Source) (t *terms, err error) {
	if t, err = w.terms(a); err == nil {
		return t, t.sources(urlsOf(sources)...)
	}
	// What is wrong with the sources is said together with that.
	if p, wrong := w.project(a.project()); wrong == nil && w.err == nil {
		if wrong := (&terms{project: p}).sources(urlsOf(sources)...); wrong != nil {
			err = fmt.Errorf("%w; %w", err, wrong)
		}
	}
	return t, err
}

// chartsOf is a repository of charts that a chart names, and which Secrets it is
// reached with.
func (w *around) chartsOf(url, name string) (at settings.Repository, access string, err error) {
	p, err := w.project(name)
	if err != nil {
		return at, "", err
	}
	if p.Source(url) != nil {
		at, err = (&settings.Settings{}).Repository(url, name, true)
		return at, "", err
	}
	at, err = w.Repository(url, name, true)
	return at, w.Access(url, name), err
}

// digest is another one if any rule is, but for when and as whom.
func (t *terms) digest() string {
	if t == nil {
		return ""
	}
	return digest(t.common.Digest, t.project.Digest, fmt.Sprint(t.to, t.cluster.Namespaces, t.cluster.ClusterResources))
}

// admits reports why an object may not be had.
func (t *terms) admits(r object.Ref) error {
	if t == nil {
		return &fault.Error{Next: fault.Wait, Reason: fault.NotAdmitted, Err: fmt.Errorf("it is not known what the Application may have")}
	}
	o := project.ObjectOf(r)
	if err := t.cluster.Manages(o); err != nil {
		return err
	}
	return t.project.Object(o, t.to)
}

// excluded reports whether settings leave objects of a kind alone.
func (t *terms) excluded(r object.Ref) bool {
	return t != nil && t.common.Excluded(r.Group, r.Kind, t.cluster.Server)
}

// sensitiveTo are the annotations of Secrets with values that nobody who looks at a
// unit is shown.
func sensitiveTo(u engine.Unit) []string {
	if t := termsOf(u); t != nil {
		return t.common.Sensitive
	}
	return nil
}

// opening is what the sync windows allow now.
func (t *terms) opening(now time.Time) project.Opening {
	if t == nil {
		return project.Opening{}
	}
	return t.windows.At(now)
}

// A concern is what an Application uses of what surrounds it: whoever has the
// same is concerned by the same changes.
type concern struct {
	project, namespace, server, name string
	repositories                     string // a line each
}

func concernOf(a *application) concern {
	d := a.Spec.Destination
	c := concern{a.project(), a.Namespace, d.Server, d.Name, ""}
	sources := a.sources()
	if a.Operation != nil && a.Operation.Sync != nil {
		sources = append(sources[:len(sources):len(sources)], a.operates(a.Operation.Sync)...)
	}
	for _, s := range sources {
		c.repositories += s.RepoURL + "\n"
	}
	return c
}

// print is another one if something of what an Application uses is. It holds
// nothing of what Secrets do.
func (w *around) print(c concern, s *stores.Stores) string {
	if w.err != nil {
		return w.err.Error()
	}
	texts := []string{w.Digest, fmt.Sprint(w.AppliesTo(c.namespace))}
	p, err := w.project(c.project)
	if err != nil {
		return digest(append(texts, err.Error())...)
	}
	at, err := w.Cluster(c.server, c.name, p.Name)
	texts = append(texts, p.Digest, fmt.Sprint(at.Server, at.Name, at.Namespaces, at.ClusterResources, at.Skipped, at.Target.Cluster, err))
	for url := range strings.Lines(c.repositories) {
		url = strings.TrimSuffix(url, "\n")
		// A repository of charts is reached with what a Git repository would be.
		at, err := w.Repository(url, p.Name, false)
		if err != nil {
			texts = append(texts, err.Error())
		} else {
			texts = append(texts, want{Repository: at}.from(s).Key())
		}
		texts = append(texts, w.Access(url, p.Name))
	}
	return digest(texts...)
}
