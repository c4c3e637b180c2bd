package render

import (
	"context"
	"time"

	"plumb.dev/plumb/tree"
)

// Version is what results are kept under.
const Version = version

// WithMostWritten is [Objects], for fewer bytes of objects.
func WithMostWritten(ctx context.Context, t tree.Tree, o Options, most int64) (Result, error) {
	l := defaultLimits
	l.written = most
	return withLimits(ctx, t, o, l)
}

// WithPatience is [Objects], for less time.
func WithPatience(ctx context.Context, t tree.Tree, o Options, patience time.Duration) (Result, error) {
	l := defaultLimits
	l.patience = patience
	return withLimits(ctx, t, o, l)
}
