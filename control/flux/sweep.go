package flux

import (
	"context"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/source/git"
)

// sweep removes from the store what no GitRepository names any more, if one may
// have gone since the last time. While it can't be told what one of them names,
// nothing is removed.
func (r *gitRepositories) sweep(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unswept {
		return
	}
	named, err := r.named(ctx)
	if err != nil {
		r.log.Debug("repositories are kept until all sources can be read", "err", err)
		return
	}
	r.unswept = false
	if err := r.store.Sweep(func(place string) bool { return named[place] }); err != nil {
		r.log.Error("remove repositories that no source names", "err", err)
	}
}

// named returns where what every GitRepository names is kept.
func (r *gitRepositories) named(ctx context.Context) (places map[string]bool, err error) {
	places = make(map[string]bool)
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(GitRepositoryKind)
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range list.Items {
		u := &list.Items[i]
		spec := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
		delete(spec.Object, "status") // which may be as [Slim] has it
		g, err := decodeGitRepository(spec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", unitName(GitRepositoryKind.Kind, u.GetNamespace(), u.GetName()), err)
		}
		m := git.Remote{URL: g.Spec.URL}
		if m.Proxy, err = proxy(g, r.refs.Peek()); err != nil {
			return nil, fmt.Errorf("%s: %w", unitName(GitRepositoryKind.Kind, g.Namespace, g.Name), err)
		}
		places[git.Source{Store: r.store, Remote: m}.Place()] = true
	}
	return places, nil
}

// addressed notes the address that a GitRepository names now.
func (r *gitRepositories) addressed(p *poll, at git.Remote) {
	r.unswept = r.unswept || p.url != "" && (p.url != at.URL || p.proxy != at.Proxy.URL)
	p.url, p.proxy = at.URL, at.Proxy.URL
}
