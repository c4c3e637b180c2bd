// Package settings reads what Argo CD keeps in Secrets and ConfigMaps of its own
// namespace: repositories, credentials, clusters and settings.
//
// [Read] is a pure function of these objects. A [Settings] is a value that
// nobody changes; whoever sees another object reads all of them again. Its
// methods give credentials for the address of a repository, as a [git.Remote],
// and clusters by server or name, as an [engine.Target].
//
// What can't be read hurts only whoever needs it: one Secret is an error of the
// Applications that use it. [Settings.Refused] are settings without which it is
// not known what may be done at all. Everything else that can't be read, is
// unknown or is not done by this version is in [Settings.Problems], by name. No
// error shows a value of a Secret.
package settings

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/fault"
)

// Objects are what settings are read from: those of Argo CD's namespace. Others
// among them are passed over.
type Objects struct {
	Namespace  string
	Secrets    []*corev1.Secret
	ConfigMaps []*corev1.ConfigMap
	// Policy is what a Secret of a cluster may make plumb do.
	Policy cluster.KubeconfigPolicy
}

// Settings are what Argo CD's Secrets and ConfigMaps say.
type Settings struct {
	Namespace string // Argo CD's own
	// Digest is another one if any setting is: what ConfigMaps say of all
	// Applications, and nothing of Secrets.
	Digest string

	// Tracking is how objects are marked as an Application's; InstanceLabel the
	// label that some ways use, and InstallationID tells installations apart.
	Tracking       Tracking
	InstanceLabel  string
	InstallationID string

	// Reconciliation is how often a repository is asked, 0 for never; Jitter what
	// is added to it at random. HardReconciliation renders anew, 0 for never.
	Reconciliation, Jitter, HardReconciliation time.Duration
	// SyncTimeout ends an operation; 0: nothing does.
	SyncTimeout time.Duration

	// Impersonate has a service account act for each Application, and Enforced
	// makes it an error if none is found.
	Impersonate, Enforced bool

	Customizations []Customization
	Compare        CompareOptions
	Globals        []project.Global
	// Disabled are the tools that may not be used: helm, kustomize, jsonnet.
	Disabled []string
	// Sensitive are annotations of Secrets with values that nobody is shown.
	Sensitive []string
	// ValuesFileSchemes are those by which charts may be given values.
	ValuesFileSchemes []string

	// Refused says why nothing may be done until it is corrected; nil: all may.
	Refused error
	// Problems are what else can't be read or is not honoured, sorted.
	Problems []error

	refused      []string
	repositories []repository
	templates    []repository
	clusters     []Cluster
	inCluster    bool
	knownHosts   []byte
	certificates map[string][]byte // by host
	namespaces   project.Namespaces
	exclusions   []filter
	inclusions   []filter
}

// A Tracking is a way to mark objects.
type Tracking string

// The ways to mark objects.
const (
	ByAnnotation         Tracking = "annotation"
	ByLabel              Tracking = "label"
	ByAnnotationAndLabel Tracking = "annotation+label"
)

// secretType is the label that says what a Secret is.
const secretType = "argocd.argoproj.io/secret-type"

// Read reads settings.
func Read(o Objects) *Settings {
	s := &Settings{Namespace: o.Namespace, inCluster: true, certificates: make(map[string][]byte)}
	maps := make(map[string]map[string]string)
	for _, m := range o.ConfigMaps {
		if m.Namespace == o.Namespace {
			maps[m.Name] = m.Data
		}
	}
	settled := sha256.New()
	s.readMain(maps[mainMap], settled)
	s.readParameters(maps[parametersMap], settled)
	s.Digest = hex.EncodeToString(settled.Sum(nil)[:16])
	s.knownHosts = []byte(maps["argocd-ssh-known-hosts-cm"]["ssh_known_hosts"])
	for host, pem := range maps["argocd-tls-certs-cm"] {
		s.certificates[strings.ToLower(host)] = []byte(pem)
	}
	secrets := slices.Clone(o.Secrets)
	slices.SortFunc(secrets, func(a, b *corev1.Secret) int { return cmp.Compare(a.Name, b.Name) })
	for _, secret := range secrets {
		if secret.Namespace != o.Namespace {
			continue
		}
		switch secret.Labels[secretType] {
		case "repository":
			s.repositories = append(s.repositories, s.readRepository(secret, repositoryKeys))
		case "repo-creds":
			s.templates = append(s.templates, s.readRepository(secret, templateKeys))
		case "cluster":
			s.clusters = append(s.clusters, s.readCluster(secret, o.Policy))
		}
	}
	s.findTwins()
	if len(s.refused) > 0 {
		s.Refused = &fault.Error{
			Next: fault.Wait, Reason: fault.InvalidSpec, Err: errors.New(strings.Join(s.refused, "; ")), Hint: "nothing is applied until it is corrected",
		}
	}
	slices.SortStableFunc(s.Problems, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return s
}

// problem notes what can't be read or is not honoured.
func (s *Settings) problem(where, format string, args ...any) {
	s.Problems = append(s.Problems, fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...)))
}

// refuse notes that nothing may be done.
func (s *Settings) refuse(where string, err error) {
	s.refused = append(s.refused, fmt.Sprintf("%s: %v", where, err))
}

// AppliesTo reports whether Applications of a namespace count at all.
func (s *Settings) AppliesTo(namespace string) bool {
	return namespace == s.Namespace || s.namespaces.Match(namespace)
}

// Scope is what surrounds an AppProject. get finds others by name, or nothing.
// bad is about global projects that are not to be found; those that are, are in
// the scope.
func (s *Settings) Scope(p *argocd.AppProject, get func(name string) *argocd.AppProject) (in project.Scope, bad []error) {
	in.Namespace = s.Namespace
	in.Globals, bad = project.Globals(p, s.Globals, get)
	for _, r := range s.repositories {
		if r.project == p.Name {
			in.Repositories = append(in.Repositories, r.url)
		}
	}
	for _, c := range s.clusters {
		if c.Project == p.Name {
			in.Clusters = append(in.Clusters, project.Cluster{Server: c.Server, Name: c.Name, Namespaces: c.Namespaces})
		}
	}
	return in, bad
}

// String returns nothing of what Secrets hold.
func (s *Settings) String() string { return "(settings of " + s.Namespace + ")" }

// GoString is String.
func (s *Settings) GoString() string { return s.String() }

// LogValue is String.
func (s *Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }
