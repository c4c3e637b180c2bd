package cached

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	linkPrefix     = "link.argocd.argoproj.io/"
	ignoreLinks    = "argocd.argoproj.io/ignore-default-links"
	managedByURL   = "argocd.argoproj.io/managed-by-url"
	deployRevision = "deployment.kubernetes.io/revision"
	rollRevision   = "rollout.argoproj.io/revision"
)

// NodeOf returns the node of a live object, but for its health. Its parents are
// those that own it, wherever these are.
func NodeOf(o *unstructured.Unstructured) Node {
	at := o.GetCreationTimestamp()
	n := Node{Ref: RefOf(o), ResourceVersion: o.GetResourceVersion(), CreatedAt: &at}
	for _, owner := range o.GetOwnerReferences() {
		gv, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil {
			continue // nobody is called so
		}
		n.ParentRefs = append(n.ParentRefs, Ref{
			Group: gv.Group, Version: gv.Version, Kind: owner.Kind, Namespace: n.Namespace, Name: owner.Name, UID: string(owner.UID),
		})
	}
	ann := o.GetAnnotations()
	if r := cmp.Or(ann[deployRevision], ann[rollRevision]); r != "" {
		n.Info = append(n.Info, Info{"Revision", "Rev:" + r})
	}
	switch group, kind := n.Group, n.Kind; {
	case group == "" && kind == "Pod":
		n.pod(o)
	case group == "" && kind == "Service":
		n.service(o)
	case group == "networking.k8s.io" && kind == "Ingress":
		n.ingress(o)
	case group == "gateway.networking.k8s.io" && strings.HasSuffix(kind, "Route"):
		n.route(o)
	case group == "argoproj.io" && kind == "Application" && ann[managedByURL] != "":
		n.Info = append(n.Info, Info{"managed-by-url", ann[managedByURL]})
	}
	if links := linksOf(ann); len(links) > 0 {
		if n.Networking == nil {
			n.Networking = &Networking{}
		}
		n.Networking.ExternalURLs = append(links, n.Networking.ExternalURLs...)
	}
	return n
}

// RefOf names a live object.
func RefOf(o *unstructured.Unstructured) Ref {
	gvk := o.GroupVersionKind()
	return Ref{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID())}
}

// linksOf are the addresses that somebody has written on an object, each with a
// title before it perhaps. A browser follows them, so they have to be web pages.
func linksOf(annotations map[string]string) (links []string) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, linkPrefix) {
			continue
		}
		address := annotations[key]
		if _, after, titled := strings.Cut(address, "|"); titled {
			address = after
		}
		if u, err := url.Parse(address); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
			links = append(links, annotations[key])
		}
	}
	return links
}

// pod adds what is shown of a Pod: what kubectl has in its column STATUS, where it
// is, and how many of its containers are ready.
func (n *Node) pod(o *unstructured.Unstructured) {
	n.Networking = &Networking{Labels: o.GetLabels()}
	p := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, p); err != nil {
		return // of a Pod that the server has taken, that can't be
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		n.Images = append(n.Images, c.Image)
	}
	slices.Sort(n.Images)
	n.Images = slices.Compact(n.Images)
	ready, all, restarts := containers(p)
	if reason := statusOf(p); reason != "" {
		n.Info = append(n.Info, Info{"Status Reason", reason})
	}
	n.Info = append(n.Info, Info{"Node", p.Spec.NodeName}, Info{"Containers", fmt.Sprintf("%d/%d", ready, all)})
	if restarts > 0 {
		n.Info = append(n.Info, Info{"Restart Count", strconv.Itoa(restarts)})
	}
}

// containers counts those that are to run as long as the Pod does.
func containers(p *corev1.Pod) (ready, all, restarts int) {
	sidecars := make(map[string]bool)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
		}
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		restarts += int(s.RestartCount)
	}
	for _, s := range p.Status.InitContainerStatuses {
		if sidecars[s.Name] && s.Ready {
			ready++
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.Ready && s.State.Running != nil {
			ready++
		}
	}
	return ready, len(p.Spec.Containers) + len(sidecars), restarts
}

// nodeLost is said of Pods whose node does not answer.
const nodeLost = "NodeLost"

// statusOf is how a Pod is in a word: the first thing that keeps it from being
// ready, as far as it says so.
func statusOf(p *corev1.Pod) string {
	ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	switch {
	case p.DeletionTimestamp != nil && p.Status.Reason == nodeLost:
		return "Unknown"
	case p.DeletionTimestamp != nil && !ended:
		return "Terminating"
	}
	for i, s := range p.Status.InitContainerStatuses {
		sidecar := i < len(p.Spec.InitContainers) && p.Spec.InitContainers[i].RestartPolicy != nil
		if t := s.State.Terminated; t != nil && t.ExitCode == 0 || sidecar && s.Started != nil && *s.Started {
			continue
		}
		if w := why(s.State); w != "" && w != "PodInitializing" {
			return "Init:" + w
		}
		return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
	}
	said, runs := "", false
	for _, s := range p.Status.ContainerStatuses {
		said = cmp.Or(said, why(s.State))
		runs = runs || s.Ready && s.State.Running != nil
	}
	if said == "Completed" && runs {
		said = string(corev1.PodRunning)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			said = cmp.Or(said, c.Reason)
		}
	}
	return cmp.Or(said, p.Status.Reason, string(p.Status.Phase))
}

// why says why a container does not run; nothing, if it does.
func why(s corev1.ContainerState) string {
	switch t := s.Terminated; {
	case s.Waiting != nil:
		return s.Waiting.Reason
	case t == nil:
		return ""
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

func (n *Node) service(o *unstructured.Unstructured) {
	selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector")
	n.Networking = &Networking{TargetLabels: selector}
	if kind, _, _ := unstructured.NestedString(o.Object, "spec", "type"); kind == string(corev1.ServiceTypeLoadBalancer) {
		n.Networking.Ingress = addresses(o)
	}
}

func addresses(o *unstructured.Unstructured) (all []corev1.LoadBalancerIngress) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress")
	for _, i := range list {
		m, _ := i.(map[string]any)
		ip, _, _ := unstructured.NestedString(m, "ip")
		host, _, _ := unstructured.NestedString(m, "hostname")
		all = append(all, corev1.LoadBalancerIngress{IP: ip, Hostname: host})
	}
	return all
}

// ingress adds which Services an Ingress leads to, and what people type to get
// there.
func (n *Node) ingress(o *unstructured.Unstructured) {
	n.Networking = &Networking{Ingress: addresses(o)}
	services, urls := make(map[string]bool), make(map[string]bool)
	if name, _, _ := unstructured.NestedString(o.Object, "spec", "defaultBackend", "service", "name"); name != "" {
		services[name] = true
	}
	secure, all := secured(o)
	rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "rules")
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		host, _, _ := unstructured.NestedString(rule, "host")
		if host == "" && len(n.Networking.Ingress) > 0 {
			host = cmp.Or(n.Networking.Ingress[0].Hostname, n.Networking.Ingress[0].IP)
		}
		scheme := "http"
		if all || secure[host] {
			scheme = "https"
		}
		paths, _, _ := unstructured.NestedSlice(rule, "http", "paths")
		for _, p := range paths {
			path, _ := p.(map[string]any)
			if name, _, _ := unstructured.NestedString(path, "backend", "service", "name"); name != "" {
				services[name] = true
			}
			at, _, _ := unstructured.NestedString(path, "path")
			if host != "" {
				urls[scheme+"://"+host+strings.TrimSuffix(at, "*")] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		n.Networking.TargetRefs = append(n.Networking.TargetRefs, Ref{Kind: "Service", Namespace: n.Namespace, Name: name})
	}
	if ignored, err := strconv.ParseBool(o.GetAnnotations()[ignoreLinks]); err != nil || !ignored {
		n.Networking.ExternalURLs = slices.Sorted(maps.Keys(urls))
	}
}

// secured says for which hosts an Ingress has a certificate, or that it is for
// all.
func secured(o *unstructured.Unstructured) (hosts map[string]bool, all bool) {
	hosts = make(map[string]bool)
	list, _, _ := unstructured.NestedSlice(o.Object, "spec", "tls")
	for _, e := range list {
		m, _ := e.(map[string]any)
		names, _, _ := unstructured.NestedStringSlice(m, "hosts")
		for _, name := range names {
			hosts[name] = true
		}
		all = all || len(names) == 0
	}
	return hosts, all
}

// route adds the Gateways that a route hangs on.
func (n *Node) route(o *unstructured.Unstructured) {
	n.Networking = &Networking{}
	parents, _, _ := unstructured.NestedSlice(o.Object, "spec", "parentRefs")
	for _, p := range parents {
		m, _ := p.(map[string]any)
		field := func(name, otherwise string) string {
			v, _, _ := unstructured.NestedString(m, name)
			return cmp.Or(v, otherwise)
		}
		if name := field("name", ""); name != "" {
			n.Networking.TargetRefs = append(n.Networking.TargetRefs, Ref{
				Group: field("group", "gateway.networking.k8s.io"), Kind: field("kind", "Gateway"), Namespace: field("namespace", n.Namespace), Name: name,
			})
		}
	}
}
