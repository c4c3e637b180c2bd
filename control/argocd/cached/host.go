package cached

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// counted are the amounts that are shown of hosts.
var counted = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage}

// HostOf returns how much of a node of the cluster the Pods of an Application have
// asked for, which are those with these UIDs, and how much all other Pods on it.
func HostOf(node *corev1.Node, pods []corev1.Pod, own map[string]bool) Host {
	h := Host{Name: node.Name, System: node.Status.NodeInfo}
	amounts := make(map[corev1.ResourceName]HostResource)
	for _, name := range counted {
		if q, ok := node.Status.Capacity[name]; ok && !q.IsZero() {
			amounts[name] = HostResource{Name: name, Available: q.MilliValue()}
		}
	}
	for i := range pods {
		p := &pods[i]
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for name, r := range amounts {
			asked := requested(p, name)
			if own[string(p.UID)] {
				r.ByApp += asked
			} else {
				r.ByOthers += asked
			}
			amounts[name] = r
		}
	}
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		h.Resources = append(h.Resources, amounts[name])
	}
	return h
}

// requested is what the scheduler reserves for a Pod: what its containers ask for
// together, or the most that one of those before them does.
func requested(p *corev1.Pod, name corev1.ResourceName) (sum int64) {
	for i := range p.Spec.Containers {
		sum += amount(&p.Spec.Containers[i], name)
	}
	sidecars, most := int64(0), int64(0)
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars += amount(c, name)
			continue
		}
		most = max(most, sidecars+amount(c, name))
	}
	sum = max(sum+sidecars, most)
	if q, ok := p.Spec.Overhead[name]; ok {
		sum += q.MilliValue()
	}
	return sum
}

func amount(c *corev1.Container, name corev1.ResourceName) int64 {
	q := c.Resources.Requests[name]
	return q.MilliValue()
}

// HostName is the node that a Pod is on; empty: none.
func HostName(pod *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	return name
}

// PodsOf reads Pods as they are listed. One that can't be read asks for nothing.
func PodsOf(list *unstructured.UnstructuredList) (pods []corev1.Pod) {
	for i := range list.Items {
		p := corev1.Pod{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &p); err == nil {
			pods = append(pods, p)
		}
	}
	return pods
}
