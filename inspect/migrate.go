package inspect

import (
	"context"
	"slices"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
)

// A Migration says what would become of the objects of a unit that another
// controller has held true: what would change, and what would only be taken over.
type Migration struct {
	*Difference
	// TakeOver are those that would hold the same, but for the marks of the unit
	// and whose fields they are.
	TakeOver []ObjectDiff `json:"takeOver"`
}

// Migrate says what would become of the objects of u, the unit of f with its
// source. With take, those that would only be taken over are.
func (c *Cluster) Migrate(ctx context.Context, f *Found, u engine.Unit, r *Reader, take bool) (*Migration, error) {
	look := engine.Preview
	if take {
		look = engine.TakeOver
	}
	d, err := c.differ(ctx, f, u, r, look)
	if err != nil {
		return nil, err
	}
	m := &Migration{Difference: d, TakeOver: []ObjectDiff{}}
	d.Changes = slices.DeleteFunc(d.Changes, func(o ObjectDiff) bool {
		if o.Alike && o.Action == apply.Update.String() {
			o.Fields, o.Why = nil, ""
			m.TakeOver = append(m.TakeOver, o)
			return true
		}
		return false
	})
	return m, nil
}

// Taken is how many objects were taken over.
func (m *Migration) Taken() int {
	n := 0
	for _, o := range m.TakeOver {
		if o.Done {
			n++
		}
	}
	return n
}
