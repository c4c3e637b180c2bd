package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
)

// An app is what all commands share.
type app struct {
	version string
	flags   *genericclioptions.ConfigFlags
	io      genericiooptions.IOStreams
	color   string
	// command is the one that runs, and terminal says that a person reads what
	// it prints.
	command  string
	terminal bool
	dialects []control.Dialect

	paint // of standard output
}

func (a *app) start() error {
	on, err := colored(a.color, a.io.Out)
	a.paint = newPaint(on)
	a.terminal = isTerminal(a.io.Out)
	klog.SetLogger(logr.Discard()) // of what the client library logs, each command returns the error
	return err
}

// cut is [short] on a terminal. Elsewhere there is room for all of it.
func (a *app) cut(s string, n int) string {
	if !a.terminal {
		return s
	}
	return short(s, n)
}

// A conn is a connection to a cluster in the name of who runs the command.
type conn struct {
	*app
	*inspect.Cluster
	config    *rest.Config
	namespace string
}

func (a *app) connect() (*conn, error) {
	config, err := a.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; set KUBECONFIG or --kubeconfig", err)
	}
	config.QPS = -1
	config.UserAgent = "plumb/" + a.version
	config.WarningHandler = rest.NoWarnings{}
	namespace, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace: %w; set it with -n", err)
	}
	if err := checkName("namespace", namespace); err != nil {
		return nil, err
	}
	c, err := cluster.New("", config)
	if err != nil {
		return nil, err
	}
	client, err := c.As("")
	if err != nil {
		return nil, err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &conn{app: a, Cluster: a.offline(), config: config, namespace: namespace}
	s.Client, s.Clientset = client, clientset
	return s, nil
}

// offline knows the kinds, and no cluster.
func (a *app) offline() *inspect.Cluster {
	c := &inspect.Cluster{}
	for _, d := range a.dialects {
		c.Dialects = append(c.Dialects, d)
	}
	return c
}

// list is [inspect.Cluster.List], and says what to type if the cluster is not
// one of plumb's.
func (s *conn) list(ctx context.Context, namespace string, which func(view.Kind) bool) ([]*inspect.Found, error) {
	all, err := s.List(ctx, namespace, which)
	if errors.Is(err, inspect.ErrNoKinds) {
		return nil, fmt.Errorf("the cluster at %s has none of the kinds that plumb works on; type: plumb install", cluster.Host(s.config))
	}
	return all, err
}

// Which kinds a command is for.
func units(k view.Kind) bool   { return !k.IsSource }
func sources(k view.Kind) bool { return k.IsSource }
func anyKind(view.Kind) bool   { return true }

// one returns the unit or source that a person called NAME or KIND/NAME.
func (s *conn) one(ctx context.Context, name string, which func(view.Kind) bool) (*inspect.Found, error) {
	kind, bare, hasKind := cutKind(name)
	if err := checkName("name", bare); err != nil {
		return nil, err
	}
	var hits []*inspect.Found
	known := false
	var closed error // a kind that may not be read, and need not if another has the name
	for _, k := range s.Kinds() {
		if hasKind && !k.Called(kind) || !which(k) && !hasKind {
			continue
		}
		known = true
		u, err := s.Client.Dynamic().Resource(k.Resource()).Namespace(s.namespace).Get(ctx, bare, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			err = fmt.Errorf("read %s/%s: %w", k.Kind, bare, err)
			if !apierrors.IsForbidden(err) {
				return nil, err
			}
			if closed == nil {
				closed = err
			}
			continue
		}
		hits = append(hits, s.Found(k, u))
	}
	switch {
	case len(hits) == 0 && closed != nil:
		return nil, closed
	case !known:
		return nil, fmt.Errorf("kind %q is none of %s; name one of them, or leave the kind out", clean(kind), strings.Join(s.kindNames(which), ", "))
	case len(hits) == 1 && which(hits[0].Kind):
		return hits[0], nil
	case len(hits) == 1:
		return nil, s.notAUnit(hits[0])
	case len(hits) > 1:
		return nil, fmt.Errorf("%q is a %s and a %s; say which: %s/%[1]s", clean(bare), hits[0].Ref.Kind, hits[1].Ref.Kind, strings.ToLower(hits[0].Ref.Kind))
	}
	return nil, s.missing(ctx, kind, bare, which)
}

// missing is the error for a name that is not there. It says where it is, or
// what else is called so.
func (s *conn) missing(ctx context.Context, kind, name string, which func(view.Kind) bool) error {
	all, err := s.list(ctx, "", anyKind)
	if apierrors.IsForbidden(err) { // of all namespaces; this one may be open
		all, err = s.list(ctx, s.namespace, anyKind)
	}
	if err != nil && !apierrors.IsForbidden(err) {
		return err
	}
	var there, like []*inspect.Found
	for _, f := range all {
		switch {
		case f.Ref.Name != name:
		case which(f.Kind) && (kind == "" || f.Called(kind)):
			there = append(there, f)
		case kind == "":
			like = append(like, f)
		}
	}
	what := or(clean(kind), called(s.Kinds(), which))
	// What is in this namespace is more likely meant.
	if i := slices.IndexFunc(like, func(f *inspect.Found) bool { return f.Ref.Namespace == s.namespace }); i >= 0 {
		return s.notAUnit(like[i])
	}
	switch {
	case len(there) > 0:
		return fmt.Errorf("there is no %s %q in namespace %s, but one in %s; add -n %[4]s", what, clean(name), s.namespace, there[0].Ref.Namespace)
	case len(like) > 0:
		return s.notAUnit(like[0])
	}
	return fmt.Errorf("there is no %s %q in namespace %s; type: plumb get %s -A", what, clean(name), s.namespace, listing(s.Kinds(), which))
}

// notAUnit is the error for a name that is of the other sort than the command
// is for.
func (s *conn) notAUnit(f *inspect.Found) error {
	is, not, next := "source", "unit", "get sources "+f.Ref.Name
	switch {
	case !f.IsSource:
		is, not, next = "unit", "source", "get "+f.Ref.Name
	case takesSources(s.command):
		next = s.command + " source/" + f.Ref.Name
	}
	return fmt.Errorf("%s is a %s and not a %s; type: plumb %s -n %s", f.Ref, is, not, next, f.Ref.Namespace)
}

// called is what people call the kinds that a command is for.
func called(kinds []view.Kind, which func(view.Kind) bool) string {
	unit := slices.ContainsFunc(kinds, func(k view.Kind) bool { return which(k) && !k.IsSource })
	source := slices.ContainsFunc(kinds, func(k view.Kind) bool { return which(k) && k.IsSource })
	switch {
	case unit && source:
		return "unit or source"
	case source:
		return "source"
	}
	return "unit"
}

// listing is the argument by which plumb get lists those kinds.
func listing(kinds []view.Kind, which func(view.Kind) bool) string {
	return map[string]string{"unit or source": "all", "source": "sources", "unit": "units"}[called(kinds, which)]
}

// kindsOf are the kinds that a command is for, as manifests have them.
func kindsOf(c *inspect.Cluster, which func(view.Kind) bool) (out []string) {
	for _, k := range c.Kinds() {
		if which(k) {
			out = append(out, fmt.Sprintf("%s of %s", k.GroupVersionKind.Kind, k.GroupVersion()))
		}
	}
	return out
}

// cutKind takes KIND/NAME apart.
func cutKind(s string) (kind, name string, ok bool) {
	kind, name, ok = strings.Cut(s, "/")
	if !ok {
		return "", s, false
	}
	return kind, name, true
}

func (s *conn) isSource(kind string) bool {
	return slices.ContainsFunc(s.Kinds(), func(k view.Kind) bool { return k.IsSource && k.Called(kind) })
}

func (s *conn) kindNames(which func(view.Kind) bool) []string {
	var out []string
	for _, k := range s.Kinds() {
		if which(k) {
			out = append(out, k.Names[0])
		}
	}
	return out
}

// patch changes f by a merge patch.
func (s *conn) patch(ctx context.Context, f *inspect.Found, patch map[string]any) (*inspect.Found, error) {
	b, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	u, err := s.Client.Dynamic().Resource(f.Resource()).Namespace(f.Ref.Namespace).
		Patch(ctx, f.Ref.Name, types.MergePatchType, b, metav1.PatchOptions{FieldManager: "plumb-cli"})
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", f.Ref, err)
	}
	return s.Found(f.Kind, u), nil
}

// outputFlag adds -o, for what a command prints.
func outputFlag(cmd *cobra.Command, o *string, formats ...string) {
	cmd.Flags().StringVarP(o, "output", "o", "", "one of "+strings.Join(formats, ", ")+"; empty is for people")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	before(cmd, func(c *cobra.Command) error {
		if *o != "" && !slices.Contains(formats, *o) {
			return fmt.Errorf("-o %q is none of %s; type: %s --help", clean(*o), strings.Join(formats, ", "), c.CommandPath())
		}
		return nil
	})
}

// data prints v for programs. On a terminal, what could steer it is escaped.
func (a *app) data(v any, format string) error {
	var b []byte
	var err error
	if format == "yaml" {
		b, err = yaml.Marshal(v)
	} else {
		var buf bytes.Buffer
		e := json.NewEncoder(&buf)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(v)
		b = escapeJSON(buf.Bytes())
	}
	if err != nil {
		return err
	}
	return a.bytes(b)
}

// escapeJSON writes as an escape what is not printable, which means the same
// to a program.
func escapeJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, r := range string(b) {
		if r == '\n' || strconv.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, "\\u%04x", u)
		}
	}
	return out
}

func (a *app) bytes(b []byte) error {
	if isTerminal(a.io.Out) {
		b = []byte(cleanLines(string(b)))
	}
	_, err := a.io.Out.Write(b)
	return err
}

func (a *app) println(parts ...any) { fmt.Fprintln(a.io.Out, parts...) }

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.io.Out, format, args...) }

// note tells something beside the answer.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.io.ErrOut, format+"\n", args...) }
