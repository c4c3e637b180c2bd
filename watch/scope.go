package watch

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Scope says how the server can be asked for an object without asking for
// all others of its kind.
type Scope struct {
	// Selector is a label selector that the object matches, and so do those
	// of other units: one watch shows them all. If it is empty, nothing is
	// known of the object but its name.
	Selector string
	// Unlabelled: there may be such an object that does not match, as one that
	// another tool has applied. While that is so, it is followed by its name.
	// Without this, what does not match counts as not being there.
	Unlabelled bool
}

// matches reports whether a watch by the scope's selector shows obj.
func (s Scope) matches(obj *unstructured.Unstructured) bool {
	sel, err := labels.Parse(s.Selector)
	return err == nil && sel.Matches(labels.Set(obj.GetLabels()))
}

// A streamKey is what the server is asked for: the objects of a resource that
// match a selector, in all namespaces or one of them; or one of a name.
type streamKey struct {
	resource        schema.GroupVersionResource
	selector        string
	namespace, name string
}

// The most watches there are of one kind for objects of which only the name is
// known. A watch of a name takes some 20 kB, here and at the server, and nothing
// when others change. One of a namespace takes as much, and for each event of an
// object that nobody follows what it costs to read it.
const (
	mostNames   = 4 // in a namespace; if there are more, it is watched as a whole
	mostStreams = 8 // of the kind; if there are more, all namespaces are watched at once
)

// names are the objects of one resource that are followed by their names, and
// decide what the server is asked for. What is wide becomes narrow again when
// there is half of what made it wide; see [names.tighten].
type names struct {
	count map[string]map[string]int // of followings, by namespace and name
	wide  map[string]bool           // namespaces that are watched as a whole
	all   bool                      // all of them are, at once
	// What plumb may not do: watch all namespaces at once, and these as a whole.
	apart  bool
	single map[string]bool
}

func newNames() *names {
	return &names{count: make(map[string]map[string]int), wide: make(map[string]bool), single: make(map[string]bool)}
}

func (n *names) add(namespace, name string) {
	in := n.count[namespace]
	if in == nil {
		in = make(map[string]int)
		n.count[namespace] = in
	}
	in[name]++
}

func (n *names) remove(namespace, name string) {
	in := n.count[namespace]
	if in[name]--; in[name] <= 0 {
		delete(in, name)
	}
	if len(in) == 0 {
		delete(n.count, namespace)
		delete(n.wide, namespace)
	}
}

// key says what to ask for an object of that name.
func (n *names) key(r schema.GroupVersionResource, namespace, name string) streamKey {
	switch {
	case n.all && !n.apart:
		return streamKey{resource: r}
	case n.wide[namespace] && !n.single[namespace]:
		return streamKey{resource: r, namespace: namespace}
	}
	return streamKey{resource: r, namespace: namespace, name: name}
}

// widen takes together what has become too much, and reports whether anything
// has.
func (n *names) widen() bool { return n.arrange(mostNames, mostStreams, true) }

// tighten takes apart what has become little, and reports whether anything has.
func (n *names) tighten() bool { return n.arrange(mostNames/2, mostStreams/2, false) }

// arrange sets wide and all to to, where that is right by these limits.
func (n *names) arrange(perNamespace, perKind int, to bool) bool {
	was, wasWide := n.all, maps.Clone(n.wide)
	for ns, in := range n.count {
		if len(in) > perNamespace == to {
			n.wide[ns] = to
		}
	}
	maps.DeleteFunc(n.wide, func(_ string, wide bool) bool { return !wide })
	if n.streams() > perKind == to {
		n.all = to
	}
	return was != n.all || !maps.Equal(wasWide, n.wide)
}

// streams is how many watches there would be without one of all namespaces.
func (n *names) streams() (total int) {
	for ns, in := range n.count {
		if n.wide[ns] {
			total++
		} else {
			total += len(in)
		}
	}
	return total
}

// forbid notes that plumb may not ask for k, and reports whether there is
// something less that it may be allowed to ask for.
func (n *names) forbid(k streamKey) bool {
	switch {
	case k.name != "":
		return false
	case k.namespace == "":
		was := n.apart && n.single[""]
		// Of a kind without namespaces, all are those of the namespace "".
		n.apart, n.single[""] = true, true
		return !was
	case k.selector == "":
		was := n.single[k.namespace]
		n.single[k.namespace] = true
		return !was
	}
	return false
}
