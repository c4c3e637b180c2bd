package install_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/cli/install"
	"plumb.dev/plumb/internal/kubetest"
)

// plumb runs plumb install with arguments and returns what it printed.
func plumb(ctx context.Context, kubeconfig string, args ...string) (string, error) {
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &kubeconfig
	cmd := install.NewCommand(install.Config{Flags: flags, Version: "v0.1.0+dirty"})
	flags.AddFlags(cmd.Flags())
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

func manifests(t *testing.T, o install.Options) map[string]*unstructured.Unstructured {
	t.Helper()
	objects, err := install.Manifests(o)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]*unstructured.Unstructured{}
	for _, u := range objects {
		m[u.GetKind()+" "+u.GetName()] = u
	}
	return m
}

func TestManifestsFollowTheOptions(t *testing.T) {
	m := manifests(t, install.Options{Namespace: "gitops", Image: "registry.example.com/plumb:v1", Version: "v1+x"})
	for key, u := range m {
		if ns := u.GetNamespace(); ns != "" && ns != "gitops" {
			t.Errorf("%s is in namespace %s", key, ns)
		}
		subjects, _, _ := unstructured.NestedSlice(u.Object, "subjects")
		for _, s := range subjects {
			if ns := s.(map[string]any)["namespace"]; ns != "gitops" {
				t.Errorf("%s binds a service account of %s", key, ns)
			}
		}
	}
	container := containerOf(t, m["Deployment plumb"])
	if container["image"] != "registry.example.com/plumb:v1" {
		t.Errorf("image is %s", container["image"])
	}
	if v := m["Deployment plumb"].GetLabels()["app.kubernetes.io/version"]; v != "v1-x" {
		t.Errorf("version label is %q", v)
	}
}

func TestMultiTenantHasNoSharedRights(t *testing.T) {
	single := manifests(t, install.Options{Image: "plumb"})
	multi := manifests(t, install.Options{Image: "plumb", MultiTenant: true})

	var gone []string
	for key := range single {
		if multi[key] == nil {
			gone = append(gone, key)
		}
	}
	if diff := cmp.Diff([]string{"ClusterRoleBinding plumb-cluster-admin"}, gone); diff != "" {
		t.Errorf("left out with multi-tenant (-want +have):\n%s", diff)
	}
	for _, lock := range []string{"--default-service-account=default", "--no-cross-namespace-refs=true"} {
		if args := containerOf(t, multi["Deployment plumb"])["args"].([]any); !slices.Contains(args, any(lock)) {
			t.Errorf("arguments %v have no %s", args, lock)
		}
		flag, _, _ := strings.Cut(lock, "=")
		if args := fmt.Sprint(containerOf(t, single["Deployment plumb"])["args"]); strings.Contains(args, flag) {
			t.Errorf("without multi-tenant, arguments %s have %s", args, flag)
		}
	}
}

func TestBesideArgoCDApplicationsAreLeftToIt(t *testing.T) {
	m := manifests(t, install.Options{Image: "plumb", BesideArgoCD: true})
	if args := containerOf(t, m["Deployment plumb"])["args"].([]any); !slices.Contains(args, any("--argocd-namespace=")) {
		t.Errorf("the arguments are %v", args)
	}
	if m["CustomResourceDefinition applications.argoproj.io"] != nil {
		t.Error("Argo CD's definitions would be replaced")
	}
}

func TestArgoCDsServerIsKept(t *testing.T) {
	c := containerOf(t, manifests(t, install.Options{Image: "plumb", ArgoCDRedis: "argocd-redis.argocd.svc:6379"})["Deployment plumb"])
	if args := c["args"].([]any); !slices.Contains(args, any("--argocd-redis=argocd-redis.argocd.svc:6379")) {
		t.Errorf("the arguments are %v", args)
	}
	if env := fmt.Sprint(c["env"]); !strings.Contains(env, "REDIS_PASSWORD") || !strings.Contains(env, "argocd-redis") {
		t.Errorf("the environment is %s", env)
	}
	if all := fmt.Sprint(containerOf(t, manifests(t, install.Options{Image: "plumb"})["Deployment plumb"])); strings.Contains(all, "redis") {
		t.Errorf("without it there is %s", all)
	}
}

func containerOf(t *testing.T, u *unstructured.Unstructured) map[string]any {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("containers: %v, %v", containers, err)
	}
	return containers[0].(map[string]any)
}

func TestNamesThatAreNoneAreRefused(t *testing.T) {
	for name, o := range map[string]install.Options{
		"a namespace in capitals": {Namespace: "Plumb", Image: "plumb"},
		"a Redis without a port":  {Image: "plumb", ArgoCDRedis: "argocd-redis"},
		"a Redis of another's":    {Image: "plumb", ArgoCDRedis: "argocd-redis:6379", BesideArgoCD: true},
		"no image":                {},
		"an image with a space":   {Image: "plumb :v1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := install.Manifests(o); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestExportPrintsOnly(t *testing.T) {
	out, err := plumb(t.Context(), "/nowhere", "--export", "--crds")
	if err != nil {
		t.Fatal(err)
	}
	if kinds := strings.Count(out, "\nkind: CustomResourceDefinition\n"); kinds != strings.Count(out, "---\n") || kinds == 0 {
		t.Errorf("--crds prints %d definitions in %d documents", kinds, strings.Count(out, "---\n"))
	}
	out, err = plumb(t.Context(), "/nowhere", "--export")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: Deployment", "image: plumb:v0.1.0-dirty", "kind: NetworkPolicy"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not printed", want)
		}
	}
}

// The steps share a cluster, and each builds on the one before.
func TestInstallOnACluster(t *testing.T) {
	env := kubetest.Private(t)

	t.Run("kubectl applies what is exported", func(t *testing.T) {
		out, err := plumb(t.Context(), env.Kubeconfig, "--export", "--multi-tenant")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := env.Kubectl(t.Context(), out, "apply", "--server-side", "--validate=strict", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		// As in the README; the client-side apply of kubectl has to bear the size.
		if _, err := env.Kubectl(t.Context(), out, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		if _, err := env.Kubectl(t.Context(), "", "wait", "--for=condition=Available", "-n", "plumb-system", "deployment/plumb", "--timeout=1m"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("in multi-tenant mode plumb has its own rights only", func(t *testing.T) { rights(t, env) })
	t.Run("plumb acts as service accounts and as nobody else", func(t *testing.T) { impersonation(t, env) })

	t.Run("a field of another manager is not taken over unasked", func(t *testing.T) {
		_, err := plumb(t.Context(), env.Kubeconfig)
		if err == nil || !strings.Contains(err.Error(), "--force-conflicts") {
			t.Errorf("error is %v; want one that names --force-conflicts", err)
		}
	})
	t.Run("installing waits until plumb runs", func(t *testing.T) {
		out, err := plumb(t.Context(), env.Kubeconfig, "--force-conflicts")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"applied Deployment plumb-system/plumb\n", "plumb runs"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in the output:\n%s", want, out)
			}
		}
		if !allowed(t, env, review{verb: "create", resource: "pods", namespace: "default"}) {
			t.Error("plumb may not create pods; a Kustomization without a service account can't be applied")
		}
	})
	t.Run("a controller of Flux is not joined unasked", func(t *testing.T) {
		for _, name := range []string{"kustomize-controller-shard1", "kustomize-controller"} {
			flux := `{apiVersion: apps/v1, kind: Deployment, metadata: {name: ` + name + `, namespace: default, labels: {app.kubernetes.io/part-of: flux}},
				spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: manager, image: a}]}}}}`
			if _, err := env.Kubectl(t.Context(), flux, "apply", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			if _, err := plumb(t.Context(), env.Kubeconfig); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "--beside-flux") {
				t.Errorf("error is %v; want one that names %s and --beside-flux", err, name)
			}
			if _, err := env.Kubectl(t.Context(), "", "scale", "deployment", name, "--namespace=default", "--replicas=0"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a controller of Flux that is scaled to nothing does not speak against it", func(t *testing.T) {
		if _, err := plumb(t.Context(), env.Kubeconfig); err != nil {
			t.Error(err)
		}
	})
	t.Run("Argo CD's controller is not joined unasked", func(t *testing.T) {
		argo := `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: argocd-application-controller, namespace: default, labels: {app.kubernetes.io/name: argocd-application-controller}},
			spec: {replicas: 1, selector: {matchLabels: {a: c}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: manager, image: a}]}}}}`
		if _, err := env.Kubectl(t.Context(), argo, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		if _, err := plumb(t.Context(), env.Kubeconfig); err == nil || !strings.Contains(err.Error(), "argocd-application-controller") || !strings.Contains(err.Error(), "--beside-argocd") {
			t.Errorf("error is %v; want one that names the controller and --beside-argocd", err)
		}
		if _, err := plumb(t.Context(), env.Kubeconfig, "--beside-argocd", "--wait=false"); err != nil {
			t.Error(err)
		}
		if _, err := env.Kubectl(t.Context(), "", "delete", "statefulset", "argocd-application-controller", "--namespace=default"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the account that Flux's repositories act as can be made as the docs say", func(t *testing.T) { fluxAccount(t, env) })
	t.Run("waiting for what does not come ends and says what is missing", func(t *testing.T) {
		if _, err := env.Kubectl(t.Context(), "", "cordon", "--selector=!none"); err != nil {
			t.Fatal(err)
		}
		_, err := plumb(t.Context(), env.Kubeconfig, "--beside-flux", "--force-conflicts", "--timeout=10s", "--image=plumb:next")
		if err == nil || !strings.Contains(err.Error(), "Deployment plumb-system/plumb") || !strings.Contains(err.Error(), "--timeout") {
			t.Errorf("error is %v; want one that names the Deployment and --timeout", err)
		}
	})
	t.Run("removing plumb as the docs say keeps what it applied", func(t *testing.T) { removal(t, env) })
}

// documented returns the first commands of docs/install.md under a heading.
func documented(t *testing.T, heading string) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n"+heading+"\n")
	_, script, found := strings.Cut(section, "```sh\n")
	if !found {
		t.Fatalf("docs/install.md has no commands under %q", heading)
	}
	script, _, _ = strings.Cut(script, "```\n")
	return script
}

func fluxAccount(t *testing.T, env *kubetest.Env) {
	if _, err := env.Shell(t, documented(t, "### The account kustomize-controller")); err != nil {
		t.Fatal(err)
	}
	_, err := env.Kubectl(t.Context(), "", "auth", "can-i", "create", "clusterroles", "--as=system:serviceaccount:flux-system:kustomize-controller")
	if err != nil {
		t.Error(err)
	}
}

func removal(t *testing.T, env *kubetest.Env) {
	script := documented(t, "### Remove")
	ns := env.Namespace(t)
	for _, manifest := range []string{
		`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: a, finalizers: [finalizers.fluxcd.io]},
			spec: {interval: 1m, url: "https://git.example.com/a"}}`,
		`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, finalizers: [finalizers.fluxcd.io]},
			spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: a}}}`,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {kustomize.toolkit.fluxcd.io/name: a, kustomize.toolkit.fluxcd.io/namespace: a}}}`,
	} {
		if _, err := env.Kubectl(t.Context(), manifest, "apply", "-n", ns, "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := env.Shell(t, script); err != nil || !strings.Contains(out, "patched") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := env.Kubectl(t.Context(), "", "get", "configmap/a", "-n", ns, "-o", "name"); err != nil || out != "configmap/a\n" {
		t.Errorf("the ConfigMap that was applied: %q, %v", out, err)
	}
	left, err := env.Kubectl(t.Context(), "", "get", "crd,clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=plumb", "-o", "name")
	if err != nil || left != "" {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

type review struct {
	verb, group, resource, sub, name, namespace string
}

func allowed(t *testing.T, env *kubetest.Env, r review) bool {
	t.Helper()
	sar := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:   "system:serviceaccount:plumb-system:plumb",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:plumb-system", "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.sub, Name: r.name, Namespace: r.namespace,
		},
	}}
	if err := env.Client.Create(t.Context(), sar); err != nil {
		t.Fatal(err)
	}
	return sar.Status.Allowed
}

func rights(t *testing.T, env *kubetest.Env) {
	const kustomize, source, rbac = "kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io", "rbac.authorization.k8s.io"
	for _, r := range []review{
		{"watch", kustomize, "kustomizations", "", "", ""},
		{"patch", kustomize, "kustomizations", "", "a", "shop"},
		{"patch", kustomize, "kustomizations", "status", "a", "shop"},
		{"patch", source, "gitrepositories", "status", "a", "shop"},
		{"patch", source, "gitrepositories", "", "a", "shop"},
		{"watch", source, "ocirepositories", "", "", ""},
		{"patch", source, "ocirepositories", "status", "a", "shop"},
		{"watch", source, "buckets", "", "", ""},
		{"patch", source, "buckets", "status", "a", "shop"},
		{"watch", "", "serviceaccounts", "", "", "shop"},
		{"get", "apiextensions.k8s.io", "customresourcedefinitions", "", "a", ""},
		{"list", "", "secrets", "", "", "shop"},
		{"watch", "apps", "deployments", "", "", ""},
		{"list", "example.com", "widgets", "", "", ""},
		{"create", "", "events", "", "", "shop"},
		{"impersonate", "", "serviceaccounts", "", "deployer", "shop"},
		{"create", "coordination.k8s.io", "leases", "", "", "plumb-system"},
		{"update", "coordination.k8s.io", "leases", "", "plumb-leader", "plumb-system"},
	} {
		if !allowed(t, env, r) {
			t.Errorf("refused, and plumb needs it: %+v", r)
		}
	}
	for _, r := range []review{
		{"create", "", "pods", "", "", "shop"},
		{"patch", "apps", "deployments", "", "web", "shop"},
		{"delete", "", "configmaps", "", "a", "shop"},
		{"update", "", "secrets", "", "a", "shop"},
		{"get", "", "pods", "exec", "a", "shop"},
		{"create", "", "pods", "exec", "a", "shop"},
		{"get", "", "nodes", "proxy", "a", ""},
		{"get", "", "pods", "log", "a", "shop"},
		{"create", "", "serviceaccounts", "token", "deployer", "shop"},
		{"impersonate", "", "users", "", "admin", ""},
		{"impersonate", "", "groups", "", "system:masters", ""},
		{"escalate", rbac, "clusterroles", "", "", ""},
		{"bind", rbac, "clusterroles", "", "cluster-admin", ""},
		{"create", rbac, "clusterrolebindings", "", "", ""},
		{"create", kustomize, "kustomizations", "", "", "shop"},
		{"delete", kustomize, "kustomizations", "", "a", "shop"},
		{"patch", "apiextensions.k8s.io", "customresourcedefinitions", "", "a", ""},
		{"update", "coordination.k8s.io", "leases", "", "kube-scheduler", "kube-system"},
		{"update", "coordination.k8s.io", "leases", "", "another", "plumb-system"},
	} {
		if allowed(t, env, r) {
			t.Errorf("allowed, and plumb does not need it: %+v", r)
		}
	}
}

// impersonation uses plumb's own token, as its Deployment does.
func impersonation(t *testing.T, env *kubetest.Env) {
	clientset, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	token, err := clientset.CoreV1().ServiceAccounts("plumb-system").CreateToken(t.Context(), "plumb", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns := env.Namespace(t)
	for _, manifest := range []string{
		`{apiVersion: v1, kind: ServiceAccount, metadata: {name: deployer}}`,
		`{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: deployer},
			roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, subjects: [{kind: ServiceAccount, name: deployer}]}`,
	} {
		if _, err := env.Kubectl(t.Context(), manifest, "apply", "-n", ns, "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	create := func(as, namespace string) error {
		config := rest.AnonymousClientConfig(env.Config)
		config.BearerToken = token.Status.Token
		config.Impersonate.UserName = as
		c, err := client.New(config, client.Options{})
		if err != nil {
			return err
		}
		return c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-", Namespace: namespace}})
	}
	deployer := "system:serviceaccount:" + ns + ":deployer"
	kubetest.Eventually(t, 10*time.Second, func() error { return create(deployer, ns) }) // RBAC follows a binding in a moment
	for name, err := range map[string]error{
		"the deployer in another namespace": create(deployer, "default"),
		"plumb itself":                      create("", ns),
		"a user":                            create("admin", ns),
		"a node":                            create("system:node:a", ns),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("created as %s: %v; want forbidden", name, err)
		}
	}
}
