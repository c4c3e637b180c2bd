package inspect

import (
	"context"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/source"
)

// A Difference is what would change on a cluster. Values of Secrets are masked.
type Difference struct {
	Unit     string       `json:"unit"`
	Path     string       `json:"path,omitempty"`
	Revision string       `json:"revision,omitempty"`
	Changes  []ObjectDiff `json:"changes"`
	Errors   []string     `json:"errors,omitempty"`
}

// An ObjectDiff is that of one object.
type ObjectDiff struct {
	Action string     `json:"action"` // create, update, recreate, delete, release, hold, leave or ignore
	Object object.Ref `json:"-"`
	Ref    string     `json:"object"`
	Why    string     `json:"why,omitempty"`
	// Reason is why it is held, where that is one of those of conditions.
	Reason fault.Reason `json:"reason,omitempty"`
	Fields []FieldDiff  `json:"fields,omitempty"`
	// Alike: it would hold the same but for its unit's marks, with other owners.
	Alike bool `json:"alike,omitempty"`
	// Done: the change was made.
	Done bool `json:"done,omitempty"`
	// Desired is what would be created.
	Desired map[string]any `json:"desired,omitempty"`
}

// A FieldDiff is that of one field.
type FieldDiff struct {
	Path    string    `json:"path"`
	Old     any       `json:"old"`
	New     any       `json:"new"`
	Manager string    `json:"manager,omitempty"` // wrote the old value
	When    time.Time `json:"when,omitzero"`
}

func newDifference(f *Found, out engine.Outcome, errs []error) *Difference {
	d := &Difference{Unit: f.Ref.String(), Revision: out.Revision, Changes: []ObjectDiff{}}
	var held []ObjectDiff
	for _, c := range out.Record.All() {
		if !told(c) {
			continue
		}
		o := ObjectDiff{
			Action: c.Action.String(), Object: c.Ref, Ref: c.Ref.String(), Why: c.Why, Reason: c.Reason, Alike: c.Alike, Done: c.Did == apply.Written,
		}
		if c.Did == apply.Refused {
			o.Action, o.Why = apply.Hold.String(), "it could not be looked at"
		}
		o.Fields = fieldDiffs(f, c.Fields)
		if want := c.Desired(); want != nil && c.Action == apply.Create {
			o.Desired = owned.Mask(want).Object
		}
		if o.Action == apply.Hold.String() {
			held = append(held, o)
			continue
		}
		d.Changes = append(d.Changes, o)
	}
	d.Changes = append(d.Changes, held...)
	for _, l := range out.Left {
		d.Changes = append(d.Changes, ObjectDiff{Action: Leave, Object: l.Ref, Ref: l.Ref.String(), Why: l.Why})
	}
	for _, i := range out.Ignored {
		o := ObjectDiff{Action: Ignore, Object: i.Ref, Ref: i.Ref.String(), Why: "a rule says that these differ and don't count"}
		o.Fields = fieldDiffs(f, i.Fields)
		d.Changes = append(d.Changes, o)
	}
	for _, err := range errs {
		d.Errors = append(d.Errors, err.Error())
	}
	return d
}

func fieldDiffs(f *Found, fields []owned.Field) (out []FieldDiff) {
	for _, x := range fields {
		if x.Manager == f.Dialect.Manager() {
			x.Manager, x.When = "", time.Time{}
		}
		out = append(out, FieldDiff{Path: x.Path, Old: x.Got, New: x.Want, Manager: x.Manager, When: x.When})
	}
	return out
}

// told reports whether a result is shown. What the server refuses is among the
// errors.
func told(c *apply.Result) bool {
	return c.Action != apply.Settle && !c.Is(apply.Unneeded, apply.Gone) && (c.Did != apply.Refused || c.Surplus)
}

// hide takes out what r has read from Secrets, wherever it has got to.
func (d *Difference) hide(r *Reader) {
	for i := range d.Changes {
		c := &d.Changes[i]
		c.Why = r.RedactText(c.Why)
		if c.Desired != nil {
			c.Desired, _ = r.Redact(c.Desired).(map[string]any)
		}
		for j := range c.Fields {
			f := &c.Fields[j]
			f.Old, f.New = r.Redact(f.Old), r.Redact(f.New)
		}
	}
	for i := range d.Errors {
		d.Errors[i] = r.RedactText(d.Errors[i])
	}
}

// Words for objects that are in the source: Leave for one that is left as it is,
// Ignore for fields that are.
const (
	Leave  = "leave"
	Ignore = "ignore"
)

// Count counts the objects of some actions.
func (d *Difference) Count(actions ...string) int {
	n := 0
	for _, c := range d.Changes {
		if slices.Contains(actions, c.Action) {
			n++
		}
	}
	return n
}

// Changed reports whether something is not as it would be.
func (d *Difference) Changed() bool {
	return len(d.Changes) > d.Count(apply.Release.String(), Leave, Ignore)
}

// PruneHeld reports whether pruning waits for somebody to approve it.
func (d *Difference) PruneHeld() bool {
	return slices.ContainsFunc(d.Changes, func(c ObjectDiff) bool {
		return c.Reason == fault.PruneHeld || c.Reason == fault.EmptyRender
	})
}

// target connects to the cluster that the objects of u are on.
func target(u engine.Unit) (*cluster.Client, error) {
	c, err := cluster.New(u.Target.Cluster, u.Target.Config)
	if err != nil {
		return nil, err
	}
	return c.As("")
}

// Diff says what u, the unit of f with its source, would change, and has the
// API server try it. An error means that there is no answer; what the server
// refuses is one.
func (c *Cluster) Diff(ctx context.Context, f *Found, u engine.Unit, r *Reader) (*Difference, error) {
	return c.differ(ctx, f, u, r, engine.Preview)
}

// A look is [engine.Preview], or takes the same way.
type look func(context.Context, *cluster.Client, engine.Unit, func(context.Context) ([]engine.Unit, []string)) (engine.Outcome, error)

func (c *Cluster) differ(ctx context.Context, f *Found, u engine.Unit, r *Reader, look look) (*Difference, error) {
	client := c.Client
	if u.Target.Config != nil {
		var err error
		if client, err = target(u); err != nil {
			return nil, err
		}
	}
	out, err := look(ctx, client, u, c.units(r, u.Artifacts))
	if err != nil && out.Digest == "" {
		return nil, r.Hide(err)
	}
	d := newDifference(f, out, apply.Errors(err))
	d.hide(r)
	return d, nil
}

// units lists all units of the cluster when it is asked for them.
func (c *Cluster) units(r *Reader, at []*source.Artifact) func(context.Context) ([]engine.Unit, []string) {
	var once sync.Once
	var all []engine.Unit
	var unknown []string
	return func(ctx context.Context) ([]engine.Unit, []string) {
		once.Do(func() {
			for _, d := range c.Dialects {
				for _, k := range d.Kinds() {
					if k.IsSource {
						continue
					}
					l, err := c.Client.Dynamic().Resource(k.Resource()).List(ctx, metav1.ListOptions{})
					switch {
					case apierrors.IsNotFound(err): // no such kind
					case err != nil:
						unknown = append(unknown, "every "+k.GroupVersionKind.Kind+", which could not be listed")
					default:
						units, dark := d.Units(l.Items, r, at)
						all, unknown = append(all, units...), append(unknown, dark...)
					}
				}
			}
		})
		return all, unknown
	}
}
