package settings

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
)

// InClusterName is how the cluster that plumb runs in is called where no Secret
// gives it another name.
const InClusterName = "in-cluster"

// skipReconcile on a Secret has the Applications of its cluster left alone.
const skipReconcile = "argocd.argoproj.io/skip-reconcile"

// A Cluster is where Applications are applied.
type Cluster struct {
	Server, Name string
	Project      string // whose alone it is; empty: of all
	// Namespaces are those that may be written; empty: all. Then objects without
	// one may be only with ClusterResources.
	Namespaces       []string
	ClusterResources bool
	// Skipped: Applications of this cluster are left alone.
	Skipped bool
	// Target is how to get there, as plumb or as whom its Secret names. It is
	// invalid with an error.
	Target engine.Target

	secret string
	err    error
}

// nowhere is the target of what can't be reached.
var nowhere = engine.Target{Cluster: engine.Nowhere, Invalid: true}

// clusterKeys are the keys of a Secret of a cluster. Which process of Argo CD
// has it is nothing that plumb has.
var clusterKeys = []string{"name", "server", "namespaces", "clusterResources", "project", "config", "shard"}

// readCluster reads a Secret of a cluster.
func (s *Settings) readCluster(secret *corev1.Secret, policy cluster.KubeconfigPolicy) Cluster {
	text := func(key string) string { return strings.TrimSpace(string(secret.Data[key])) }
	c := Cluster{
		Name: text("name"), Project: text("project"), ClusterResources: text("clusterResources") == "true",
		Skipped: secret.Annotations[skipReconcile] == "true", secret: secret.Name, Target: nowhere,
	}
	where := "Secret " + secret.Name
	for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
		if !slices.Contains(clusterKeys, key) {
			s.problem(where, "key %q is not known", key)
		}
	}
	for ns := range strings.SplitSeq(text("namespaces"), ",") {
		if ns = strings.TrimSpace(ns); ns != "" {
			c.Namespaces = append(c.Namespaces, ns)
		}
	}
	var unknown []string
	if c.Server, c.err = address.Server(text("server")); c.err == nil {
		c.Target, unknown, c.err = target(c.Server, secret.Data["config"], policy)
	}
	for _, field := range unknown {
		s.problem(where, "key config: field %q is not known", field)
	}
	if c.err != nil {
		s.problem(where, "%w", c.err)
		c.Target = nowhere
	}
	return c
}

// A config is what the key config of a Secret holds.
type config struct {
	Username           string          `json:"username"`
	Password           string          `json:"password"`
	BearerToken        string          `json:"bearerToken"`
	TLS                tlsConfig       `json:"tlsClientConfig"`
	AWS                json.RawMessage `json:"awsAuthConfig"`
	Exec               *execConfig     `json:"execProviderConfig"`
	DisableCompression bool            `json:"disableCompression"`
	ProxyURL           string          `json:"proxyUrl"`
}

type tlsConfig struct {
	Insecure   bool   `json:"insecure"`
	ServerName string `json:"serverName"`
	Cert       []byte `json:"certData"`
	Key        []byte `json:"keyData"`
	CA         []byte `json:"caData"`
}

type execConfig struct {
	Command string   `json:"command"`
	Args    []string `json:"args"`
}

// configFields are those that there are; unsafe ones are of the machine that
// plumb runs on.
var (
	configFields = []string{
		"username", "password", "bearerToken", "tlsClientConfig", "awsAuthConfig", "execProviderConfig", "disableCompression", "proxyUrl",
		"tlsClientConfig.insecure", "tlsClientConfig.serverName", "tlsClientConfig.certData", "tlsClientConfig.keyData", "tlsClientConfig.caData",
	}
	unsafeFields = []string{
		"bearerTokenFile", "tokenFile", "authProvider", "auth-provider", "impersonate", "as",
		"tlsClientConfig.certFile", "tlsClientConfig.keyFile", "tlsClientConfig.caFile",
	}
)

// target makes of the key config how to get to a server. unknown are fields of
// it that there are not.
func target(server string, data []byte, policy cluster.KubeconfigPolicy) (t engine.Target, unknown []string, err error) {
	var c config
	if len(bytes.TrimSpace(data)) > 0 {
		if err := unmarshal(data, &c); err != nil {
			return t, nil, invalid("key config %w", err)
		}
		if unknown, err = fieldsOf(data); err != nil {
			return t, nil, err
		}
	}
	if server == address.InCluster && c.anonymous() {
		return engine.Target{}, unknown, nil
	}
	if err := c.safe(server, policy); err != nil {
		return t, unknown, err
	}
	if err := c.valid(); err != nil {
		return t, unknown, err
	}
	t.Config = &rest.Config{
		Host: address.Host(server), Username: c.Username, Password: c.Password, BearerToken: c.BearerToken, DisableCompression: c.DisableCompression,
		TLSClientConfig: rest.TLSClientConfig{
			Insecure: c.TLS.Insecure, ServerName: c.TLS.ServerName, CertData: c.TLS.Cert, KeyData: c.TLS.Key, CAData: c.TLS.CA,
		},
	}
	if c.TLS.Insecure {
		t.Config.CAData = nil // it is not asked
	}
	sum := sha256.Sum256(append([]byte(server+"\x00"), data...))
	t.Cluster = hex.EncodeToString(sum[:])
	return t, unknown, nil
}

// unmarshal reads JSON. Its errors don't quote what they are about.
func unmarshal(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &kind) && kind.Type == reflect.TypeFor[[]byte]():
		return fmt.Errorf("has something else in %s than base64", kind.Field)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("has something else in %s than a %s", kind.Field, kind.Type)
	}
	return errors.New("is no JSON, or has something in it that is not in base64")
}

func invalid(format string, args ...any) error {
	return &fault.Error{
		Next: fault.Wait, Reason: fault.InvalidKubeconfig, Err: fmt.Errorf(format, args...), Hint: "correct the Secret",
	}
}

// fieldsOf returns the fields of config that there are not, and refuses those
// that would read files of this machine.
func fieldsOf(data []byte) (unknown []string, err error) {
	var all, tls map[string]json.RawMessage
	if err := unmarshal(data, &all); err != nil {
		return nil, invalid("key config %w", err)
	}
	var names []string
	for name, value := range all {
		names = append(names, name)
		if strings.EqualFold(name, "tlsClientConfig") {
			if err := unmarshal(value, &tls); err != nil {
				return nil, invalid("key config %w", err)
			}
		}
	}
	for name := range tls {
		names = append(names, "tlsClientConfig."+name)
	}
	slices.Sort(names)
	for _, name := range names {
		is := func(known string) bool { return strings.EqualFold(known, name) }
		switch {
		case slices.ContainsFunc(unsafeFields, is):
			return nil, unsafe(fmt.Sprintf("the field %s", name))
		case !slices.ContainsFunc(configFields, is):
			unknown = append(unknown, name)
		}
	}
	return unknown, nil
}

func unsafe(what string, unless ...string) error {
	return &fault.Error{
		Next: fault.Wait, Reason: fault.UnsafeKubeconfig, Err: fmt.Errorf("key config has %s, which is not allowed", what),
		Hint: strings.Join(append([]string{"put a token or a client certificate, and the server's certificate authority, into the Secret itself"}, unless...), ", "),
	}
}

const insecureTLS = "or start plumb with --insecure-kubeconfig-tls"

// safe refuses what policy does not allow, and what this version does not do.
func (c config) safe(server string, policy cluster.KubeconfigPolicy) error {
	unsupported := func(what string) error {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.UnsupportedField, Err: fmt.Errorf("key config: this version of plumb has no credentials from %s", what),
			Hint: "put the token of a service account of that cluster into bearerToken",
		}
	}
	switch {
	case c.aws():
		return unsupported("awsAuthConfig (AWS IAM)")
	case c.Exec != nil:
		return unsupported("execProviderConfig (" + c.Exec.name() + ")")
	case c.ProxyURL != "":
		return unsafe("a proxy (proxyUrl)")
	case c.TLS.Insecure && !policy.AllowInsecureTLS:
		return unsafe("tlsClientConfig.insecure", insecureTLS)
	case !strings.HasPrefix(server, "https://") && !policy.AllowInsecureTLS:
		return unsafe("a server without TLS", insecureTLS)
	}
	return nil
}

// name says which plugin is asked for. Its arguments may be secret.
func (e execConfig) name() string {
	if e.Command != "argocd-k8s-auth" || len(e.Args) == 0 {
		return "an exec plugin"
	}
	switch cloud := e.Args[0]; cloud {
	case "aws", "gcp", "azure":
		return e.Command + " " + cloud
	}
	return e.Command
}

// anonymous: there is nobody in c to act as.
func (c config) anonymous() bool {
	return c.Username == "" && c.Password == "" && c.BearerToken == "" && len(c.TLS.Cert) == 0 && !c.aws() && c.Exec == nil
}

func (c config) aws() bool {
	return len(c.AWS) > 0 && !bytes.Equal(bytes.TrimSpace(c.AWS), []byte("null"))
}

func (c config) valid() error {
	t := c.TLS
	if c.BearerToken != "" && c.Username+c.Password != "" {
		return invalid("key config has both a bearerToken and a username or password")
	}
	if len(t.CA) > 0 && !t.Insecure && !x509.NewCertPool().AppendCertsFromPEM(t.CA) {
		return invalid("key config: tlsClientConfig.caData holds no certificate in PEM")
	}
	if len(t.Cert) > 0 || len(t.Key) > 0 {
		if _, err := tls.X509KeyPair(t.Cert, t.Key); err != nil {
			return invalid("key config: tlsClientConfig.certData and keyData are no certificate and its key in PEM")
		}
	}
	return nil
}

// Cluster returns a destination's cluster, by its server or by its name, for an
// Application of a project. With an error it has what is known, and an invalid
// target.
func (s *Settings) Cluster(server, name, project string) (Cluster, error) {
	lost := Cluster{Server: server, Name: name, Target: nowhere}
	switch {
	case server != "" && name != "":
		return lost, misplaced(fault.Stall, "leave one of them out", "application destination can't have both name and server defined: %s %s", name, address.Show(server))
	case server == "" && name == "":
		return lost, misplaced(fault.Stall, "set spec.destination.server or spec.destination.name", "%s", noDestination)
	case server == "":
		servers := s.serversOf(name)
		switch len(servers) {
		case 0:
			return lost, misplaced(fault.Wait, "add a Secret of a cluster with that name, or correct spec.destination.name", "there are no clusters with this name: %s", name)
		case 1:
			server = servers[0]
		default:
			return lost, misplaced(fault.Wait, "set spec.destination.server instead", "there are %d clusters with the same name: [%s]", len(servers), strings.Join(servers, " "))
		}
	}
	form, err := address.Server(server)
	if err != nil {
		return lost, err
	}
	c := s.cluster(form, project)
	switch {
	case form == address.InCluster && !s.inCluster:
		return lost, misplaced(fault.Wait, "set cluster.inClusterEnabled in argocd-cm, or use another cluster", "error getting cluster by server %q: cluster %q is disabled", form, form)
	case c != nil && c.err != nil:
		return *c, fmt.Errorf("cluster %s: Secret %s: %w", form, c.secret, c.err)
	case c != nil:
		return *c, nil
	case form == address.InCluster:
		return Cluster{Server: form, Name: InClusterName}, nil
	}
	return lost, misplaced(fault.Wait, "add a Secret of that cluster, or correct spec.destination.server", "error getting cluster by server %q: cluster %q not found", address.Show(server), address.Show(server))
}

// noDestination are Argo CD's words.
const noDestination = "Destination server missing from app spec"

func misplaced(next fault.Next, hint, format string, args ...any) error {
	return &fault.Error{Next: next, Reason: fault.InvalidSpec, Err: fmt.Errorf(format, args...), Hint: hint}
}

// serversOf are the servers that a name stands for.
func (s *Settings) serversOf(name string) (servers []string) {
	for _, c := range s.clusters {
		if c.Name == name && c.Server != "" && (s.inCluster || c.Server != address.InCluster) && !slices.Contains(servers, c.Server) {
			servers = append(servers, c.Server)
		}
	}
	if len(servers) == 0 && name == InClusterName && s.inCluster {
		return []string{address.InCluster}
	}
	slices.Sort(servers)
	return servers
}

// cluster is the Secret of a server: the project's own, or one of no project, or
// another's.
func (s *Settings) cluster(server, project string) (found *Cluster) {
	rank := func(c *Cluster) int {
		switch c.Project {
		case project:
			return 2
		case "":
			return 1
		}
		return 0
	}
	for i := range s.clusters {
		if c := &s.clusters[i]; c.Server == server && (found == nil || rank(c) > rank(found)) {
			found = c
		}
	}
	return found
}

// Manages reports why an object is none that may be on a cluster that is limited
// to some namespaces.
func (c Cluster) Manages(o project.Object) error {
	switch {
	case len(c.Namespaces) == 0, !o.Namespaced && c.ClusterResources, o.Namespaced && slices.Contains(c.Namespaces, o.Namespace):
		return nil
	case !o.Namespaced:
		return &fault.Error{
			Next: fault.Stall, Reason: fault.NotAdmitted, Err: fmt.Errorf("cluster level %s %q can not be managed when in namespaced mode", o.Kind, o.Name),
			Hint: fmt.Sprintf("set clusterResources in Secret %s", c.secret),
		}
	}
	return &fault.Error{
		Next: fault.Stall, Reason: fault.NotAdmitted, Err: fmt.Errorf("namespace %q for %s %q is not managed", o.Namespace, o.Kind, o.Name),
		Hint: fmt.Sprintf("add it to namespaces in Secret %s", c.secret),
	}
}
