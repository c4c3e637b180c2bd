// Package schema holds still the OpenAPI schema of Kubernetes' own kinds, which
// Kustomize's library keeps in global variables.
//
// Once it is loaded, builds and whoever looks up a kind only read it, and may
// do so side by side. A build that brings a schema of its own changes it for
// everyone in the process, and so runs alone and puts it back.
package schema

import (
	"context"
	"sync"
	"time"

	"sigs.k8s.io/kustomize/kyaml/openapi"
)

var global struct {
	sync.RWMutex
	loaded bool
}

// load loads the schema, unless it is loaded. That happens before the first
// build rather than when a build first needs it: then a build would find kinds
// in it or not, depending on what ran before. The caller holds the lock.
func load() {
	if !global.loaded {
		openapi.ResetOpenAPI()
		openapi.Schema()
		global.loaded = true
	}
}

// drop forgets the schema, and what a build added to it. The caller holds the
// lock.
func drop() {
	openapi.ResetOpenAPI()
	global.loaded = false
}

// Hold has the schema stay as it is until release is called. The error is the
// cause of ctx's end.
func Hold(ctx context.Context) (release func(), err error) {
	if err := acquire(ctx, global.TryRLock); err != nil {
		return nil, err
	}
	for !global.loaded {
		global.RUnlock()
		if err := acquire(ctx, global.TryLock); err != nil {
			return nil, err
		}
		load()
		global.Unlock()
		if err := acquire(ctx, global.TryRLock); err != nil {
			return nil, err
		}
	}
	return global.RUnlock, nil
}

// Alone gives the schema to one who changes it. Nobody else has it until
// release is called, and then it is as it was. The error is the cause of ctx's
// end.
func Alone(ctx context.Context) (release func(), err error) {
	if err := acquire(ctx, global.TryLock); err != nil {
		return nil, err
	}
	load()
	return func() {
		drop()
		global.Unlock()
	}, nil
}

// acquire waits for a lock for as long as ctx leaves. Nobody queues for it: who
// waits for a lock in the usual way has all others wait behind.
func acquire(ctx context.Context, try func() bool) error {
	for pause := 50 * time.Microsecond; !try(); pause = min(2*pause, 10*time.Millisecond) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	return nil
}
