package cached

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// version is that of the shapes: Argo CD has it in every key, and reads no other.
const version = "1.8.3"

const (
	resourcesKey = "app|managed-resources|"
	treeKey      = "app|resources-tree|"
	clusterKey   = "cluster|info|"
)

// Options say where Redis is, and how Argo CD uses it.
type Options struct {
	Addr           string // HOST:PORT
	User, Password string
	// Prefix is what keys begin with, and Plain has the values uncompressed, as
	// Argo CD's server is told too.
	Prefix string
	Plain  bool
	TLS    *tls.Config // nil: none
}

// FromEnvironment adds what Argo CD's own processes read from their environment:
// REDIS_USERNAME and REDIS_PASSWORD, or auth and auth_username in the folder
// REDIS_CREDS_DIR_PATH, REDIS_COMPRESSION and ARGOCD_REDIS_KEY_PREFIX.
func (o *Options) FromEnvironment() error {
	o.User, o.Password, o.Prefix = os.Getenv("REDIS_USERNAME"), os.Getenv("REDIS_PASSWORD"), os.Getenv("ARGOCD_REDIS_KEY_PREFIX")
	switch c := os.Getenv("REDIS_COMPRESSION"); c {
	case "", "gzip":
	case "none":
		o.Plain = true
	default:
		return fmt.Errorf("REDIS_COMPRESSION is %q; it can be gzip or none", c)
	}
	dir := os.Getenv("REDIS_CREDS_DIR_PATH")
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("read REDIS_CREDS_DIR_PATH: %w", err)
	}
	var errs [2]error
	o.Password, errs[0] = credential(dir, "auth")
	o.User, errs[1] = credential(dir, "auth_username")
	return errors.Join(errs[:]...)
}

func credential(dir, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read REDIS_CREDS_DIR_PATH: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Trust returns a TLS configuration that trusts the certificates of a PEM file, or
// those of the system if it has no name.
func Trust(file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificates: %s holds none", file)
	}
	return c, nil
}

// A Store is Redis as Argo CD uses it. It is safe for concurrent use.
type Store struct {
	o      Options
	client *redis.Client
}

// patience is how long an answer may take.
const patience = 3 * time.Second

// silent is what the library writes to: all that it has to say is in errors, too.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

var hush = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

// Open returns a Store. Nothing is sent yet.
func Open(o Options) *Store {
	hush()
	return &Store{o: o, client: redis.NewClient(&redis.Options{
		Addr: o.Addr, Username: o.User, Password: o.Password, TLSConfig: o.TLS,
		DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, ContextTimeoutEnabled: true,
		PoolSize: 4, MaxRetries: 1, Protocol: 2, DisableIdentity: true,
		// Sent with each connection, and known to newer servers only.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})}
}

// Close ends the connections.
func (s *Store) Close() error { return s.client.Close() }

func (s *Store) key(of, name string) string {
	k := s.o.Prefix + of + name + "|" + version
	if s.o.Plain {
		return k
	}
	return k + ".gz"
}

// channel is where the server listens for changes of an Application that somebody
// has open. It has neither prefix nor suffix.
func channel(app string) string { return resourcesKey + app + "|" + version }

func (s *Store) encode(v any) ([]byte, error) {
	if s.o.Plain {
		return json.Marshal(v)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(v); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// An App is what is stored of an Application.
type App struct {
	Resources []Resource
	Tree      Tree
}

// Put stores what is known of an Application, called as in tracking ids, for as
// long as said, and tells those who have it open.
func (s *Store) Put(ctx context.Context, name string, a App, ttl time.Duration) error {
	if a.Resources == nil {
		a.Resources = []Resource{} // null is a miss to some versions
	}
	resources, err := s.encode(a.Resources)
	if err != nil {
		return fmt.Errorf("encode the objects of %s: %w", name, err)
	}
	tree, err := s.encode(a.Tree)
	if err != nil {
		return fmt.Errorf("encode the tree of %s: %w", name, err)
	}
	_, err = s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, s.key(resourcesKey, name), resources, ttl)
		p.Set(ctx, s.key(treeKey, name), tree, ttl)
		p.Publish(ctx, channel(name), "")
		return nil
	})
	return s.about("store what is known of "+name, err)
}

// Drop forgets an Application: the next who reads of it finds nothing.
func (s *Store) Drop(ctx context.Context, name string) error {
	return s.about("drop what is known of "+name, s.client.Del(ctx, s.key(resourcesKey, name), s.key(treeKey, name)).Err())
}

// Clear is Drop for all that anybody has stored.
func (s *Store) Clear(ctx context.Context) error {
	const atATime = 500
	for _, of := range []string{resourcesKey, treeKey} {
		var keys []string
		it := s.client.Scan(ctx, 0, glob(s.o.Prefix)+of+"*", atATime).Iterator()
		for it.Next(ctx) {
			keys = append(keys, it.Val())
		}
		if err := it.Err(); err != nil {
			return s.about("find what is stored of Applications", err)
		}
		for some := range slices.Chunk(keys, atATime) {
			if err := s.client.Del(ctx, some...).Err(); err != nil {
				return s.about("drop what is stored of Applications", err)
			}
		}
	}
	return nil
}

// glob has a text stand for itself in a pattern.
func glob(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(text)
}

// Open returns the names of the Applications that somebody has open, sorted: the
// server listens for changes of them.
func (s *Store) Open(ctx context.Context) (names []string, err error) {
	all, err := s.client.PubSubChannels(ctx, channel("*")).Result()
	if err != nil {
		return nil, s.about("ask who looks at which Application", err)
	}
	for _, c := range all {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(c, resourcesKey), "|"+version))
	}
	slices.Sort(names)
	return names, nil
}

// clusterTTL is how long a Cluster stands.
const clusterTTL = 10 * time.Minute

// PutCluster stores how a cluster is, by its address.
func (s *Store) PutCluster(ctx context.Context, server string, c Cluster) error {
	b, err := s.encode(c)
	if err != nil {
		return fmt.Errorf("encode the state of %s: %w", server, err)
	}
	return s.about("store the state of "+server, s.client.Set(ctx, s.key(clusterKey, server), b, clusterTTL).Err())
}

func (s *Store) about(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s in Redis at %s: %w", what, s.o.Addr, err)
	}
	return nil
}
