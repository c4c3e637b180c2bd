package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeLabel marks the nodes that are the sandbox's to create and delete.
const nodeLabel = "sandbox.plumb.dev/node"

// ensureNodes makes the sandbox's nodes exactly as many as asked for.
func (c *cluster) ensureNodes(ctx context.Context) error {
	nodes := c.client.CoreV1().Nodes()
	wanted := map[string]bool{}
	for i := 1; i <= c.Nodes; i++ {
		node := newNode(i)
		wanted[node.Name] = true
		if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	list, err := nodes.List(ctx, metav1.ListOptions{LabelSelector: nodeLabel})
	if err != nil {
		return err
	}
	for _, node := range list.Items {
		if wanted[node.Name] {
			continue
		}
		if err := nodes.Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func newNode(i int) *corev1.Node {
	name := fmt.Sprintf("node-%d", i)
	pods := fmt.Sprintf("10.%d.%d.0/24", 128+i/256, i%256)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				nodeLabel:              "",
				corev1.LabelHostname:   name,
				corev1.LabelOSStable:   "linux",
				corev1.LabelArchStable: "amd64",
				"kubernetes.io/role":   "agent",
				"type":                 "kwok",
			},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Spec: corev1.NodeSpec{PodCIDR: pods, PodCIDRs: []string{pods}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.127.%d.%d", i/256, i%256)},
			{Type: corev1.NodeHostName, Address: name},
		}},
	}
}

// waitForSettled returns when pods can be created in the default namespace
// and be scheduled.
func (c *cluster) waitForSettled(ctx context.Context) error {
	err := c.waitFor(ctx, "the default service account", func(ctx context.Context) (bool, error) {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return c.waitFor(ctx, "the nodes", func(ctx context.Context) (bool, error) {
		list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: nodeLabel})
		if err != nil {
			return false, err
		}
		ready := 0
		for _, node := range list.Items {
			if isReady(node) {
				ready++
			}
		}
		return ready == c.Nodes, nil
	})
}

// isReady tells whether the node takes pods.
func isReady(node corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
