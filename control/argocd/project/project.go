// Package project answers what an AppProject of Argo CD allows: which
// repositories its Applications may take from, which kinds they may write, to
// which namespaces of which clusters, as whom, and when.
//
// A [Project] is made by [New] from the AppProject, the global projects that
// apply to it ([Globals]) and what is scoped to it by Secrets. It is a value
// that nobody changes: whoever has another AppProject makes another one. Its
// methods return nil for what is allowed, and else an error that says which
// entry of which field of which project refuses, and what to change; it begins
// with the words that Argo CD's clients know. All of them are a [fault.Stall]:
// of reason InvalidSpec where the Application as a whole is refused, NotAdmitted
// where one of its objects is.
//
// Entries with ! deny, and win over all others. An entry that can't be read
// allows nothing, and denies everything if it is one that denies;
// [Project.Problems] lists them all.
//
// [Windows] are the sync windows of one Application, a pure function of time.
package project

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/fault"
)

// A Scope is what surrounds an AppProject.
type Scope struct {
	// Namespace is Argo CD's own, in which projects, Secrets and settings are.
	Namespace string
	// Globals are the projects that are merged into it, in order.
	Globals []*argocd.AppProject
	// Repositories are addresses whose Secret names the project.
	Repositories []string
	// Clusters are those whose Secret names the project.
	Clusters []Cluster
}

// A Cluster is a server that a project has for itself.
type Cluster struct {
	Server, Name string
	Namespaces   []string // empty: all
}

// A Project is an AppProject as a whole. It is safe for concurrent use.
type Project struct {
	Name string
	// Digest is another one if any rule is another.
	Digest string

	namespace string
	parts     []part
	sources   []source
	places    []place
	clusters  []string // scoped to it; only these, if onlyScoped
	accounts  []account
	windows   []*window
	within    Namespaces
	scopedTo  bool
	orphans   *orphans
	problems  []error
}

// A part is an AppProject that a project consists of: itself, or a global one.
type part struct {
	name string
	spec *argocd.AppProjectSpec
}

// A rule says where an entry is, for messages.
type rule struct {
	project string // the global one; empty: its own
	field   string
	text    string
}

func (r rule) String() string {
	s := "spec." + r.field
	if r.text != "" {
		s += fmt.Sprintf(" %q", r.text)
	}
	if r.project != "" {
		s += " of the global project " + r.project
	}
	return s
}

// New makes a Project. The AppProjects are not changed, and must not be.
func New(p *argocd.AppProject, in Scope) *Project {
	q := &Project{Name: p.Name, namespace: in.Namespace, scopedTo: p.Spec.PermitOnlyProjectScopedClusters}
	q.Digest = digestOf(p, in)
	q.parts = []part{{spec: &p.Spec}}
	for _, g := range in.Globals {
		q.parts = append(q.parts, part{g.Name, &g.Spec})
	}
	q.readSources(in.Repositories)
	q.readPlaces(in.Clusters)
	q.readAccounts()
	q.readWindows()
	q.readOrphans(p.Spec.OrphanedResources)
	q.readKinds()
	var bad []error
	q.within, bad = NewNamespaces(p.Spec.SourceNamespaces)
	for _, err := range bad {
		q.problem(rule{field: "sourceNamespaces"}, err)
	}
	if len(p.Spec.SignatureKeys) > 0 || p.Spec.SourceIntegrity != nil {
		q.problem(rule{field: "sourceIntegrity"}, errors.New("this version of plumb does not verify signatures"))
	}
	return q
}

// digestOf makes a digest of rules: of all but who may ask for what at Argo CD's
// API server, which issues tokens in a spec.
func digestOf(p *argocd.AppProject, in Scope) string {
	h := sha256.New()
	for _, one := range append([]*argocd.AppProject{p}, in.Globals...) {
		spec := one.Spec
		spec.Roles = nil
		fmt.Fprintf(h, "%q %v ", one.Name, spec.NamespaceResourceWhitelist != nil)
		if err := json.NewEncoder(h).Encode(spec); err != nil {
			panic(err) // strings, numbers and lists of them
		}
	}
	fmt.Fprintf(h, "%q %q %q", in.Namespace, in.Repositories, fmt.Sprintf("%+q", in.Clusters))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Problems are the entries that can't be read, in the order of the fields. Of
// the same AppProject they are the same.
func (q *Project) Problems() []error { return slices.Clone(q.problems) }

func (q *Project) problem(at rule, err error) {
	q.problems = append(q.problems, fmt.Errorf("project '%s': %s: %w", q.Name, at, err))
}

// Verifies reports that commits have to be signed, which is an error: nothing of
// such a project may be applied by who can't tell.
func (q *Project) Verifies() error {
	own := q.parts[0].spec
	field := ""
	switch {
	case own.SourceIntegrity != nil:
		field = "sourceIntegrity"
	case len(own.SignatureKeys) > 0:
		field = "signatureKeys"
	default:
		return nil
	}
	return &fault.Error{
		Next: fault.Stall, Reason: fault.UnsupportedField,
		Err:  fmt.Errorf("project '%s': spec.%s: this version of plumb does not verify signatures", q.Name, field),
		Hint: "move the Application to a project without it, or leave it to a controller that does",
	}
}

// Admits reports why an Application, by its name and namespace, may not be of
// the project.
func (q *Project) Admits(name, namespace string) error {
	if namespace == "" || namespace == q.namespace || q.within.Match(namespace) {
		return nil
	}
	return &fault.Error{
		Next: fault.Stall, Reason: fault.InvalidSpec,
		Err: fmt.Errorf("application '%s' in namespace '%s' is not permitted to use project '%s': no entry of the project's spec.sourceNamespaces matches the namespace",
			name, namespace, q.Name),
		Hint: "add it there, or name another project",
	}
}

const referencing = "Application referencing" // as Argo CD's clients know it

// Missing is the error of an Application whose project does not exist.
func Missing(name string) error {
	return &fault.Error{
		Next: fault.Wait, Reason: fault.InvalidSpec, Err: fmt.Errorf("%s project %s which does not exist", referencing, name),
		Hint: "create the AppProject, or correct spec.project",
	}
}

// A Global says which projects a global project is merged into: those whose
// labels match.
type Global struct {
	ProjectName   string               `json:"projectName"`
	LabelSelector metav1.LabelSelector `json:"labelSelector"`
}

// Globals are the projects that apply to p by the rules of argocd-cm's
// globalProjects, in their order. bad are those that can't be followed; the
// others count all the same, as Argo CD has it.
func Globals(p *argocd.AppProject, rules []Global, get func(name string) *argocd.AppProject) (all []*argocd.AppProject, bad []error) {
	for i, g := range rules {
		selector, err := metav1.LabelSelectorAsSelector(&g.LabelSelector)
		switch {
		case err != nil:
			bad = append(bad, fmt.Errorf("globalProjects[%d].labelSelector: %w", i, err))
			continue
		case g.ProjectName == p.Name || !selector.Matches(labels.Set(p.Labels)):
			continue
		}
		if global := get(g.ProjectName); global != nil {
			all = append(all, global)
		} else {
			bad = append(bad, fmt.Errorf("globalProjects[%d].projectName: there is no AppProject %q", i, g.ProjectName))
		}
	}
	return all, bad
}

// refuse is the error of what is not allowed.
func (q *Project) refuse(reason fault.Reason, words, why, hint string) error {
	return &fault.Error{Next: fault.Stall, Reason: reason, Err: fmt.Errorf("%s: %s", words, why), Hint: hint}
}
