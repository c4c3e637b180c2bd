package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// An observation is what the API server told of an object, and when.
type observation struct {
	at       time.Time
	kind     string
	name     string
	gone     bool
	replicas int64
	image    string
}

// first is when something was seen first, or no time.
func first(seen []observation, is func(observation) bool) time.Time {
	for _, o := range seen {
		if is(o) {
			return o.at
		}
	}
	return time.Time{}
}

// An observer notes what becomes of workloads.
type observer struct {
	mu   sync.Mutex
	seen []observation
}

func (o *observer) watch(ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource) error {
	list, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	w, err := client.Resource(resource).Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
	if err != nil {
		return err
	}
	go func() {
		for e := range w.ResultChan() {
			if u, ok := e.Object.(*unstructured.Unstructured); ok {
				o.note(e.Type == apiwatch.Deleted, u)
			}
		}
	}()
	return nil
}

func (o *observer) note(gone bool, u *unstructured.Unstructured) {
	replicas, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, observation{time.Now(), u.GetKind(), u.GetName(), gone, replicas, imageOf(u)})
}

// imageOf is that of an object's first container, if it has one.
func imageOf(u *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if len(containers) == 0 {
		return ""
	}
	c, _ := containers[0].(map[string]any)
	image, _ := c["image"].(string)
	return image
}

// since are the observations from a time on.
func (o *observer) since(t time.Time) []observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.seen {
		if !o.seen[i].at.Before(t) {
			return append([]observation(nil), o.seen[i:]...)
		}
	}
	return nil
}

// check does what invite asks for, and prints how long each step took: from
// the start of the push, or from the API server's telling of the edit, until
// the API server tells that it is live.
func (d *demo) check(ctx context.Context) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var o observer
	for _, r := range []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
	} {
		if err := o.watch(ctx, client, r); err != nil {
			return fmt.Errorf("watch %s: %w", r.Resource, err)
		}
	}
	if err := d.shell(ctx, d.dir, d.cloning()); err != nil {
		return err
	}
	table := tabwriter.NewWriter(d.w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\nSTEP\tCOMMAND\tLIVE AFTER")
	for _, s := range d.steps() {
		took, err := d.perform(ctx, s, &o)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.name, s.commands[len(s.commands)-1], seconds(took))
	}
	for _, c := range d.looks() {
		if err := d.shell(ctx, d.clone(), c); err != nil {
			return err
		}
	}
	return table.Flush()
}

func (d *demo) perform(ctx context.Context, s step, o *observer) (time.Duration, error) {
	var began time.Time
	for _, c := range s.commands {
		began = time.Now()
		if err := d.shell(ctx, d.clone(), c); err != nil {
			return 0, err
		}
	}
	var took time.Duration
	err := until(ctx, d.plumb, 30*time.Second, func() error {
		from, live := s.effect(o.since(began))
		if live.IsZero() {
			return fmt.Errorf("%q has had no effect yet", s.commands[len(s.commands)-1])
		}
		if from.IsZero() {
			from = began
		}
		took = live.Sub(from)
		return nil
	})
	return took, err
}

// shell runs a command as a person would.
func (d *demo) shell(ctx context.Context, dir, command string) error {
	script := strings.Join(append(d.setup(), command), "\n")
	cmd := exec.CommandContext(ctx, "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}
